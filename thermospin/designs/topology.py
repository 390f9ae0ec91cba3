"""A free form of one layer: where it has metal and where not, tile by tile, so that a signal is as large as it can be.

One box of the device, the canvas, is cut into tiles, and each tile has a density between 0 and 1 that scales its
conductivities, s = s_metal (floor + (1 - floor) r^3) with r what is left of the density after a filter and a
projection: intermediate densities conduct less than their share, which drives them out (SIMP; Bendsoe, Sigmund,
Topology Optimization (2003), sections 1.1 and 1.3). The filter is a mean with weights that fall linearly to zero at the
smallest feature, the projection tanh(b (r - 1/2)) scaled to [0, 1], with b raised from 1 to `SHARPEST` on the way
(Wang, Lazarov, Sigmund, Struct. Multidiscip. Optim. 43, 767 (2011)). Steps are those of Adam (optax).

Tiles are solids with separate materials, so that the derivatives by all of them are the derivatives by parameters,
from the same solves. At the end tiles with more than half become polygons of the metal, islands are left out, and the
device is computed once more on another grid.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from thermospin.base import polygons
from thermospin.base.errors import InputError, NotConverged
from thermospin.base.kinds import require_whole
from thermospin.base.lenient import lenient
from thermospin.base.names import nearest
from thermospin.base.shown import Plotted
from thermospin.base.text import columns
from thermospin.data.rows import Row
from thermospin.designs.checks import DesignCheck, DesignTask, both_checked, compared
from thermospin.designs.objective import DENSEST, HOTTEST, STD, Objective, unit_of
from thermospin.device.device import Device, DeviceError
from thermospin.device.parts import Solid, plan_of
from thermospin.geometry import boxes
from thermospin.geometry.outlines import body_of, outline_of
from thermospin.inference.journal import Journal
from thermospin.inference.predictors import Predict, Predictor
from thermospin.model import GridOptions, Progress

#: Conductivity of a tile without metal, as a part of the metal's: nothing that counts, and the matrix stays regular.
FLOOR = 1e-4
#: Power of the density.
PENALTY = 3
#: Of the projection at the end.
SHARPEST = 16.0
#: Step of a density at first, and how many tiles there may be.
RATE, MOST_TILES = 0.1, 600


@dataclasses.dataclass(frozen=True, eq=False)
class Canvas:
    """A box of a device cut into tiles.

    Attributes:
      device: with the tiles as separate solids.
      tiles: names of their materials (nx, ny).
      x, y: borders of the tiles [m].
      solid: the box.
    """

    device: Device
    tiles: np.ndarray
    x: np.ndarray
    y: np.ndarray
    solid: Solid

    @classmethod
    def of(cls, device: Device, name: str, tile: float) -> Canvas:
        """Cut a solid into tiles of about that size [m].

        Raises:
          InputError: no solid of that name, no box of metal, or far too many tiles.
        """
        known = {solid.name: solid for solid in device.solids}
        if name not in known:
            raise InputError(f"form: got solid '{name}'; {nearest(name, known)}")
        solid = known[name]
        metal = device.materials[solid.material]
        if solid.outline is not None or not metal.is_metal or solid.magnet is not None:
            raise InputError(f"form: solid '{name}' is no box of a metal that is no magnet, which a free form needs")
        if any(contact.solid == name for contact in device.contacts):
            raise InputError(f"form: solid '{name}' has a contact; give that to a solid beside it")
        if users := _users_of(device, name):
            raise InputError(
                f"form: {', '.join(users)} names solid '{name}', which the form may cut into pieces; name a solid "
                "beside it, or for an interface its material"
            )
        x, y = (np.linspace(low, high, max(1, round((high - low) / tile)) + 1) for low, high in solid.box[:2])
        shape = len(x) - 1, len(y) - 1
        if shape[0] * shape[1] > MOST_TILES:
            raise InputError(
                f"form: tiles of {1e9 * tile:g} nm make {shape[0]} x {shape[1]} of them, expected {MOST_TILES} at "
                "most; give larger ones"
            )
        tiles = np.array([[f"{solid.material}~{i}~{j}" for j in range(shape[1])] for i in range(shape[0])])
        sides = [list(itertools.pairwise(line.tolist())) for line in (x, y)]
        tile_solids = [
            Solid(f"{name}~{i}~{j}", str(tiles[i, j]), None, (sides[0][i], sides[1][j], solid.box[2]))
            for i, j in np.ndindex(*shape)
        ]
        place = device.solids.index(solid)
        # Named dimensions would move some tiles and not others: they stay as they are.
        still: dict[str, Any] = {"coordinates": {}, "corners": (), "lean": None, "clearances": ()}
        fixed = [dataclasses.replace(other, **still) for other in device.solids]
        solids = [*fixed[:place], *tile_solids, *fixed[place + 1 :]]
        overwritten = plan_of(solids, [True] * len(solids)).overwritten()
        of_tiles = {other.material: metal for other in tile_solids}  # of the same name, which interfaces go by
        kept = [other for k, other in enumerate(solids) if k not in overwritten]
        used = {other.material for other in kept}
        cut = dataclasses.replace(device, solids=tuple(kept), materials={**device.materials, **of_tiles}, dimensions={})
        names = np.where(np.isin(tiles, sorted(used)), tiles, "")
        return cls(cut, names, x, y, solid)

    def made(self, filled: np.ndarray) -> Device:
        """Return the device with polygons of metal where tiles are filled; islands without a contact are left out.

        Args:
          filled: booleans (nx, ny).
        """
        labels, count = boxes.label((filled & (self.tiles != ""))[:, :, None])
        prefix = f"{self.solid.name}~"
        at = next(i for i, solid in enumerate(self.device.solids) if solid.name.startswith(prefix))
        others = [solid for solid in self.device.solids if not solid.name.startswith(prefix)]
        pieces = []
        for number in range(1, count + 1):
            places = np.argwhere(labels[:, :, 0] == number)
            rectangles = [polygons.rectangle(self.x[i : i + 2].tolist(), self.y[j : j + 2].tolist()) for i, j in places]
            for outline in polygons.boolean(rectangles, [], "or"):
                corners = tuple((float(a), float(b)) for a, b in np.round(outline, 15))
                x, y = ((min(line), max(line)) for line in zip(*corners, strict=True))
                pieces.append((corners, (x, y, self.solid.box[2])))
        taken = {solid.name for solid in others}
        free = (text for text in (f"{self.solid.name}{k}" for k in itertools.count(1)) if text not in taken)
        names = [self.solid.name] if len(pieces) == 1 else itertools.islice(free, len(pieces))
        named = [
            dataclasses.replace(self.solid, name=text, outline=outline, box=box, coordinates={})
            for text, (outline, box) in zip(names, pieces, strict=True)
        ]
        solids = [*others[:at], *named, *others[at:]]
        materials = {key: material for key, material in self.device.materials.items() if "~" not in key}
        plan = plan_of(solids, [materials[solid.material].is_metal for solid in solids])
        connected = [
            piece for piece in plan.pieces(metal=True).members.values() if _has_contact(self.device, solids, piece)
        ]
        within = {i for piece in connected for i in piece}
        remaining = [solid for i, solid in enumerate(solids) if solid not in named or i in within]
        return dataclasses.replace(self.device, solids=tuple(remaining), materials=materials)


def _users_of(device: Device, name: str) -> list[str]:
    """List the interfaces, heat sinks and experiments that name a solid."""
    used = [f"interface '{interface.name}'" for interface in device.interfaces if name in interface.between]
    used += [f"heat sink '{sink.label}'" for sink in device.heat_sinks if sink.solid == name]
    for experiment in device.experiments.values():
        between = experiment.through.between if experiment.through is not None else ()
        if name in (*experiment.power, *experiment.temperature, *between):
            used.append(f"experiment '{experiment.name}'")
    return used


def _has_contact(device: Device, solids: Sequence[Solid], piece: set[int]) -> bool:
    """Return True if a piece of metal has a contact."""
    names = {solids[i].name for i in piece} | {body_of(solids[i]) for i in piece}
    return any(contact.solid in names for contact in device.contacts)


def filter_matrix(canvas: Canvas, feature: float) -> np.ndarray:
    """Return the matrix of the filter: weights fall linearly with the distance of middles, to zero at half a feature.

    Two filtered edges cannot be nearer than about the feature, whatever the densities.

    Args:
      feature: [m].
    """
    middles = np.stack(
        np.meshgrid(*((line[1:] + line[:-1]) / 2 for line in (canvas.x, canvas.y)), indexing="ij"), axis=-1
    ).reshape(-1, 2)
    distance = np.linalg.norm(middles[:, None] - middles[None], axis=-1)
    weight = np.maximum(feature / 2 - distance, 0.0)
    weight[np.arange(len(weight)), np.arange(len(weight))] = max(feature / 2, 1e-12)
    return weight / weight.sum(axis=1, keepdims=True)


def projected(filtered: jax.Array, sharpness: float) -> jax.Array:
    """Push densities to 0 and 1, smoothly: (tanh(b/2) + tanh(b (r - 1/2))) / (2 tanh(b/2))."""
    half = math.tanh(sharpness / 2)
    return (half + jnp.tanh(sharpness * (filtered - 0.5))) / (2 * half)


@dataclasses.dataclass(frozen=True, eq=False)
class Form(Plotted):
    """A free form.

    Attributes:
      device: with the form as polygons.
      before: the device it was made from, the whole canvas of metal.
      objective: the maximised quantity.
      canvas: tiles.
      density: of each tile after filter and projection (nx, ny).
      history: exp of the objective at each step.
      start, end: both devices computed once more, with error bars.
    """

    device: Device
    before: Device
    objective: Objective
    canvas: Canvas
    density: np.ndarray
    history: tuple[float, ...]
    start: DesignCheck
    end: DesignCheck

    @property
    def pieces(self) -> list[Solid]:
        """The solids that the canvas became."""
        known = {solid.name for solid in self.before.solids}
        canvas = self.canvas.solid.name
        return [solid for solid in self.device.solids if solid.name == canvas or solid.name not in known]

    @property
    def gain(self) -> tuple[float, float]:
        """Factor by which the objective is larger than with the whole canvas of metal, and its error bar."""
        return self.end.gain_over(self.start)

    def words(self) -> list[str]:
        """Return signals before and after, and the gain, line by line."""
        table = [["signal", "whole canvas", "form"]]
        for pair in self.objective.wanted:
            table.append([" ".join(pair), *compared(pair, unit_of(pair, self.before), self.start, self.end)])
        filled = sum(abs(float(polygons.area(outline_of(piece)))) for piece in self.pieces)
        grey = np.mean((self.density > 0.1) & (self.density < 0.9))
        return [
            *columns(table, "lrr"),
            f"{self.objective} is {self.gain[0]:.3g} +- {self.gain[1]:.2g} times that of the whole canvas of metal.",
            f"{len(self.pieces)} polygons, {1e18 * filled:.4g} nm^2; {100 * grey:.2g} % of the tiles were undecided.",
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers, lists and dictionaries."""
        return {
            "objective": str(self.objective),
            "gain": list(self.gain),
            "history": list(self.history),
            "x": self.canvas.x.tolist(),
            "y": self.canvas.y.tolist(),
            "density": self.density.tolist(),
            "signals": {
                " ".join(pair): {"before": list(self.start.signals[pair]), "after": list(self.end.signals[pair])}
                for pair in self.objective.wanted
            },
        }


def free_form(
    device: Device,
    objective: Objective,
    solid: str,
    *,
    tile: float,
    feature: float,
    steps: int = 40,
    grid: GridOptions | None = None,
    journal: str | Path | None = None,
    progress: Progress | None = None,
) -> Form:
    """Find where one box should have metal.

    Args:
      device: with the solid; its named dimensions stay as they are.
      objective: of signals.
      solid: name of the box, the canvas; solids after it in the device overwrite it as ever.
      tile: size of the tiles [m].
      feature: smallest feature and gap of the form [m], at least a tile.
      steps: evaluations.
      grid: of the evaluations, by default of order 1; start and end are computed once more at one order more.
      journal: file that keeps every evaluation, from which a form that was interrupted resumes.
      progress: callback for messages.
    Raises:
      InputError: see `Canvas.of`; a feature smaller than a tile; an objective of more than signals.
      NotConverged: a solve did not converge.
    """
    objective.require(device)
    steps = require_whole("steps", steps, 1)
    if not 0 < tile < math.inf:
        raise InputError(f"tile: got {1e9 * tile:g} nm, expected a length above 0")
    if feature < tile * (1 - 1e-9):
        raise InputError(f"feature: got {1e9 * feature:g} nm, expected a tile of {1e9 * tile:g} nm or more")
    if any(name == STD or signal in (HOTTEST, DENSEST) for name, signal in objective.wanted):
        raise InputError(f"objective: got {objective}, expected one of signals; a free form has no limits and no std")
    grid = grid or GridOptions(order=1)
    canvas = Canvas.of(device, solid, tile)
    rows = [Row(experiment, signal, 0.0, 1.0) for experiment, signal in objective.wanted]
    bare = Predictor(grid.build(canvas.device, progress), rows, progress=progress)
    predict: Predict = bare
    if journal is not None:
        asked = repr((device, str(objective), solid, tile, feature, grid.cells, grid.order))
        predict = Journal(Path(journal), asked).keep(bare, "form", bare.parts)
    density, history = _ascend(canvas, objective, filter_matrix(canvas, feature), predict, steps, progress)
    try:
        made = canvas.made(density > 0.5)
    except DeviceError as error:
        raise InputError(
            f"the form with the largest {objective} is no device: {error.faults[0]}; choose an objective that needs "
            "the metal, such as one over another"
        ) from None
    task = DesignTask(objective, (), {}, grid=grid, progress=progress)
    return Form(made, device, objective, canvas, density, history, *both_checked(device, made, task))


def _ascend(
    canvas: Canvas,
    objective: Objective,
    smoothing: np.ndarray,
    predict: Predict,
    steps: int,
    progress: Progress | None,
) -> tuple[np.ndarray, tuple[float, ...]]:
    """Return densities after filter and projection (nx, ny) of the best sharp form, and the objective at each step."""
    metal = canvas.device.materials[canvas.solid.material]
    used = np.flatnonzero(canvas.tiles.ravel() != "")
    tiles = canvas.tiles.ravel()
    names = [f"{tiles[k]}.{key}" for k in used for key in ("sigma", "kappa")]
    full = np.tile([metal.sigma, metal.kappa], len(used))
    matrix = jnp.asarray(smoothing)

    def conduct(raw: jax.Array, sharpness: float) -> jax.Array:
        r = projected(matrix @ raw, sharpness)
        return FLOOR + (1 - FLOOR) * r**PENALTY

    raw = jnp.full(canvas.tiles.size, 0.5)
    optimiser = optax.adam(RATE)
    state, update_of = optimiser.init(raw), lenient(optimiser.update)
    history: list[float] = []
    best: tuple[float, jax.Array, float] = (-math.inf, raw, 1.0)
    for number in range(steps):
        sharpness = SHARPEST ** min(1.0, number / max(1, 0.8 * (steps - 1)))
        share, back = jax.vjp(lambda values, b=sharpness: conduct(values, b), raw)
        values = full * np.repeat(np.asarray(share)[used], 2)
        numbers = canvas.device.parameters() | dict(zip(names, map(float, values), strict=True))
        value, slope = objective.evaluate(*predict(numbers, names))
        if math.isinf(value):
            raise InputError(
                f"objective: {objective} is {math.exp(value):g} at form {number + 1}, so that no factor makes it larger"
            )
        if not math.isfinite(value):
            raise NotConverged(f"form {number + 1} of {steps}: no convergence with the metal as it is spread there")
        by_share = np.zeros(canvas.tiles.size)
        by_share[used] = (slope * full).reshape(-1, 2).sum(axis=1)
        history.append(math.exp(value))
        if progress is not None:
            progress(f"form {number + 1} of {steps}: {objective} = {history[-1]:.5g}")
        if sharpness >= 0.99 * SHARPEST and value > best[0]:
            best = (value, raw, sharpness)
        (gradient,) = back(jnp.asarray(by_share))
        updates, state = update_of(-gradient / max(float(jnp.abs(gradient).max()), 1e-300), state, raw)
        raw = jnp.clip(optax.apply_updates(raw, updates), 0.0, 1.0)
    _, raw, sharpness = best if math.isfinite(best[0]) else (0.0, raw, SHARPEST)
    return np.asarray(projected(matrix @ raw, sharpness)).reshape(canvas.tiles.shape), tuple(history)
