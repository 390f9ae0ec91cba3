"""Solves split over eight virtual devices of the CPU: the same numbers on any number of them."""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from helpers import traffic
from helpers.devices import VALVE, bar
from thermospin import solve
from thermospin.device import reader
from thermospin.linear.sparse import Rows
from thermospin.model import _law, build
from thermospin.parallel import partition, sharding
from thermospin.signals import evaluate

#: Runs in a process of its own, whose JAX has eight devices: a valve, levels split down to 200 nodes.
RUN = """
import json, os, sys
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
sys.path.insert(0, "tests")
from helpers.devices import VALVE
from helpers import traffic
from thermospin.device import reader as devicefile
from thermospin.inference import ensembles as ensemble
from thermospin.parallel import partition
from thermospin.signals import evaluate as signals
from thermospin.model import _law, build
import jax.numpy as jnp
partition.TOGETHER = 200
one_state = VALVE.replace(", AP = { F2 = -1 }", "")
model = build(devicefile.read(one_state, "valve.toml"), cells=2000, order=1)
wanted, names = [("local", "R1.P"), ("local", "R2.P")], ["Fe.S_s", "gap"]
out = {"nodes": model.disc.nodes_T}
for count in map(int, sys.argv[1:]):
    made = model if count == 1 else model.sharded(count)
    found = signals.evaluate(made, {}, wanted, names, tolerance=1e-10)
    out[str(count)] = {
        "values": found.values.tolist(), "jacobian": found.jacobian.tolist(), "iterations": found.iterations
    }
    if count == 8:
        shards = next(iter(made.systems.values())).shards
        out["traffic"] = [
            [each.name, each.times, each.messages, each.sent, each.needed] for each in traffic.exchanges(shards)
        ]
        law = _law(made.disc, made.constitution, {name: jnp.asarray(v) for name, v in made.parameters.items()})
        b = jnp.zeros((made.unknowns, 1))
        text = jax.jit(lambda *x: shards.pcg(*x)).lower(law, b, b, jnp.array(1e-10), jnp.array(9)).compile().as_text()
        out["program"] = {kind: [each.count, each.bytes] for kind, each in traffic.of_loop(text, 8).items()}
sets = [{"Fe.P": 0.3}, {"Fe.P": 0.4, "gap": 40e-9}]
for shape in ([1, 1], [2, 2])[: 2 if 8 in map(int, sys.argv[1:]) else 0]:
    found = ensemble.run(model.sharded(*shape), sets, wanted, at_once=1)
    out["ensemble of " + str(shape)] = [each.values.tolist() for each in found]
try:
    model.sharded(9)
except ValueError as error:
    out["too many"] = str(error)
print(json.dumps(out))
"""


#: One of several processes with a device each, which find each other over the loopback; the first says what it found.
PROCESS = """
import json, sys
import jax
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_cpu_collectives_implementation", "gloo")
number, count, port = map(int, sys.argv[1:])
jax.distributed.initialize(f"127.0.0.1:{port}", count, number)
sys.path.insert(0, "tests")
from thermospin.parallel import partition
partition.TOGETHER = 200
import test_sharding
found = test_sharding.solved(count)
if number == 0:
    print(json.dumps([len(jax.devices()), *found]))
"""


def solved(shards: int) -> tuple[float, bool]:
    """The voltage of a port that is driven, b.x, and whether the solve converged."""
    made = build(reader.read(VALVE, "valve.toml"), cells=300, order=1)
    made = made if shards == 1 else made.sharded(shards)
    law = _law(made.disc, made.constitution, {name: jnp.asarray(value) for name, value in made.parameters.items()})
    ground, system = next(iter(made.systems.items()))
    b = jnp.asarray(next(port for name, port in made.ports.items() if name != ground))[:, None]
    x, stats = solve.solve(system, law, b, tolerance=1e-11)
    return float(b[:, 0] @ x[:, 0]), bool(stats.converged[0])


def processes(count: int) -> list[Any]:
    """What the first of so many processes found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(k), str(count), str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(count)
    ]
    out = [each.communicate(timeout=240) for each in running]
    assert all(each.returncode == 0 for each in running), [error[-1500:] for _, error in out]
    return json.loads(next(line for line in out[0][0].splitlines() if line.startswith("[") and "Gloo" not in line))


def test_processes_find_the_same_as_one() -> None:
    """Three processes over the loopback; b.x is stationary, so right to the square of 1e-11."""
    value, converged = solved(1)
    assert converged
    devices, other, converged = processes(3)
    assert devices == 3 and converged
    assert other == pytest.approx(value, rel=1e-12)


def virtual(*devices: int) -> dict[str, Any]:
    """What that run finds on one device and on so many."""
    command = [sys.executable, "-c", RUN, "1", *map(str, devices)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return virtual(8)


def off(found: dict[str, Any], devices: int) -> tuple[float, float, int]:
    """By how much values, derivatives (of the largest by a parameter) and iterations differ from one device's."""
    one, many = found["1"], found[str(devices)]
    values = np.abs(np.divide(many["values"], one["values"]) - 1).max()
    slopes = np.abs(np.subtract(many["jacobian"], one["jacobian"])).max(axis=0) / np.abs(one["jacobian"]).max(axis=0)
    steps = np.abs(np.subtract(many["iterations"], one["iterations"])).max()
    return float(values), float(slopes.max()), int(steps)


def test_signals_do_not_depend_on_the_number_of_devices(found: dict[str, Any]) -> None:
    """Stationary values are right to the square of the tolerance, 1e-10; derivatives to some ten times it."""
    values, slopes, steps = off(found, 8)
    assert values < 1e-12 and slopes < 1e-7 and steps <= 1


@pytest.mark.slow
def test_nor_do_they_on_two_and_four() -> None:
    """Each number of devices is a program of its own; two and four processes are tested above in any case."""
    two_and_four = virtual(2, 4)
    for devices in (2, 4):
        values, slopes, steps = off(two_and_four, devices)
        assert values < 1e-12 and slopes < 1e-7 and steps <= 1


def test_what_is_exchanged_is_hardly_more_than_what_is_needed(found: dict[str, Any]) -> None:
    """Messages are padded to the longest of their kind; slabs of few planes differ most in this."""
    halos = found["traffic"][:-1]
    sent, needed = (sum(each[1] * each[k] for each in halos) for k in (3, 4))
    assert 0 < needed <= sent < 1.5 * needed
    # The operator itself needs the nodes beside each of the cuts, no more: less than all there are.
    assert halos[0][0] == "operator" and 0 < halos[0][4] < 4 * 8 * found["nodes"]
    assert any("level 1" in each[0] for each in halos), "levels are split too"


def test_the_compiled_program_exchanges_what_is_said(found: dict[str, Any]) -> None:
    """Message for message and byte for byte; two sums over devices, and the coarse levels there and back."""
    program, (*halos, coarse) = found["program"], found["traffic"]
    assert program["collective-permute"] == [sum(each[1] * each[k] for each in halos) for k in (2, 3)]
    assert program["all-to-all"] == [coarse[1], coarse[1] * coarse[3]]
    assert program["all-reduce"][0] == 2 and program["all-gather"] == [0, 0]


def test_a_program_without_a_loop_says_so() -> None:
    with pytest.raises(ValueError, match="found 0 loops"):
        traffic.of_loop("ENTRY %main (x: f64[]) -> f64[] {\n}\n", 2)


def test_fewer_cells_than_devices_is_told() -> None:
    system = SimpleNamespace(disc=SimpleNamespace(order=2))
    mesh = SimpleNamespace(shape={"members": 1, "slabs": 4})
    with pytest.raises(ValueError, match="a grid of 3 cells along its longest axis cannot be split over 4 devices"):
        partition.shard(system, (5, 7, 3), mesh)  # type: ignore[arg-type]


def test_sets_are_shared_out_along_the_second_axis(found: dict[str, Any]) -> None:
    """Two groups of two devices, each with a grid of its own; right to some times 1e-9."""
    alone, shared = found["ensemble of [1, 1]"], found["ensemble of [2, 2]"]
    np.testing.assert_allclose(shared, alone, rtol=1e-8)
    assert len(shared) == 2 and np.ptp(shared, axis=0).min() > 0


def test_a_device_of_metal_alone_has_no_other_nodes() -> None:
    """Which leaves a row that is empty; on a mesh of one device, as groups of one have it."""
    model = build(bar(), cells=60, order=1)
    (system,) = model.systems.values()
    assert model.disc.nodes_T == model.disc.nodes_V
    shards = partition.shard(system, [len(nodes) for nodes in model.grid.nodes], sharding.mesh_of(1))
    systems = {name: dataclasses.replace(system, shards=shards) for name in model.systems}
    split = dataclasses.replace(model, systems=systems)
    wanted = [("pillar", "R1.spin"), ("pillar", "R2.P")]
    one, other = (evaluate.evaluate(each, {}, wanted, ["Fe.P"]) for each in (model, split))
    np.testing.assert_allclose(other.values, one.values, rtol=1e-9)
    assert abs(one.values[0]) > 0


def test_more_devices_than_there_are_is_told(found: dict[str, Any]) -> None:
    assert found["too many"].startswith("got 9 devices, but JAX sees 8 (cpu); on a CPU, XLA_FLAGS=--xla_force_host")


def test_a_matrix_comes_back_from_its_rows() -> None:
    rng = np.random.default_rng(0)
    matrix = csr_array(random_array((40, 30), density=0.2, rng=rng, format="csr"))
    found = Rows.of(matrix, dtype=float).matrix(30)
    np.testing.assert_array_equal(found.toarray(), matrix.toarray())


@pytest.mark.parametrize("paired", [False, True])
def test_long_rows_are_multiplied_in_a_loop(paired: bool) -> None:
    """A few rows of 25 to 30 entries among short ones: their rest is one array, and says what the matrix says."""
    rng = np.random.default_rng(1)
    dense = np.where(rng.random((200, 30)) < 0.1, rng.standard_normal((200, 30)), 0.0)
    dense[::50] = rng.standard_normal((4, 30))
    matrix = csr_array(dense + 1j * np.abs(dense) if paired else dense)
    rows = Rows.of(matrix, dtype=float)
    assert rows.rest is not None and rows.rest.index[0].ndim == 2 and rows.index[0].ndim == 1
    np.testing.assert_array_equal(rows.matrix(30).toarray(), matrix.toarray())
    x = rng.standard_normal((30, 2, 3))
    a, b = matrix.real.toarray(), matrix.imag.toarray()
    expected = np.einsum("ij,jfc->ifc", a, x)
    if paired:
        expected = np.einsum("ij,jfc->ifc", a + b, x) + np.einsum("ij,jfc->ifc", a - b, x[:, ::-1])
    np.testing.assert_allclose(rows.multiply(jnp.asarray(x)), expected, atol=1e-13)


def test_a_halo_brings_what_is_wanted_from_where_it_is() -> None:
    """Four devices with three nodes each in a row; each wants the neighbours' nearest ones."""
    places = partition.Places.of(np.repeat(np.arange(4), 3), 4)
    wanted = [np.array([3]), np.array([2, 6]), np.array([5, 9]), np.array([8])]
    halo, at = partition.halo_of(places, wanted)
    assert traffic.values_needed(halo) == 6 and halo.size == 2
    assert {pair for way in halo.ways for pair in way} == {(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)}
    values = places.stacked(np.arange(12.0))
    for k, nodes in enumerate(wanted):
        inbox = {}
        start = places.size
        for way, index in zip(halo.ways, halo.send, strict=True):
            for sender, receiver in way:
                if receiver == k:
                    inbox.update(zip(range(start, start + index.shape[1]), values[sender][index[sender]], strict=True))
            start += index.shape[1]
        assert [inbox[at[k][int(node)]] for node in nodes] == nodes.tolist()
