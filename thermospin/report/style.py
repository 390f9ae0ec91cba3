"""The style of all pictures, and how they are written.

Every drawing function takes plain data and a path, writes the picture there (PNG, or the format of the path's ending)
and returns the matplotlib `Figure`; without a path it only returns it. Arguments are in SI units, axes in the units
people read. Uses `Figure` objects and never pyplot, so that it needs no display and imports fast.
"""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import matplotlib
import matplotlib.patheffects
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from thermospin.base.errors import InputError
from thermospin.base.files import atomic_file
from thermospin.report.views import Extent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PathLike = str | os.PathLike[str]
Side = Literal["left", "center", "right"]

#: Nanometres per metre.
NM = 1e9
INK = "#222222"
#: Vermilion and blue of Okabe and Ito, distinct for every kind of colour vision.
UP, DOWN = "#D55E00", "#0072B2"
DASHED = (0, (3, 2))
#: Colours of known metals, and of ferromagnets in order.
COLOURS = {"Py": "#4477AA", "Cu": "#CC7A4B", "Au": "#F0CF65", "Ag": "#C9D3DC", "Al": "#B5C4D8", "Pt": "#8F7FA8"}
MAGNETIC = ("#4477AA", "#66CCEE", "#332288", "#44AA99", "#117733")
#: Units as figures have them.
_SIGNS = {"ohm": "Ω", "u": "µ", "^2": "²", "^3": "³", "^4": "⁴"}
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.labelsize": 9.5,
    "axes.titlesize": 9.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.linewidth": 0.8,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.6,
    "mathtext.fontset": "dejavusans",
    "savefig.dpi": 150,
}


class Picture(Figure):
    """A figure that notebooks show: without pyplot they do not know how to show one of matplotlib's own."""

    def png(self, dpi: float) -> tuple[bytes, tuple[int, int]]:
        """Return the picture as PNG, and its width and height in pixels."""
        out = io.BytesIO()
        self.savefig(out, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.06)
        data = out.getvalue()
        # The header of a PNG: eight bytes of signature, length and name of the first chunk, then width and height.
        return data, (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return the picture with twice the pixels that it takes, so that it is sharp on today's screens."""
        data, (width, height) = self.png(dpi=144)
        return data, {"width": width // 2, "height": height // 2}


Plot = TypeVar("Plot", bound=Callable[..., Figure])


def styled(draw: Plot) -> Plot:
    """Wrap a drawing function in the style of this program; the user's settings stay as they are."""

    @functools.wraps(draw)
    def wrapped(*args: Any, **kwargs: Any) -> Figure:
        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return wrapped  # type: ignore[return-value]


def kind_of(path: PathLike) -> str:
    """Return the format of a picture by the ending of its path; InputError if matplotlib does not know it."""
    kind, kinds = Path(path).suffix[1:].lower() or "png", Figure().canvas.get_supported_filetypes()
    if kind not in kinds:
        raise InputError(f"No pictures of the kind '.{kind}' ({path}); use .png, or one of {', '.join(sorted(kinds))}.")
    return kind


def save_figure(figure: Figure, path: PathLike | None) -> Figure:
    """Write a figure, whole or not at all, in the format of the path's ending, None: nowhere; return it.

    Raises:
      InputError: matplotlib does not know the format.
      OSError: the file cannot be written.
    """
    if path is None:
        figure.draw_without_rendering()  # ticks are made when they are first drawn, in the style that holds then
        return figure
    kind = kind_of(path)
    with atomic_file(path) as file:
        # "tight" so that no label is cut where equal scales make the axes other than the layout had planned.
        figure.savefig(file, format=kind, bbox_inches="tight", pad_inches=0.06)
    return figure


def literal(name: str) -> str:
    """Return a name that a user chose as figures take it, which would typeset what stands between dollar signs."""
    return name.replace("$", r"\$")


def number(value: float, digits: int = 4) -> str:
    """Return a number as text: up to `digits` digits, with a true minus sign, and powers of ten as such."""
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = rf"${mantissa} \times 10^{{{int(exponent)}}}$"
    return text if "$" in text else text.replace("-", "\N{MINUS SIGN}")


def typeset(unit: str) -> str:
    """Return a unit as figures and pages have it: "µV/mA²" of "uV/mA^2"."""
    for plain, printed in _SIGNS.items():
        unit = unit.replace(plain, printed)
    return unit


PLAIN = FuncFormatter(lambda value, _: number(value))


def colours_of(count: int) -> list[str]:
    """Return colours for `count` curves."""
    colours = [UP, DOWN, "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
    return [colours[i % len(colours)] for i in range(count)]


def halo() -> list[matplotlib.patheffects.AbstractPathEffect]:
    """Return the white rim of a text that is written over a picture."""
    return [matplotlib.patheffects.withStroke(linewidth=2.5, foreground="white")]


def outline(ax: Axes, segments: np.ndarray, **style: Any) -> None:
    """Draw segments (count, 2, 2) [m]."""
    lines = LineCollection(list(segments * NM), color=INK, capstyle="projecting", **style)
    ax.add_collection(lines, autolim=False)


def stretch_of(extent: Extent) -> float:
    """Return the factor on the vertical scale: 1, or for an extent longer than 5:1 what makes its picture 5:2."""
    wide, high = (side[1] - side[0] for side in extent)
    return 1.0 if wide < 5 * high and high < 5 * wide else wide / high * (0.4 if wide > high else 2.5)


def shape_of(extent: Extent) -> float:
    """Return the height of the picture of an extent over its width."""
    wide, high = (side[1] - side[0] for side in extent)
    return stretch_of(extent) * high / wide


def frame(ax: Axes, extent: Extent, labels: tuple[str, str], title: str = "", where: Side = "center") -> None:
    """Set limits, labels, scales and title of axes in nm."""
    ax.set(xlim=np.array(extent[0]) * NM, ylim=np.array(extent[1]) * NM)
    ax.set(xlabel=f"${labels[0]}$ [nm]", ylabel=f"${labels[1]}$ [nm]")
    stretch = stretch_of(extent)
    ax.set_aspect(stretch)
    if stretch != 1.0:
        label, factor = (labels[1], stretch) if stretch > 1 else (labels[0], 1 / stretch)
        title += (", " if title else "") + f"${label}$ stretched {number(factor, 2)} times"
    ax.set_title(title, loc=where)
