"""Thermally driven spin injection in 3D: signals of a device, their gradients, and fits to lock-in data.

The verbs: `load` a device file, `build` its discrete problem, `measure` its signals (or `predict`, the same as a pure,
differentiable function of the parameters), `assess` them for error bars, `adapt` a grid to them, `fields` at a current,
`self_check`, `sensitivity` to every parameter and dimension, `load_data` and `fit`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thermospin.accuracy import assess as assess
    from thermospin.data import DataError as DataError
    from thermospin.data import Row as Row
    from thermospin.data import load as load_data
    from thermospin.device import Contact as Contact
    from thermospin.device import Device as Device
    from thermospin.device import DeviceError as DeviceError
    from thermospin.device import Experiment as Experiment
    from thermospin.device import HeatSink as HeatSink
    from thermospin.device import Solid as Solid
    from thermospin.device import load as load
    from thermospin.inverse import fit as fit
    from thermospin.materials import Material as Material
    from thermospin.materials import MaterialError as MaterialError
    from thermospin.model import Model as Model
    from thermospin.model import build as build
    from thermospin.refine import Adapted as Adapted
    from thermospin.refine import adapt as adapt
    from thermospin.report import FitResult as FitResult
    from thermospin.selfcheck import SelfCheck as SelfCheck
    from thermospin.selfcheck import self_check as self_check
    from thermospin.sensitivities import Sensitivity as Sensitivity
    from thermospin.sensitivities import sensitivity as sensitivity
    from thermospin.signals import Errors as Errors
    from thermospin.signals import NodalFields as NodalFields
    from thermospin.signals import Signals as Signals
    from thermospin.signals import evaluate as evaluate
    from thermospin.signals import fields as fields
    from thermospin.signals import measure as measure
    from thermospin.signals import predict as predict
    from thermospin.solve import NotConverged as NotConverged

    __all__ = ["load_data"]

__version__ = "0.1.0"

#: Where each public name lives. Imported when first used: the command line must not wait for JAX to print its help.
_HOME = {
    "assess": "accuracy",
    "DataError": "data",
    "Row": "data",
    "Contact": "device",
    "Device": "device",
    "DeviceError": "device",
    "Experiment": "device",
    "HeatSink": "device",
    "Solid": "device",
    "load": "device",
    "fit": "inverse",
    "Material": "materials",
    "MaterialError": "materials",
    "Model": "model",
    "build": "model",
    "Adapted": "refine",
    "adapt": "refine",
    "FitResult": "report",
    "SelfCheck": "selfcheck",
    "self_check": "selfcheck",
    "Sensitivity": "sensitivities",
    "sensitivity": "sensitivities",
    "Errors": "signals",
    "NodalFields": "signals",
    "Signals": "signals",
    "evaluate": "signals",
    "fields": "signals",
    "measure": "signals",
    "predict": "signals",
    "NotConverged": "solve",
}

__all__ = sorted([*_HOME, "load_data"])


def __getattr__(name: str) -> Any:
    if name == "load_data":
        return importlib.import_module("thermospin.data").load
    if name in _HOME:
        return getattr(importlib.import_module(f"thermospin.{_HOME[name]}"), name)
    raise AttributeError(f"module 'thermospin' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
