"""The nodes of a device on a grid: which of them are doubled, held, heated or read.

Between a device, which knows solids and faces, and the discrete problem, which knows nodes.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import csr_array

from thermospin.base.errors import InputError
from thermospin.device.constitution import Constitution, Joint
from thermospin.device.device import Device
from thermospin.device.parts import Contact, Experiment, HeatSink, indices
from thermospin.geometry import held, splits, weights
from thermospin.geometry.boxes import FreeFace
from thermospin.geometry.doubling import Rule
from thermospin.geometry.segments import nodal_conductance, tensor_segments
from thermospin.geometry.splits import Split
from thermospin.grid import Grid


def constitution_of(device: Device) -> Constitution:
    """Return the map from parameters to the coefficients of a device."""
    metals = tuple(device.materials[material].is_metal for material, _ in device.domains)
    joints = dict.fromkeys(joint for joint in _joints(device).values())
    return Constitution(device.domains, metals, device.bath, tuple(joints), tuple(device.exchanging()))


def _joints(device: Device) -> dict[tuple[int, int], Joint]:
    """Return the interface of every pair of solids that touch and have one."""
    out = {}
    for one, other in device.layout().neighbours() if device.interfaces else ():
        found = device.interface_between(one, other)
        if found is not None:
            interface = device.interfaces[found[0]]
            sides = (other, one) if found[1] else (one, other)
            magnets = device.solids[sides[0]].magnet, device.solids[sides[1]].magnet
            out[one, other] = Joint(interface.name, magnets, tuple(interface.values()))
    return out


@dataclasses.dataclass(frozen=True, eq=False)
class Placement:
    """The nodes of a device on a grid.

    Attributes:
      device: the device.
      grid: the grid.
      constitution: the columns of weights.
      split: nodes and segments where nodes are doubled, or linked to the bath; None where there are none.
      outside: for each face that exchanges heat with the bath at a finite rate its nodes at the bath.
    """

    device: Device
    grid: Grid
    constitution: Constitution
    split: Split | None
    outside: Mapping[str, np.ndarray]

    def on_nodes(self, values: np.ndarray, solids: Sequence[int]) -> np.ndarray:
        """Return values of the tensor grid at all nodes, where nodes are doubled at those of some solids."""
        return values.ravel() if self.split is None else self.split.on_nodes(values, solids)

    @property
    def nodes(self) -> range:
        """Numbers of all nodes."""
        return range(math.prod(len(x) for x in self.grid.nodes) if self.split is None else len(self.split.place))

    @property
    def cut(self) -> np.ndarray:
        """Marks the cells that edges cut and that conduct part by part, see `Split` (nx, ny, nz)."""
        return self.grid.cut if self.split is None else self.split.cut

    def places(self, nodes: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the positions of some nodes in the tensor grid along x, y and z."""
        flat = nodes if self.split is None else self.split.place[nodes]
        return np.unravel_index(flat, [len(line) for line in self.grid.nodes])

    def conductance(self) -> csr_array:
        """Return the conductance of each node to all of its neighbours, at unit conductivity [m] (nodes, columns)."""
        if self.split is not None:
            return nodal_conductance(self.split.segments, len(self.nodes))
        return nodal_conductance(tensor_segments(self.grid, len(self.constitution.domains))[0], len(self.nodes))

    @functools.cached_property
    def volumes(self) -> csr_array:
        """Volume of each node by solid [m^3] (nodes, solids)."""
        if self.split is not None:
            return self.split.solids
        return weights.sections(_owners(self.device, self.grid), len(self.device.solids))[1]

    @functools.cached_property
    def attached(self) -> dict[str, tuple[Contact | HeatSink, FreeFace, list[int]]]:
        """Contacts and heat sinks by name, with their faces and the solids that these belong to."""
        device = self.device
        faces = [*device.contact_faces().values(), *device.heat_sink_faces()]
        items: list[Contact | HeatSink] = [*device.contacts, *device.heat_sinks]
        return {
            label_of(item): (item, face, indices(device.solids, item.solid))
            for item, face in zip(items, faces, strict=True)
        }

    @functools.cached_property
    def _pieces(self) -> dict[str, set[int]]:
        """The pieces of metal that each contact is on."""
        of = self.device.layout().pieces(metal=True).of
        return {name: of(face) for name, face in self.device.contact_faces().items()}

    def grounds(self, experiment: Experiment) -> tuple[str, ...]:
        """Return the contacts with V_up = V_down = 0: where the current leaves, and the reference of a voltage.

        The minus contact of a voltage is the reference of its piece of metal if no current is driven through that. So
        the response to heat and its reciprocal, to a current between the voltage contacts, have one operator.
        """
        held = [experiment.current[1]] if experiment.current else []
        if experiment.voltage:
            minus = experiment.voltage[1]
            if not held or (minus != held[0] and not self._pieces[minus] & self._pieces[held[0]]):
                held.append(minus)
        return tuple(held)

    def areas(self, name: str) -> np.ndarray:
        """Return the area of a contact or heat sink that each node has [m^2] (nodes,)."""
        _, face, solids = self.attached[name]
        return self.on_nodes(face.weights(self.grid), solids)

    def reading(self, contact: str, numbers: np.ndarray, count_V: int) -> np.ndarray:
        """Return the vector w with w.u the area mean of (V_up + V_down)/2 over a contact.

        Args:
          contact: its name.
          numbers: node of each T-node, those of V-nodes first.
          count_V: how many V-nodes there are.
        Raises:
          InputError: no node lies on the contact.
        """
        area = self.areas(contact)[numbers[:count_V]]
        if not area.sum() > 0:
            raise InputError(f"contact '{contact}': no node of the grid has any of its face; round its place to 0.1 nm")
        return np.concatenate([area, area, np.zeros(len(numbers))]) / (2 * area.sum())

    def shares(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the part of each node that faces hold: at the bath temperature, by name; at zero, by contact."""
        metals = np.array(self.constitution.metals)
        heat, charge = {}, {}
        for name, (item, face, solids) in self.attached.items():
            of_charge, of_heat = held.shares(self.grid, face, metals, is_contact=isinstance(item, Contact))
            if item.h == math.inf:
                heat[name] = self.on_nodes(of_heat, solids)
            if of_charge is not None:
                charge[name] = self.on_nodes(of_charge, solids)
        return heat, charge

    def power(self, powers: Mapping[str, float]) -> np.ndarray:
        """Return the heat that each node takes of a watt in the first of some solids [1] (nodes,)."""
        first = next(iter(powers.values()))
        out = np.zeros(self.volumes.shape[0])
        for name, power in powers.items():
            volume = self._volume(name)
            out += power / first * volume / volume.sum()
        return out

    def mean(self, name: str) -> np.ndarray:
        """Return the weights of the mean temperature of a solid, or of a contact if no solid has the name (nodes,)."""
        values = self._volume(name) if indices(self.device.solids, name) else self.areas(name)
        return values / values.sum()

    def _volume(self, name: str) -> np.ndarray:
        return np.asarray(self.volumes[:, indices(self.device.solids, name)].sum(axis=1)).ravel()


def vectors(
    placement: Placement, numbers: np.ndarray, count_V: int, experiment: Experiment
) -> tuple[np.ndarray, np.ndarray]:
    """Return the drive of an experiment, which enters the right-hand side, and the vector w of its reading w.u.

    Args:
      placement: of the device.
      numbers: node of each T-node, those of V-nodes first.
      count_V: how many V-nodes there are.
      experiment: the experiment; what it holds or reads by reactions is in neither.
    """

    def at_nodes(values: np.ndarray) -> np.ndarray:
        return np.concatenate([np.zeros(2 * count_V), values[numbers]])

    zero = np.zeros(2 * count_V + len(numbers))
    drive = probe = zero
    if experiment.current:
        drive = placement.reading(experiment.current[0], numbers, count_V)
    elif experiment.power:
        drive = at_nodes(placement.power(experiment.power) / placement.device.bath)
    if experiment.voltage:
        # The ground reads 0, as a mean over its face would not where nodes are tied to it.
        plus, minus = (
            zero if name in placement.grounds(experiment) else placement.reading(name, numbers, count_V)
            for name in experiment.voltage
        )
        probe = plus - minus
    elif experiment.through is None:
        first, *second = (placement.mean(name) for name in experiment.temperature)
        probe = at_nodes(first - sum(second, np.zeros_like(first)))
    return drive, probe


def together(grounds: Sequence[str], shares: Mapping[str, np.ndarray], size: int) -> np.ndarray:
    """Return the part of each node that some grounds hold, of those among `shares` (size,)."""
    return np.minimum(sum((shares[name] for name in grounds if name in shares), np.zeros(size)), 1.0)


def label_of_ground(grounds: Sequence[str]) -> str:
    """Return the name of a set of grounds; "" for none."""
    return ", ".join(grounds)


def label_of(item: Contact | HeatSink) -> str:
    """Return the name of a contact or a heat sink."""
    return item.name if isinstance(item, Contact) else item.label


def crossing_of(device: Device, experiment: Experiment) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the solids between which an experiment reads what passes."""
    if experiment.through is None:
        return None
    one, other = (tuple(indices(device.solids, name)) for name in experiment.through.between)
    return one, other


def crossings_of(device: Device) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """Return the pairs of groups of solids between which experiments read what passes."""
    pairs = (crossing_of(device, experiment) for experiment in device.experiments.values())
    return tuple(dict.fromkeys(pair for pair in pairs if pair is not None))


def place(device: Device, grid: Grid) -> Placement:
    """Return the nodes of a device on a grid."""
    constitution = constitution_of(device)
    rule = _rule(device, constitution)
    split, outside = None, {}
    bare = Placement(device, grid, constitution, None, {})
    if rule.split.any() or constitution.faces:
        held_faces = [
            (face.weights(grid), which)
            for item, face, which in bare.attached.values()
            if rule.crossings and item.h == math.inf
        ]
        split = splits.split(grid, _owners(device, grid), rule, held_faces)
    for name in constitution.faces if split is not None else ():
        _, face, solids = bare.attached[name]
        assert split is not None
        first = len(split.place)
        areas = split.on_nodes(face.weights(grid), solids)
        split = split.with_outside(areas, constitution.column_of_face(name), face.axis)
        outside[name] = np.arange(first, len(split.place))
    return dataclasses.replace(bare, split=split, outside=outside)


#: An interface that conducts this many times better than the smallest feature of the best conductor is none: the
#: fields, whose jump there would drown in rounding, are taken as continuous.
PERFECT = 1e5


def jumps(device: Device, joint: Joint, values: Mapping[str, float] | None = None) -> tuple[bool, bool]:
    """Return whether the potentials and the temperature jump at a joint.

    Args:
      device: the device.
      joint: one of its joints.
      values: of parameters; None: the device's own.
    """
    given = device.parameters() if values is None else values
    size = device.smallest_feature
    sigma, kappa = (
        max(given.get(f"{material}.{key}", 0.0) for material, _ in device.domains) for key in ("sigma", "kappa")
    )
    RA, K = (given.get(f"{joint.interface}.{key}") for key in ("RA", "K"))
    of_V = RA is not None and RA * sigma > size / PERFECT
    of_T = K is not None and K * size < PERFECT * kappa
    return of_V, of_T


def _rule(device: Device, constitution: Constitution) -> Rule:
    """Return where the nodes of a device are doubled."""
    count = len(device.solids)
    metal = np.array([device.materials[solid.material].is_metal for solid in device.solids])
    domain = np.array([device.domains.index((solid.material, solid.magnet)) for solid in device.solids])
    split, jump_V, jump_T = (np.zeros((count, count), bool) for _ in range(3))
    column = np.full((count, count), -1)
    for (one, other), joint in _joints(device).items():
        for pair in ((one, other), (other, one)):
            split[pair] = True
            jump_V[pair], jump_T[pair] = jumps(device, joint)
            column[pair] = len(constitution.domains) + constitution.joints.index(joint)
    crossings = crossings_of(device)
    for group in (group for pair in crossings for group in pair):
        inside = np.isin(np.arange(count), group)
        split |= inside[:, None] != inside[None]
    return Rule(metal, domain, split, jump_V, jump_T, column, constitution.columns, crossings)


def _owners(device: Device, grid: Grid) -> Grid:
    """Return the grid with the solid for each cell."""
    plan = device.layout()
    return Grid(grid.lines, plan.owners(grid.lines), grid.order, plan.prisms(range(len(device.solids))))
