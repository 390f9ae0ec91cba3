"""A device on a grid: the discrete problem, its ports, and the map from parameters to coefficients.

This module brings device, grid, operator and solver together; it knows no harmonic and no measured signal.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thermospin import operators, solve
from thermospin.base import compilation
from thermospin.base.arrays import AnyArray
from thermospin.base.compilation import local
from thermospin.base.errors import InputError
from thermospin.base.kinds import as_mapping, as_number, require_whole
from thermospin.base.names import no_parameter
from thermospin.base.polygons import TOUCH
from thermospin.base.programs import require_double
from thermospin.base.shown import Mapped
from thermospin.device.constitution import Constitution, Parameters, Signs
from thermospin.device.device import Device
from thermospin.device.faults import require_apart
from thermospin.device.materials import metal_fault
from thermospin.device.parts import Experiment
from thermospin.device.placement import Placement, crossing_of, crossings_of, label_of_ground, place, together, vectors
from thermospin.geometry import grid_rule, held
from thermospin.grid import AXES, Grid
from thermospin.linear import preconditioner
from thermospin.linear.preconditioner import Preconditioner
from thermospin.operators import Discretisation
from thermospin.parallel.partition import shard
from thermospin.parallel.sharding import mesh_of
from thermospin.quantities import QUANTITIES, key_of, unit_of
from thermospin.solve import System

Progress = Callable[[str], None]
#: Magnets of a larger polarisation get a preconditioner of their own where they are reversed.
SHARED_POLARISATION = 0.1
#: Order of the elements: the lowest whose best estimates go beyond the grid, see `accuracy.error_bars`.
ORDER = 3


class Ports(eqx.Module):
    """The drive of an experiment and its probe, per unit of the drive.

    Attributes:
      drive: what enters the right-hand side: current [A/A], heat over T0 [W/K per W].
      probe: the vector w of the reading w.u.
      driven: values of u_1 on nodes that the drive holds: temperatures above the bath; None where it holds none.
      tested: what the adjoint of a reaction has besides: the field that tests which current passes; None where the
        reading is w.u alone.
    """

    drive: Float[AnyArray, " unknowns"]
    probe: Float[AnyArray, " unknowns"]
    driven: Float[AnyArray, " unknowns"] | None = None
    tested: Float[AnyArray, " unknowns"] | None = None


class ExperimentProblem(NamedTuple):
    """The discrete problem of one experiment: all that its fields and signals follow from, besides parameters.

    Attributes:
      experiment: drive, probe and magnetic states.
      ground: the contacts with V_up = V_down = 0, a key of `Model.systems`; "" for none.
      disc: segments and weights of the operator.
      systems: the problem with V_up = V_down = 0 on the ground, in each state; they differ in the preconditioner.
      ports: drive and probe.
      constitution: the map from parameters to coefficients.
      signs: of the magnets in each state.
    """

    experiment: Experiment
    ground: str
    disc: Discretisation
    systems: tuple[System, ...]
    ports: Ports
    constitution: Constitution
    signs: tuple[Signs, ...]

    def in_state(self, state: str) -> ExperimentProblem:
        """Return the problem of one state alone."""
        place = list(self.experiment.states).index(state)
        one = dataclasses.replace(self.experiment, states={state: self.experiment.states[state]})
        return self._replace(experiment=one, systems=(self.systems[place],), signs=(self.signs[place],))


def _scalar(name: str, value: Any) -> Array:
    """Return the value of a parameter as an array without axes."""
    more = "; for many sets of parameters take `jax.vmap` of `predict`, or `ensemble`"
    return as_number(lambda given: jnp.asarray(given, float), f"parameter '{name}'", value, unit_of(name), more)


@dataclasses.dataclass(frozen=True, eq=False)
class Model(Mapped):
    """The discrete problem of a device; shapes are fixed, parameters are not.

    Parameters may move far from those that the preconditioner was built for: results stay the same, solves take more
    iterations; see `refreshed`.

    Attributes:
      device: what it was built from.
      grid: cells and nodes.
      disc: segments and weights of the operator.
      placement: which nodes are doubled, held, heated or read.
      on_contact: for each contact the V-nodes that are held where it is the ground (nodes_V,); for several grounds
        together those of all of them, "" for none.
      held_by: for each contact and heat sink the T-nodes at its temperature: on its face, or behind it.
      grounded: by ground, the operator with ties for V-nodes that its face covers in part; where there are any.
      systems: for each ground, or several together, the problem with V_up = V_down = 0 there; "" without a ground.
      ports: for each contact the vector w with w.u the area mean of (V_up + V_down)/2 over its face; the drive by a
        current I into it is I w, so that reciprocity is exact.
      reversed_systems: the same with a preconditioner for reversed magnets, by the ground and the names of those; where
        they are hardly polarised there is none, and that of the systems serves all states.
      built_for: parameters of the preconditioner.
      preconditioners: multigrid by ground, which those without ties share.
      shards, members: number of accelerators that a solve is split over, and number of such groups, which solve for
        different parameter sets at the same time; see `parallel.sharding`.
    """

    device: Device
    grid: Grid
    disc: Discretisation
    placement: Placement
    on_contact: Mapping[str, np.ndarray]
    held_by: Mapping[str, np.ndarray]
    grounded: Mapping[str, Discretisation]
    systems: Mapping[str, System]
    ports: Mapping[str, Float[AnyArray, " unknowns"]]
    built_for: Mapping[str, float] = dataclasses.field(default_factory=dict)
    preconditioners: Mapping[str, Preconditioner] = dataclasses.field(default_factory=dict)
    reversed_systems: Mapping[tuple[str, frozenset[str]], System] = dataclasses.field(default_factory=dict)
    shards: int = 1
    members: int = 1

    @property
    def parameters(self) -> dict[str, float]:
        """The device's own values of all that can be fitted without moving anything."""
        return self.device.parameters()

    @property
    def cells(self) -> int:
        """Number of filled cells."""
        return self.grid.cells

    @property
    def unknowns(self) -> int:
        """Number of unknowns, held ones included."""
        return self.disc.unknowns

    @property
    def constitution(self) -> Constitution:
        """The map from parameters to coefficients of this device."""
        return dataclasses.replace(self.placement.constitution, bath=self.device.bath)

    @functools.cached_property
    def problems(self) -> Mapping[str, ExperimentProblem]:
        """The problem of each experiment."""
        # Kept, and so computed now: under a trace the arrays would be that trace's.
        with jax.ensure_compile_time_eval():
            return {experiment.name: self._problem(experiment) for experiment in self.device.experiments.values()}

    def _problem(self, experiment: Experiment) -> ExperimentProblem:
        ground = label_of_ground(self.placement.grounds(experiment))
        signs = tuple(
            {name: np.asarray(state.get(name, 1), float) for name in self.device.magnets}
            for state in experiment.states.values()
        )
        systems = tuple(
            self.reversed_systems.get((ground, _reversed(state)), self.systems[ground])
            for state in experiment.states.values()
        )
        disc = self.grounded.get(ground, self.disc)
        ports = self._ports(experiment, disc)
        return ExperimentProblem(experiment, ground, disc, systems, ports, self.constitution, signs)

    def _ports(self, experiment: Experiment, disc: Discretisation) -> Ports:
        """Return drive and probe of an experiment."""
        if experiment.current and experiment.voltage:
            grounds = self.placement.grounds(experiment)
            plus, minus = (float(name not in grounds) * local(self.ports[name]) for name in experiment.voltage)
            return Ports(self.ports[experiment.current[0]], jax.device_put(plus - minus))
        drive, probe = (
            jax.device_put(part) for part in vectors(self.placement, disc.number_T, disc.nodes_V, experiment)
        )
        driven = jax.device_put(self._driven(experiment.heat)) if experiment.heat else None
        tested = None if experiment.through is None else jax.device_put(self._tested(experiment))
        return Ports(drive, probe, driven, tested)

    def _driven(self, heat: Mapping[str, float]) -> np.ndarray:
        """Return the temperatures of the nodes that faces hold, per kelvin of the first face."""
        first, disc = next(iter(heat.values())), self.disc
        T = np.zeros(disc.nodes_T)
        for name, rise in heat.items():
            T[self.held_by[name]] = rise / first
        return np.concatenate([np.zeros(2 * disc.nodes_V), T])

    def _tested(self, experiment: Experiment) -> np.ndarray:
        """Return the field whose product with the residual is what passes between two groups of solids."""
        pair, disc, split = crossing_of(self.device, experiment), self.disc, self.placement.split
        assert experiment.through is not None and pair is not None and split is not None
        crossing = split.crossings[crossings_of(self.device).index(pair)]
        what = experiment.through.what
        nodes, factors = crossing.T if what == "heat" else crossing.V
        values = np.zeros(len(split.place))
        values[nodes] = factors
        values = values[disc.number_T]
        if what == "heat":
            return np.concatenate([np.zeros(2 * disc.nodes_V), values * self.device.bath])
        up = values[: disc.nodes_V]
        return np.concatenate([up, -up if what == "spin" else up, np.zeros(disc.nodes_T)])

    def completed(self, parameters: Parameters | None) -> dict[str, Any]:
        """Return values of all parameters as arrays; those left out are the device's own.

        Args:
          parameters: values by name; dimensions may be there with the value that the grid was built for.
        Raises:
          InputError: JAX is in single precision; a name that does not exist, a value that is no number, or a dimension
            that the grid was not built for.
        """
        require_double()  # here too: a model may have been pickled
        given, known, lengths = as_mapping("parameters", parameters), self.parameters, self.device.lengths()
        for name in [name for name in lengths if name in given]:
            length, value = lengths[name], given.pop(name)
            if isinstance(value, jax.core.Tracer):
                raise InputError(f"{name}: is a dimension, which moves the grid; JAX cannot trace it, `evaluate` can")
            value = as_number(float, f"parameter '{name}'", value, "m")
            if not abs(value - length) <= 1e-9 * abs(length):
                raise InputError(
                    f"{name}: got {1e9 * value:g} nm, but the grid was built for {1e9 * length:g} nm; "
                    "move it with model.moved(dimensions)"
                )
        faults = [no_parameter(str(name), known) for name in given if name not in known]
        if faults:
            raise InputError("\n".join(faults))
        # As arrays: custom_jvp wants tangents of the type of the values.
        return {name: _scalar(name, given.get(name, value)) for name, value in known.items()}

    def outdated(self, parameters: Parameters) -> bool:
        """Return True if a preconditioner for these parameters would differ; those left out are the device's own."""
        wanted = {**self.parameters, **parameters}
        return any(
            float(wanted[name]) != value for name, value in self.built_for.items() if QUANTITIES[key_of(name)].conducts
        )

    def refreshed(self, parameters: Parameters) -> Model:
        """Return the same problem with a preconditioner built for other parameters.

        All arrays keep their shapes, and fields of the one are starts for the other. Nothing is recompiled, unless
        conductivities now differ so much that the preconditioner needs double precision, or no longer do.

        Args:
          parameters: values by name; those left out are the device's own.
        Raises:
          InputError: as `completed`, or a value outside the model.
        """
        values = {name: float(value) for name, value in self.completed(parameters).items()}
        wrong = {name: QUANTITIES[key_of(name)].fault(value) for name, value in values.items()}
        wrong |= {name: metal_fault(value) for name, value in values.items() if key_of(name) == "sigma" and not value}
        if faults := [f"parameter '{name}', {fault}" for name, fault in wrong.items() if fault]:
            raise InputError(faults)
        made, systems = self._prepared(values, frozenset(), self.preconditioners)
        reversed_systems: dict[tuple[str, frozenset[str]], System] = {}
        for turned in self._polarised_patterns(values):
            of_ground = self._prepared(values, turned, made)[1]
            reversed_systems |= {(ground, turned): system for ground, system in of_ground.items()}
        return dataclasses.replace(
            self, systems=systems, reversed_systems=reversed_systems, built_for=values, preconditioners=made
        )

    def _prepared(
        self, values: Mapping[str, float], turned: frozenset[str], like: Mapping[str, Preconditioner]
    ) -> tuple[dict[str, Preconditioner], dict[str, System]]:
        """Return preconditioners and systems by ground, for the values of all parameters and some reversed magnets.

        Grounds without ties of their own share a preconditioner; those in `like` give it its shapes.
        """
        contact_V = np.zeros(self.disc.nodes_V, int)
        for number, marked in enumerate(self.on_contact.values(), start=1):
            contact_V[marked] = number
        of_each = (self.placement.grounds(experiment) for experiment in self.device.experiments.values())
        grounds = list(dict.fromkeys(map(label_of_ground, of_each)))
        alike = [name for name in grounds if name not in self.grounded]
        groups = ([alike] if alike else []) + [[name] for name in grounds if name in self.grounded]
        given = {name: jnp.asarray(value) for name, value in values.items()}
        contrasts = self._contrast(values, "sigma"), self._contrast(values, "kappa")
        signs = {magnet: np.asarray(-1.0 if magnet in turned else 1.0) for magnet in self.device.magnets}
        preconditioners: dict[str, Preconditioner] = {}
        systems: dict[str, System] = {}
        for names in groups:
            disc = self.grounded.get(names[0], self.disc)
            law = _law(disc, self.constitution, given, signs)
            graphs = solve.low_order_graphs(self.grid, disc, law, contact_V)
            made = preconditioner.prepare(graphs, self.grid.nodes, like.get(names[0]), contrasts)
            preconditioners |= dict.fromkeys(names, made)
            held_there = solve.hold(disc, made, *(self.on_contact[name] for name in names))
            systems |= dict(zip(names, held_there, strict=True))
        if self.shards * self.members > 1:
            shape, mesh = [len(nodes) for nodes in self.grid.nodes], mesh_of(self.shards, self.members)
            systems = {
                name: dataclasses.replace(system, shards=shard(system, shape, mesh)) for name, system in systems.items()
            }
        return preconditioners, {name: systems[name] for name in grounds}

    def _contrast(self, values: Mapping[str, float], key: str) -> float:
        """Return the largest over the smallest value of the materials of the solids, those of zero apart.

        An interface counts as a layer as thick as the smallest feature.
        """
        used = [values.get(f"{material}.{key}", 0.0) for material, _ in self.device.domains]
        for joint in self.constitution.joints:
            if key == "sigma" and "RA" in joint.keys:
                used.append(self.device.smallest_feature / values[f"{joint.interface}.RA"])
            if key == "kappa" and "K" in joint.keys:
                used.append(self.device.smallest_feature * values[f"{joint.interface}.K"])
        positive = [value for value in used if value > 0]
        return max(positive) / min(positive) if positive else 1.0

    def _polarised_patterns(self, values: Mapping[str, float]) -> list[frozenset[str]]:
        """List the sets of reversed magnets, among them strongly polarised ones, that occur in experiments."""
        strong = {
            solid.magnet
            for solid in self.device.solids
            if solid.magnet is not None and abs(values.get(f"{solid.material}.P", 0.0)) > SHARED_POLARISATION
        }
        patterns = [
            _reversed(state) for experiment in self.device.experiments.values() for state in experiment.states.values()
        ]
        return [turned for turned in dict.fromkeys(patterns) if turned & strong]

    def sharded(self, shards: int, members: int = 1) -> Model:
        """Return the same problem, its solves split over accelerators; values stay the same, to round-off.

        Args:
          shards: accelerators that share a solve.
          members: number of such groups, among which `ensemble` distributes parameter sets.
        Raises:
          InputError: less than 1, JAX has fewer accelerators, or the grid has too few planes for them.
        """
        shards, members = require_whole("shards", shards, 1), require_whole("members", members, 1)
        if (shards, members) == (self.shards, self.members):
            return self
        return dataclasses.replace(self, shards=shards, members=members).refreshed(self.built_for)

    def with_grid(self, grid: Grid, device: Device | None = None, progress: Progress | None = None) -> Model:
        """Return the device, or another one, on another grid, split over as many accelerators.

        Raises:
          InputError: the grid is not one of that device.
        """
        device = self.device if device is None else device
        _require_faces(device, grid)
        made = on_grid(device, grid, progress=progress)
        return made.sharded(self.shards, self.members)

    def moved(self, lengths: Mapping[str, float], progress: Progress | None = None) -> Model:
        """Return the same problem with other values of some of the device's dimensions, on grid lines that move along.

        Between faces lines move in proportion, so that signals are smooth in the dimensions, and all arrays keep their
        shapes, unless the edge of a prism cuts other cells than before, or a held face covers other nodes in part. What
        a grid resolves is stretched, too: far away, rebuild it.

        Args:
          lengths: values by name [m]; dimensions left out stay.
          progress: callback for messages.
        Raises:
          ValueError: a dimension that does not exist, or faces that would meet or pass each other.
        """
        device, grid = self.moved_grid(lengths)
        made = on_grid(device, grid, progress=progress, like=self if grid.has_nodes_of(self.grid) else None)
        return made.sharded(self.shards, self.members)

    def moved_grid(self, lengths: Mapping[str, float]) -> tuple[Device, Grid]:
        """Return the moved device and the grid that has moved along, as for `moved`."""
        device = self.device.moved(lengths)
        lines = []
        for axis in range(3):
            before, slopes = self.device.face_slopes(axis)
            after = device.features.faces(axis)
            change = {name: value - self.device.dimensions[name].value for name, value in device.lengths().items()}
            expected = before + np.array([sum(f * change[name] for name, f in slope.items()) for slope in slopes])
            if len(after) != len(expected) or np.any(np.diff(expected) <= 0):
                where = ", ".join(f"{name} = {1e9 * value:g} nm" for name, value in lengths.items())
                raise InputError(
                    f"at {where} faces across {AXES[axis]} meet or pass each other, which no grid can follow; "
                    "build a model of the moved device"
                )
            lines.append(np.interp(self.grid.lines[axis], before, after))
        if self.grid.prisms:
            return device, device.features.grid(lines, self.grid.order)
        return device, dataclasses.replace(self.grid, lines=(lines[0], lines[1], lines[2]))


@compilation.on_host_first
def _law(
    disc: Discretisation, constitution: Constitution, parameters: Parameters, signs: Signs | None = None
) -> operators.Coefficients:
    return operators.coefficients(disc, constitution.table(parameters, signs or {}), constitution.bath)


def _reversed(state: Mapping[str, int]) -> frozenset[str]:
    """Return the magnets that a state reverses."""
    return frozenset(magnet for magnet, sign in state.items() if sign < 0)


@dataclasses.dataclass(frozen=True)
class GridOptions:
    """A grid by the fixed rule, see `build`.

    Attributes:
      cells: budget of grid cells; None: the program's default.
      order: polynomial order 1, 2 or 3; best estimates beyond the grid need 3.
      shards: accelerators that a solve is split over.
    """

    cells: int | None = None
    order: int = ORDER
    shards: int = 1

    def __post_init__(self) -> None:
        orders = grid_rule.DEFAULT_COARSENESS
        for name, most in (("cells", None), ("order", max(orders)), ("shards", None)):
            if (value := getattr(self, name)) is not None or name != "cells":
                object.__setattr__(self, name, require_whole(name, value, 1, most))

    def grid(self, device: Device) -> Grid:
        """Return the grid of a device."""
        return grid_rule.choose(device.features, self.order, self.cells)

    def build(self, device: Device, progress: Progress | None = None) -> Model:
        """Return the discrete problem of a device."""
        return build(device, cells=self.cells, order=self.order, progress=progress).sharded(self.shards)


def build(device: Device, *, cells: int | None = None, order: int = ORDER, progress: Progress | None = None) -> Model:
    """Return the discrete problem of a device.

    Args:
      device: solids, materials, contacts, experiments.
      cells: budget of grid cells; None: the program's default.
      order: polynomial order 1, 2 or 3; best estimates beyond the grid need 3.
      progress: callback for messages.
    Raises:
      ValueError: JAX is in single precision, or the budget is too small for the device's faces.
    """
    grid = grid_rule.choose(device.features, order, cells)
    return on_grid(device, grid, progress=progress)


def on_grid(device: Device, grid: Grid, *, progress: Progress | None = None, like: Model | None = None) -> Model:
    """Return the discrete problem of a device on a given grid; see `build`.

    Args:
      like: a model on the same cells with other widths, whose preconditioners have the shapes that are wanted.
    """
    require_double()
    if progress is not None:
        progress(f"building the discrete problem, {grid.cells:,} cells")
    require_apart(device.layout(), grid)
    placement = place(device, grid)
    heat_of, charge_of = placement.shares()
    count = len(placement.nodes)
    outside = np.zeros(count, bool) if placement.split is None else placement.split.outside
    heat = np.minimum(sum(heat_of.values(), np.where(outside, 1.0, 0.0)), 1.0)
    bare = operators.discretise(grid, placement.constitution.conducts, heat > held.HELD, placement.split)
    numbers, merged = bare.number_T, bare.merged
    heat_of = {name: share[numbers] for name, share in heat_of.items()}
    charge = {name: share[numbers[: bare.nodes_V]] for name, share in charge_of.items()}
    bare = dataclasses.replace(bare, held_T=_with_merged(bare.held_T, merged and merged.T))
    disc = _tied(placement, bare, heat_of, None)
    grounds = dict.fromkeys(placement.grounds(experiment) for experiment in device.experiments.values())
    grounded = {}
    for names in grounds:
        share = together(names, {name: charge[name] for name in names if name in heat_of}, bare.nodes_V)
        if len(held.in_part(share)):
            grounded[label_of_ground(names)] = _tied(placement, bare, heat_of, share)
    ports = {
        contact.name: jax.device_put(placement.reading(contact.name, numbers, disc.nodes_V))
        for contact in device.contacts
    }
    on_contact = {
        # A face that is not held at the bath has no ties: it holds the nodes that it covers for the most part.
        name: _with_merged(share > (held.HELD if name in heat_of else 0.5), merged and merged.V)
        for name, share in charge.items()
    }
    for names in grounds:
        of_any = np.any([on_contact[name] for name in names], axis=0)
        on_contact[label_of_ground(names)] = of_any & np.ones(disc.nodes_V, bool)
    held_by = {name: _with_merged(share > held.HELD, merged and merged.T) for name, share in heat_of.items()}
    held_by |= {name: np.isin(numbers, nodes) for name, nodes in placement.outside.items()}
    made = Model(device, grid, disc, placement, on_contact, held_by, grounded, {}, ports)
    if like is not None and _same_edges(like, made):
        made = dataclasses.replace(made, preconditioners=like.preconditioners)
    return made.refreshed({})


def _require_faces(device: Device, grid: Grid) -> None:
    """Refuse a grid without the lines that a device needs, or with other prisms."""
    faults = [
        f"has no line on {AXES[axis]} = {1e9 * face:g} nm, where '{device.name}' needs one"
        for axis, lines in enumerate(grid.lines)
        for face in device.features.faces(axis)
        if np.abs(lines - face).min() > TOUCH
    ]
    has, needs = ([(p.outline.tolist(), p.heights, p.domain) for p in of.prisms] for of in (grid, device.features))
    faults += [f"has other prisms than '{device.name}'"] * (has != needs)
    if faults:
        raise InputError(f"grid: {faults[0]}; model.moved(dimensions) moves device and grid")


def _with_merged(marked: np.ndarray, pairs: Any) -> np.ndarray:
    """Mark with every node those that are one unknown with it."""
    if pairs is None:
        return marked
    out = marked.copy()
    np.logical_or.at(out, pairs[1], out[pairs[0]])
    out[pairs[0]] |= out[pairs[1]]
    return out


def _tied(
    placement: Placement, disc: Discretisation, heat_of: Mapping[str, np.ndarray], charge: np.ndarray | None
) -> Discretisation:
    """Return a discretisation with ties for all nodes that held faces cover in part.

    Args:
      placement: of the device on the grid.
      heat_of: part of each T-node that faces hold at the bath temperature, by name.
      charge: part of each V-node that the ground holds at zero; None for no ground.
    """
    heat = np.minimum(sum(heat_of.values(), np.zeros(disc.nodes_T)), 1.0)
    of_charge = np.zeros(0, int) if charge is None else held.in_part(charge)
    of_heat = np.setdiff1d(held.in_part(heat), of_charge)
    if not len(of_charge) and not len(of_heat):
        return disc
    metals = placement.constitution.conducts
    conductance = placement.conductance()[disc.number_T]
    if charge is not None and len(of_charge):
        anchors = np.flatnonzero(disc.held_T[: disc.nodes_V] & (charge > held.HELD))
        ties = held.ties(conductance, of_charge, heat, charge, metals)
        disc = operators.tied(disc, of_charge, ties, anchors, metal=True)
    # A face that a drive may warm holds its own nodes.
    warm = {name for experiment in placement.device.experiments.values() for name in experiment.heat}
    for names in [[name for name in heat_of if name not in warm], *([name] for name in heat_of if name in warm)]:
        share = sum((heat_of[name] for name in names), np.zeros(disc.nodes_T))
        nodes, anchors = np.intersect1d(of_heat, held.in_part(share)), np.flatnonzero(share > held.HELD)
        if len(nodes):
            disc = operators.tied(disc, nodes, held.ties(conductance, nodes, heat, None, metals), anchors, metal=False)
    return disc


def _same_edges(one: Model, other: Model) -> bool:
    """Return whether the operators of two models connect the same nodes."""
    if set(one.grounded) != set(other.grounded):
        return False
    pairs = [(one.disc, other.disc), *((disc, other.grounded[name]) for name, disc in one.grounded.items())]
    return all(
        len(a.axes) == len(b.axes)
        and all(np.array_equal(x.nodes_T, y.nodes_T) for x, y in zip(a.axes, b.axes, strict=True))
        for a, b in pairs
    )
