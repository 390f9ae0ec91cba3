"""The values that the cases of this folder are expected to have, from closed forms, and those of the finite elements.

    python validation/expected.py           # prints them beside those in cases.json
    python validation/expected.py --write   # puts them there

Needs numpy alone. Materials and dimensions are read from the device files, so that each number is in one place. Symbols
are those of README.md: SI units, R_F = lambda/(sigma (1 - P^2)), J > 0 and x from the left contact to the right one. In
all bars area is the cross-section, and responses are per ampere, kelvin or watt.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy import cosh, exp, log, pi, sinh, sqrt, tanh

HERE = Path(__file__).resolve().parent
CASES = HERE / "cases.json"
UNITS = {"nm": 1e-9, "um": 1e-6}
#: Signals of the finite elements that are known better than this are cases.
KNOWN = 0.004

Values = dict[str, float]
FORMULAS: dict[str, Callable[[SimpleNamespace], Values]] = {}


def of(name: str) -> Callable[[Callable[[SimpleNamespace], Values]], Callable[[SimpleNamespace], Values]]:
    """Register the formulas of a device, by the name of its file without the ending."""

    def register(formulas: Callable[[SimpleNamespace], Values]) -> Callable[[SimpleNamespace], Values]:
        FORMULAS[name] = formulas
        return formulas

    return register


def read(name: str) -> SimpleNamespace:
    """Return materials, extents [m], interfaces, heat exchange, T0 and zeta of a device file of this folder."""
    file = tomllib.loads((HERE / f"{name}.toml").read_text(encoding="utf-8"))
    unit = UNITS[file["length_unit"]]
    out = SimpleNamespace(T0=float(file["bath"]), zeta=file.get("zeta", 1.0), L={}, box={}, h={})
    for key, values in file["materials"].items():
        m = SimpleNamespace(**{"sigma": 0.0, "P": 0.0, "S": 0.0, "S_s": 0.0} | values)
        if m.sigma:
            m.lam = m.lambda_sf * unit
            m.R = m.lam / (m.sigma * (1 - m.P**2))  # spin resistance times area
        # heat conductivity without current in either channel
        m.kappa_o = m.kappa - out.T0 * m.sigma * (m.S**2 + (1 - m.P**2) / 4 * m.S_s**2)
        setattr(out, key, m)
    for solid in file["solids"]:
        if "box" in solid:
            out.box[solid["name"]] = {axis: [unit * v for v in ends] for axis, ends in solid["box"].items()}
            sides = {axis: high - low for axis, (low, high) in out.box[solid["name"]].items()}
            out.L[solid["name"]], out.area = sides["x"], sides["y"] * sides["z"]
    out.link = {each["name"]: SimpleNamespace(**each) for each in file.get("interfaces", [])}
    for each in out.link.values():
        if "RA" in vars(each) and "gamma" in vars(each):
            each.r = each.RA / (1 - each.gamma**2)  # spin resistance times area
    for each in file.get("contacts", []):
        if isinstance(each.get("thermal"), dict):
            out.h[each["name"]] = each["thermal"]["h"]
    out.h |= {each["name"]: each["h"] for each in file.get("heat_sinks", []) if "h" in each}
    return out


# ------------------------------------------------------------------------------------------ charge


@of("charge/bar")
def _(d: SimpleNamespace) -> Values:
    return {"resistance": d.L["bar"] / (d.A.sigma * d.area)}


@of("charge/series")
def _(d: SimpleNamespace) -> Values:
    return {"resistance": (d.L["a"] / d.A.sigma + d.L["b"] / d.B.sigma) / d.area}


@of("charge/contact_resistance")
def _(d: SimpleNamespace) -> Values:
    return {"resistance": ((d.L["a"] + d.L["b"]) / d.A.sigma + d.link["link"].RA) / d.area}


@of("charge/magnetic_bar")
def _(d: SimpleNamespace) -> Values:
    F, L = d.F, d.L["bar"]
    return {"resistance": (L / F.sigma + F.P**2 * F.R * tanh(L / F.lam)) / d.area}


@of("charge/bilayer")
def _(d: SimpleNamespace) -> Values:
    x = {name: np.mean(box["x"]) for name, box in d.box.items()}
    area = {name: np.ptp(box["y"]) * np.ptp(box["z"]) for name, box in d.box.items()}
    return {"four_point": (x["a4"] - x["a2"]) / (d.A.sigma * area["a1"] + d.B.sigma * area["b1"])}


def sheet(d: SimpleNamespace, solid: str) -> float:
    """Resistance of a square of a film that lies in x and y [ohm]."""
    return 1 / (d.A.sigma * np.ptp(d.box[solid]["z"]))


@of("charge/corner")
def _(d: SimpleNamespace) -> Values:
    width = np.ptp(d.box["arm_y"]["x"])
    arms = (d.L["arm_x"] - width + np.ptp(d.box["arm_y"]["y"])) / width
    return {"resistance": sheet(d, "arm_x") * (arms + 1 - 2 / pi * log(2))}


@of("charge/step_in_width")
def _(d: SimpleNamespace) -> Values:
    a, b = (np.ptp(d.box[name]["y"]) for name in ("narrow", "wide"))
    r = b / a
    step = ((r**2 + 1) / r * log((r + 1) / (r - 1)) - 2 * log(4 * r / (r**2 - 1))) / pi
    return {"resistance": sheet(d, "narrow") * (d.L["narrow"] / a + d.L["wide"] / b + step)}


@of("charge/greek_cross")
def _(d: SimpleNamespace) -> Values:
    return {"van_der_pauw": sheet(d, "x") * log(2) / pi}


def mean_cosine(k: np.ndarray, side: float) -> np.ndarray:
    """Mean of cos(k x) from 0 to a side."""
    return np.sinc(k * side / pi)


def block_modes(block: dict[str, list[float]], counts: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Wave numbers along x and y of a block with insulated sides, and how often each mode counts (1, 2 or 4)."""
    kx, ky = (pi * np.arange(n) / np.ptp(block[axis]) for n, axis in zip(counts, "xy", strict=True))
    weights = np.where(kx > 0, 2.0, 1.0)[:, None] * np.where(ky > 0, 2.0, 1.0)
    return kx[:, None], ky[None], weights


def flux_into_block(d: SimpleNamespace, squared: Callable, counts: tuple[int, int]) -> float:
    """Mean potential of a patch on top of a block, current through it uniform, bottom held: V/A by its Fourier series.

    squared: the mean of a mode over the patch, squared, of kx and ky.
    """
    block = d.box["block"]
    kx, ky, weights = block_modes(block, counts)
    k, H = np.hypot(kx, ky), np.ptp(block["z"])
    k[0, 0] = 1.0
    depth = tanh(k * H) / k
    depth[0, 0] = H
    return float(np.sum(weights * squared(kx, ky) * depth) / (d.A.sigma * np.ptp(block["x"]) * np.ptp(block["y"])))


def rectangle(d: SimpleNamespace, name: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return the squared mean of a mode over a rectangle at the corner of the block."""
    x, y = (np.ptp(d.box[name][axis]) for axis in "xy")
    return lambda kx, ky: (mean_cosine(kx, x) * mean_cosine(ky, y)) ** 2


@of("charge/square_on_block")
def _(d: SimpleNamespace) -> Values:
    return {"resistance": flux_into_block(d, rectangle(d, "pad"), (4000, 4000))}


@of("charge/strip_on_block")
def _(d: SimpleNamespace) -> Values:
    return {"resistance": flux_into_block(d, rectangle(d, "pad"), (20000, 1))}


DISC_RADIUS = 60e-9


def disc_mean(q: np.ndarray) -> np.ndarray:
    """Mean of exp(i k.r) over a disc, q = k times radius: 2 J_1(q)/q, Bessel's integral by the trapezoidal rule."""
    t = (np.arange(2000) + 0.5) * pi / 2000
    table = 1e-6 + (q.max() + 1) * np.linspace(0, 1, 40_000) ** 2  # dense where modes count most
    J_1 = np.array([np.mean(np.cos(t - x * np.sin(t))) for x in table])
    return np.interp(q, table, 2 * J_1 / table)


@of("charge/disc_on_block")
def _(d: SimpleNamespace) -> Values:
    block = d.box["block"]
    x, y = (np.ptp(block[axis]) / 2 for axis in "xy")

    def squared(kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
        return (np.cos(kx * x) * np.cos(ky * y) * disc_mean(DISC_RADIUS * np.hypot(kx, ky))) ** 2

    return {"resistance": flux_into_block(d, squared, (1000, 1000))}


# ------------------------------------------------------------------------------------------ heat


@of("heat/slabs")
def _(d: SimpleNamespace) -> Values:
    slabs = d.L["a"] / d.A.kappa + d.L["oxide"] / d.oxide.kappa + d.L["b"] / d.B.kappa
    return {"flow": d.area / (slabs + sum(1 / each.K for each in d.link.values()))}


@of("heat/open_circuit")
def _(d: SimpleNamespace) -> Values:
    return {"flow": d.area * d.metal.kappa_o / (d.L["a"] + d.L["b"]), "seebeck": -d.metal.S}


@of("heat/exchange")
def _(d: SimpleNamespace) -> Values:
    R, h = (d.L["a"] + d.L["b"]) / d.A.kappa, d.h["right"]
    return {"flow": d.area / (R + 1 / h), "end": 1 / h / (R + 1 / h)}


@of("heat/heater_on_oxide")
def _(d: SimpleNamespace) -> Values:
    metals = d.L["heater"] / (3 * d.A.kappa) + d.L["below"] / d.A.kappa
    oxide = d.L["oxide"] / d.oxide.kappa + sum(1 / each.K for each in d.link.values())
    return {"rise": (metals + oxide) / d.area}


@of("heat/fin")
def _(d: SimpleNamespace) -> Values:
    t, y = (np.ptp(d.box["near"][axis]) for axis in "zy")
    L, half = d.L["near"] + d.L["far"], d.L["far"]
    decay = sqrt(d.A.kappa * t / d.h["under_near"])
    return {
        "tip": 1 / cosh(L / decay),
        "mean": decay / half * sinh(half / decay) / cosh(L / decay),
        "flow": d.A.kappa * t * y / decay * sinh(half / decay) / cosh(L / decay),
    }


def heat_into_block(d: SimpleNamespace, name: str, counts: tuple[int, int]) -> float:
    """Mean rise of a box at the top corner of a block in which 1 W is made evenly, bottom held: K/W, Fourier series."""
    block, pad = d.box["block"], d.box[name]
    kx, ky, weights = block_modes(block, counts)
    k, H, t = np.hypot(kx, ky), np.ptp(block["z"]), np.ptp(pad["z"])
    k[0, 0] = 1.0
    # cosh(k (H - t))/cosh(k H) sinh(k t), without overflow
    ends = (1 + exp(-2 * k * (H - t))) * (1 - exp(-2 * k * t)) / (2 * (1 + exp(-2 * k * H)))
    depth = (1 - ends / (k * t)) / (k**2 * t)
    depth[0, 0] = H - t + t / 3
    area = np.ptp(block["x"]) * np.ptp(block["y"])
    return float(np.sum(weights * rectangle(d, name)(kx, ky) * depth) / (d.body.kappa * area))


@of("heat/square_on_block")
def _(d: SimpleNamespace) -> Values:
    return {"rise": heat_into_block(d, "pad", (2000, 2000))}


@of("heat/line_on_block")
def _(d: SimpleNamespace) -> Values:
    return {"rise": heat_into_block(d, "wire", (4000, 1))}


@of("heat/nafems_t4")
def _(d: SimpleNamespace) -> Values:
    return {"point_E": 18.3 / 100}  # as printed


# ------------------------------------------------------------------------------------------ second harmonic


@of("second_harmonic/joule_bar")
def _(d: SimpleNamespace) -> Values:
    J, L = 1 / d.area, d.L["bar"]
    return {"mean": J**2 * L**2 / (12 * d.J.sigma * d.J.kappa_o)}


@of("second_harmonic/joule_middle")
def _(d: SimpleNamespace) -> Values:
    J, L, piece = 1 / d.area, sum(d.L.values()), d.L["middle"]
    return {"middle": d.zeta * J**2 * (L**2 / 8 - piece**2 / 24) / (d.J.sigma * d.J.kappa_o)}


@of("second_harmonic/joule_fin")
def _(d: SimpleNamespace) -> Values:
    J, t, h = 1 / d.area, np.ptp(d.box["wire"]["z"]), d.h["under"]
    m = d.L["wire"] / 2 / sqrt(d.J.kappa_o * t / h)
    return {"mean": J**2 * t / (d.J.sigma * h) * (1 - tanh(m) / m)}


@of("second_harmonic/two_legs")
def _(d: SimpleNamespace) -> Values:
    A, B, L_A, L_B, J = d.A, d.B, d.L["a"], d.L["b"], 1 / d.area
    junction = J**2 * (L_A / (2 * A.sigma) + L_B / (2 * B.sigma)) / (A.kappa_o / L_A + B.kappa_o / L_B)
    return {"voltage": (A.S - B.S) * junction}


@of("second_harmonic/barrier")
def _(d: SimpleNamespace) -> Values:
    J, L, m, half = 1 / d.area, d.L["a"], d.A, d.link["barrier"].RA / 2

    def rise(h: float) -> float:
        return J**2 * (half * (1 / h + L / (2 * m.kappa)) + L / m.sigma * (1 / h + L / (3 * m.kappa)))

    return {"left": rise(d.h["left"]), "right": rise(d.h["right"])}


@of("second_harmonic/joule_power")
def _(d: SimpleNamespace) -> Values:
    return {"heat": d.L["a"] / (d.A.sigma * d.area)}


# ------------------------------------------------------------------------------------------ thermoelectricity


@of("thermoelectricity/seebeck")
def _(d: SimpleNamespace) -> Values:
    A, B = d.L["a"] / d.A.kappa_o, d.L["b"] / d.B.kappa_o
    return {"voltage": -(d.A.S * A + d.B.S * B) / (A + B), "flow": d.area / (A + B)}


@of("thermoelectricity/thermocouple")
def _(d: SimpleNamespace) -> Values:
    A, B = d.L["a"] / d.A.kappa_o / d.area, d.L["b"] / d.B.kappa_o / d.area
    t, kappa = d.L["hot"], d.J.kappa_o
    C = t / (kappa * d.area)
    left = (B + C / 2) / (A + B + C)  # of 1 W, the rest goes to the right
    T_1, T_2 = left * A, (1 - left) * B
    return {
        "voltage": d.A.S * T_1 + d.J.S * (T_2 - T_1) - d.B.S * T_2,
        "rise": (T_1 + T_2) / 2 + C / 12,
    }


@of("thermoelectricity/peltier")
def _(d: SimpleNamespace) -> Values:
    A, B, L_A, L_B, J = d.A, d.B, d.L["a"], d.L["b"], 1 / d.area
    junction = d.T0 * (A.S - B.S) * J / (A.kappa_o / L_A + B.kappa_o / L_B)
    ohm = J * (L_A / A.sigma + L_B / B.sigma)
    return {"rise": junction / 2, "voltage": ohm + (A.S - B.S) * junction}


@of("thermoelectricity/harman")
def _(d: SimpleNamespace) -> Values:
    m, L, J = d.A, d.L["bar"], 1 / d.area
    rise = -m.S * d.T0 * J * L / m.kappa_o
    return {"voltage": J * L / m.sigma * (1 + m.sigma * m.S**2 * d.T0 / m.kappa_o), "rise": rise}


# ------------------------------------------------------------------------------------------ spin


@of("spin/electrical_injection")
def _(d: SimpleNamespace) -> Values:
    return {"injected": d.F.P * d.F.R / (d.F.R + d.N.R), "decay": exp(-d.L["N1"] / d.N.lam)}


def ohm(d: SimpleNamespace) -> float:
    """Resistance times area of F and N, and of what feeding half and half costs at the end of F."""
    return d.L["F"] / d.F.sigma + d.L["N"] / d.N.sigma + d.F.P**2 * d.F.R


@of("spin/van_son")
def _(d: SimpleNamespace) -> Values:
    return {"resistance": (ohm(d) + d.F.P**2 * d.F.R * d.N.R / (d.F.R + d.N.R)) / d.area}


@of("spin/spin_sink")
def _(d: SimpleNamespace) -> Values:
    return {"injected": d.F.P * d.F.R / (d.F.R + d.N.R * tanh(d.L["N"] / d.N.lam))}


@of("spin/injection_through_interface")
def _(d: SimpleNamespace) -> Values:
    F, N, i = d.F, d.N, d.link["F/N"]
    Z = F.R + i.r + N.R
    added = i.RA + (i.r * F.R * (F.P - i.gamma) ** 2 + N.R * (F.P**2 * F.R + i.gamma**2 * i.r)) / Z
    return {"injected": (F.P * F.R + i.gamma * i.r) / Z, "resistance": (ohm(d) + added) / d.area}


@of("spin/spin_flip_layer")
def _(d: SimpleNamespace) -> Values:
    F, N, i = d.F, d.N, d.link["F/N"]
    c, s, r = cosh(i.delta), sinh(i.delta), i.r / i.delta
    # gamma = 0: V_s = 2 R_F (P J - j) in F, (V_s, j) -> (V_s c - 2 r j s, j c - V_s s/(2 r)), V_s = 2 R_N j in N
    j_F = F.P * F.R * (c / N.R + s / r) / (F.R * (c / N.R + s / r) + c + r * s / N.R)
    V_s = 2 * F.R * (F.P - j_F)
    return {"injected": j_F * c - V_s * s / (2 * r)}


@of("spin/thermal_injection")
def _(d: SimpleNamespace) -> Values:
    F, N = d.F, d.N
    gradient = -1 / (d.L["F"] / F.kappa_o + d.L["N"] / N.kappa_o) / F.kappa_o
    return {"injected": -F.lam * F.S_s * gradient / (2 * (F.R + N.R)) * d.area}


@of("spin/thermal_injection_through_interface")
def _(d: SimpleNamespace) -> Values:
    F, N, i = d.F, d.N, d.link["F/N"]
    K_o = i.K - d.T0 / i.RA * (i.S**2 + (1 - i.gamma**2) / 4 * i.S_s**2)
    Q = 1 / (d.L["F"] / F.kappa_o + d.L["N"] / N.kappa_o + 1 / K_o)
    emf = -F.lam * F.S_s * Q / F.kappa_o - i.S_s * Q / K_o
    return {"injected": -emf / (2 * (F.R + i.r + N.R)) * d.area}


@of("spin/free_end")
def _(d: SimpleNamespace) -> Values:
    V_s = d.F.lam * d.F.S_s * (-1 / d.L["F"])
    return {"voltage": -d.F.P / 2 * V_s}


@of("spin/spin_peltier")
def _(d: SimpleNamespace) -> Values:
    V_s = -2 * d.F.P / d.area * d.F.R
    rise = -d.F.sigma * (1 - d.F.P**2) * d.T0 * d.F.S_s * V_s / (4 * d.F.kappa_o)
    return {"end": rise, "mean": rise * d.F.lam / d.L["F"]}


def bracket(d: SimpleNamespace, R_F: float) -> float:
    """1/(t/R_N + 1/R_F) - 1/(1/(t R_N) + 1/R_F), t = tanh(d/(2 lambda_N)): V_s of AP less P, [ohm m^2]."""
    t = tanh(d.L["N"] / (2 * d.N.lam))
    return 1 / (t / d.N.R + 1 / R_F) - 1 / (1 / (t * d.N.R) + 1 / R_F)


@of("spin/pillar")
def _(d: SimpleNamespace) -> Values:
    return {"change": -2 * d.F.P**2 * bracket(d, d.F.R) / d.area}


def behind(d: SimpleNamespace, i: SimpleNamespace) -> tuple[float, float]:
    """Polarisation and spin resistance times area of F as seen through an interface."""
    return (d.F.P * d.F.R + i.gamma * i.r) / (d.F.R + i.r), d.F.R + i.r


@of("spin/pillar_with_interfaces")
def _(d: SimpleNamespace) -> Values:
    P, R = behind(d, d.link["F1/N"])
    return {"change": -2 * P**2 * bracket(d, R) / d.area}


@of("spin/heated_pillar")
def _(d: SimpleNamespace) -> Values:
    F, i = d.F, d.link["F1/N"]
    P, R = behind(d, i)
    K_o = i.K - d.T0 / i.RA * (1 - i.gamma**2) / 4 * i.S_s**2
    Q = 1 / (2 * d.L["F1"] / F.kappa_o + d.L["N"] / d.N.kappa + 2 / K_o)
    emf = -F.lam * F.S_s * Q / F.kappa_o - i.S_s * Q / K_o
    return {"change": P * bracket(d, R) * emf / R}


@of("spin/tunnel_junction")
def _(d: SimpleNamespace) -> Values:
    i = d.link["barrier"]
    both = i.P[0] * i.P[1]
    return {
        "resistance": i.RA / (1 + both) / d.area,
        "magnetoresistance": (1 + both) / (1 - both),
        "magneto_seebeck": i.S_AP / i.S,
    }


@of("spin/detector")
def _(d: SimpleNamespace) -> Values:
    return {"voltage_of_spin_current": 2 * d.F.P * d.F.R / d.area}


@of("spin/detector_behind_interface")
def _(d: SimpleNamespace) -> Values:
    P, R = behind(d, d.link["N/F2"])
    return {"voltage_of_spin_current": 2 * P * R / d.area}


def nonlocal_valve(d: SimpleNamespace, P: float, R: float) -> float:
    """Spin signal of a non-local valve of equal contacts that are points of an infinite wire [ohm]."""
    contact = np.ptp(d.box["F1"]["x"]) * np.ptp(d.box["F1"]["y"])
    wire = np.ptp(d.box["wire"]["y"]) * np.ptp(d.box["wire"]["z"])
    R, R_N = R / contact, d.N.R / wire
    E = exp(-(np.mean(d.box["F2"]["x"]) - np.mean(d.box["F1"]["x"])) / d.N.lam)
    return 4 * P**2 * R**2 / R_N * E / ((1 + 2 * R / R_N) ** 2 - E**2)


@of("spin/nonlocal_valve_tunnel")
def _(d: SimpleNamespace) -> Values:
    return {"spin_signal": nonlocal_valve(d, *behind(d, d.link["F/N"]))}


@of("spin/nonlocal_valve_transparent")
def _(d: SimpleNamespace) -> Values:
    return {"spin_signal": nonlocal_valve(d, d.F.P, d.F.R)}


# ------------------------------------------------------------------------------------------ relations


@of("relations/heated_pillar")
def _(d: SimpleNamespace) -> Values:
    return {
        "seebeck_and_peltier_P": d.T0, "seebeck_and_peltier_AP": d.T0, "circuits": 1.0, "all_magnets_reversed": 1.0,
        "heat_passes": 1.0, "charge_passes": 1.0,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------ finite elements

TRUTH = HERE.parent / "benchmarks" / "results" / "truth.json"


def finite_elements() -> dict[str, tuple[float, float]]:
    """Value and uncertainty of baselines and spin parts that the finite elements know to `KNOWN`, by name of case."""
    out = {}
    for device, found in json.loads(TRUTH.read_text(encoding="utf-8")).items():
        for signal, each in found["signals"].items():
            known = each["value"] and each["uncertainty"] <= KNOWN * abs(each["value"])  # 0 by symmetry is no case
            if known and signal.endswith(("baseline", "spin")):
                out[f"finite_elements/{device}/{signal.replace(' ', '.')}"] = (each["value"], each["uncertainty"])
    return out


def expected() -> dict[str, float]:
    """Return all values by name of case, SI units."""
    out = {name: value for name, (value, _) in finite_elements().items()}
    for device, formulas in FORMULAS.items():
        out |= {f"{device}/{case}": float(value) for case, value in formulas(read(device)).items()}
    return out


def main() -> None:
    """Print all values, or put them into the file of the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put them into cases.json")
    arguments = parser.parse_args()
    file = json.loads(CASES.read_text(encoding="utf-8"))
    values, known = expected(), finite_elements()
    unknown = [case["name"] for case in file["cases"] if case["name"] not in values]
    if unknown:
        parser.error(f"{CASES.name}: no formula gives {', '.join(unknown)}; put it under @of(...) with the device")
    for case in file["cases"]:
        name = case["name"]
        print(f"{name:60} {case.get('expected', '-'):>22} {values[name]:>22} {case['unit']}")
        case["expected"] = values[name]
        case["uncertainty"] = known[name][1] if name in known else case["uncertainty"]
    if arguments.write:
        CASES.write_text(json.dumps(file, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
