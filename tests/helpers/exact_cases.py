"""One-dimensional devices with a signal that has a closed form: tests hold the program to them, a benchmark lists them.

The numbers of a case are per square metre where the formula is: `scale` makes the formula's quantity of the signal. The
closed forms stand for infinite metals and leave out the heat that spin currents carry; `exact` is the stack itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from helpers import stacks
from helpers.stacks import AREA, CU, OXIDE, PY, no_seebeck
from thermospin import analytic as an
from thermospin.device.device import Device
from thermospin.device.interfaces import Interface
from thermospin.device.materials import Material
from thermospin.model import Model

T0 = 300.0
LONG = 4e-6
"""Of copper: exp(-LONG/lambda) = 1e-5 of V_s, which returns as 1e-10."""
LINK = {"RA": 0.3e-15, "gamma": 0.6, "K": 2e9, "S": -10e-6, "S_s": -3e-6}
RESISTIVE = {"RA": 0.3e-15, "gamma": 0.6}
R_F = an.spin_resistance(PY.sigma, PY.lambda_sf, PY.P)
R_N = an.spin_resistance(CU.sigma, CU.lambda_sf)
BEHIND = an.behind_interface(
    P=PY.P, R_F=R_F, gamma=LINK["gamma"], R_contact=an.interface_spin_resistance(LINK["RA"], LINK["gamma"])
)
COLD_PY = Material("Py_4K", sigma=1 / 123e-9, P=0.65, kappa=20.0, lambda_sf=5.5e-9)
COLD_CU = Material("Cu_4K", sigma=2e8, kappa=300.0, lambda_sf=500e-9)


@dataclasses.dataclass(frozen=True)
class Case:
    """A signal and its closed form.

    Attributes:
      name, unit: of the quantity of the formula.
      device: with one experiment.
      signal: such as ("R1", "P").
      scale: factor from the signal to the quantity.
      offset: what the signal has besides [unit].
      formula: value of the closed form [unit].
      printed: what it is known to be, to all the digits that are given.
      neglected: bound on the relative size of what the formula leaves out.
      cells: of each layer.
      clustering: of the cells.
    """

    name: str
    unit: str
    device: Callable[[], Device]
    signal: tuple[str, str]
    scale: float
    formula: float
    printed: str
    neglected: float
    cells: tuple[int, ...]
    offset: float = 0.0
    clustering: float = 2.0

    @property
    def experiment(self) -> str:
        """Name of the experiment."""
        return next(iter(self.device().experiments))

    def model(self, order: int = 3, halved: int = 0) -> Model:
        """The discrete problem, cells halved so many times."""
        return stacks.on_grid(self.device(), [n * 2**halved for n in self.cells], order, self.clustering)

    def exact(self) -> float:
        """The quantity of the stack as it is, to round-off."""
        harmonic, part = self.signal
        return self.quantity(stacks.signals(self.device())[self.experiment][harmonic][part])

    def quantity(self, signal: float) -> float:
        """The quantity of the formula from the signal."""
        return self.scale * signal - self.offset


def link(between: tuple[str, str], **values: float) -> Interface:
    """An interface between two solids of a bar."""
    return Interface("/".join(between), between, **values)


def open_K(values: dict[str, float]) -> float:
    """Heat conductance per area of an interface without current [W/(m^2 K)]."""
    return an.open_circuit_kappa(1 / values["RA"], values["gamma"], values["S"], values["S_s"], values["K"], T0)


def open_kappa(m: Material) -> float:
    """Heat conductivity of a material without current [W/(m K)]."""
    return an.open_circuit_kappa(m.sigma, m.P, m.S, m.S_s, m.kappa, T0)


def _injector(F: Material, N: Material, length: float, **values: float) -> Callable[..., Device]:
    def made(*experiments: object, **options: object) -> Device:
        layers = (("F1", F, length), ("N", N, LONG))
        return stacks.device(layers, *experiments, interfaces=[link(("F1", "N"), **values)], **options)  # type: ignore[arg-type]

    return made


ONE_STATE = {"states": {"P": {}}}


def thermal_injection() -> Case:
    """T1: 10 K over 100 nm of permalloy and 4 um of copper; V_s of copper from the spin current into it."""
    build = _injector(PY, CU, 100e-9, **LINK)
    Q = 10 / an.slab_thermal_resistance([100e-9, LONG], [open_kappa(PY), open_kappa(CU)], [open_K(LINK)])
    formula = an.fn_thermal_V_s(
        -Q / open_kappa(PY), S_s=PY.S_s, lambda_F=PY.lambda_sf, R_F=R_F, R_N=R_N, R_contact=BEHIND.R - R_F,
        jump=-Q / open_K(LINK), S_s_contact=LINK["S_s"],
    )  # fmt: skip
    probe = stacks.through("spin", "F1", "N")
    return Case(
        "T1 thermal injection, V_s", "V", lambda: build(stacks.heat(**probe, **ONE_STATE)), ("R1", "P"),
        10 * 2 * R_N / AREA, formula, "-1.0680e-6", 1e-4, (14, 14),
    )  # fmt: skip


def electrical_injection() -> Case:
    """T2: V_s per current density."""
    build = _injector(no_seebeck(PY), no_seebeck(CU), 100e-9, **RESISTIVE)
    probe = stacks.through("spin", "F1", "N")
    formula = an.fn_electrical_V_s(1.0, P=BEHIND.P, R_F=BEHIND.R, R_N=R_N)
    return Case(
        "T2 electrical injection, V_s/J", "V m^2/A", lambda: build(stacks.current(**probe, **ONE_STATE)), ("R1", "P"),
        2 * R_N, formula, "9.772e-16", 1e-8, (14, 14),
    )  # fmt: skip


def contact_resistance() -> Case:
    """T3: the resistance less Ohm's and less what feeding half and half costs at the end of the ferromagnet."""
    build = _injector(no_seebeck(PY), no_seebeck(CU), 100e-9, **RESISTIVE)
    formula = an.fn_contact_RA(P=PY.P, R_F=R_F, R_N=R_N, gamma=LINK["gamma"], R_contact=BEHIND.R - R_F)
    end = an.polarised_bar_resistance(100e-9, sigma=PY.sigma, P=PY.P, lambda_sf=PY.lambda_sf, area=1.0)
    return Case(
        "T3 contact resistance", "ohm m^2", lambda: build(stacks.current(**ONE_STATE)), ("R1", "P"), AREA, formula,
        "5.1083e-16", 1e-6, (14, 14), offset=end + LONG / CU.sigma,
    )  # fmt: skip


def spin_flip() -> Case:
    """T7: V_s per current density behind an interface with spin flip and no polarisation."""
    values = {"RA": 0.5e-15, "gamma": 0.0, "delta": 0.33}
    build = _injector(no_seebeck(PY), no_seebeck(CU), 100e-9, **values)
    formula = an.fn_flip_V_s(1.0, P=PY.P, R_F=R_F, R_N=R_N, gamma=0.0, R_contact=0.5e-15, delta=0.33)
    probe = stacks.through("spin", "F1", "N")
    return Case(
        "T7 spin flip at the interface, V_s/J", "V m^2/A", lambda: build(stacks.current(**probe, **ONE_STATE)),
        ("R1", "P"), 2 * R_N, formula, "3.984e-16", 1e-8, (14, 14),
    )  # fmt: skip


def pillar_layers(F: Material, N: Material, length: float, spacer: float) -> stacks.Layers:
    """F / N / F."""
    return (("F1", F, length), ("N", N, spacer), ("F2", F, length))


def both_links(**values: float) -> list[Interface]:
    """Interfaces on either side of N."""
    return [link(("F1", "N"), **values), link(("N", "F2"), **values)]


def pillar() -> Case:
    """T6: AP less P of a pillar of permalloy with copper at 4.2 K."""
    r = 0.5e-15
    behind = an.behind_interface(
        P=COLD_PY.P, R_F=an.spin_resistance(COLD_PY.sigma, COLD_PY.lambda_sf, COLD_PY.P), gamma=0.76, R_contact=r
    )
    formula = an.cpp_resistance_change(
        P=behind.P, R_F=behind.R, R_N=an.spin_resistance(COLD_CU.sigma, COLD_CU.lambda_sf), d=10e-9,
        lambda_N=COLD_CU.lambda_sf,
    )  # fmt: skip
    layers = pillar_layers(COLD_PY, COLD_CU, 100e-9, 10e-9)
    links = both_links(RA=r * (1 - 0.76**2), gamma=0.76)
    return Case(
        "T6 pillar, A (R_AP - R_P)", "ohm m^2", lambda: stacks.device(layers, stacks.current(), interfaces=links),
        ("R1", "spin"), -AREA, formula, "1.5256e-15", 1e-7, (14, 4, 14),
    )  # fmt: skip


def heated_pillar() -> Case:
    """H2: V_AP - V_P of F / i / N / i / F under 10 K; without S, so that no heat goes with the charge."""
    F, N = dataclasses.replace(PY, S=0.0), no_seebeck(CU)
    values = LINK | {"S": 0.0}
    Q = 10 / an.slab_thermal_resistance([200e-9, 15e-9], [open_kappa(F), N.kappa], [open_K(values)] * 2)
    formula = an.cpp_thermal_voltage_change(
        -Q / open_kappa(F), P=BEHIND.P, S_s=F.S_s, lambda_F=F.lambda_sf, R_F=BEHIND.R, R_N=R_N, d=15e-9,
        lambda_N=N.lambda_sf, jump=-Q / open_K(values), S_s_contact=values["S_s"],
    )  # fmt: skip
    layers = pillar_layers(F, N, 100e-9, 15e-9)
    return Case(
        "H2 pillar under 10 K, V_AP - V_P", "V",
        lambda: stacks.device(layers, stacks.heat(), interfaces=both_links(**values)), ("R1", "spin"), -10.0, formula,
        "", 3e-3, (14, 4, 14),
    )  # fmt: skip


def slab(K: float, printed: str) -> Case:
    """H6: heater / 8 nm of oxide with K on both faces / metal at the bath; rise of the heater's mean per power."""
    heater, oxide, below = 20e-9, 8e-9, 30e-9
    formula = an.slab_thermal_resistance([oxide], [OXIDE.kappa], [K, K])
    inside = heater / (3 * CU.kappa) + below / CU.kappa  # of the heater's mean over its end, and of the metal below
    layers = (("heater", no_seebeck(CU), heater), ("oxide", OXIDE, oxide), ("below", no_seebeck(CU), below))
    links = [link(("heater", "oxide"), K=K), link(("oxide", "below"), K=K)]
    probe = {"temperature": ("heater",)}
    return Case(
        f"H6 heater on 8 nm of oxide, K = {K:g}", "m^2 K/W",
        lambda: stacks.device(
            layers, stacks.power("heater", **probe, **ONE_STATE), interfaces=links, h=(0.0, np.inf)
        ),
        ("R1", "P"), AREA, formula, printed, 1e-9, (2, 2, 2), offset=inside, clustering=0.0,
    )  # fmt: skip


def cases() -> list[Case]:
    """All of them."""
    slabs = [slab(1e8, "2.53e-8"), slab(2e8, "1.53e-8"), slab(7e8, "0.82e-8")]
    return [
        thermal_injection(), electrical_injection(), contact_resistance(), pillar(), spin_flip(), heated_pillar(),
        *slabs,
    ]  # fmt: skip
