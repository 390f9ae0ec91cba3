"""What objects show: figures, cards and texts by the type of the object. `base.shown` asks for them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from thermospin.accuracy.adapt import Adapted
from thermospin.accuracy.computing import Computed
from thermospin.accuracy.sensitivity import Sensitivity
from thermospin.designs.result import Design
from thermospin.designs.topology import Form
from thermospin.device.device import Device
from thermospin.inference.budget import Budget
from thermospin.inference.posterior import Posterior
from thermospin.inference.profiles import Profile, profile
from thermospin.inference.result import FitResult
from thermospin.model import Model
from thermospin.report import cards
from thermospin.report.design_figures import design_picture, form_picture, sensitivity_picture
from thermospin.report.device_figures import device_picture
from thermospin.report.device_text import describe
from thermospin.report.fit_figures import budget_picture, fit_picture, posterior_picture, profile_picture
from thermospin.report.fit_figures import correlation_picture as correlation_picture
from thermospin.report.maps import plot_map as plot_map
from thermospin.report.signal_figures import signals_picture
from thermospin.signals.results import Signals

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from thermospin.model import Progress


@functools.singledispatch
def plot(shown: Any) -> Figure:
    """Draw an object."""
    raise TypeError(f"a {type(shown).__name__} has no figure")


plot.register(Device, device_picture)
plot.register(Signals, signals_picture)
plot.register(FitResult, fit_picture)
plot.register(Sensitivity, sensitivity_picture)
plot.register(Design, design_picture)
plot.register(Form, form_picture)
plot.register(Posterior, posterior_picture)
plot.register(Budget, budget_picture)
plot.register(Adapted, lambda adapted: signals_picture(adapted.signals))


def plot_profiles(
    result: FitResult, profiles: Sequence[Profile] | None = None, *, progress: Progress | None = None
) -> Figure:
    """Draw profile likelihoods; see `base.shown.PlottedFit.plot_profiles`."""
    return profile_picture(result, profile(result, progress=progress) if profiles is None else profiles)


@functools.singledispatch
def text(shown: Any) -> str:
    """Return an object as text."""
    return "\n".join(shown.words())


text.register(Device, describe)
text.register(FitResult, FitResult.report)
text.register(Signals, cards.signals_text)


@text.register
def _(shown: Model) -> str:
    return f"{shown.device.name}: {cards.size_of(shown)}"


@text.register
def _(shown: Adapted) -> str:
    return "\n".join([cards.signals_text(shown.signals), *shown.words()])


@functools.singledispatch
def card(shown: Any) -> str:
    """Return an object as HTML."""
    return cards.text_card(type(shown).__name__, shown.words())


card.register(Device, cards.device_card)
card.register(Model, cards.model_card)
card.register(Signals, cards.signals_card)
card.register(FitResult, cards.fit_card)
card.register(Design, cards.design_card)
card.register(Sensitivity, cards.sensitivity_card)


@card.register
def _(shown: Adapted) -> str:
    return cards.signals_card(shown.signals, shown.words())


@card.register
def _(shown: Computed) -> str:
    return cards.signals_card(shown.signals, shown.notes)
