"""A device in space that turns in a browser, with fields on a cut that moves: a plotly figure, and a page with it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.files import Fields, FieldsFile, atomic_file
from thermospin.device.drives import DRIVES
from thermospin.geometry.outlines import body_of
from thermospin.grid import AXES
from thermospin.report.cuts import CURVED, STRAIGHT, Cuts, shown
from thermospin.report.device_figures import held_line, material_colours
from thermospin.report.scene import Scene, in_space, nm, plotly, plotly_text
from thermospin.report.style import MAGNETIC, NM
from thermospin.report.surfaces import Body, bodies, cell_surface, extent_of, face_surface
from thermospin.report.views import Views
from thermospin.signals.density import current_density, device_faces, owners

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from thermospin.device.device import Device
    from thermospin.device.parts import Experiment


#: Corners of a cell, and colours of domains of no known material.
CORNERS = tuple(itertools.product((0, 1), repeat=3))
_OTHERS = ("#F0CF65", "#CC7A4B", "#D5D5D0", "#BDBDB8", "#AA4499", "#DDCC77")


def view(
    device: Device,
    fields: Fields | None = None,
    *,
    experiment: str | None = None,
    state: str | None = None,
    drive: float | None = None,
    density: np.ndarray | None = None,
) -> Figure:
    """Return a device that turns, its bodies switchable in the legend, with fields on a cut that moves.

    The cut shows the temperature rise T, the spin accumulation V_s and the size of the charge current density on planes
    normal to x, y or z; values are under the pointer. Colours are those of `device_picture`, lengths are in nm.

    Args:
      device: what to draw.
      fields: node coordinates [m], V_up, V_down [V] and T [K] on a grid of the device; None: no cut.
      experiment: whose drive, ground and probe the labels of contacts name; None: of all experiments.
      state, drive: of the fields, SI units; they are printed, nothing is scaled.
      density: of the current in every cell between nodes [A/m^2] (Nx - 1, Ny - 1, Nz - 1, 3), see `current_density`;
        None: with the values of the device, if experiment and state are given.
    Returns:
      a `plotly.graph_objects.Figure`; `write_view` makes a page of it.
    Raises:
      InputError: plotly is not installed, there is no such experiment or state, or the fields are not of this device.
    """
    asked = None if experiment is None else device.experiment(experiment)
    if asked is not None and state is not None:
        asked.require_state(state)
    chosen = list(device.experiments.values()) if asked is None else [asked]
    found, views = bodies(device), Views(device)
    whole = extent_of([body.surface for body in found])
    metals = [body.surface for body in found if views.metal[body.solids[0]]]
    windows = {"device": _window(whole, extent_of(metals) if metals else whole)} | _middle(views)
    scene = Scene(plotly(), windows)
    colours = material_colours(device, views)
    names = list(colours)

    def order(body: Body) -> tuple[bool, int]:
        return not views.metal[body.solids[0]], names.index(device.solids[body.solids[0]].material)

    for body in sorted(found, key=order):
        material = device.solids[body.solids[0]].material
        scene.add_body(
            body, material, colours[material], _about(device, body, chosen), bool(views.metal[body.solids[0]])
        )
    _add_held_faces(scene, device, chosen)
    title = [device.name]
    if fields is not None:
        owner = owners(device, fields)
        if density is None and asked is not None and state is not None:
            density = current_density(fields, device, asked.states[state])
        straight = all(solid.outline is None for solid in device.solids)
        parts = shown(fields, owner >= 0, views.metal[owner], density)
        cuts = Cuts(fields, parts, device_faces(device), STRAIGHT if straight else CURVED)
        axis, position = views.focus()[1:]
        scene.add_cuts(cuts, {axis: position, 2: _usual_height(device, views)})
    if asked is not None:
        words = DRIVES[asked.drive]
        title += [asked.name, *([state] if state else []), *([words.words(drive)] if drive is not None else [])]
    return scene.finished(plotly_text(", ".join(title)))


def fields_view(fields: FieldsFile, name: str) -> Figure:
    """Return fields of a file on a cut that moves, within the domains of their grid.

    The file knows neither materials nor contacts; `view` draws them where the device is given too.

    Args:
      fields: with the array "domain" of cells.
      name: for the title.
    Raises:
      InputError: plotly is not installed, or the file has no domains.
    """
    if "domain" not in fields.cells:
        raise InputError(f"{name}: has no array 'domain' of cells, so that nothing tells bodies from the void")
    domain = np.asarray(fields.cells["domain"]).astype(int)
    lines = [np.asarray(line) for line in (fields.x, fields.y, fields.z)]
    numbers = [number for number in np.unique(domain).tolist() if number >= 0]
    # A metal has potentials everywhere, what is beside one only on their common face.
    known = np.isfinite(fields.V_up)
    corners = [known[a:, b:, c:][: domain.shape[0], : domain.shape[1], : domain.shape[2]] for a, b, c in CORNERS]
    everywhere = np.all(corners, axis=0)
    metals = {number for number in numbers if everywhere[domain == number].all()}
    surfaces = {number: cell_surface(lines, domain == number) for number in numbers}
    whole = extent_of(surfaces.values())
    inner = extent_of([surfaces[number] for number in metals]) if metals else whole
    scene = Scene(plotly(), {"device": _window(whole, inner)})
    colours = {True: iter([*MAGNETIC, *_OTHERS] * len(numbers)), False: iter(_OTHERS * len(numbers))}
    for number in sorted(numbers, key=lambda number: number not in metals):
        body = Body(f"domain {number}", (), surfaces[number])
        scene.add_body(body, f"domain {number}", next(colours[number in metals]), body.name, number in metals)
    faces = [line[np.append(np.append(0, _changes(domain, axis)), -1)] for axis, line in enumerate(lines)]
    metal = np.isin(domain, sorted(metals))
    scene.add_cuts(Cuts(fields, shown(fields, domain >= 0, metal, fields.cells.get("J")), faces), {})
    return scene.finished(plotly_text(name))


def _changes(domain: np.ndarray, axis: int) -> np.ndarray:
    """Return the indices of the nodes along an axis between cells of which some change there."""
    others = tuple(k for k in range(3) if k != axis)
    return np.flatnonzero((np.diff(domain, axis=axis) != 0).any(axis=others)) + 1


def write_view(path: str | Path, figure: Figure) -> None:
    """Write a figure of `view` as one HTML page with everything in it, which needs no network.

    Raises:
      OSError: the file cannot be written.
    """
    # Unpublished devices are not one click away from a server of plotly's.
    shared = ["sendChartToCloud", "sendDataToCloud"]
    config = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": shared, "plotlyServerURL": ""}
    inner = figure.to_html(
        full_html=False, include_plotlyjs=True, auto_play=False, config=config, default_height="100vh"
    )
    title = figure.layout.title.text or "thermospin"  # escaped already
    with atomic_file(path) as file:
        file.write(
            '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>body {{ margin: 0; overflow: hidden; }}</style></head>\n"
            f"<body>\n{inner}\n</body>\n</html>\n".encode()
        )


def _usual_height(device: Device, views: Views) -> float:
    """Return the middle of the first magnet, else of the first metal, else of the device [m]."""
    for kind in (views.magnetic, views.metal):
        if kind.any():
            name = body_of(device.solids[int(np.argmax(kind))])
            ends = [solid.box[2] for solid in device.solids if body_of(solid) == name]
            return float(np.min(ends) + np.max(ends)) / 2
    return sum(device.bounding_box[2]) / 2


def _window(whole: np.ndarray, metals: np.ndarray) -> np.ndarray:
    """Return the extent that is shown [m] (3, 2): the metals with what lies near them, and room for names.

    plotly cuts off what is outside, and what lies in its border too.
    """
    sides = metals[:, 1] - metals[:, 0]
    across = float(np.max(sides[:2]))
    around = np.array([0.5 * across, 0.5 * across, max(float(sides[2]), 0.12 * across)])
    low, high = np.maximum(whole[:, 0], metals[:, 0] - around), np.minimum(whole[:, 1], metals[:, 1] + around)
    room = np.array([0.08, 0.08, 0.07]) * across
    return np.stack([low - room, high + room], axis=1)


def _middle(views: Views) -> dict[str, np.ndarray]:
    """Return the extent where small contacts are [m] (3, 2), as "middle"; nothing if that is about all of it."""
    extent, axis, position = views.focus()
    if max(high - low for low, high in extent) > 0.6 * max(high - low for low, high in views.extent):
        return {}
    height = views.section_extent(views.cut(axis, position), extent[1 - axis])[1]
    return {"middle": np.array([*extent, height])}


def _about(device: Device, body: Body, experiments: Sequence[Experiment]) -> str:
    """Describe a body for the text under the pointer."""
    solids = [device.solids[k] for k in body.solids]
    lines = [f"<b>{plotly_text(body.name)}</b>, {plotly_text(solids[0].material)}"]
    if solids[0].magnet is not None:
        lines.append(f"magnet {plotly_text(solids[0].magnet)}")
    for axis, (low, high) in zip(AXES, extent_of([body.surface]) * NM, strict=True):
        lines.append(f"{axis}: {nm(low)} to {nm(high)} nm, {nm(high - low)} nm")
    names = {body.name, *(solid.name for solid in solids)}
    lines += [f"{plotly_text(each.name)}: heated" for each in experiments if names & set(each.power)]
    return "<br>".join(lines)


def roles(experiment: Experiment, name: str) -> list[str]:
    """Return what a contact or a heat sink does in an experiment: "drive", "ground", "plus", "minus"."""
    drive, ground = experiment.current or (None, None)
    plus, minus = experiment.voltage or (None, None)
    parts = [("drive", name == drive or name in experiment.heat), ("ground", name == ground)]
    parts += [("plus", name == plus), ("minus", name == minus)]
    return [word for word, played in parts if played]


def _add_held_faces(scene: Scene, device: Device, experiments: Sequence[Experiment]) -> None:
    """Add contacts, each with its name and what it does, and heat sinks."""
    for contact, face in zip(device.contacts, device.contact_faces().values(), strict=True):
        played = {each.name: roles(each, contact.name) for each in experiments}
        words = list(dict.fromkeys(word for part in played.values() for word in part))
        role = "/".join(words) if len(words) < 3 else ""
        label = f"<b>{in_space(contact.name)}</b>" + (f" {role}" if role not in ("", contact.name) else "")
        lines = [f"contact <b>{plotly_text(contact.name)}</b>, {held_line(contact)[1].partition(', ')[2]}"]
        lines += [f"{plotly_text(name)}: {', '.join(part)}" for name, part in played.items() if part]
        scene.add_face(face_surface(face), contact.face, held_line(contact)[0], "contacts", "<br>".join(lines), label)
    for sink, face in zip(device.heat_sinks, device.heat_sink_faces(), strict=True):
        lines = [held_line(sink)[1], plotly_text(sink.label)]
        lines += [f"{plotly_text(each.name)}: drive" for each in experiments if sink.name and sink.name in each.heat]
        scene.add_face(face_surface(face), sink.face, held_line(sink)[0], "heat sinks", "<br>".join(lines), "")
