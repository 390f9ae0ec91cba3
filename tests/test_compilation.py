"""Programs that are kept by the arguments of a function: found again, never mistaken for another, never in the way.

And flags of XLA: asked for where they are known, and never against what somebody has set.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from thermospin.base import compilation
from thermospin.base.programs import EMITTERS
from thermospin.cli import runtime

TRACES: list[str] = []


class Pair(NamedTuple):
    total: Any
    name: str


class Scale(eqx.Module):
    factor: Any
    label: str = eqx.field(static=True)


def scaled(scale: Scale, x: Any, power: Any = 1) -> Pair:
    TRACES.append(scale.label)
    return Pair(scale.factor * x**power, scale.label)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The function, its programs kept in an empty folder; a call of `compilation.forget` is what a new process is."""
    TRACES.clear()
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield compilation.jit(scaled)
    jax.config.update("jax_compilation_cache_dir", before)


def programs(folder: Path) -> list[Path]:
    return sorted(folder.glob("program-*"))


def test_the_next_process_traces_nothing_and_finds_the_same(kept, tmp_path):
    arguments = Scale(jnp.asarray(3.0), "a"), np.arange(4.0)
    first = kept(*arguments, power=2)
    assert first.name == "a" and np.array_equal(first.total, 3 * np.arange(4.0) ** 2)
    compilation.forget()
    again = kept(*arguments, power=2)
    assert TRACES == ["a"] and len(programs(tmp_path)) == 1
    assert again.name == "a" and np.array_equal(first.total, again.total)
    assert np.array_equal(kept(Scale(jnp.asarray(5.0), "a"), np.ones(4), power=2).total, np.full(4, 5.0))
    assert TRACES == ["a"], "other numbers are not another program"


def test_what_is_static_or_of_another_shape_or_type_is_another_program(kept, tmp_path):
    one, x = jnp.asarray(1.0), jnp.arange(4.0)
    calls = [
        (Scale(one, "a"), x, 1),
        (Scale(one, "b"), x, 1),
        (Scale(one, "a"), x, 1.0),  # equal to 1, and not the same
        (Scale(one, "a"), x, True),
        (Scale(one, "a"), x[:3], 1),
        (Scale(one, "a"), x.astype("float32"), 1),
        (Scale(2.0, "a"), x, 1),  # static: not an array
    ]
    for arguments in calls:
        kept(*arguments)
    assert len(TRACES) == len(programs(tmp_path)) == len(calls)
    compilation.forget()
    for scale, values, power in calls:
        found = kept(scale, values, power)
        expected = scaled(scale, values, power)
        assert found.name == expected.name and found.total.dtype == expected.total.dtype
        assert np.array_equal(found.total, expected.total)
    assert len(TRACES) == 2 * len(calls), "those of the comparison, and no more"


def test_another_installation_compiles_for_itself(kept, tmp_path, monkeypatch):
    arguments = Scale(jnp.asarray(3.0), "a"), jnp.arange(4.0)
    kept(*arguments)
    compilation.forget()
    monkeypatch.setattr(compilation, "_installation", lambda: b"another")
    kept(*arguments)
    assert len(TRACES) == len(programs(tmp_path)) == 2


@pytest.mark.parametrize("damage", [b"", b"no pickle", b"\x80\x04N."])
def test_a_damaged_file_is_compiled_anew_and_replaced(kept, tmp_path, damage):
    arguments = Scale(jnp.asarray(3.0), "a"), jnp.arange(4.0)
    kept(*arguments)
    (place,) = programs(tmp_path)
    place.write_bytes(damage)
    compilation.forget()
    assert np.array_equal(kept(*arguments).total, 3 * np.arange(4.0))
    assert len(TRACES) == 2 and place.stat().st_size > 100
    compilation.forget()
    kept(*arguments)
    assert len(TRACES) == 2


def test_what_the_cache_of_jax_has_loaded_is_not_written_again(kept, tmp_path, monkeypatch):
    """XLA for CPUs writes a loaded program without some of its functions: the next process could not run it."""
    least = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    compilation_cache.reset_cache()  # it has looked for its folder before
    try:
        x = jnp.linspace(0.0, 1.0, 100)
        for traced in (1, 2, 2):
            found = kept(Scale(x, "a"), x, 3)
            np.testing.assert_allclose(found.total, np.asarray(x) ** 4, rtol=1e-14)
            assert len(TRACES) == traced
            compilation.forget()
            jax.clear_caches()
            if traced == 1:
                for place in programs(tmp_path):
                    place.unlink()
        jax.jit(lambda x: 3 * x)(x)
        ours, theirs = programs(tmp_path), [path.name for path in tmp_path.glob("jit_*")]
        assert len(ours) == 1 and theirs, "the cache of JAX is in use"
        assert not any("scaled" in name for name in theirs), "and has no second copy"
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", least)
        compilation_cache.reset_cache()


def test_programs_that_were_used_longest_ago_make_room(kept, tmp_path, monkeypatch):
    """Of twelve files ten times as large as a program, and three programs, seven files stay where there is room for 75.

    That is three quarters of what may be kept, which 123 are more than.
    """
    scale = Scale(jnp.asarray(3.0), "a")
    kept(scale, jnp.arange(4.0))
    (first,) = programs(tmp_path)
    size = first.stat().st_size
    os.utime(first, (1.0, 1.0))
    compilation.forget()
    kept(scale, jnp.arange(4.0))
    assert first.stat().st_mtime > 1e9, "to load a program is to use it"
    old = [tmp_path / f"program-{number:02d}" for number in range(12)]
    for age, path in enumerate(old):
        path.write_bytes(bytes(10 * size))
        os.utime(path, (1000.0 + age, 1000.0 + age))
    (tmp_path / "mine.txt").write_bytes(bytes(500 * size))
    kept(scale, jnp.arange(5.0))
    assert len(programs(tmp_path)) == 14, "there is room"
    compilation.forget()
    monkeypatch.setattr(compilation, "KEPT", 100 * size)
    kept(scale, jnp.arange(6.0))
    left = programs(tmp_path)
    assert [path for path in left if path in old] == old[5:]
    assert first in left and len(left) == 10 and (tmp_path / "mine.txt").exists()


@pytest.mark.filterwarnings("ignore:Error .*ing persistent compilation cache")
def test_a_folder_that_cannot_be_written_is_no_hindrance(kept, tmp_path):
    (tmp_path / "file").touch()
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "file" / "gone"))
    assert np.array_equal(kept(Scale(jnp.asarray(3.0), "a"), jnp.arange(4.0)).total, 3 * np.arange(4.0))
    assert not programs(tmp_path)


def test_local_functions_are_not_kept(kept, tmp_path):
    for number in (2.0, 3.0):
        program = compilation.jit(lambda x, number=number: number * x)
        assert program(jnp.ones(2)).tolist() == [number, number]
    assert not programs(tmp_path)


def test_part_of_another_program_it_is_traced(kept, tmp_path):
    scale = Scale(jnp.asarray(3.0), "a")
    assert jax.jit(lambda x: kept(scale, x, 2).total)(2.0) == 12
    assert jax.jit(lambda: kept(scale, jnp.asarray(2.0), 2).total)() == 12
    assert jax.grad(lambda x: kept(scale, x, 2).total)(2.0) == 12
    assert jax.vmap(lambda x: kept(scale, x, 2).total)(jnp.asarray([1.0, 2.0])).tolist() == [3, 12]
    assert not programs(tmp_path)


def test_under_a_derivative_constants_are_a_program_of_their_own(kept, tmp_path):
    """The fields of a signal are solved for at constant parameters, also where it is differentiated."""
    scale = Scale(np.asarray(3.0), "a")
    assert jax.grad(lambda x: x * kept(scale, np.asarray(2.0), 2).total)(1.0) == 12
    assert len(programs(tmp_path)) == 1 and TRACES == ["a"]


def test_threads_share_a_program(kept):
    ready = threading.Barrier(4)

    def call(_: int) -> float:
        ready.wait()
        return float(kept(Scale(jnp.asarray(3.0), "a"), jnp.asarray(2.0)).total)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(call, range(4))) == [6.0] * 4
    assert TRACES == ["a"]


def test_programs_used_longest_ago_are_let_go(monkeypatch):
    """Each has mappings of memory, of which a process may have so many: a sweep over grids would end with an error."""
    compilation.forget()
    monkeypatch.setattr(compilation, "MOST", 2)
    traced = []

    def twice(x):
        traced.append(x.shape)
        return 2 * x

    call = compilation.jit(twice)
    for size in (1, 2, 1, 3, 1, 2):
        np.testing.assert_array_equal(call(np.ones(size)), 2 * np.ones(size))
    assert traced == [(1,), (2,), (3,), (2,)], "that of size 1 was used again, and stays"


def test_only_programs_with_little_to_do_are_compiled_quickly(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert compilation._little(1000) and not compilation._little(compilation.LITTLE)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not compilation._little(1000)
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    monkeypatch.setenv("XLA_FLAGS", f"--{compilation.OPTION}=2")
    assert not compilation._little(1000), "somebody says otherwise"


def test_quick_and_thorough_programs_are_kept_apart_and_agree(kept, tmp_path, monkeypatch):
    arguments = Scale(jnp.asarray(3.0), "a"), jnp.linspace(0.0, 1.0, 100), 3
    found = []
    for quick in (True, False):
        monkeypatch.setattr(compilation, "_little", lambda work, quick=quick: quick)
        compilation.forget()
        found.append(np.asarray(kept(*arguments).total))
    np.testing.assert_allclose(*found, rtol=1e-15)
    assert len(programs(tmp_path)) == 2


def test_constants_alone_are_traced_under_a_trace(kept, tmp_path):
    scale = Scale(np.asarray(3.0), "a")
    assert jax.jit(lambda x: x + kept(scale, np.asarray(2.0), 2).total)(1.0) == 13
    assert jax.jvp(jax.jit(lambda x: x * kept(scale, np.asarray(2.0), 2).total), (1.0,), (1.0,))[1] == 12
    assert not programs(tmp_path)


# ------------------------------------------------------------------------------------------- flags of XLA

FLAG = f"--{EMITTERS}=false"


@pytest.mark.parametrize(
    ("version", "given", "expected"),
    [
        ("0.10.2", None, FLAG),
        ("0.10.2", "--xla_x=1", f"--xla_x=1 {FLAG}"),
        ("0.10.2", "--xla_cpu_use_fusion_emitters=true", "--xla_cpu_use_fusion_emitters=true"),
        ("0.99.0", None, None),
        ("0.1.0", "--xla_x=1", "--xla_x=1"),
    ],
)
def test_the_flag_is_added_once_and_where_it_was_tried(
    monkeypatch: pytest.MonkeyPatch, version: str, given: str | None, expected: str | None
) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: version)
    environment = {} if given is None else {"XLA_FLAGS": given}
    for _ in range(2):
        runtime.quickly(environment)
        assert environment.get("XLA_FLAGS") == expected


@pytest.mark.parametrize(
    ("version", "flags", "expected"),
    [
        ("0.10.2", "", {EMITTERS: False}),
        ("0.10.2", FLAG, {}),
        ("0.99.0", "", {}),
    ],
)
def test_scripts_compile_with_the_options_of_commands(monkeypatch, version, flags, expected):
    monkeypatch.setattr(metadata, "version", lambda name: version)
    monkeypatch.setenv("XLA_FLAGS", flags)
    expected |= dict([compilation.WITHOUT])
    assert compilation.options(quick=True) == expected | {compilation.OPTION: "0"}
    assert compilation.options(quick=False) == expected
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not compilation.options(quick=False)


# ------------------------------------------------------------------------------------------ in NumPy at first


def test_what_is_called_a_few_times_is_done_in_numpy_and_then_compiled(monkeypatch):
    """Five numbers are read by a call; programs are traced, once, and return arrays of JAX."""
    TRACES.clear()
    monkeypatch.setattr(compilation, "PAYS", 12)
    function = compilation.on_host_first(scaled)
    found = [function(Scale(jnp.asarray(3.0), "a"), np.arange(4.0)) for _ in range(5)]
    assert [type(each.total) is np.ndarray for each in found] == [True, True, True, False, False]
    assert len(TRACES) == 4, "three calls in NumPy and a trace"
    for each in found:
        assert np.array_equal(each.total, [0, 3, 6, 9]) and each.name == "a"
    assert type(function(Scale(jnp.asarray(3.0), "b"), np.arange(4.0)).total) is np.ndarray, "another one is another"


def test_what_reads_much_is_compiled_at_once(monkeypatch):
    monkeypatch.setattr(compilation, "LARGE", 4)
    function = compilation.on_host_first(scaled)
    assert isinstance(function(Scale(jnp.asarray(3.0), "a"), np.arange(4.0)).total, jax.Array)
    assert isinstance(function(Scale(jnp.asarray(3.0), "a"), np.arange(3.0)).total, np.ndarray)


def test_a_kept_program_is_used_from_the_first_call_on(kept, monkeypatch):
    arguments = Scale(jnp.asarray(3.0), "a"), np.arange(4.0)
    monkeypatch.setattr(compilation, "PAYS", -1)
    compilation.on_host_first(scaled)(*arguments)
    compilation.forget()
    monkeypatch.setattr(compilation, "PAYS", 1_000_000_000)
    TRACES.clear()
    found = compilation.on_host_first(scaled)(*arguments)
    assert isinstance(found.total, jax.Array) and not TRACES


def test_what_a_trace_asks_for_is_traced():
    function = compilation.on_host_first(scaled)
    slope = jax.grad(lambda x: function(Scale(jnp.asarray(3.0), "a"), x, 2).total)(2.0)
    assert float(slope) == 12.0
