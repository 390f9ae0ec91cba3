"""Best estimates of devices with round and slanted edges, against an independent code on tetrahedra.

    python benchmarks/prisms.py [DEVICE ...] [--json FILE]

Without names: all of benchmarks/prism_devices. NGSolve meshes the solids as they are drawn, with tetrahedra that are
small along the edges of metals (`EDGE`), and solves the equations of benchmarks/independent.py. The truth is the value
at order 3 on small cells plus what order 4 changes on larger ones; "known to" is half of both steps. Currents and
voltages only, no interfaces. Needs `pip install ngsolve pypardiso`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import independent
import jax
import ngsolve as ngs  # type: ignore
import numpy as np
from netgen import occ  # type: ignore

jax.config.update("jax_enable_x64", True)

from thermospin.accuracy.computing import GridChoice, compute
from thermospin.base import files
from thermospin.device import reader
from thermospin.device.device import Device
from thermospin.device.parts import Contact, HeatSink, Solid

DEVICES = Path(__file__).parent / "prism_devices"
NM = 1e-9
#: Size of cells [nm] in the bulk, and along edges of metals: large and small.
BULK, EDGE, GRADING = 40.0, (12.0, 6.0), 0.3
#: Positions closer than this are the same [nm].
NEAR = 1e-3


def shape_of(solid: Solid) -> occ.TopoDS_Shape:
    """Return a solid [nm]."""
    (x0, x1), (y0, y1), (z0, z1) = np.array(solid.box) / NM
    if solid.outline is None:
        return occ.Box((x0, y0, z0), (x1, y1, z1))
    first, *others = (np.array(solid.outline) / NM).tolist()
    plane = occ.WorkPlane(occ.Axes((0, 0, z0), n=occ.Z, h=occ.X)).MoveTo(*first)
    for corner in others:
        plane.LineTo(*corner)
    return plane.Close().Face().Extrude((z1 - z0) * occ.Vec(0, 0, 1))


def mesh_of(loaded: Device, edge: float) -> ngs.Mesh:
    """Mesh a device; materials and boundaries have the names of `independent.mesh_of`."""
    shapes = [shape_of(solid) for solid in loaded.solids]
    pieces = []
    for number, (solid, shape) in enumerate(zip(loaded.solids, shapes, strict=True)):
        for later in shapes[number + 1 :]:
            shape = shape - later
        for part in shape.solids:
            part.name = str(loaded.domains.index((solid.material, solid.magnet)))
            pieces.append(part)
    glued = occ.Glue(pieces)
    owners: dict[occ.Face, int] = {}
    for part in glued.solids:
        material, _ = loaded.domains[int(part.name)]
        for face in part.faces:
            owners[face] = owners.get(face, 0) + 1
        if loaded.materials[material].is_metal:
            for line in part.edges:
                line.maxh = edge
    for face, count in owners.items():
        face.name = "default" if count > 1 else _name(loaded, face)
    return ngs.Mesh(occ.OCCGeometry(glued).GenerateMesh(maxh=BULK, grading=GRADING))


def _name(loaded: Device, face: occ.Face) -> str:
    """Return the contact or heat sink that an outer face belongs to, "default" for none."""
    named: list[tuple[str, Contact | HeatSink]] = [(contact.name, contact) for contact in loaded.contacts]
    named += [(f"sink{k}", sink) for k, sink in enumerate(loaded.heat_sinks)]
    low, high = (np.array(list(corner)) for corner in face.bounding_box)
    centre = np.array([face.center.x, face.center.y, face.center.z])
    for name, item in named:
        box = np.array(loaded.solid(item.solid).box) / NM
        axis = "xyz".index(item.face[0])
        flat = high[axis] - low[axis] < NEAR and abs(centre[axis] - box[axis][int(item.face[1] == "+")]) < NEAR
        if flat and np.all((box[:, 0] - NEAR < centre) & (centre < box[:, 1] + NEAR)):
            return name
    return "default"


def truth(loaded: Device) -> dict[str, tuple[float, float]]:
    """Return signals and how well they are known."""
    (coarse, better), (fine,) = (
        [independent.flat(independent.solved(loaded, independent.Problem(loaded, mesh, order))) for order in orders]
        for mesh, orders in ((mesh_of(loaded, EDGE[0]), (3, 4)), (mesh_of(loaded, EDGE[1]), (3,)))
    )
    return {
        name: (
            fine[name] + better[name] - coarse[name],
            (abs(better[name] - coarse[name]) + abs(fine[name] - coarse[name])) / 2,
        )
        for name in fine
    }


def main() -> None:
    """Prints a table, signal by signal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("devices", nargs="*")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows, covered = [], []
    print(f"{'':36s}{'exact':>13s}{'known to':>10s}{'estimate':>10s}{'bar':>10s}  percent", flush=True)
    for name in options.devices or sorted(map(str, DEVICES.glob("*.toml"))):
        loaded = reader.load(name)
        known, signals = truth(loaded), compute(loaded, GridChoice()).signals
        for signal, value in signals.values.items():
            if signal.part not in ("baseline", "spin"):
                continue
            exact, off = known[str(signal)]
            error, bar = value - exact, signals.error(signal.experiment, signal.signal)
            covered.append(abs(error) <= bar + off)
            parts = [100 * part / abs(exact) for part in (off, error, bar)]
            rows.append(
                {
                    "device": loaded.name,
                    "signal": str(signal),
                    "exact": exact,
                    "known to": off,
                    "error": error,
                    "bar": bar,
                }
            )
            told = "".join(f"{part:10.2f}" for part in parts)
            print(f"{loaded.name:16s}{signal!s:20s}{exact:13.5e}{told}{'' if covered[-1] else '  missed'}", flush=True)
        if options.json:
            files.write_json(options.json, {"signals": rows})
    print(f"covered {sum(covered)} of {len(covered)}")


if __name__ == "__main__":
    main()
