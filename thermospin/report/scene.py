"""A scene that plotly draws: bodies, held faces with names, and cuts that buttons and sliders choose among."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.colors import to_hex, to_rgb

from thermospin.base.frames import optional
from thermospin.grid import AXES
from thermospin.report.cuts import SPIN, TEMPERATURE, Cuts, Field
from thermospin.report.style import INK, NM
from thermospin.report.surfaces import Body, Surface

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

#: Factors on z that there are buttons for.
STRETCHES = (1, 2, 5, 10, 20)
#: Planes along each axis, and how many values all of them may have: a page stays under 8 MB.
_PLANES, _VALUES = 12, 2.8e5
_LEGEND = {"yanchor": "top", "y": 0.98, "xanchor": "left", "x": 1.0, "groupclick": "togglegroup"}
#: A cut is as bright as its colour scale.
_UNLIT = {"ambient": 1.0, "diffuse": 0.0, "specular": 0.0, "fresnel": 0.0}
#: With normals of the smallest triangles too, which would be dark.
_LIT = {
    "ambient": 0.62, "diffuse": 0.6, "specular": 0.08, "roughness": 0.9, "fresnel": 0.05, "facenormalsepsilon": 0.0,
    "vertexnormalsepsilon": 0.0,
}  # fmt: skip


def plotly() -> Any:
    """Return plotly's graph objects.

    Raises:
      InputError: plotly is not installed.
    """
    return optional("plotly.graph_objects", "a view in space", "view")


def plotly_text(text: str) -> str:
    """Return a text that plotly shows as it is, in its labels and in a template of the text under the pointer.

    plotly knows few entities by name, no quotation marks among them, and fills in what "%{" begins.
    """
    return html.escape(text, quote=False).replace("%{", "%&#123;")


def in_space(text: str) -> str:
    """Return a text that plotly shows as it is in labels in space, where it knows tags but no entities."""
    return text.replace("<", "<\N{ZERO WIDTH SPACE}")


class Scene:
    """A plotly figure in the making; lengths that it is given are in metres, its own in nm.

    Args:
      go: plotly's graph objects.
      windows: lower and upper ends of what can be shown by name, first of all the "device" (3, 2) [m].
    """

    def __init__(self, go: Any, windows: Mapping[str, np.ndarray]) -> None:
        self._go = go
        self._windows = {name: window * NM for name, window in windows.items()}
        self._traces: list[Any] = []
        self._frames: list[Any] = []
        self._sliders: list[dict[str, Any]] = []
        self._of_material: dict[str, tuple[str, bool, list[int]]] = {}
        self._bodies: list[tuple[int, bool]] = []
        self._cut_choices: list[tuple[str, int, int]] = []
        self._labels: list[tuple[np.ndarray, str]] = []
        self._met: set[str] = set()

    @property
    def _size(self) -> float:
        return float(np.max(np.diff(self._windows["device"][:2])))

    def _mesh(self, surface: Surface, colour: str, **rest: Any) -> Any:
        x, y, z = (surface.points * NM).astype(np.float32).T
        i, j, k = surface.triangles.astype(np.uint32 if len(surface.points) > 65535 else np.uint16).T
        return self._go.Mesh3d(
            x=x, y=y, z=z, i=i, j=j, k=k, color=colour, flatshading=True, lighting=_LIT, lightposition=_SUN, **rest
        )

    def _lines(self, surface: Surface, colour: str, width: float, **rest: Any) -> Any:
        gaps = np.full((len(surface.lines), 1, 3), np.nan)
        x, y, z = (np.concatenate([surface.lines * NM, gaps], axis=1).reshape(-1, 3)).astype(np.float32).T
        line = {"color": colour, "width": width}
        return self._go.Scatter3d(x=x, y=y, z=z, mode="lines", line=line, hoverinfo="skip", showlegend=False, **rest)

    def add_body(self, body: Body, material: str, colour: str, about: str, metal: bool) -> None:
        """Add a body; one that is no metal is drawn by its edges until it is switched on."""
        group = f"body {len(self._bodies)}"
        name = plotly_text(body.name if material == body.name else f"{body.name} ({material})")
        places = self._of_material.setdefault(material, (colour, metal, []))[2]
        places += [len(self._traces), len(self._traces) + 1]
        self._bodies.append((len(self._traces), metal))
        self._traces.append(
            self._mesh(
                body.surface, colour, name=name, legendgroup=group,
                showlegend=True, hovertemplate=f"{about}<extra></extra>", visible=True if metal else "legendonly",
            )
        )  # fmt: skip
        self._traces.append(self._lines(body.surface, INK if metal else colour, 1.5, legendgroup=group, name=body.name))

    def add_face(self, surface: Surface, face: str, colour: str, group: str, about: str, label: str) -> None:
        """Add the face of a contact or a heat sink, a hair outside the body that has it."""
        outward = np.zeros(3)
        outward[AXES.index(face[0])] = 1.0 if face[1] == "+" else -1.0
        shift = outward * 1e-3 * self._size / NM
        raised = Surface(surface.points + shift, surface.triangles, surface.lines + shift)
        first = group not in self._met
        self._met.add(group)
        visible = True if group == "contacts" else "legendonly"
        self._traces.append(
            self._mesh(
                raised, colour, name=group, legendgroup=group, showlegend=first, visible=visible,
                hovertemplate=f"{about}<extra></extra>",
            )
        )  # fmt: skip
        self._traces.append(self._lines(raised, colour, 5.0, legendgroup=group, visible=visible))
        if label:
            middle = (surface.points.min(axis=0) + surface.points.max(axis=0)) / 2 * NM
            middle[2] = float(surface.points[:, 2].max()) * NM + 0.03 * self._size / self._usual_stretch()
            self._labels.append((middle + outward * np.array([0.03, 0.03, 0.0]) * self._size, label))

    def add_cuts(self, cuts: Cuts, wanted: Mapping[int, float]) -> None:
        """Add planes normal to each axis with their sliders, hidden until one is chosen.

        Args:
          cuts: planes to be had.
          wanted: where a plane normal to an axis is at first [m]; elsewhere in the middle.
        """
        go = self._go
        scales = {name: _scale(name, field) for name, field in cuts.shown.items()}
        lines = [line * NM for line in cuts.lines]
        sizes = [len(lines[u]) * len(lines[v]) * len(scales) for u, v in ((1, 2), (0, 2), (0, 1))]
        count = int(np.clip(_VALUES / sum(sizes), 4, _PLANES))
        for axis in range(3):
            positions = cuts.positions(axis, SPIN if SPIN in cuts.shown else TEMPERATURE, count)
            target = wanted.get(axis, float(self._windows["device"][axis].mean()) / NM)
            active = int(np.argmin(np.abs(positions - target)))
            if axis in wanted:
                positions[active] = target
            cut = [cuts.at(axis, float(position)) for position in positions]
            planes = {
                name: _Plane(axis, lines, np.stack([values[name] * scale["factor"] for values in cut]))
                for name, scale in scales.items()
            }
            places = [len(self._traces) + number for number in range(len(planes))]
            for (name, plane), place in zip(planes.items(), places, strict=True):
                self._cut_choices.append((f"{scales[name]['title']}, cut at {AXES[axis]}", axis, place))
                seen = plane.at(active, positions[active] * NM)
                self._traces.append(go.Mesh3d(**plane.fixed(), **seen, **_painted(scales[name])))
            steps = []
            for number, position in enumerate(positions):
                label = f"{AXES[axis]}{number}"
                moved = [go.Mesh3d(**plane.at(number, position * NM)) for plane in planes.values()]
                self._frames.append(go.Frame(name=label, data=moved, traces=places))
                how = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
                steps.append({"label": nm(position * NM), "method": "animate", "args": [[label], how]})
            self._sliders.append(
                {
                    "active": active, "steps": steps, "visible": False, "x": 0.04, "len": 0.8, "y": 0.16,
                    "currentvalue": {"prefix": f"cut at {AXES[axis]} = ", "suffix": " nm", "font": {"size": 14}},
                }
            )  # fmt: skip

    def finished(self, title: str) -> Figure:
        """Return the figure with its labels, buttons and axes."""
        go = self._go
        places = np.array([place for place, _ in self._labels]).reshape(-1, 3).T
        self._traces.append(
            go.Scatter3d(
                x=places[0], y=places[1], z=places[2], mode="text", text=[text for _, text in self._labels],
                textfont={"size": 13, "color": INK}, name="names", showlegend=bool(self._labels), hoverinfo="skip",
            )
        )  # fmt: skip
        figure = go.Figure(data=self._traces, frames=self._frames)
        plain = {"backgroundcolor": "white", "gridcolor": "#E3E3E6", "zeroline": False, "showspikes": False}
        axes = {
            f"{name}axis": {**plain, "title": {"text": f"{name} [nm]"}, "nticks": 6, "tickfont": {"size": 10}}
            for name in AXES
        }
        figure.update_layout(
            title={"text": title, "x": 0.01, "y": 0.985, "yanchor": "top"},
            template="none",
            font={"family": "Helvetica Neue, Arial, sans-serif", "size": 12, "color": INK},
            margin={"l": 0, "r": 0, "t": 40, "b": 0},
            legend=_LEGEND,
            scene={
                **axes,
                "aspectmode": "manual",
                "camera": {"eye": {"x": 0.75, "y": -1.25, "z": 0.85}, "projection": {"type": "perspective"}},
                "dragmode": "orbit",
                "domain": {"x": [0.1, 1.0]},
            },
            uirevision="kept",
            sliders=self._sliders,
            updatemenus=self._menus(),
        )
        seen = _seen(self._windows["device"], self._usual_stretch())
        figure.update_layout({f"scene.{key}": value for key, value in seen.items()})
        return figure

    def _usual_stretch(self) -> int:
        wanted = 0.3 * self._size / float(np.diff(self._windows["device"][2])[0])
        return max(factor for factor in STRETCHES if factor <= max(1.0, wanted))

    def _menus(self) -> list[dict[str, Any]]:
        """Return buttons: what is seen, materials, and what the cut shows."""
        small = {"pad": {"t": 2, "l": 4}, "font": {"size": 11}, "x": 0.0, "xanchor": "left", "yanchor": "top"}
        seen = [
            {"label": label, "method": "relayout", "args": [{f"scene.{key}": value for key, value in scene.items()}]}
            for label, scene in self._scenes()
        ]
        active = STRETCHES.index(self._usual_stretch())
        menus = [{**small, "type": "buttons", "direction": "right", "buttons": seen, "active": active, "y": 1.0}]
        if self._cut_choices:
            menus.append({**small, "buttons": self._choices(), "y": 0.94})
        for number, (material, (colour, metal, places)) in enumerate(self._of_material.items()):
            # A menu of its own for each: only the active button of a menu switches back.
            on, off = {"visible": True}, {"visible": "legendonly"}
            button = {
                "label": plotly_text(material),
                "method": "restyle",
                "args": [off if metal else on, places],
                "args2": [on if metal else off, places],
            }
            ink = "white" if np.dot(to_rgb(colour), (0.3, 0.59, 0.11)) < 0.5 else INK
            look = {**small, "font": {"size": 11, "color": ink}, "bgcolor": colour}
            menus.append({**look, "type": "buttons", "buttons": [button], "active": -1, "y": 0.86 - 0.05 * number})
        return menus

    def _scenes(self) -> list[tuple[str, dict[str, Any]]]:
        """Return views by label: the device and its middle, with factors on z."""
        found = []
        for name, window in self._windows.items():
            for factor in STRETCHES if name == "device" else STRETCHES[:3]:
                scale = "true scale" if factor == 1 else f"z × {factor}"
                label = f"{name}, {scale}" if factor == 1 or name != "device" else scale
                found.append((label, _seen(window, factor)))
        return found

    def _choices(self) -> list[dict[str, Any]]:
        """Return the buttons of the menu of cuts: bodies are edges where a cut is seen."""
        meshes = [place for place, _ in self._bodies]
        cuts = [place for _, _, place in self._cut_choices]
        buttons = []
        for label, axis, place in [("no cut", -1, -1), *self._cut_choices]:
            solid = [True if place < 0 and metal else "legendonly" for _, metal in self._bodies]
            shown = {"visible": [*solid, *(place == cut for cut in cuts)]}
            sliders = {f"sliders[{k}].visible": k == axis for k in range(3)}
            buttons.append({"label": label, "method": "update", "args": [shown, sliders, [*meshes, *cuts]]})
        return buttons


#: Light from above, to the left of who looks.
_SUN = {"x": -2e4, "y": -6e4, "z": 1e5}


def nm(value: float) -> str:
    """Write a length in nm."""
    return f"{round(value, 3) + 0.0:.6g}".replace("-", "\N{MINUS SIGN}")


def _seen(window: np.ndarray, factor: float) -> dict[str, Any]:
    """Return the settings of a scene that shows an extent [nm] (3, 2) with z stretched."""
    sides = window[:, 1] - window[:, 0]
    x, y, z = (sides / float(np.max(sides[:2]))).tolist()
    title = "z [nm]" if factor == 1 else f"z [nm], stretched {factor:g} times"
    ranges = {f"{name}axis.range": [float(end) for end in ends] for name, ends in zip(AXES, window, strict=True)}
    return {**ranges, "aspectratio": {"x": x, "y": y, "z": z * factor}, "zaxis.title.text": title}


class _Plane:
    """Triangles of a plane normal to an axis, which keep their places in it while it moves.

    Args:
      axis: normal to it.
      lines: along x, y and z [nm].
      values: at the lines of the other two axes for each position (positions, nu, nv), NaN for none.
    """

    def __init__(self, axis: int, lines: Sequence[np.ndarray], values: np.ndarray) -> None:
        u, v = (line for k, line in enumerate(lines) if k != axis)
        live = np.isfinite(values)
        cells = live[:, 1:, 1:] & live[:, 1:, :-1] & live[:, :-1, 1:] & live[:, :-1, :-1]
        i, j = np.nonzero(cells.any(axis=0) & (np.diff(u) > 0)[:, None] & (np.diff(v) > 0)[None, :])
        corners = np.ravel_multi_index([[i, i + 1, i + 1, i], [j, j, j + 1, j + 1]], values.shape[1:])
        used, places = np.unique(corners, return_inverse=True)
        self._triangles = places.reshape(4, -1)[[[0, 1, 2], [0, 2, 3]]].transpose(1, 0, 2).reshape(3, -1)
        self._names = [name for k, name in enumerate(AXES) if k != axis], AXES[axis]
        self._within = [line[at] for line, at in zip((u, v), np.unravel_index(used, values.shape[1:]), strict=True)]
        self._values = values.reshape(len(values), -1)[:, used]

    def fixed(self) -> dict[str, np.ndarray]:
        """Return the coordinates in the plane [nm], and the triangles."""
        kind = np.uint16 if len(self._within[0]) < 65536 else np.uint32
        triangles = dict(zip("ijk", self._triangles.astype(kind), strict=True))
        return triangles | {name: at.astype(np.float32) for name, at in zip(self._names[0], self._within, strict=True)}

    def at(self, number: int, position: float) -> dict[str, np.ndarray]:
        """Return the coordinate [nm] and the values of a position; corners of nothing are nowhere, and not drawn."""
        values = self._values[number]
        live = np.isfinite(values)
        return {
            self._names[1]: np.where(live, position, np.nan).astype(np.float32),
            "intensity": np.where(live, values, 0.0).astype(np.float32),
        }


def _scale(name: str, field: Field) -> dict[str, Any]:
    """Return title, unit, factor on SI values, ends and colours of a field; the maps of matplotlib have the same."""
    values = field.values[np.isfinite(field.values)]
    if field.in_cells:
        values = field.values[field.live & np.isfinite(field.values)]
    size = np.abs(values)
    top = float(size.max(initial=0.0))
    if name == TEMPERATURE:
        low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
        low = 0.0 if 0 <= low < 0.2 * high else low
        return _entry("T", "K", 1.0, low, high if high > low else low + 1.0, _colours("inferno"))
    if name == SPIN:
        factor, unit = next(
            ((f, u) for f, u in ((1e6, "µV"), (1e9, "nV"), (1e12, "pV")) if top * f >= 0.1), (1e6, "µV")
        )
        top = float(np.percentile(size, 99)) * factor or 1.0
        # Spin accumulations decay over decades: colours crowd near zero where most of a field is small.
        bend = 1e-2 if np.median(size) < top / factor / 50 else 1e2
        title = "V<sub>s</sub>" if size.any() else "V<sub>s</sub>, zero"
        return _entry(title, unit, factor, -top, top, _colours("RdBu_r", bend))
    # At edges a current density grows without end.
    top = float(np.percentile(values, 99)) * 1e-9 if len(values) else 1.0
    return _entry("|J|", "10⁹ A/m²", 1e-9, 0.0, top or 1.0, _colours("viridis"))


def _entry(
    title: str, unit: str, factor: float, low: float, high: float, colours: list[tuple[float, str]]
) -> dict[str, Any]:
    return {"title": title, "unit": unit, "factor": factor, "low": low, "high": high, "colours": colours}


def _colours(name: str, bend: float = math.inf) -> list[tuple[float, str]]:
    """Return a colour map of matplotlib at 33 places; with a bend < 1 about its middle logarithmic beyond that part."""
    wanted = np.linspace(-1, 1, 33)
    places = wanted if bend > 1 else np.sign(wanted) * np.expm1(np.abs(wanted) * np.log1p(1 / bend)) * bend
    colours = matplotlib.colormaps[name]((wanted + 1) / 2)
    return [(float(np.clip((at + 1) / 2, 0, 1)), to_hex(colour)) for at, colour in zip(places, colours, strict=True)]


def _painted(scale: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a plane looks like, and the text under the pointer."""
    return {
        "cmin": scale["low"],
        "cmax": scale["high"],
        "colorscale": scale["colours"],
        "colorbar": {
            "title": {"text": f"{scale['title']} [{scale['unit']}]"},
            "len": 0.45, "y": 0.55, "x": 0.06, "xanchor": "left", "exponentformat": "power", "thickness": 16,
        },
        "lighting": _UNLIT,
        "visible": False,
        "name": scale["title"],
        "hovertemplate": f"<b>{scale['title']} = %{{intensity:.4~g}} {scale['unit']}</b><br>"
        "x = %{x:.4~g}, y = %{y:.4~g}, z = %{z:.4~g} nm<extra></extra>",
    }  # fmt: skip
