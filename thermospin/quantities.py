"""The quantities of the model: unit, and how each is shown."""

from __future__ import annotations

from thermospin.base import units

#: Keys of a material, each with the kind of quantity it is.
KEYS = {
    "sigma": "conductivity",
    "P": "number",
    "S": "seebeck",
    "S_s": "seebeck",
    "kappa": "thermal_conductivity",
    "lambda_sf": "length",
}

#: Unit of each key in a `parameters()` dictionary.
SI_UNITS = {key: units.KINDS[kind].unit for key, kind in KEYS.items()} | {"length": "m"}

#: How each key of a material is printed: unit and its size in SI.
SHOWN = {
    "sigma": ("S/m", 1.0),
    "P": ("", 1.0),
    "S": ("uV/K", 1e-6),
    "S_s": ("uV/K", 1e-6),
    "kappa": ("W/(m K)", 1.0),
    "lambda_sf": ("nm", 1e-9),
}


def key_of(name: str) -> str:
    """Key of a parameter: "S_s" of "Py.S_s" and of "wide:Py.S_s", "zeta" of "zeta", "length" of a dimension."""
    base = name.rpartition(":")[2]
    return base.rpartition(".")[2] if "." in base or base == "zeta" else "length"


def quantity(name: str, value: float) -> str:
    """Write a parameter as people do, such as "-3.8 uV/K" for "Py.S_s"."""
    unit, size = shown(name)
    return f"{value / size:.5g} {unit}".rstrip()


def shown(name: str) -> tuple[str, float]:
    """Return the unit that a parameter is printed in, and its size in SI units."""
    key = key_of(name)
    return SHOWN["lambda_sf"] if key == "length" else SHOWN.get(key, ("", 1.0))
