"""Maps of fields in a plane, and potentials along a line."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import CenteredNorm, Normalize, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from thermospin.base.errors import InputError
from thermospin.base.files import Fields
from thermospin.device.drives import DRIVES
from thermospin.report.cuts import spin_accumulation
from thermospin.report.device_figures import label_magnets
from thermospin.report.slices import Slice, slice_at
from thermospin.report.style import (
    COLOURS,
    DOWN,
    INK,
    MAGNETIC,
    NM,
    PLAIN,
    UP,
    PathLike,
    Picture,
    frame,
    literal,
    number,
    outline,
    save_figure,
    shape_of,
    stretch_of,
    styled,
)
from thermospin.report.views import Extent, Mosaic, Views
from thermospin.signals.density import owners

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from thermospin.device.device import Device

_VOID = "#E9E9EC"
#: Samples along the longer side of a map.
_SHARPNESS = 1600
_DOTS: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 4, "markerfacecolor": "white", "zorder": 3}


def _map_figure(extent: Extent, z: float, drive: float, kind: str) -> tuple[Figure, Axes]:
    width = min(5.2, 5.6 / shape_of(extent))
    figure = Picture(figsize=(width + 1.7, width * shape_of(extent) + 0.9), layout="constrained")
    ax = figure.add_subplot()
    words = DRIVES[kind]
    title = f"${words.symbol}$ = {number(drive / words.size)} {words.unit},  $z$ = {number(z * NM)} nm"
    frame(ax, extent, ("x", "y"), title, "left")
    ax.set_facecolor(_VOID)
    return figure, ax


def _show(ax: Axes, extent: Extent, image: np.ndarray, cmap: str, norm: Normalize, label: str) -> Any:
    """Draw samples and a colour bar as high as the map; return the colour bar."""
    sides = [float(edge) * NM for side in extent for edge in side]
    picture = ax.imshow(
        image.T,
        origin="lower",
        extent=(sides[0], sides[1], sides[2], sides[3]),
        aspect=stretch_of(extent),
        cmap=cmap,
        norm=norm,
    )
    figure = ax.get_figure()
    assert figure is not None
    return figure.colorbar(picture, cax=ax.inset_axes((1.03, 0.0, 0.035, 1.0)), label=label)


@dataclasses.dataclass(frozen=True, eq=False)
class _Plane:
    """What a map shows: a field in a plane, and the solids in it where the device is known."""

    sliced: Slice
    solids: Mosaic | None
    kept: np.ndarray
    domain: np.ndarray
    device: Device | None

    @classmethod
    def of(
        cls, what: str, values: np.ndarray, fields: Fields, z: float, device: Device | None, *, metal: bool
    ) -> _Plane:
        """Return a plane, with the field in all solids or in metals only."""
        none = np.zeros(0, bool)
        if device is None:
            return cls(slice_at(what, values, fields, z), None, none, none, None)
        views = Views(device)
        kept = views.metal if metal else views.domain >= 0
        sliced = slice_at(what, values, fields, z, kept[owners(device, fields)])
        return cls(sliced, views.cut(2, z), kept, views.domain, device)

    def sampled(self, share: float) -> tuple[Extent, Any, Any, np.ndarray]:
        """Return where the field exceeds a share of its largest size, and samples there, NaN where there is none."""
        shown = self.sliced.interesting(share)
        u, v, image = self.sliced.samples(shown, _SHARPNESS)
        if self.solids is not None:
            # Cells may end beyond a slanted edge; the solids do not.
            image[~self.kept[self.solids.at(u, v)]] = np.nan
        return shown, u, v, image

    def annotate(self, ax: Axes, extent: Extent) -> None:
        """Draw borders between materials, and the names of magnets."""
        if self.device is not None and self.solids is not None:
            outline(ax, self.solids.borders(self.domain), linewidth=0.9)
            label_magnets(ax, self.device, self.solids, extent)


@styled
def temperature_map(
    fields: Fields,
    z: float,
    drive: float,
    path: PathLike | None = None,
    device: Device | None = None,
    *,
    kind: str = "current",
) -> Figure:
    """Draw the temperature rise in the plane z, where it exceeds a tenth of the largest, with lines of equal ones.

    Args:
      fields: node coordinates [m] and T, the rise over the bath [K] at `drive`.
      z: height of the plane [m]; between planes of nodes the values are interpolated.
      drive: of the fields [A, K or W]; it is printed, nothing is scaled.
      path: where to write the picture; None: nowhere.
      device: draws the outlines of its solids and tells the void between two bodies from the bodies.
      kind: of the drive, see `device.parts.Experiment.drive`.
    Raises:
      InputError: the plane holds no temperature, or the fields are not of the device.
    """
    plane = _Plane.of("temperature", fields.T, fields, z, device, metal=False)
    shown, u, v, image = plane.sampled(0.1)
    low, high = float(np.nanmin(image)), float(np.nanmax(image))
    if 0 <= low < 0.2 * high:
        low = 0.0
    figure, ax = _map_figure(shown, z, drive, kind)
    _show(ax, shown, image, "inferno", Normalize(low, high if high > low else low + 1.0), "temperature rise $T$ [K]")
    if high > low:
        levels = MaxNLocator(9).tick_values(low, high)[1:-1]
        ax.contour(u * NM, v * NM, image.T, levels=levels, colors="white", linewidths=0.5, alpha=0.6)
    plane.annotate(ax, shown)
    return save_figure(figure, path)


@styled
def spin_map(
    fields: Fields,
    z: float,
    drive: float,
    path: PathLike | None = None,
    device: Device | None = None,
    *,
    kind: str = "current",
) -> Figure:
    """Draw the spin accumulation V_s = V_up - V_down in the plane z, where it exceeds a fiftieth of its greatest value.

    Colours are linear, or of its logarithm where half of the picture is under a fiftieth of the greatest value.

    Args:
      fields: node coordinates [m], V_up and V_down [V] at `drive`.
      z: height of the plane [m].
      drive: of the fields [A, K or W]; it is printed, nothing is scaled.
      path: where to write the picture; None: nowhere.
      device: draws the outlines of its solids and tells the void between two bodies from the bodies.
      kind: of the drive, see `device.parts.Experiment.drive`.
    Raises:
      InputError: the plane holds no spin accumulation, or the fields are not of the device.
    """
    plane = _Plane.of("spin accumulation", spin_accumulation(fields), fields, z, device, metal=True)
    shown, _, _, image = plane.sampled(0.02)
    size = np.abs(image[np.isfinite(image)])
    largest = float(size.max())
    factor, unit = next(
        ((f, u) for f, u in ((1e6, "µV"), (1e9, "nV"), (1e12, "pV")) if largest * f >= 0.1), (1e6, "µV")
    )
    top = largest * factor or 1.0
    figure, ax = _map_figure(shown, z, drive, kind)
    label = rf"spin accumulation $V_\uparrow - V_\downarrow$ [{unit}]" + ("" if largest else ", zero")
    if np.median(size) < largest / 50:
        threshold = 10.0 ** math.floor(math.log10(top) - 2.2)
        norm: Normalize = SymLogNorm(threshold, linscale=0.6, vmin=-top, vmax=top, base=10)
        bar = _show(ax, shown, image * factor, "RdBu_r", norm, label)
        bar.ax.yaxis.set_major_formatter(PLAIN)
    else:
        _show(ax, shown, image * factor, "RdBu_r", CenteredNorm(0.0, top), label)
    plane.annotate(ax, shown)
    return save_figure(figure, path)


@styled
def interface_profile(
    x: np.ndarray,
    V_up: np.ndarray,
    V_down: np.ndarray,
    x_exact: np.ndarray,
    V_up_exact: np.ndarray,
    V_down_exact: np.ndarray,
    path: PathLike,
    *,
    slopes: tuple[float, float] = (0.0, 0.0),
    sides: tuple[str, str] = ("F", "N"),
) -> Figure:
    """Draw potentials of both spins across an interface at x = 0, computed against closed form.

    Args:
      x: where the computed values are [m]; V_up, V_down: computed [V].
      x_exact: where the closed form was evaluated [m]; V_up_exact, V_down_exact: its values [V]. The error is taken by
        linear interpolation, so put every x into x_exact to see it to the last digit.
      path: where to write the picture; None: nowhere.
      slopes: dV/dx left and right of the interface [V/m], subtracted from all potentials: the plain Seebeck field
        -S grad T hides a spin splitting that is a thousand times smaller.
      sides: names of the materials left and right.
    Raises:
      InputError: columns of different lengths, or fewer than two points.
    """
    points = _profile("computed", x, V_up, V_down)
    exact = _profile("closed form", x_exact, V_up_exact, V_down_exact)
    both = []
    for where, up, down in (points, exact):
        tilt = np.where(where < 0, slopes[0], slopes[1]) * where
        both.append((where * NM, (up - tilt) * 1e6, (down - tilt) * 1e6))
    (px, pu, pd), (ex, eu, ed) = both
    figure = Picture(figsize=(6.2, 7.0), layout="constrained")
    spec = figure.add_gridspec(3, 1, height_ratios=[1.5, 1.1, 0.8])
    first = figure.add_subplot(spec[0])
    axes = [first, *(figure.add_subplot(spec[k], sharex=first) for k in (1, 2))]
    for name, colour, e, p in (("\\uparrow", UP, eu, pu), ("\\downarrow", DOWN, ed, pd)):
        axes[0].plot(ex, e, color=colour, label=f"$V_{name}$, closed form")
        axes[0].plot(px, p, color=colour, label=f"$V_{name}$, computed", **_DOTS)
    tilted = any(slope != 0 for slope in slopes)
    axes[0].set_ylabel("$V - V_\\mathrm{Seebeck}$ [µV]" if tilted else "$V$ [µV]")
    axes[0].legend(ncols=2, loc="best")
    axes[1].plot(ex, eu - ed, color=INK, label="closed form")
    axes[1].plot(px, pu - pd, color=INK, label="computed", **_DOTS)
    axes[1].set_ylabel("$V_s = V_\\uparrow - V_\\downarrow$ [µV]")
    axes[1].legend(loc="best")
    error = (pu - pd) - np.interp(px, ex, eu - ed)
    largest = float(np.max(np.abs(error)))
    factor, unit = (1e3, "nV") if largest >= 1e-4 or largest == 0 else (1e6, "pV") if largest >= 1e-7 else (1e9, "fV")
    axes[2].vlines(px, 0, error * factor, color=INK, linewidth=0.6)
    axes[2].plot(px, error * factor, color=INK, linestyle="none", marker="o", markersize=3)
    axes[2].axhline(0, color=INK, linewidth=0.6)
    share = largest / float(np.max(np.abs(eu - ed))) if np.any(eu != ed) else math.nan
    axes[2].set_ylabel(f"error of $V_s$ [{unit}]")
    if math.isfinite(share):
        axes[2].set_title(f"largest error: {number(share, 2)} of the largest $V_s$", loc="right", fontsize=8.5)
    axes[2].set_xlabel("$x$ [nm]")
    low, high = float(min(ex[0], px.min())), float(max(ex[-1], px.max()))
    for ax in axes:
        ax.axvline(0, color=INK, linewidth=0.6)
        ax.axvspan(low, min(0, high), color=MAGNETIC[0], alpha=0.08, linewidth=0)
        ax.axvspan(max(0, low), high, color=COLOURS["Cu"], alpha=0.08, linewidth=0)
        ax.set_xlim(low, high)
        if ax is not axes[2]:
            ax.tick_params(labelbottom=False)
    above: dict[str, Any] = {
        "xycoords": ("data", "axes fraction"),
        "textcoords": "offset points",
        "va": "bottom",
        "weight": "bold",
    }
    for name, at, ha in ((sides[0], -5, "right"), (sides[1], 5, "left")):
        axes[0].annotate(literal(name), (0, 1), (at, 3), ha=ha, **above)
    return save_figure(figure, path)


def _profile(name: str, *columns: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, up, down = (np.asarray(column, dtype=float) for column in columns)
    if not (x.ndim == 1 and len(x) >= 2 and x.shape == up.shape == down.shape):
        shapes = f"{x.shape}, {up.shape}, {down.shape}"
        raise InputError(
            f"The {name} profile has shapes {shapes} for x, V_up, V_down; expected one length of two or more."
        )
    order = np.argsort(x, kind="stable")
    return x[order], up[order], down[order]
