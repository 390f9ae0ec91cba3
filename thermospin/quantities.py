"""The quantities of the model: one row for each value of a material or an interface, for zeta and for lengths.

To add a value of materials, add its row here, a field of `device.materials.Material`, and the term of the equations
that uses it (`device.constitution.Constitution`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Literal

from thermospin.base import units


@dataclasses.dataclass(frozen=True)
class Quantity:
    """The facts of one quantity, for every material or device.

    Attributes:
      symbol: its name in files and equations.
      kind: key of `units.KINDS`, which has its SI unit.
      shown, size: unit that it is printed in, and the size of that unit in SI.
      transform: internal coordinate x of a value p in a fit: "linear" p/scale, "log" ln p, "atanh" artanh p.
      lower, upper: default bounds of a fit, SI units.
      typical: size that changes are measured by where the value is 0, SI units.
      usual_std: relative standard deviation of a value held fixed, unless another one is given.
      allows, expected: test of a finite value, and what messages say is expected.
      needed_by: bodies whose material has to give it: those that conduct charge ("metals"), or all of them; "none": 0
        where it is left out.
      conducts: whether it enters the preconditioner, which knows no Seebeck and no Peltier effect.
      reverses: whether it changes its sign with the magnet.
    """

    symbol: str
    kind: str
    shown: str = ""
    size: float = 1.0
    transform: Literal["linear", "log", "atanh"] = "linear"
    lower: float = -math.inf
    upper: float = math.inf
    typical: float = math.nan
    usual_std: float = 0.0
    allows: Callable[[float], bool] = math.isfinite
    expected: str = ""
    needed_by: Literal["none", "metals", "all"] = "none"
    conducts: bool = False
    reverses: bool = False

    @property
    def unit(self) -> str:
        """SI unit."""
        return units.KINDS[self.kind].unit

    def fault(self, value: float) -> str | None:
        """Describe what is wrong with a value, None if it is within the model."""
        if math.isfinite(value) and self.allows(value):
            return None
        return f"{self.symbol}: got {value:g}, expected {self.expected or f'a finite {self.symbol}'}"


def _positive(value: float) -> bool:
    return value > 0


def _not_negative(value: float) -> bool:
    return value >= 0


# Default bounds are where the model loses its meaning, not guesses of the value: worse than a poor metal to purer than
# any; below aerogel to above cold crystals; half a bond length to beyond any metal; and |P| < 1. Usual standard
# deviations: films are measured by their resistance to a few percent; heat conductivities and Seebeck coefficients of
# films are hardly known.
_MATERIAL = (
    Quantity(
        "sigma", "conductivity", "S/m", transform="log", lower=1e2, upper=1e11, usual_std=0.05, conducts=True,
        allows=_not_negative, expected="sigma >= 0 S/m (0: carries heat only)",
    ),
    Quantity(
        "P", "number", transform="atanh", lower=-0.999, upper=0.999, typical=0.1, usual_std=0.2, conducts=True,
        reverses=True, allows=lambda value: abs(value) < 1, expected="|P| < 1",
    ),
    Quantity("S", "seebeck", "uV/K", 1e-6, typical=1e-5, usual_std=0.2),
    Quantity("S_s", "seebeck", "uV/K", 1e-6, typical=1e-6, usual_std=0.5, reverses=True),
    Quantity(
        "kappa", "thermal_conductivity", "W/(m K)", transform="log", lower=1e-3, upper=1e5, usual_std=0.2,
        conducts=True, allows=_positive, expected="kappa > 0 W/(m K)", needed_by="all",
    ),
    Quantity(
        "lambda_sf", "length", "nm", 1e-9, transform="log", lower=1e-10, upper=1e-3, usual_std=0.3, conducts=True,
        allows=_positive, expected="lambda_sf > 0 m", needed_by="metals",
    ),
)  # fmt: skip
# Half a clean metal interface to a tunnel barrier; the worst to the best contact of two solids.
_INTERFACE = (
    Quantity(
        "RA", "resistance_area", "fohm m^2", 1e-15, transform="log", lower=1e-20, upper=1e-4, usual_std=0.3,
        conducts=True, allows=_positive, expected="RA > 0 ohm m^2",
    ),
    Quantity(
        "gamma", "number", transform="atanh", lower=-0.999, upper=0.999, typical=0.1, usual_std=0.3, conducts=True,
        reverses=True, allows=lambda value: abs(value) < 1, expected="|gamma| < 1",
    ),
    *(
        Quantity(
            name, "number", transform="atanh", lower=-0.999, upper=0.999, typical=0.1, usual_std=0.2, conducts=True,
            reverses=True, allows=lambda value: abs(value) < 1, expected=f"|{name}| < 1",
        )
        for name in ("P1", "P2")
    ),
    Quantity(
        "K", "heat_conductance", "GW/(m^2 K)", 1e9, transform="log", lower=1e3, upper=1e14, usual_std=0.5,
        conducts=True, allows=_positive, expected="K > 0 W/(m^2 K)",
    ),
    Quantity("S", "seebeck", "uV/K", 1e-6, typical=1e-5, usual_std=0.5),
    Quantity("S_s", "seebeck", "uV/K", 1e-6, typical=1e-6, usual_std=0.5, reverses=True),
    Quantity("S_AP", "seebeck", "uV/K", 1e-6, typical=1e-5, usual_std=0.5),
    Quantity(
        "delta", "number", lower=0.0, typical=0.1, usual_std=0.3, conducts=True, allows=_not_negative,
        expected="delta >= 0",
    ),
)  # fmt: skip
_OTHERS = (
    Quantity(
        "h",
        "heat_conductance",
        "W/(m^2 K)",
        transform="log",
        lower=1.0,
        upper=1e14,
        usual_std=0.5,
        conducts=True,
        allows=_positive,
        expected="h > 0 W/(m^2 K)",
    ),
    Quantity("zeta", "number", lower=0.0, typical=1.0, allows=_not_negative, expected="a number >= 0"),
    Quantity("length", "length", "nm", 1e-9, typical=1e-8),
    Quantity(
        "bath", "temperature", "K", lower=0.0, typical=300.0, allows=_positive, expected="a temperature above 0 K"
    ),
)

#: Contributions of a domain to the operator: entries of G (rows up, down, heat), of the Joule form for heat, and
#: relaxation. Metals have no entry ud; links have it where spins flip.
COEFFICIENTS = ("uu", "dd", "uT", "dT", "TT", "joule_TT", "relaxation", "ud")

#: Values of a material by symbol, in the order of all tables.
MATERIAL = {row.symbol: row for row in _MATERIAL}
#: Those that a body has which carries heat only.
HEAT_ONLY = {symbol: row for symbol, row in MATERIAL.items() if row.needed_by == "all"}
#: Values of an interface by symbol; S and S_s of the jumps of V and T across it.
INTERFACE = {row.symbol: row for row in _INTERFACE}
#: Names of a device's own numbers, which no dimension can have.
OWN = ("zeta", "bath")
#: All quantities that can be fitted, and the bath temperature, by `key_of` their names.
QUANTITIES = INTERFACE | MATERIAL | {row.symbol: row for row in _OTHERS}


def key_of(name: str) -> str:
    """Return the symbol of a parameter: "S_s" of "wide:Py.S_s", "zeta" of "zeta", "length" of a dimension."""
    base = name.rpartition(":")[2]
    return base.rpartition(".")[2] if "." in base or base in OWN else "length"


def kind_of(name: str) -> str:
    """Return the kind of a parameter, a key of `units.KINDS`; "number" for a symbol that is not known."""
    row = QUANTITIES.get(key_of(name))
    return "number" if row is None else row.kind


def unit_of(name: str) -> str:
    """Return the SI unit of a parameter, "" for a plain number or a symbol that is not known."""
    return units.KINDS[kind_of(name)].unit


def quantity(name: str, value: float) -> str:
    """Write a parameter as people do, such as "-3.8 uV/K" for "Py.S_s"."""
    unit, size = shown(name)
    return f"{value / size:.5g} {unit}".rstrip()


def listed(values: Mapping[str, float]) -> str:
    """Write parameters as people do, "zeta = 1.2, Py.S_s = -3.8 uV/K"."""
    return ", ".join(f"{name} = {quantity(name, value)}" for name, value in values.items())


def shown(name: str) -> tuple[str, float]:
    """Return the unit that a parameter is printed in, and its size in SI units."""
    row = QUANTITIES.get(key_of(name))
    return ("", 1.0) if row is None else (row.shown, row.size)
