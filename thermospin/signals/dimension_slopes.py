"""Derivatives of signals by the dimensions of a device.

Where faces move, the grid lines between two of them move in proportion and fields keep their values on the nodes. Of
the functional of `functional`, stationary in the fields, nothing changes then but weights: conduction along x in
a cell of widths h_x, h_y, h_z goes like h_y h_z / h_x, relaxation like h_x h_y h_z, Joule heat like the conduction that
makes it. So what each block between neighbouring faces contributes to a signal, term by term and axis by axis, is its
derivative by the logarithm of each of the block's three extents, up to the sign; one pass over the grid gives the
derivatives by every face there is, of the discrete signal and exactly. Source: docs/theory.md, section 9.

Where the edges of prisms cut cells the weights are no products of widths. There they are differentiated one dimension
at a time, by central differences of the weights alone (no field is solved again), and the same sums are taken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array, hstack

from thermospin import operators
from thermospin.base import compilation
from thermospin.base.arrays import AnyArray
from thermospin.device.constitution import Parameters
from thermospin.device.parts import Experiment
from thermospin.device.placement import label_of_ground, place, together, vectors
from thermospin.geometry import held, weights
from thermospin.geometry.assembly import assemble
from thermospin.geometry.boxes import Face, Layout
from thermospin.model import ExperimentProblem, Model
from thermospin.signals.functional import contributions, moments
from thermospin.signals.ladders import Ladder

_power_entries = compilation.on_host_first(operators.power_entries)
_joule_entries = compilation.on_host_first(operators.joule_entries)

#: Conduction along x, y and z, and relaxation: what they go like in the widths of a cell along x, y and z.
POWERS = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1], [1, 1, 1]])


@dataclasses.dataclass(frozen=True, eq=False)
class Blocks:
    """The cells of a grid by the block between neighbouring faces of the device that they lie in.

    Attributes:
      domain: of each block.
      interval: between which faces each block lies along each axis (blocks, 3).
      widths: distance of neighbouring faces along each axis [m].
      segments: for each axis, cross-section over half the length by block [m] (blocks, segments).
      volume: by block [m^3] (blocks, nodes_V).
      ports: for each contact the derivatives of its vector by widths, each as (axis, interval, nodes, values).
    """

    domain: np.ndarray
    interval: np.ndarray
    widths: tuple[np.ndarray, np.ndarray, np.ndarray]
    segments: tuple[csr_array, csr_array, csr_array]
    volume: csr_array
    ports: dict[str, list[tuple[int, int, np.ndarray, np.ndarray]]]

    @classmethod
    def of(cls, model: Model) -> Blocks:
        """Return the blocks of a model's grid."""
        grid, disc, layout = model.grid, model.disc, model.device.layout()
        assert isinstance(layout, Layout)
        places = [
            np.searchsorted(faces, (lines[1:] + lines[:-1]) / 2) - 1
            for faces, lines in zip(layout.lines, grid.lines, strict=True)
        ]
        shape = [len(faces) - 1 for faces in layout.lines]
        flat = np.ravel_multi_index(np.ix_(*places), shape)
        used, label = np.unique(np.where(grid.domain >= 0, flat, -1), return_inverse=True)
        label = label.reshape(grid.domain.shape) - int(used[0] < 0)
        used = used[used >= 0]
        domain = np.zeros(len(used), int)
        domain[label[label >= 0]] = grid.domain[label >= 0]
        sections, volume = weights.whole_cells(grid, label, len(used))
        return cls(
            domain=domain,
            interval=np.stack(np.unravel_index(used, shape), axis=1),
            widths=(np.diff(layout.lines[0]), np.diff(layout.lines[1]), np.diff(layout.lines[2])),
            segments=(
                _live(model, 0, sections[0]).T.tocsr(),
                _live(model, 1, sections[1]).T.tocsr(),
                _live(model, 2, sections[2]).T.tocsr(),
            ),
            volume=volume[disc.index_V].T.tocsr(),
            ports=_port_slopes(model),
        )


class Weights(NamedTuple):
    """What a grid weighs fields with: segments by axis of the operator, ties by ground, volumes, drives and probes."""

    segments: tuple[csr_array, ...]
    ties: dict[str, tuple[csr_array, ...]]
    volume: csr_array
    vectors: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Motions:
    """Derivatives of the weights of a grid by each dimension.

    Attributes:
      names: of the dimensions.
      domain: of each pair of dimension and domain, the domains of the first dimension first.
      segments: for each axis of the operator derivative of cross-section over half the length (pairs, segments).
      ties: the same of the ties of nodes that held faces cover in part, by ground; "" for all others.
      volume: derivative of the volume [m^2] (pairs, nodes_V).
      vectors: for each experiment derivatives of drive and probe by each dimension [1/m] (names, 2, unknowns).
    """

    names: tuple[str, ...]
    domain: np.ndarray
    segments: tuple[csr_array, ...]
    ties: dict[str, tuple[csr_array, ...]]
    volume: csr_array
    vectors: dict[str, np.ndarray]

    @classmethod
    def of(cls, model: Model, names: Sequence[str]) -> Motions:
        """Return the motions of a model's grid."""
        changes = []
        for name in names:
            value = model.device.dimensions[name].value
            ends = (_weights_at(model, {name: value + step}) for step in (DIFFERENCE, -DIFFERENCE))
            changes.append(jax.tree.map(lambda up, down: (up - down) / (2 * DIFFERENCE), *ends))

        def stacked(*parts: csr_array) -> csr_array:
            return hstack(parts, format="csr").T.tocsr()

        segments, ties, volume, ports = zip(*changes, strict=True)
        return cls(
            tuple(names),
            np.tile(np.arange(model.disc.domains), len(names)),
            jax.tree.map(stacked, *segments),
            jax.tree.map(stacked, *ties),
            stacked(*volume),
            jax.tree.map(lambda *columns: np.stack(columns), *ports),
        )

    def at(self, ground: str) -> Motions:
        """Return the motions with the ties of one ground among the segments."""
        return dataclasses.replace(self, segments=self.segments + self.ties.get(ground, self.ties[""]))


def sums_of(
    weights: Blocks | Motions, entries: operators.Entries, relaxation: AnyArray | None
) -> Float[np.ndarray, "names kinds blocks"]:
    """Return entries of one column weighed and summed, by name.

    Over each block, by `POWERS` (names, 4, blocks), or over the grid for each motion (names, 1, pairs); in the unit of
    the entries times that of the weights.
    """
    kinds = len(POWERS) if isinstance(weights, Blocks) else 1
    out = np.zeros((len(operators.COEFFICIENTS), kinds, len(weights.domain)))
    for kind, (matrix, entry) in enumerate(zip(weights.segments, entries, strict=True)):
        for name, values in entry.items():
            # The first segment is a dummy; those of metals come first.
            of_live = np.asarray(values)[1:, 0]
            out[operators.COEFFICIENTS.index(name), kind % kinds] += matrix[:, : len(of_live)] @ of_live
    if relaxation is not None:
        out[operators.COEFFICIENTS.index("relaxation"), -1] = weights.volume @ np.asarray(relaxation)[:, 0]
    return out


def _weights_at(model: Model, lengths: Mapping[str, float]) -> Weights:
    """Return the weights of a moved grid on the segments and nodes of the operator."""
    disc = model.disc
    device, grid = model.moved_grid(lengths)
    placement = place(device, grid)
    conducts = placement.constitution.conducts
    made = assemble(grid, conducts, placement.split)
    axes = disc.axes[: len(disc.axes) - disc.ties]
    assert len(axes) == len(made.segments)
    ties: dict[str, tuple[csr_array, ...]] = {"": ()}
    if disc.ties or model.grounded:
        conductance = placement.conductance()[disc.number_T]
        heat_of, charge = placement.shares()
        heat = np.minimum(sum(heat_of.values(), np.zeros(len(placement.nodes))), 1.0)[disc.number_T]
        of_label = {label_of_ground(names): names for names in map(placement.grounds, device.experiments.values())}
        held_there = {name: share for name, share in charge.items() if name in heat_of}
        for ground, its_disc in {"": disc, **model.grounded}.items():
            names = of_label.get(ground, ())
            of_ground = together(names, held_there, len(placement.nodes))[disc.number_T[: disc.nodes_V]]
            ties[ground] = tuple(
                2
                * held.ties(
                    conductance, np.asarray(axis.nodes_T)[0, 1:], heat, of_ground if axis.metal > 1 else None, conducts
                )
                for axis in its_disc.axes[len(axes) :]
            )
    pairs = {
        name: np.stack(vectors(placement, disc.number_T, disc.nodes_V, experiment))
        for name, experiment in model.device.experiments.items()
    }
    return Weights(tuple(part.weights for part in made.segments), ties, made.volume, pairs)


#: Half the step of the central differences of weights [m]: far above what polygons are rounded to, far below a cell.
DIFFERENCE = 1e-11


def of(model: Model, names: Sequence[str]) -> Blocks | Motions:
    """Prepare what `slopes` needs of a model's grid for the derivatives by some dimensions."""
    plain = all(experiment.current and experiment.voltage for experiment in model.device.experiments.values())
    doubled = model.placement.split is not None
    return Blocks.of(model) if plain and not doubled and not model.grid.prisms else Motions.of(model, names)


def _live(model: Model, number: int, sections: Any) -> Any:
    """Return the rows of an axis' segments, in the order of the operator, without its dummy."""
    axis, shape = model.disc.axes[number], [len(nodes) for nodes in model.grid.nodes]
    order, along = axis.order, axis.direction
    place = list(np.unravel_index(model.disc.index_T[np.asarray(axis.nodes_T)[0, 1:]], shape))
    shape[along] = (shape[along] - 1) // order
    place[along] = place[along] // order
    return sections[np.ravel_multi_index(place, shape)]


def _port_slopes(model: Model) -> dict[str, list[tuple[int, int, np.ndarray, np.ndarray]]]:
    """Return derivative of area/sum of areas by the width of each interval that a contact's face extends over."""
    grid, layout = model.grid, model.device.layout()
    assert isinstance(layout, Layout)
    out: dict[str, list[tuple[int, int, np.ndarray, np.ndarray]]] = {}
    for name, face in model.device.contact_faces().items():
        assert isinstance(face, Face)

        def area(cells: np.ndarray, axis: int = face.axis, position: float = face.position) -> np.ndarray:
            return grid.face_weights(axis, position, cells, layout.lines).ravel()[model.disc.index_V]

        whole = area(face.cells)
        parts = []
        for k, axis in enumerate(axis for axis in range(3) if axis != face.axis):
            for interval in np.flatnonzero(face.cells.any(axis=1 - k)):
                mask = np.zeros_like(face.cells)
                mask[(slice(None), interval) if k else interval] = True
                part = area(face.cells & mask)
                slope = (part - whole * (part.sum() / whole.sum())) / whole.sum()
                nodes = np.flatnonzero(slope)
                parts.append((axis, int(interval), nodes, slope[nodes] / float(np.diff(layout.lines[axis])[interval])))
        out[name] = parts
    return out


def slopes(
    model: Model,
    blocks: Blocks | Motions,
    problem: ExperimentProblem,
    parameters: Parameters,
    ladders: Sequence[Ladder],
    names: Sequence[str],
) -> Float[np.ndarray, "states harmonics names"]:
    """Return derivatives of R_1, ... by dimensions [V/A^n per m]: of the first state, and of first minus each other.

    Args:
      model: on a grid whose lines move along.
      blocks: `of(model, names)`.
      problem: of the experiment whose fields they are.
      parameters: values by name, all of them.
      ladders: its fields, as many rungs as harmonics.
      names: of dimensions.
    Raises:
      ValueError: faces that coincide and move differently.
    """
    disc, harmonic = problem.disc, len(ladders[0].u)
    if isinstance(blocks, Motions):
        blocks = blocks.at(problem.ground)

    def form(entries: Callable[..., Any]) -> Callable[..., np.ndarray]:
        def sums(_: operators.Discretisation, *fields: AnyArray) -> np.ndarray:
            terms = entries(disc, *(field[:, None] for field in fields))
            pair = terms if entries is _power_entries else (terms, None)
            return sums_of(blocks, *pair)

        return sums

    experiment = problem.experiment
    forms = form(_power_entries), form(_joule_entries)
    parts = moments(disc, problem.ports, tuple(ladders), harmonic, forms)
    logs = [  # for each state (harmonics, 4, blocks): what each block contributes
        np.asarray(contributions(problem, dict(parameters), part, number, blocks.domain))
        for number, part in enumerate(parts)
    ]
    if isinstance(blocks, Motions):
        known = model.device.experiments[experiment.name]
        own_probe = (experiment.voltage, experiment.temperature) == (known.voltage, known.temperature)
        return _by_motion(blocks, logs, experiment, ladders, own_probe=own_probe)
    widths = [np.zeros((len(ladders), harmonic, len(width))) for width in blocks.widths]
    for number, contribution in enumerate(logs):
        for axis in range(3):
            of_block = np.einsum("hkb,k->hb", contribution[:harmonic], POWERS[:, axis])
            for h in range(harmonic):
                widths[axis][number, h] += (
                    np.bincount(blocks.interval[:, axis], of_block[h], len(blocks.widths[axis])) / blocks.widths[axis]
                )
        _add_ports(widths, number, blocks, experiment, ladders[number], disc.nodes_V)
    return _by_dimension(model, widths, names)


def _by_motion(
    motions: Motions, parts: Sequence[np.ndarray], experiment: Experiment, ladders: Sequence[Ladder], *, own_probe: bool
) -> np.ndarray:
    """Return the derivatives by dimensions from what the changes of weights contribute.

    A probe that is not the experiment's own, such as a node, does not change.
    """
    out = np.zeros((len(ladders), len(ladders[0].u), len(motions.names)))
    changes = motions.vectors[experiment.name]
    for number, (part, ladder) in enumerate(zip(parts, ladders, strict=True)):
        out[number] = part[: out.shape[1]].reshape(out.shape[1], len(motions.names), -1).sum(axis=2)
        for h, (u, adjoint) in enumerate(zip(ladder.u, ladder.l, strict=True)):
            out[number, h] += changes[:, 0] @ np.asarray(adjoint)
            if own_probe:
                out[number, h] += changes[:, 1] @ np.asarray(u)
    return out


def _add_ports(
    widths: list[np.ndarray], number: int, blocks: Blocks, experiment: Experiment, ladder: Ladder, nodes_V: int
) -> None:
    """Add what the functional's ends w.u_n + l_(n-1).b change by, where a contact's face grows unevenly."""
    assert experiment.voltage and experiment.current  # all others have `Motions`
    plus, minus = experiment.voltage
    for contact, sign, fields in (
        (plus, 1.0, ladder.u),
        (minus, -1.0, ladder.u),
        (experiment.current[0], 1.0, ladder.l),
    ):
        for axis, interval, nodes, values in blocks.ports.get(contact, ()):
            for h, field in enumerate(fields):
                mean = (np.asarray(field[:nodes_V])[nodes] + np.asarray(field[nodes_V : 2 * nodes_V])[nodes]) / 2
                widths[axis][number, h, interval] += sign * float(values @ mean)


def _by_dimension(model: Model, widths: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Turn derivatives by the distances of neighbouring faces into those by dimensions."""
    out = np.zeros((*widths[0].shape[:2], len(names)))
    for axis in range(3):
        moves = model.device.face_slopes(axis)[1]
        motion = np.array([[move.get(name, 0.0) for name in names] for move in moves]).reshape(len(moves), len(names))
        out += widths[axis] @ np.diff(motion, axis=0)
    return out
