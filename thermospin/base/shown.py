"""Objects that show themselves: as HTML in a notebook, as text when printed, as a figure when asked.

What they show is made by a module above them, which the package names when it is imported (`PAINTER`): devices and
results know their numbers, and neither matplotlib nor HTML.
"""

from __future__ import annotations

import html
import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The module that makes figures, cards and texts; `thermospin/__init__` names it.
PAINTER = ""


def painter() -> Any:
    """Return the module that makes figures, cards and texts, imported when first asked for."""
    return importlib.import_module(PAINTER)


class Shown:
    """An object that a notebook shows as a card, and `print` as text."""

    def __init_subclass__(cls) -> None:
        # IPython takes the method of the class itself; one that is inherited comes after the `__repr__` of a dataclass.
        cls._repr_pretty_ = Shown._repr_pretty_  # type: ignore[method-assign]

    def __str__(self) -> str:
        return painter().text(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print the text where IPython shows no HTML."""
        printer.text(repr(self) if cycle else str(self))

    def _repr_html_(self) -> str:
        """Return the card as HTML; where it cannot be made, text and the reason: what is shown never raises."""
        try:
            return painter().card(self)
        except Exception as error:  # whatever is wrong with the card, the result is there
            reason = f"{type(self).__name__} has no card: {type(error).__name__}: {error}"
            return f"<pre>{html.escape(self._plain_text())}</pre><p>{html.escape(reason)}</p>"

    def _plain_text(self) -> str:
        """Return the text, or what there is of the object without it."""
        try:
            return str(self)
        except Exception:  # as above
            return repr(self)[:10_000]


class Plotted(Shown):
    """An object that has a figure."""

    def plot(self) -> Figure:
        """Draw it; return a matplotlib figure, which notebooks show and `figure.savefig(path)` writes."""
        return painter().plot(self)


class PlottedFit(Plotted):
    """A fit, which has more than one figure."""

    def plot_profiles(
        self, profiles: Sequence[Any] | None = None, *, progress: Callable[[str], None] | None = None
    ) -> Figure:
        """Draw the profile likelihood of every parameter.

        Args:
          profiles: by `inference.profiles.profile`; None: they are made, which takes many evaluations.
          progress: callback for messages.
        Raises:
          InputError: profiles are to be made and the result has no model, because it comes from a file.
        """
        return painter().plot_profiles(self, profiles, progress=progress)

    def plot_correlations(self) -> Figure:
        """Draw the correlations of the parameters."""
        return painter().correlation_picture(self)


class Mapped(Shown):
    """A model, whose fields have maps."""

    def plot_map(
        self,
        field: str = "T",
        z: float | str | None = None,
        *,
        experiment: str | None = None,
        state: str | None = None,
        drive: float | None = None,
        fields: Any = None,
        parameters: Any = None,
        progress: Callable[[str], None] | None = None,
    ) -> Figure:
        """Solve an experiment and draw one of its fields in a horizontal plane.

        Args:
          field: "T", the temperature rise [K], or "V_s", the spin accumulation V_up - V_down [V].
          z: height of the plane, "10 nm" or a number [m]; None: the middle of the first magnet, else of the first
            metal.
          experiment, state: their names; None: the first ones.
          drive: its size [A, K or W]; None: 1 mA, or what the device file gives in `heat` or `power`.
          fields: from `signals.evaluate.fields` at this drive, where they are there already; nothing is solved then.
          parameters: values by name; those left out are the device's own.
          progress: callback for messages.
        Raises:
          InputError: no such field, experiment or state, or nothing to be seen at that height.
          NotConverged: a solve missed its tolerance.
        """
        return painter().plot_map(
            self,
            field,
            z,
            experiment=experiment,
            state=state,
            drive=drive,
            nodal=fields,
            parameters=parameters,
            progress=progress,
        )
