"""Thermally driven spin injection in 3D: signals of a device, their gradients, and fits to lock-in data.

The verbs: `load` a device file, `build` its discrete problem, `measure` its signals (or `predict`, the same as a pure,
differentiable function of the parameters), `assess` them for error bars, `adapt` a grid to them, `fields` at a drive,
with `maps` of them and a `view` of the device that turns, `self_check`, `sensitivity` to every parameter and dimension,
`load_data` and `fit`. `study` does the whole of it, from files to a page, with `profile`, `sample`, `budget` and rival
models; `design` looks for a better device, `ensemble` computes many parameter sets.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from typing import TYPE_CHECKING, Any

from thermospin.base import shown
from thermospin.base.kinds import checked
from thermospin.base.version import __version__ as __version__

if TYPE_CHECKING:
    from thermospin.accuracy.adapt import Adapted as Adapted
    from thermospin.accuracy.adapt import adapt as adapt
    from thermospin.accuracy.computing import Computed as Computed
    from thermospin.accuracy.computing import GridChoice as GridChoice
    from thermospin.accuracy.computing import compute as compute
    from thermospin.accuracy.error_bars import assess as assess
    from thermospin.accuracy.self_check import SelfCheck as SelfCheck
    from thermospin.accuracy.self_check import self_check as self_check
    from thermospin.accuracy.sensitivity import Sensitivity as Sensitivity
    from thermospin.accuracy.sensitivity import sensitivity as sensitivity
    from thermospin.base.errors import FileError as FileError
    from thermospin.base.errors import InputError as InputError
    from thermospin.base.errors import NotConverged as NotConverged
    from thermospin.base.programs import keep_programs as keep_programs
    from thermospin.base.progress import Progress as Progress
    from thermospin.data.rows import DataError as DataError
    from thermospin.data.rows import Row as Row
    from thermospin.data.rows import load as load_data
    from thermospin.data.sources import Inputs as Inputs
    from thermospin.data.sources import read_sources as read_sources
    from thermospin.designs.limits import Limits as Limits
    from thermospin.designs.objective import Objective as Objective
    from thermospin.designs.objective import StandardErrorFit as StandardErrorFit
    from thermospin.designs.result import Design as Design
    from thermospin.designs.search import Search as Search
    from thermospin.designs.search import design as design
    from thermospin.designs.topology import Form as Form
    from thermospin.designs.topology import free_form as free_form
    from thermospin.device.device import Device as Device
    from thermospin.device.device import DeviceError as DeviceError
    from thermospin.device.device import Proportion as Proportion
    from thermospin.device.device import Tie as Tie
    from thermospin.device.materials import Material as Material
    from thermospin.device.materials import MaterialError as MaterialError
    from thermospin.device.parts import Contact as Contact
    from thermospin.device.parts import Experiment as Experiment
    from thermospin.device.parts import HeatSink as HeatSink
    from thermospin.device.parts import Solid as Solid
    from thermospin.device.reader import load as load
    from thermospin.device.settings import at_bath as at_bath
    from thermospin.inference.budget import budget as budget
    from thermospin.inference.ensembles import run as ensemble
    from thermospin.inference.fit_files import load_fit as load_fit
    from thermospin.inference.fit_setup import FitOptions as FitOptions
    from thermospin.inference.misfit import Prior as Prior
    from thermospin.inference.posterior import emulate as emulate
    from thermospin.inference.posterior import sample as sample
    from thermospin.inference.profiles import profile as profile
    from thermospin.inference.result import FitResult as FitResult
    from thermospin.inverse import fit as fit
    from thermospin.model import GridOptions as GridOptions
    from thermospin.model import Model as Model
    from thermospin.model import build as build
    from thermospin.report.design_files import write_design as write_design
    from thermospin.report.device_scene import view as view
    from thermospin.report.device_scene import write_view as write_view
    from thermospin.report.maps import maps as maps
    from thermospin.signals.density import current_density as current_density
    from thermospin.signals.evaluate import evaluate as evaluate
    from thermospin.signals.evaluate import fields as fields
    from thermospin.signals.evaluate import measure as measure
    from thermospin.signals.evaluate import predict as predict
    from thermospin.signals.results import Errors as Errors
    from thermospin.signals.results import NodalFields as NodalFields
    from thermospin.signals.results import Signals as Signals
    from thermospin.signals.results import load_signals as load_signals
    from thermospin.studies import Check as Check
    from thermospin.studies import Extras as Extras
    from thermospin.studies import Study as Study
    from thermospin.studies import check as check
    from thermospin.studies import study as study

    __all__ = ["load_data", "ensemble"]

#: Where each public name lives, followed by its name there if that differs. Imported when first used: the command line
#: must not wait for JAX to print its help.
_HOME = {
    "assess": "accuracy.error_bars",
    "DataError": "data.rows",
    "Row": "data.rows",
    "Contact": "device.parts",
    "Device": "device.device",
    "DeviceError": "device.device",
    "Experiment": "device.parts",
    "HeatSink": "device.parts",
    "Solid": "device.parts",
    "load": "device.reader",
    "fit": "inverse",
    "Material": "device.materials",
    "MaterialError": "device.materials",
    "Model": "model",
    "build": "model",
    "Adapted": "accuracy.adapt",
    "adapt": "accuracy.adapt",
    "FitResult": "inference.result",
    "load_fit": "inference.fit_files",
    "SelfCheck": "accuracy.self_check",
    "self_check": "accuracy.self_check",
    "Sensitivity": "accuracy.sensitivity",
    "sensitivity": "accuracy.sensitivity",
    "Errors": "signals.results",
    "NodalFields": "signals.results",
    "Signals": "signals.results",
    "load_signals": "signals.results",
    "evaluate": "signals.evaluate",
    "fields": "signals.evaluate",
    "measure": "signals.evaluate",
    "predict": "signals.evaluate",
    "NotConverged": "base.errors",
    "InputError": "base.errors",
    "FileError": "base.errors",
    "keep_programs": "base.programs",
    "Progress": "base.progress",
    "load_data": "data.rows:load",
    "Inputs": "data.sources",
    "read_sources": "data.sources",
    "Tie": "device.device",
    "Proportion": "device.device",
    "at_bath": "device.settings",
    "Prior": "inference.misfit",
    "profile": "inference.profiles",
    "budget": "inference.budget",
    "sample": "inference.posterior",
    "emulate": "inference.posterior",
    "ensemble": "inference.ensembles:run",
    "design": "designs.search",
    "Design": "designs.result",
    "Search": "designs.search",
    "Limits": "designs.limits",
    "Objective": "designs.objective",
    "StandardErrorFit": "designs.objective",
    "free_form": "designs.topology",
    "Form": "designs.topology",
    "write_design": "report.design_files",
    "maps": "report.maps",
    "view": "report.device_scene",
    "write_view": "report.device_scene",
    "current_density": "signals.density",
    "check": "studies",
    "Check": "studies",
    "compute": "accuracy.computing",
    "Computed": "accuracy.computing",
    "study": "studies",
    "Study": "studies",
    "GridChoice": "accuracy.computing",
    "FitOptions": "inference.fit_setup",
    "GridOptions": "model",
    "Extras": "studies",
}

__all__ = sorted(_HOME)

#: The same function every time: pickle asks for it.
_checked = functools.cache(checked)

#: Devices and results show themselves by it, which lies above them; see `base.shown`.
shown.PAINTER = "thermospin.report.notebook"


def __getattr__(name: str) -> Any:
    if name in _HOME:
        module, _, attribute = _HOME[name].partition(":")
        found = getattr(importlib.import_module(f"thermospin.{module}"), attribute or name)
        return _checked(found, name) if inspect.isfunction(found) else found
    raise AttributeError(f"module 'thermospin' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
