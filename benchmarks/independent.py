"""Signals of devices from an independent code, NGSolve, with uncertainties: the truth that error bars are judged by.

    python benchmarks/independent.py [DEVICE ...] [--again NAME ...] [--limit UNKNOWNS] [--target 0.002]
        [--json benchmarks/results/truth.json]

Without names: all of benchmarks/calibration_devices, and slachter2010. Devices that the JSON file has are skipped, but
for those after --again. Needs `pip install ngsolve pypardiso`. Only currents in, voltages out, and interfaces between
materials.

From thermospin come what a device file says and where its contacts are. Mesh, elements, quadrature, assembly, solver:
- Hexahedra of order p in NGSolve's hierarchical H1, on a tensor mesh of the device's boxes without the void. Each inner
  face is approached from both sides in cells that shrink by a ratio, LAYERS of them in the narrower half gap beside it,
  so that singular fields at edges converge exponentially in p and LAYERS together (hp method).
- Current enters a magnet through a contact half in each spin channel, so that a layer of spins lies there, as thick as
  lambda_sf. There, in the magnet, are more lines, at lambda_sf times SPIN_LAYER.
- An interface is a layer of cells of the thickness LAYER that conducts along its normal alone.
- Gauss's quadrature, exact. The heat law is divided by T0, so that A is symmetric positive definite (docs/theory.md).
- Unknowns V_c = (V_up + V_down)/2, V_s = V_up - V_down, T. In these the coupling is weak: conjugate gradients with one
  sparse Cholesky factorisation for each of the three fields, the same for P and AP, take about a dozen iterations.

Where potentials are singular at edges, errors of signals fall by about the ratio with each layer (by 0.12 to 0.19 at
0.15), so the limit of many layers is extrapolated from (p, LAYERS) and (p, LAYERS - 1). Its uncertainty is half of that
step, plus a quarter of what the limit changes from p - 1 to p: in hp methods less is left.
Meshes become finer until all uncertainties are small enough, or unknowns too many. A second run goes on from the first;
of a device that has changed, delete the old results.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import netgen.meshing as netgen  # type: ignore
import ngsolve as ngs  # type: ignore
import numpy as np
import scipy.sparse as sparse
from finite_elements import Solve, factorised
from ngsolve import dx, grad

from thermospin.base import files
from thermospin.device import reader
from thermospin.device.device import Device

HERE = Path(__file__).parent
DEVICES = HERE / "calibration_devices"
#: Unit of length of the mesh [m].
NM = 1e-9
#: From one cell to the next towards a face.
RATIO = 0.15
#: Distances of mesh lines from a contact through which current enters a magnet, in lambda_sf.
SPIN_LAYER = np.array([1, 3, 9])
TOLERANCE = 1e-9
#: Thickness of the layer of cells that stands for an interface [nm].
LAYER = 1e-3
#: Of an interface without RA [ohm m^2] or K [W/(m^2 K)]: far better conductors than any cell beside it.
NOTHING = {"RA": 1e-20, "K": 1e14}
#: (V_up, V_down, T) of (V_c, V_s, T).
CHANNELS = np.array([[1, 0.5, 0], [1, -0.5, 0], [0, 0, 1]])

Close = Callable[[], None]
Field = Callable[[np.ndarray], np.ndarray]
Row = dict[str, Any]
#: Number of the interface, normal axis, domains of its first and second side.
Sheet = tuple[int, int, int, int]
Signals = dict[str, dict[str, float]]

SHIPPED = ["slachter2010"]
#: (order, layers) of the meshes tried, those of more unknowns than allowed left out.
LADDER = [(2, 1), (3, 1), (2, 2), (3, 2), (4, 1), (4, 2), (2, 3), (3, 3)]
#: Signals below this part of the largest of their harmonic count as zero by symmetry.
ZERO = 1e-9


# ------------------------------------------------------------------------------------------- mesh


def graded(faces: np.ndarray, layers: int) -> np.ndarray:
    """Return mesh lines [nm]: all faces, the middles between them, and inner faces approached in shrinking cells."""
    halves = np.diff(faces) / 2
    first = np.minimum(halves[:-1], halves[1:]) * RATIO**layers
    lines = [faces, faces[:-1] + halves]
    for face, start, before, after in zip(faces[1:-1], first, halves[:-1], halves[1:], strict=True):
        lines += [face - distances(start, before), face + distances(start, after)]
    return np.unique(np.round(np.concatenate(lines), 9))


def distances(first: float, half: float) -> np.ndarray:
    """Return the distances of mesh lines from a face [nm], a geometric series from `first` up to below `half`."""
    out = first / RATIO ** np.arange(20)
    return out[out < 0.7 * half]


def spin_lines(loaded: Device, axis: int, faces: np.ndarray) -> np.ndarray:
    """Return mesh lines [nm] in the layers of spins at contacts of magnets."""
    lines = [np.empty(0)]
    for name in sorted({name for each in loaded.experiments.values() for name in each.current or ()}):
        face, contact = loaded.contact_faces()[name], loaded.contact(name)
        material = loaded.materials[loaded.solid(contact.solid).material]
        if face.axis == axis and (material.P or material.S_s):
            plane = int(np.argmin(np.abs(faces - face.position / NM)))
            inwards = 1 if contact.face.endswith("-") else -1
            away = material.lambda_sf / NM * SPIN_LAYER
            lines.append(faces[plane] + inwards * away[away < 0.35 * abs(faces[plane + inwards] - faces[plane])])
    return np.round(np.concatenate(lines), 9)


def mesh_of(loaded: Device, layers: int, moved: Field | None = None) -> ngs.Mesh:
    """Mesh a device of boxes: materials are numbers of domains, boundaries contacts by name, and "sink0", "sink1"...

    `moved` is where the points (points, 3) [nm] of the mesh of boxes lie; None: where they are.
    """
    boxes = np.array([solid.box for solid in loaded.solids]) / NM
    faces = [np.unique(np.round(boxes[:, axis], 6)) for axis in range(3)]
    lines = [np.union1d(graded(each, layers), spin_lines(loaded, axis, each)) for axis, each in enumerate(faces)]
    middles = [(line[1:] + line[:-1]) / 2 for line in lines]
    domain = np.full([len(each) for each in middles], -1)
    for solid, box in zip(loaded.solids, boxes, strict=True):
        inside = [(low < x) & (x < high) for x, (low, high) in zip(middles, box, strict=True)]
        domain[np.ix_(*inside)] = loaded.domains.index((solid.material, solid.magnet))
    all_sheets = sheets(loaded)
    for axis in range(3):
        lines[axis], domain = with_sheets(lines[axis], domain, axis, all_sheets, len(loaded.domains))
    middles = [(line[1:] + line[:-1]) / 2 for line in lines]
    shape = [len(line) for line in lines]
    filled = np.argwhere(domain >= 0)
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]])
    cells = np.ravel_multi_index(np.moveaxis(filled[:, None] + corners, -1, 0), shape)
    quads: dict[str, np.ndarray] = {}
    named = list(loaded.contact_faces().items())
    named += [(f"sink{k}", face) for k, face in enumerate(loaded.heat_sink_faces())]
    for name, face in named:
        plane = [middles[axis] for axis in range(3) if axis != face.axis]
        coarse = [np.asarray(face.lines[axis]) / NM for axis in range(3) if axis != face.axis]
        at = [np.clip(np.searchsorted(c, x) - 1, 0, len(c) - 2) for c, x in zip(coarse, plane, strict=True)]
        thick = [np.diff(line) > 2 * LAYER for axis, line in enumerate(lines) if axis != face.axis]
        place = np.argwhere(face.cells[np.ix_(*at)] & np.outer(*thick))
        line = int(np.argmin(np.abs(lines[face.axis] - face.position / NM)))
        square = np.insert(place[:, None] + [[0, 0], [1, 0], [1, 1], [0, 1]], face.axis, line, axis=2)
        quads[name] = np.ravel_multi_index(np.moveaxis(square, -1, 0), shape)
    points = np.stack([x.ravel() for x in np.meshgrid(*lines, indexing="ij")], axis=1)
    return assembled(points if moved is None else moved(points), cells, domain[tuple(filled.T)], quads)


def sheets(loaded: Device) -> list[Sheet]:
    """Return the layers that may stand for interfaces, in the order of their domains, behind those of the solids."""
    names = [loaded.materials[material].name for material, _ in loaded.domains]
    assert all(side in names for interface in loaded.interfaces for side in interface.between)
    found: dict[tuple[int, int], int] = {}
    for number, interface in enumerate(loaded.interfaces):  # a later one goes before an earlier one
        first, second = ([k for k, name in enumerate(names) if name == side] for side in interface.between)
        found |= {(a, b): number for a in first for b in second if a != b and (b, a) not in found}
    return [(number, axis, *pair) for axis in range(3) for pair, number in found.items()]


def with_sheets(
    line: np.ndarray, domain: np.ndarray, axis: int, all_sheets: list[Sheet], solids: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return mesh lines of one axis [nm] and domains of cells with layers of cells where interfaces are."""
    own = {frozenset(pair): solids + k for k, (_, along, *pair) in enumerate(all_sheets) if along == axis}
    slabs = np.moveaxis(domain, axis, 0)
    more, out = [], [slabs[0]]
    for position, below, above in zip(line[1:-1], slabs[:-1], slabs[1:], strict=True):
        layer = np.where(above < 0, above, below)  # of the void on either side: nothing joins both at the rim
        for pair, number in own.items():
            a, b = pair
            layer[((below == a) & (above == b)) | ((below == b) & (above == a))] = number
        if layer.max() >= solids and np.any((layer >= solids) & (layer != below)):
            more.append(position + LAYER)
            out.append(layer)
        out.append(above)
    return np.sort(np.append(line, more)), np.moveaxis(np.array(out), 0, axis)


def assembled(points: np.ndarray, cells: np.ndarray, domain: np.ndarray, quads: dict[str, np.ndarray]) -> ngs.Mesh:
    """Return the mesh of hexahedra (cells, 8) and named quadrilaterals (faces, 4), given by numbers of grid points."""
    used = np.unique(cells)
    mesh = netgen.Mesh(dim=3)
    mesh.AddPoints(np.ascontiguousarray(points[used]))
    for number in range(domain.max() + 1):
        mesh.SetMaterial(number + 1, str(number))
        own = np.searchsorted(used, cells[domain == number]).astype(np.int32)
        mesh.AddElements(dim=3, index=number + 1, data=np.ascontiguousarray(own), base=0)
    for number, (name, own) in enumerate(quads.items(), start=1):
        mesh.Add(netgen.FaceDescriptor(surfnr=number, domin=1, bc=number))
        mesh.SetBCName(number - 1, name)
        data = np.searchsorted(used, own).astype(np.int32)
        mesh.AddElements(dim=2, index=number, data=np.ascontiguousarray(data), base=0)
    return ngs.Mesh(mesh)


# ------------------------------------------------------------------------------------------- equations


def law(loaded: Device, signs: dict[str, int]) -> list[tuple[np.ndarray, float, dict[str, float]]]:
    """Return of every domain the matrix (3, 3) of the fluxes of (V_c, V_s, T), relaxation, values of the channels."""
    out = []
    for name, magnet in loaded.domains:
        m, sign = loaded.materials[name], signs.get(magnet or "", 1)
        if not m.is_metal:
            out.append((np.diag([0, 0, m.kappa / loaded.bath]), 0.0, {}))
            continue
        P, S_s = sign * m.P, sign * m.S_s
        sigma = m.sigma / 2 * np.array([1 + P, 1 - P])
        S = m.S + S_s / 2 * np.array([1 - P, -1 - P])
        G = np.zeros((3, 3))
        G[[0, 1], [0, 1]] = sigma
        G[2, :2] = G[:2, 2] = sigma * S
        G[2, 2] = m.kappa / loaded.bath
        relaxation = (1 - P**2) * m.sigma / (4 * m.lambda_sf**2)
        channels = {"sigma_up": sigma[0], "sigma_down": sigma[1], "S_up": S[0], "S_down": S[1]}
        out.append((CHANNELS.T @ G @ CHANNELS, relaxation, channels))
    return out + [sheet_law(loaded, signs, sheet) for sheet in sheets(loaded)]


def sheet_law(loaded: Device, signs: dict[str, int], sheet: Sheet) -> tuple[np.ndarray, float, dict[str, float]]:
    """Return what `law` does of the layer of an interface: conductances per area times its thickness."""
    number, _, *ends = sheet
    values = NOTHING | loaded.interfaces[number].values()
    s1, s2 = (signs.get(loaded.domains[end][1] or "", 1) for end in ends)
    P1, P2 = values.get("P1", values.get("gamma", 0)) * s1 * (1 if "P1" in values else s2), values.get("P2", 0) * s2
    thickness = LAYER * NM
    up, down = ((1 + s * P1) * (1 + s * P2) / 2 * thickness / values["RA"] for s in (1, -1))
    P = (up - down) / (up + down)
    S, S_s = values.get("S", 0), values.get("S_s", 0) * s1 * s2
    if s1 * s2 < 0:
        S = values.get("S_AP", S)
    channels = {"sigma_up": up, "sigma_down": down, "S_up": S + S_s / 2 * (1 - P), "S_down": S - S_s / 2 * (1 + P)}
    G = np.diag([up, down, values["K"] * thickness / loaded.bath])
    G[2, :2] = G[:2, 2] = up * channels["S_up"], down * channels["S_down"]
    if not all(conducting(loaded)[end] for end in ends):
        return np.diag([0, 0, G[2, 2]]), 0.0, {}
    relaxation = (1 - P**2) * (up + down) / 4 * (values.get("delta", 0) / thickness) ** 2
    return CHANNELS.T @ G @ CHANNELS, relaxation, channels


def count(loaded: Device, order: int, layers: int) -> int:
    """Return the number of unknowns of a mesh."""
    mesh = mesh_of(loaded, layers)
    space = ngs.H1(mesh, order=order)
    return 2 * sum(space.GetDofs(metals(loaded, mesh))) + space.ndof


def metals(loaded: Device, mesh: ngs.Mesh) -> Any:
    """Return the region of all metals and of interfaces between them."""
    return mesh.Materials("|".join(str(k) for k, metal in enumerate(conducting(loaded)) if metal))


def conducting(loaded: Device) -> list[bool]:
    """Return whether charge flows in each domain, those of interfaces last."""
    solids = [loaded.materials[name].is_metal for name, _ in loaded.domains]
    return solids + [solids[first] and solids[second] for _, _, first, second in sheets(loaded)]


class Problem:
    """One mesh of a device with its matrices.

    Attributes:
      space: H1 of some order, the same for all fields.
      K, M: stiffness [m] and mass [m^3] of every domain; M of metals only.
      metal, held: mark the unknowns of metals, and those at the bath temperature.
      ports: for each contact the area mean of a field over its face.
      on: the unknowns on each contact and heat sink.
      pieces: number of the connected piece of metal of each unknown.
      exchange: of heat with the bath through faces of a finite heat transfer coefficient, over T0.
      heat, close: inverse of heat conduction alone, and what gives its memory back.
    """

    def __init__(self, loaded: Device, mesh: ngs.Mesh, order: int) -> None:
        self.loaded, self.mesh, self.order = loaded, mesh, order
        self.space = ngs.H1(mesh, order=order)
        self.n = self.space.ndof
        self.metals = metals(loaded, mesh)
        normals = [None] * len(loaded.domains) + [sheet[1] for sheet in sheets(loaded)]
        u, v = self.space.TnT()
        self.K, self.M = [], {}
        for k, (metal, axis) in enumerate(zip(conducting(loaded), normals, strict=True)):
            region = mesh.Materials(str(k))
            product = grad(u) * grad(v) if axis is None else grad(u)[axis] * grad(v)[axis]
            self.K.append(self.matrix(product * dx(definedon=region)) * NM)
            if metal:
                self.M[k] = self.matrix(u * v * dx(definedon=region)) * NM**3
        self.metal = marks(self.space.GetDofs(self.metals))
        self.ports, self.on = {}, {}
        for name in sorted(set(mesh.GetBoundaries()) - {"default"}):  # those of tetrahedra that are nothing
            face = mesh.Boundaries(re.escape(name))
            area = ngs.Integrate(ngs.CF(1), mesh, definedon=face)
            self.ports[name] = np.array(ngs.LinearForm(v * ngs.ds(definedon=face)).Assemble().vec) / area
            self.on[name] = marks(self.space.GetDofs(face))
        self.pieces = sparse.csgraph.connected_components(sum(self.K[k] for k in self.M))[1]
        sinks = {f"sink{number}": sink.h for number, sink in enumerate(loaded.heat_sinks)}
        h = {contact.name: contact.h for contact in loaded.contacts} | sinks
        self.held = np.any([self.on[name] for name in h if h[name] == math.inf], axis=0)
        self.exchange = sparse.csr_matrix((self.n, self.n))
        for name in (name for name in h if 0 < h[name] < math.inf):
            face = mesh.Boundaries(re.escape(name))
            own = self.matrix(u * v * ngs.ds(definedon=face))
            self.exchange += h[name] / loaded.bath * NM**2 * own
        self.heat, self.close = self.factorised(
            [each[2, 2] for each, _, _ in law(loaded, {})], ~self.held, plus=self.exchange
        )

    def references(self, ground: str, minus: str) -> tuple[str, ...]:
        """Return the contacts at zero potential: where the current leaves, and one on the piece that is read."""
        first, second = (self.piece(end) for end in (ground, minus))
        return (ground,) if first == second else (ground, minus)

    def piece(self, contact: str) -> int:
        """Return the number of the piece of metal that a contact is on."""
        return int(self.pieces[self.on[contact] & self.metal][0])

    def matrix(self, integrand: Any) -> sparse.csr_matrix:
        """Return an assembled form as a matrix of SciPy."""
        form = ngs.BilinearForm(self.space, symmetric=True)
        form += integrand
        form.Assemble()
        rows, columns, values = (np.array(part) for part in form.mat.COO())
        keep = values != 0
        return sparse.csr_matrix((values[keep], (rows[keep], columns[keep])), shape=(self.n, self.n))

    def factorised(
        self, conductance: list[float], free: np.ndarray, relaxation: Any = None, plus: Any = 0
    ) -> tuple[Solve, Close]:
        """Return the inverse of a scalar diffusion problem on the free unknowns, and what gives its memory back."""
        total = plus + sum(value * K for value, K in zip(conductance, self.K, strict=True) if value)
        if relaxation:
            total = total + sum(relaxation[k] * M for k, M in self.M.items())
        index = np.flatnonzero(free)
        _, inverse, close = factorised(total[index][:, index])

        def solve(b: np.ndarray) -> np.ndarray:
            x = np.zeros_like(b)
            x[:, index] = inverse(np.asfortranarray(b[:, index].T)).T
            return x

        return solve, close

    def joule(self, laws: list, u: np.ndarray) -> np.ndarray:
        """Return zeta/T0 times the integral of v_T times the Joule heat of fields u (3, n)."""
        up, down, T = (ngs.GridFunction(self.space) for _ in range(3))
        for field, values in zip((up, down, T), CHANNELS @ u, strict=True):
            field.vec.FV().NumPy()[:] = values
        v = self.space.TestFunction()
        heat = 0
        for V, s in ((up, "up"), (down, "down")):
            sigma, S = (
                self.mesh.MaterialCF({str(k): channels.get(f"{key}_{s}", 0) for k, (_, _, channels) in enumerate(laws)})
                for key in ("sigma", "S")
            )
            drive = grad(V) + S * grad(T)
            heat = heat + sigma * drive * drive
        form = ngs.LinearForm(self.space)
        form += heat * v * dx(definedon=self.metals, bonus_intorder=self.order)
        form.Assemble()
        return self.loaded.zeta / self.loaded.bath * NM * form.vec.FV().NumPy()


def marks(bits: ngs.BitArray) -> np.ndarray:
    """Return bits as an array of booleans."""
    return np.array(bits, dtype=bool)


def conjugate_gradients(A: Field, B: Field, b: np.ndarray) -> np.ndarray:
    """Solve A x = b for several systems (systems, 3, n) in step with each other, with a preconditioner B."""

    def products(a: np.ndarray, c: np.ndarray) -> np.ndarray:
        return np.einsum("kin,kin->k", a, c)[:, None, None]

    x, r = np.zeros_like(b), b.copy()
    z = B(r)
    p, rz = z.copy(), products(r, z)
    first = rz
    for _ in range(200):
        Ap = A(p)
        step = rz / products(p, Ap)
        x += step * p
        r -= step * Ap
        z = B(r)
        rz, before = products(r, z), rz
        if np.all(rz <= TOLERANCE**2 * first):
            return x
        p = z + rz / before * p
    raise RuntimeError("conjugate gradients did not converge")


def solved(loaded: Device, problem: Problem) -> Signals:
    """Return the signals of all experiments that drive a current and read a voltage, and close the problem."""
    readable = {name: e for name, e in loaded.experiments.items() if e.current and e.voltage}
    references = {name: problem.references(e.current[1], e.voltage[1]) for name, e in readable.items()}
    found: Signals = {}
    for ends in dict.fromkeys(references.values()):
        names = [name for name, own in references.items() if own == ends]
        for name, state, harmonics in responses(problem, ends, names):
            for harmonic, value in harmonics.items():
                found.setdefault(f"{name} {harmonic}", {})[state] = value
    problem.close()
    return found


def responses(problem: Problem, ends: tuple[str, ...], names: list[str]) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Yield name, state, R1 and R2 of experiments with the same contacts at zero potential."""
    loaded = problem.loaded
    free = np.stack([problem.metal] * 2 + [~problem.held])
    free[:2, np.any([problem.on[end] for end in ends], axis=0)] = False
    pieces = {problem.piece(end) for end in ends}
    for piece in set(problem.pieces[problem.metal]) - pieces:
        free[0, np.flatnonzero(problem.pieces == piece)[0]] = False  # a piece that floats, at any potential
    G, relaxation = zip(*[each[:2] for each in law(loaded, {})], strict=True)
    inverses = [problem.heat]
    closing = []
    for i in (1, 0):
        inverse, close = problem.factorised([each[i, i] for each in G], free[i], relaxation if i else None)
        inverses.insert(0, inverse)
        closing.append(close)
    runs = [(name, state) for name in names for state in loaded.experiments[name].states]
    laws = [law(loaded, loaded.experiments[name].states[state]) for name, state in runs]

    def A(u: np.ndarray) -> np.ndarray:
        out = np.zeros_like(u)
        for k, K in enumerate(problem.K):
            Ku = (K @ u.reshape(-1, problem.n).T).T.reshape(u.shape)
            for row, each, flux in zip(out, laws, Ku, strict=True):
                row += each[k][0] @ flux
            if k in problem.M:
                out[:, 1] += laws[0][k][1] * (problem.M[k] @ u[:, 1].T).T
        out[:, 2] += (problem.exchange @ u[:, 2].T).T
        return np.where(free, out, 0)

    def B(r: np.ndarray) -> np.ndarray:
        return np.stack([inverse(r[:, i]) for i, inverse in enumerate(inverses)], axis=1)

    b = np.zeros((len(runs), 3, problem.n))
    b[:, 0] = [problem.ports[loaded.experiments[name].current[0]] for name, _ in runs]
    u_1 = conjugate_gradients(A, B, np.where(free, b, 0))
    b = np.zeros_like(b)
    b[:, 2] = [problem.joule(*pair) for pair in zip(laws, u_1, strict=True)]
    u_2 = conjugate_gradients(A, B, np.where(free, b, 0))
    for close in closing:
        close()
    for (name, state), first, second in zip(runs, u_1, u_2, strict=True):
        plus, minus = (problem.ports[end] for end in loaded.experiments[name].voltage)
        yield name, state, {"R1": float((plus - minus) @ first[0]), "R2": float((plus - minus) @ second[0])}


# ------------------------------------------------------------------------------------------- results


def flat(found: Signals) -> dict[str, float]:
    """Return signals by names such as "thermal R2.spin", with baseline and spin part where there are P and AP."""
    out = {}
    for name, states in found.items():
        out |= {f"{name}.{state}": value for state, value in states.items()}
        if {"P", "AP"} <= set(states):
            out[f"{name}.baseline"] = (states["P"] + states["AP"]) / 2
            out[f"{name}.spin"] = states["P"] - states["AP"]
    return out


def name_of(order: int, layers: int) -> str:
    """Return the name of a run in the results."""
    return f"order {order}, layers {layers}"


def summary(row: Row, order: int, layers: int) -> Row:
    """Return signals with uncertainties from a run and three coarser ones."""
    runs = row["runs"]

    def limit(p: int, name: str) -> tuple[float, float]:
        """Signal without the error of the innermost cells, and how much that changes it."""
        fine, coarse = (runs[name_of(p, n)]["signals"][name] for n in (layers, layers - 1))
        change = RATIO / (1 - RATIO) * (fine - coarse)
        return fine + change, change

    signals = {}
    for name in runs[name_of(order, layers)]["signals"]:
        value, change = limit(order, name)
        off = abs(change) / 2 + abs(value - limit(order - 1, name)[0]) / 4
        signals[name] = {"value": value, "uncertainty": off, "unit": "V/A" if " R1." in name else "V/A^2"}
    seconds = round(sum(run["seconds"] for run in runs.values()))
    unknowns = runs[name_of(order, layers)]["unknowns"]
    return {
        "signals": signals,
        "unknowns": unknowns,
        "order": order,
        "layers": layers,
        "seconds": seconds,
        "runs": runs,
    }


def truth(loaded: Device, row: Row, limit: int, target: float, moved: Field | None = None) -> Iterator[Row]:
    """Yield signals with uncertainties from finer and finer meshes, until they are exact enough; goes on from `row`."""
    for order, layers in LADDER:
        if row.get("signals") and worst(row) < target:
            return
        run = name_of(order, layers)
        if run not in row["runs"]:
            unknowns = count(loaded, order, layers)
            if unknowns > limit:
                continue
            began = time.perf_counter()
            signals = flat(solved(loaded, Problem(loaded, mesh_of(loaded, layers, moved), order)))
            seconds = round(time.perf_counter() - began, 1)
            row["runs"][run] = {"unknowns": unknowns, "seconds": seconds, "signals": signals}
            print(f"  {run}: {unknowns} unknowns, {seconds:.0f} s", flush=True)
        if all(name_of(order - i, layers - j) in row["runs"] for i in (0, 1) for j in (0, 1)):
            row = summary(row, order, layers)
        yield row


def worst(row: Row) -> float:
    """Return the largest relative uncertainty of baselines and spin parts that are not zero by symmetry."""
    signals = row["signals"]
    size = {}
    for name, each in signals.items():
        harmonic = name.partition(" ")[2][:2]
        size[harmonic] = max(size.get(harmonic, 0), abs(each["value"]))
    return max(
        each["uncertainty"] / abs(each["value"])
        for name, each in signals.items()
        if name.endswith((".baseline", ".spin")) and abs(each["value"]) > ZERO * size[name.partition(" ")[2][:2]]
    )


def main() -> None:
    """Solves the devices that are missing, and writes the file after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("devices", nargs="*")
    parser.add_argument("--again", nargs="*", default=[])
    parser.add_argument("--limit", type=int, default=900_000, help="most unknowns")
    parser.add_argument("--target", type=float, default=0.002, help="relative uncertainty that is enough")
    parser.add_argument("--json", type=Path, default=HERE / "results" / "truth.json")
    options = parser.parse_args()
    given = options.devices or [*sorted(map(str, DEVICES.glob("*.toml"))), *SHIPPED]
    rows: dict[str, Row] = json.loads(options.json.read_text()) if options.json.exists() else {}
    for each in given + options.again:
        loaded = reader.load(each)
        if rows.get(loaded.name, {}).get("signals") and each not in options.again:
            continue
        print(loaded.name, flush=True)
        options.json.parent.mkdir(exist_ok=True)
        row = rows.get(loaded.name, {"runs": {}})
        for better in truth(loaded, row, options.limit, options.target):
            row = rows[loaded.name] = better
            files.write_json(options.json, rows)
        if "signals" in row:
            print(f"  {row['seconds']} s, {100 * worst(row):.2g} %", flush=True)


if __name__ == "__main__":
    main()
