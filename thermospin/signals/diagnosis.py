"""Why a solve failed: where its residual sits, the likely physical cause, and what to change.

Beside the solver, which knows no solid and no material: this module looks at what is left of a right-hand side once the
solver has given up, and at the numbers of the device. All of it is on the host. `faults` finds what makes a
problem unsolvable before a solve; `diagnose` explains one that failed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from thermospin import operators, solve
from thermospin.base.graphs import components
from thermospin.base.names import nearest
from thermospin.device import interfaces, materials
from thermospin.device.constitution import Parameters
from thermospin.device.device import Device
from thermospin.device.materials import carried_by_charge
from thermospin.grid import Box
from thermospin.model import Model
from thermospin.operators import Coefficients, Discretisation
from thermospin.quantities import HEAT_ONLY, MATERIAL, QUANTITIES

#: Conductivities of solids that touch further apart than this are called extreme.
CONTRAST = 1e3
#: Longest over shortest side of a cell.
ASPECT = 50.0
#: Cell size over relaxation length, and relaxation length over device.
RELAXATION = 10.0
#: |P| and T0 sigma S_eff^2/kappa: a condition number of (1 + x)/(1 - x) comes from them.
NEAR_ONE = 0.9
#: A solve of fewer iterations than this was stopped before it showed anything.
FEW = 20


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """The diagnosis of a solve that failed.

    Attributes:
      field: "charge" ((V_up + V_down)/2), "spin" (V_up - V_down), "V_up", "V_down" or "T": which equation is not met.
      share: part of the squared residual that is in that field, in the norm r.D^-1 r with D the diagonal of the
        operator in that basis; of the entries that are not finite where some are not; NaN if the residual is zero.
      solids: names of the solids that hold most of that, the first one most.
      materials: their materials.
      box: where 80 % of it is along each axis [m]; None where it is nowhere.
      centre: its middle [m].
      cause: one of `CAUSES`.
      detail: the cause with names and numbers.
      advice: what to change.
    """

    field: str
    share: float
    solids: tuple[str, ...]
    materials: tuple[str, ...]
    box: Box | None
    centre: tuple[float, float, float] | None
    cause: str
    detail: str
    advice: str

    @property
    def region(self) -> str:
        """Solids, materials and place in words."""
        if not self.solids or self.box is None or self.centre is None:
            return "nowhere"
        pairs = zip(self.solids, self.materials, strict=True)
        names = ", ".join(f"'{solid}' ({material})" for solid, material in pairs)
        middle = ", ".join(f"{round(1e9 * x, 2) + 0.0:g}" for x in self.centre)  # + 0.0: no minus zero
        size = " x ".join(f"{1e9 * (high - low):.3g}" for low, high in self.box)
        return f"{names}, around ({middle}) nm, within {size} nm"

    def __str__(self) -> str:
        what = _FIELDS[self.field]
        where = f"{100 * self.share:.0f} % of the residual is in {what} of {self.region}" if self.solids else ""
        lines = [where, f"likely cause: {self.detail}", f"what to change: {self.advice}"]
        return "\n".join(line for line in lines if line)


_FIELDS = {
    "charge": "the charge current",
    "spin": "the spin current",
    "V_up": "the spin-up current",
    "V_down": "the spin-down current",
    "T": "the heat current",
}

CAUSES = {
    "not finite": "correct the value",
    "not positive definite": "lower |S| or |S_s|, or raise kappa; keep |P| below 1",
    "floating": "connect it, ground it, or give it a material without sigma",
    "no bath": "put a contact or a heat sink on it",
    "overflow": "bring values of materials and right-hand sides within 1e-100 to 1e100 of each other",
    "round-off": (
        "bring the conductivities of what carries one current nearer, an electrode of 1e4 times its neighbour's is as "
        "good as perfect; in Python a larger tolerance can be asked for"
    ),
    "too few iterations": "in Python, allow more iterations (max_steps); else another grid (--cells)",
    "nearly singular": "move the value away from its limit; in a fit, bound it or take it out",
    "contrast": "take the poor conductor's sigma as 0 (heat only) if it carries no current, or bring the two nearer",
    "heat contrast": "bring kappa of the two nearer, or leave the poor conductor out if it carries no heat",
    "short relaxation": "refine there, or lengthen lambda_sf: what relaxes within a fraction of a cell is not resolved",
    "long relaxation": "shorten lambda_sf: beyond ten times the device it changes nothing",
    "aspect": "make cells there more even: more cells along the long sides (--cells), or faces that lie less close",
    "unknown": "another grid (--cells) or another order often helps; report the device if it does not",
}
"""Causes of a failure, each with a cure."""


# ------------------------------------------------------------------------------------------- before a solve


def faults(model: Model, parameters: Parameters, signs: Mapping[str, int], ground: str) -> list[str]:
    """List what makes a problem unsolvable, or its answer one of the grid, one line each.

    A `Device` has refused solids that do not hang together and its own values outside the model. What is judged here
    are other values, the connections that they make (a conductivity of zero, a channel that P = 1 closes), and a ground
    that no experiment has.

    Args:
      model: the discrete problem.
      parameters: values by name; those left out are the device's own.
      signs: +1 or -1 for each magnet, +1 where none is given.
      ground: the contact with V_up = V_down = 0.
    """
    values = {**model.parameters, **{name: float(value) for name, value in parameters.items()}}
    texts = value_faults(model.device, values)
    texts += [text for _, text in _loose(model, _law(model, values, signs), ground)]
    return texts


def value_faults(device: Device, values: Mapping[str, float]) -> list[str]:
    """Return the part of `faults` that looks at nothing but the values of all parameters, in microseconds."""
    return [text for _, text in _value_faults(device, values)]


def _value_faults(device: Device, values: Mapping[str, float]) -> list[tuple[str, str]]:
    """Pairs (cause, text) of values outside the model."""
    texts = []
    for name in dict.fromkeys(material for material, _ in device.domains):
        metal = device.materials[name].is_metal
        keys = MATERIAL if metal else HEAT_ONLY
        given = {key: values[f"{name}.{key}"] for key in keys}
        wrong = materials.value_faults(given)
        for text in wrong:
            closes = text.startswith("P:") and math.isfinite(given["P"])
            texts.append(("not positive definite" if closes else "not finite", f"material '{name}', {text}"))
        if metal and (insulating := materials.metal_fault(given["sigma"])):
            texts.append(("floating", f"material '{name}', {insulating}"))
        if metal and not wrong:
            uphill = materials.thermoelectric_fault(given, device.bath)
            if uphill:
                texts.append(("not positive definite", f"material '{name}', {uphill}"))
    for interface in device.interfaces:
        given = {key: values[f"{interface.name}.{key}"] for key in interface.values()}
        wrong = interfaces.value_faults(given)
        texts += [("not finite", f"interface '{interface.name}', {text}") for text in wrong]
        uphill = None if wrong else interfaces.thermoelectric_fault(given, device.bath)
        if uphill:
            texts.append(("not positive definite", f"interface '{interface.name}', {uphill}"))
    for name in device.exchanging():
        if fault := QUANTITIES["h"].fault(values[f"{name}.h"]):
            texts.append(("not finite", f"'{name}', {fault}"))
    return texts + [("not finite", fault) for fault in [QUANTITIES["zeta"].fault(values["zeta"])] if fault]


def _law(model: Model, values: Mapping[str, float], signs: Mapping[str, int]) -> Coefficients:
    with np.errstate(all="ignore"):  # a relaxation length of zero is reported by its name; a plain float would raise
        table = model.constitution.table({name: np.float64(value) for name, value in values.items()}, signs)
    return operators.coefficients(model.disc, table, model.device.bath)


def _loose(model: Model, law: Coefficients, ground: str) -> list[tuple[str, str]]:
    """Return pairs (cause, text) for pieces of the graph of the operator without a held node."""
    if ground not in model.on_contact:
        return [("floating", f"ground '{ground}': no such contact; {nearest(ground, model.ports)}")]
    disc, n = model.disc, model.disc.nodes_V
    causes = []
    tails, heads = [np.arange(n)], [np.arange(n) + n]
    keep = [np.asarray(law.relaxation) != 0]
    for axis, segments in zip(disc.axes, law.segments, strict=True):
        nodes = np.asarray(axis.nodes_V)
        for conductance, offset in zip(np.asarray(segments.V).T, (0, n), strict=True):
            conducts = conductance != 0  # NaN counts as a connection: it is reported by its name
            for local in range(axis.order):
                tails.append(nodes[local] + offset)
                heads.append(nodes[local + 1] + offset)
                keep.append(conducts)
    if disc.merged is not None:
        for offset in (0, n):
            ends = np.asarray(disc.merged.V) + offset
            tails.append(ends[0])
            heads.append(ends[1])
            keep.append(np.ones(ends.shape[1], bool))
    port = model.on_contact[ground]
    # On metal that no ground is on potentials are free by a constant, as long as it hangs together.
    every = [np.ones(len(ends), bool) for ends in tails]
    floating = _without(tails, heads, every, np.concatenate([port, port]))
    loose = _without(tails, heads, keep, np.concatenate([port, port])) & ~floating

    def named(marked: np.ndarray, *, metal: bool) -> str:
        names = _solids_of(
            model, _on_grid(model, marked, metal=metal), metal=metal, part=1.0, most=len(model.device.solids)
        )
        return f"{'solids' if len(names) > 1 else 'solid'} {', '.join(repr(name) for name in names)}" if names else ""

    to_ground = f"to contact '{ground}', where the potential is 0"
    if where := named(loose[:n] & loose[n:], metal=True):
        causes.append(
            ("floating", f"{where}: no metal with sigma > 0 leads {to_ground}; the potential is undefined there")
        )
    for channel, closed, other in (("spin-up", loose[:n], loose[n:]), ("spin-down", loose[n:], loose[:n])):
        if where := named(closed & ~other, metal=True):
            text = (
                f"{where}: the {channel} channel has no way {to_ground}: |P| = 1 closes it, and no spin relaxes into it"
            )
            causes.append(("floating", text))
    tails, heads, keep = [], [], []
    if disc.merged is not None:
        tails, heads = [np.asarray(disc.merged.T[0])], [np.asarray(disc.merged.T[1])]
        keep = [np.ones(len(tails[0]), bool)]
    for axis, segments in zip(disc.axes, law.segments, strict=True):
        nodes = np.asarray(axis.nodes_T)
        for local in range(axis.order):
            tails.append(nodes[local])
            heads.append(nodes[local + 1])
            keep.append(np.asarray(segments.TT) != 0)
    if where := named(_without(tails, heads, keep, disc.held_T), metal=False):
        causes.append(("no bath", f"{where}: no way for the heat to a bath, the temperature has no fixed point"))
    return causes


def _without(
    tails: Sequence[np.ndarray], heads: Sequence[np.ndarray], keep: Sequence[np.ndarray], held: np.ndarray
) -> np.ndarray:
    """Mark the nodes of a graph that no path of kept edges connects to a held one."""
    chosen = np.concatenate(keep)
    piece = components(len(held), np.stack([np.concatenate(tails), np.concatenate(heads)], axis=1)[chosen])
    return np.bincount(piece, held)[piece] == 0


# ------------------------------------------------------------------------------------------- after a solve


def diagnose(
    model: Model,
    parameters: Parameters,
    signs: Mapping[str, int],
    ground: str,
    residual: np.ndarray,
    *,
    rhs: np.ndarray | None = None,
    fields: np.ndarray | None = None,
    tolerance: float | None = None,
    iterations: int = 0,
) -> Diagnosis:
    """Explains a solve that failed.

    Args:
      model, parameters, signs, ground: the problem, as for `faults`.
      residual: b - A u of the column that failed (unknowns,); what it has on held nodes does not count.
      rhs: b of that column.
      fields: u of that column, the last one that was finite: with it and `rhs`, round-off is known.
      tolerance: bound on the relative residual that was missed.
      iterations: how many there were; 0: not known.
    """
    values = {**model.parameters, **{name: float(value) for name, value in parameters.items()}}
    residual = np.asarray(residual, dtype=float)
    with np.errstate(all="ignore"):  # faults of the numbers are reported in words
        law = _law(model, values, signs)
        field, share, density = _where(model, law, ground, residual)
        place = _place(model, density)
        solids = tuple(_solids_of(model, density, metal=field != "T"))
        cause, detail = _certain(model, values, law, ground, rhs) or ("", "")
        if not cause:
            finite = bool(np.all(np.isfinite(residual)))
            # Overflow of one field makes NaN of all of them: the cause may be in any.
            couple = (field,) if finite else ("charge", "T")
            extremes = sorted({each for name in couple for each in _extremes(model, values, name, density, solids)})[
                ::-1
            ]
            if finite:
                run = _Run(residual, rhs, fields, tolerance, iterations)
                cause, detail = _of_run(run, model, law, ground) or (extremes[0][1:] if extremes else _UNKNOWN)
            else:
                worst = f" ({extremes[0][2]})" if extremes else ""
                cause = "overflow"
                detail = f"all values are finite, but the solve left the range of the arithmetic{worst}"
    return Diagnosis(
        field=field,
        share=share,
        solids=solids,
        materials=tuple(model.device.solid(name).material for name in solids),
        box=place[0] if place else None,
        centre=place[1] if place else None,
        cause=cause,
        detail=detail,
        advice=CAUSES[cause],
    )


def _diagonal(disc: Discretisation, law: Coefficients) -> np.ndarray:
    """Return the diagonal of the operator on the host, held rows included (unknowns,)."""
    return np.asarray(operators.joined(operators.diagonal(disc, law)))[:, 0]


def _held(model: Model, ground: str) -> np.ndarray:
    """Mark the unknowns that a system grounded there holds at zero."""
    held = model.on_contact.get(ground, np.zeros(model.disc.nodes_V, bool))
    return np.concatenate([held, held, model.disc.held_T])


def _size(vector: np.ndarray, scale: np.ndarray) -> float:
    """sqrt(v.D^-1 v), D the scale; nodes where that is no positive number are left out."""
    good = scale > 0
    scaled = vector[good] / np.sqrt(scale[good])
    peak = float(np.abs(scaled).max(initial=0.0))
    return peak * float(np.linalg.norm(scaled / peak)) if 0 < peak < math.inf else peak


def _where(model: Model, law: Coefficients, ground: str, residual: np.ndarray) -> tuple[str, float, np.ndarray]:
    """Return the field that holds most of a residual, how much, and that per node of the tensor grid (Nx, Ny, Nz)."""
    disc, n = model.disc, model.disc.nodes_V
    residual = np.where(_held(model, ground), 0.0, residual)
    up, down, heat = residual[:n], residual[n : 2 * n], residual[2 * n :]
    g = np.asarray(law.relaxation)
    conduction = dataclasses.replace(law, relaxation=jnp.zeros_like(law.relaxation))
    D_up, D_down, D_heat = np.split(_diagonal(disc, conduction), [n, 2 * n])
    if np.all(np.isfinite(residual)):
        peak = float(np.abs(residual).max()) or 1.0
        up, down, heat = up / peak, down / peak, heat / peak

        def over(r: np.ndarray, scale: np.ndarray) -> np.ndarray:
            # Values outside the model make no scales: the place of a residual is then reported unscaled.
            good = np.isfinite(scale) & (scale > 0)
            return r**2 / np.where(good, scale, float(np.median(scale[good])) if good.any() else 1.0)

        # V_c = (V_up + V_down)/2 and V_s = V_up - V_down have the residuals r_up + r_down and (r_up - r_down)/2.
        parts = {
            "charge": over(up + down, D_up + D_down),
            "spin": over((up - down) / 2, (D_up + D_down) / 4 + g),
            "T": over(heat, D_heat),
        }
        channels = {"V_up": over(up, D_up + g), "V_down": over(down, D_down + g)}
        total = sum(float(part.sum()) for part in parts.values())
        alone = sum(float(part.sum()) for part in channels.values())
        for name, part in channels.items():
            if float(parts["T"].sum()) < total / 2 and float(part.sum()) > 0.9 * alone:
                total, parts = alone + float(parts["T"].sum()), {name: part}
                break
    else:
        parts = {"V_up": ~np.isfinite(up), "V_down": ~np.isfinite(down), "T": ~np.isfinite(heat)}
        if np.array_equal(parts["V_up"], parts["V_down"]):
            parts = {"charge": parts["V_up"], "T": parts["T"]}
        total = sum(float(part.sum()) for part in parts.values())
    field = max(parts, key=lambda name: float(parts[name].sum()))
    share = float(parts[field].sum()) / total if total else math.nan
    return field, share, _on_grid(model, parts[field], metal=field != "T")


def _on_grid(model: Model, values: np.ndarray, *, metal: bool) -> np.ndarray:
    """Return values on V-nodes or T-nodes put on the tensor grid, zero elsewhere (Nx, Ny, Nz)."""
    shape = [len(nodes) for nodes in model.grid.nodes]
    out = np.zeros(int(np.prod(shape)))
    out[model.disc.index_V if metal else model.disc.index_T] = values
    return out.reshape(shape)


def _solids_of(model: Model, density: np.ndarray, *, metal: bool, part: float = 0.7, most: int = 3) -> list[str]:
    """Return names of the fewest solids that hold that part of a density on the nodes, the largest share first.

    A node counts for the solids of the cells around it alike; for a field of metals, for metals alone.
    """
    where = np.nonzero(density)
    if not len(where[0]):
        return []
    owner = np.pad(model.device.layout().owners(model.grid.lines), 1, constant_values=-1)
    count = len(model.device.solids)
    eligible = np.array(
        [not metal or model.device.materials[s.material].is_metal for s in model.device.solids] + [False]
    )
    sides = [(i // model.grid.order + 1, (i - 1) // model.grid.order + 1) for i in where]
    around = np.stack([owner[x, y, z] for x in sides[0] for y in sides[1] for z in sides[2]])
    around = np.where(eligible[around], around, count)
    parts = density[where] / np.maximum((around < count).sum(axis=0), 1)
    held = np.bincount(around.ravel(), np.broadcast_to(parts, around.shape).ravel(), count + 1)[:count]
    names, total = [], 0.0
    for i in np.argsort(-held, kind="stable")[:most]:
        if held[i] > 0 and (part >= 1 or total < part * held.sum()):
            names.append(model.device.solids[i].name)
            total += held[i]
    return names


def _place(model: Model, density: np.ndarray) -> tuple[Box, tuple[float, float, float]] | None:
    """Return the interval that holds the middle 80 % of a density along each axis, and its median [m]."""
    if not density.any():
        return None
    box, centre = [], []
    for axis, nodes in enumerate(model.grid.nodes):
        along = np.cumsum(density.sum(axis=tuple(a for a in range(3) if a != axis)))
        low, middle, high = (float(nodes[np.searchsorted(along, part * along[-1])]) for part in (0.1, 0.5, 0.9))
        box.append((low, high))
        centre.append(middle)
    return (box[0], box[1], box[2]), (centre[0], centre[1], centre[2])


_UNKNOWN = ("unknown", "none of the known ones: values, connections, contrasts and cells are all moderate there")


def _certain(
    model: Model, values: Mapping[str, float], law: Coefficients, ground: str, rhs: np.ndarray | None
) -> tuple[str, str] | None:
    """Return a cause, and its detail, with which no solve can succeed."""
    wrong = _value_faults(model.device, values)
    if wrong:
        return wrong[0][0], "; ".join(text for _, text in wrong)
    if rhs is not None and not np.all(np.isfinite(rhs)):
        return (
            "not finite",
            f"the right-hand side has {np.count_nonzero(~np.isfinite(rhs))} entries that are not finite",
        )
    loose = _loose(model, law, ground)
    return (loose[0][0], "; ".join(text for _, text in loose)) if loose else None


@dataclasses.dataclass(frozen=True, eq=False)
class _Run:
    """The course of a solve; see `diagnose`."""

    residual: np.ndarray
    rhs: np.ndarray | None
    fields: np.ndarray | None
    tolerance: float | None
    iterations: int


def _of_run(run: _Run, model: Model, law: Coefficients, ground: str) -> tuple[str, str] | None:
    """Return the bounds of the solve as the cause: a tolerance below round-off, or too few iterations."""
    asked = "" if run.tolerance is None else f", {run.tolerance:.1e} is asked for"
    left = None
    scale = np.where(_held(model, ground), 0.0, _diagonal(model.disc, law))
    if run.rhs is not None and (size := _size(run.rhs, scale)) > 0:
        left = _size(run.residual, scale) / size
        # An iterate worse than none is no measure of the solution's round-off.
        if run.fields is not None and np.all(np.isfinite(run.fields)) and left < 1:
            # The bound that the solver accepts by, |D^(1/2) u| over |D^(-1/2) b|.
            floor = solve.ROUNDING * np.finfo(float).eps * _size(scale * run.fields, scale) / size
            if left < floor or (run.tolerance is not None and run.tolerance < floor / 10):
                return "round-off", f"rounding alone leaves a relative residual of up to {floor:.1e}{asked}"
    if run.tolerance is not None and run.tolerance < 10 * np.finfo(float).eps:
        return "round-off", f"rounding alone leaves a relative residual above {10 * np.finfo(float).eps:.1e}{asked}"
    text = _falling(run.iterations, left, run.tolerance)
    return ("too few iterations", text) if text else None


def _falling(done: int, left: float | None, tolerance: float | None) -> str | None:
    """Say that a few more iterations would do, None if not; `left` is the relative residual after those done."""
    if not done:
        return None
    if done < FEW:
        return f"stopped after {done} iterations" + (f", at a relative residual of {left:.1e}" if left else "")
    if not left or not tolerance or not 0 < tolerance < left < 1:
        return None
    more = math.ceil(done * math.log(tolerance / left) / math.log(left))
    if more > 2 * done:
        return None
    rate = left ** (1 / done)
    return f"still falling, by {rate:.2g} per iteration, at {left:.1e} after {done}; about {more} more to go"


def _extremes(
    model: Model, values: Mapping[str, float], field: str, density: np.ndarray, solids: Sequence[str]
) -> list[tuple[float, str, str]]:
    """List what is extreme where the residual is: (by how much over its limit, cause, detail), most extreme first.

    Only what couples to the field counts; without a place, all solids do.
    """
    device = model.device
    chosen = [solid for solid in device.solids if solid.name in solids] or list(device.solids)
    materials = list(dict.fromkeys(solid.material for solid in chosen))
    metals = [name for name in materials if device.materials[name].is_metal]
    extremes: list[tuple[float, str, str]] = []

    def add(excess: float, cause: str, detail: str) -> None:
        if excess > 1:
            extremes.append((excess, cause, detail))

    for name in metals:
        of_metal = {key: values[f"{name}.{key}"] for key in ("sigma", "P", "S", "S_s", "kappa")}
        P = of_metal["P"]
        if field != "T":
            add((1 - NEAR_ONE) / (1 - abs(P)), "nearly singular", f"|P| = {abs(P):.6g} of '{name}' is close to 1")
        carried = carried_by_charge(of_metal, device.bath) / of_metal["kappa"]
        text = f"T0 sigma S_eff^2/kappa = {carried:.6g} of '{name}' is close to 1, where heat would flow uphill"
        add((1 - NEAR_ONE) / (1 - carried), "nearly singular", text)
    for key, cause, wanted in (("sigma", "contrast", field != "T"), ("kappa", "heat contrast", field == "T")):
        ratio, pair = _contrast(model, values, key, {solid.name for solid in chosen}) if wanted else (1.0, ("", ""))
        text = f"{key} of '{pair[0]}' is {ratio:.1e} times that of '{pair[1]}', which it touches"
        add(ratio / CONTRAST, cause, text)
    thin, sides = _cells(model, density)
    aspect = float(sides.max() / sides.min())
    extent = max(high - low for low, high in device.bounding_box)
    if field != "T":
        for name in metals:
            length = values[f"{name}.lambda_sf"]
            short = f"lambda_sf of '{name}', {1e9 * length:.3g} nm, is far below the cells' {1e9 * thin:.3g} nm"
            add(thin / length / RELAXATION, "short relaxation", short)
            long = f"lambda_sf of '{name}', {1e9 * length:.3g} nm, is far above the device's {1e9 * extent:.3g} nm"
            add(length / extent / RELAXATION, "long relaxation", long)
    text = f"cells of {' x '.join(f'{1e9 * side:.3g}' for side in sides)} nm, {aspect:.0f} times longer than thin"
    add(aspect / ASPECT, "aspect", text)
    return sorted(extremes, reverse=True)


def _contrast(model: Model, values: Mapping[str, float], key: str, names: set[str]) -> tuple[float, tuple[str, str]]:
    """Return the largest ratio of a conductivity of two solids that touch, and the two, the good one first."""
    device = model.device
    worst, pair = 1.0, ("", "")
    for i, j in sorted(device.layout().neighbours()):
        solids = device.solids[i], device.solids[j]
        if not names & {solid.name for solid in solids}:
            continue
        if key == "sigma" and not all(device.materials[solid.material].is_metal for solid in solids):
            continue
        a, b = (values[f"{solid.material}.{key}"] for solid in solids)
        ratio = max(a / b, b / a)
        if ratio > worst:
            worst, pair = ratio, (solids[a < b].name, solids[a >= b].name)
    return worst, pair


def _cells(model: Model, density: np.ndarray) -> tuple[float, np.ndarray]:
    """Smallest side of the cells where a density is [m], its geometric mean; and the sides of one of the longest cells.

    The latter is the cell than which a tenth of the density is in longer ones, for their thickness. All cells count
    alike if the density is zero.
    """
    if not density.any():
        density = np.ones_like(density)
    where = np.nonzero(density)
    weight = density[where] / density[where].sum()
    sides = []
    for lines, i in zip(model.grid.lines, where, strict=True):
        width = np.diff(lines)
        low, high = np.maximum(i - 1, 0) // model.grid.order, np.minimum(i // model.grid.order, len(width) - 1)
        sides.append(np.minimum(width[low], width[high]))
    cells = np.stack(sides)
    order = np.argsort(cells.max(axis=0) / cells.min(axis=0))
    long = order[min(int(np.searchsorted(np.cumsum(weight[order]), 0.9)), len(order) - 1)]
    return float(np.exp(np.log(cells.min(axis=0)) @ weight)), cells[:, long]
