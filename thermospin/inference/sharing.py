"""Which numbers devices of a fit share: all of them, those at one bath, or one alone; and values that follow others.

"Py.P" is of all devices that have it, "77K:Py.P" of those with their bath at 77 K, "valve@far:Py.P" of one; the last
that exists counts (`names_in_fit`). A value that is a number is shared by all baths, one that is a table over the bath
is not.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Container, Mapping, Sequence

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.device.device import Device, Proportion, forms, known_parameters
from thermospin.device.settings import alike, at_home
from thermospin.inference.predictors import Predict
from thermospin.quantities import quantity


def names_in_fit(device: Device, parameters: Container[str]) -> dict[str, str]:
    """Return which parameter of a fit each value of a device is, by its own name: the first of `forms` that exists."""
    in_fit = {name: next((full for full in forms(device, name) if full in parameters), "") for name in device.numbers()}
    return {name: full for name, full in in_fit.items() if full}


def at_each_bath(devices: Sequence[Device], names: Sequence[str], shared: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return for each name the parameters that it stands for: one for each bath if it is a table over the bath.

    Args:
      devices: of the fit.
      names: such as "Py.sigma".
      shared: names that are one parameter anyway: those that follow others.
    """
    out: dict[str, list[str]] = {}
    for name in names:
        having = [device for device in devices if name in device.numbers()]
        tabled = [device for device in having if name in device.over_bath()]
        if name in shared or len({device.bath for device in tabled}) < 2:
            out[name] = [name]
        else:
            of_bath = [forms(device, name)[1] for device in sorted(tabled, key=lambda device: device.bath)]
            out[name] = list(dict.fromkeys([*of_bath, *([name] if len(tabled) < len(having) else [])]))
    return out


def joint_parameters(devices: Sequence[Device], free: Sequence[str], following: Sequence[str] = ()) -> dict[str, float]:
    """Return values at the start: one for all devices where they agree or it is free, else one for each bath or device.

    Args:
      devices: of the fit.
      free: parameters that are fitted.
      following: names that follow others, and have one value for all.
    """
    out: dict[str, float] = {}
    several = len({device.bath for device in devices}) > 1
    for name in dict.fromkeys(name for device in devices for name in device.numbers()):
        having = [(device, device.numbers()[name]) for device in devices if name in device.numbers()]
        first = having[0][1]
        if len(devices) == 1 or name in following:
            out[name] = at_home(having[0][0]).numbers()[name] if name in following else first
            continue
        asked = [forms(device, name)[1] in free for device, _ in having]
        differ = name not in free and any(value != first for _, value in having)
        by_bath = {device.bath: value for device, value in having}
        if several and (differ or all(asked)) and all(by_bath[device.bath] == value for device, value in having):
            out |= {forms(device, name)[1]: value for device, value in having}
        else:
            out[name] = first
            for (device, value), wanted in zip(having, asked, strict=True):
                if wanted:
                    out.setdefault(forms(device, name)[1], value)
                elif differ and value != first:
                    out[forms(device, name)[0]] = value
        out |= {full: value for device, value in having if (full := forms(device, name)[0]) in free}
    return out


def check_shared(devices: Sequence[Device], free: Sequence[str], following: Sequence[str]) -> None:
    """Refuse one free value for devices that are told apart by it: a dimension, or what variants of one device set.

    A device whose own value, or that of its bath, is free or follows another takes no part.
    """
    faults = []
    for name in (name for name in free if name not in following):
        having = [device for device in devices if name in device.numbers()]
        having = [device for device in having if not {*forms(device, name)[:2]} & {*free, *following}]
        values = {device.name: device.numbers()[name] for device in having}
        distinct = len(set(values.values())) > 1
        if distinct and (name in having[0].dimensions or all(alike(having[0], device) for device in having)):
            listed = ", ".join(f"{quantity(name, value)} in '{device}'" for device, value in values.items())
            faults.append(
                f"free: {name} is {listed}: one value for all would undo what tells them apart; "
                f'free it for one device, "{forms(having[-1], name)[0]}", or hold it'
            )
    if faults:
        raise InputError(faults)


@dataclasses.dataclass(frozen=True)
class Follower:
    """A value of one device that follows others: that of `shared`, times (source/reference)^power of each source.

    Attributes:
      name: its own parameter.
      of_bath: name of the value of all devices at its bath.
      shared: the parameter that all followers of a tie are in proportion to: their value at the references.
      sources: for each source its forms, of which the first that exists counts, its reference and its power.
      constant: further factor, of the bath [1].
    """

    name: str
    of_bath: str
    shared: str
    sources: tuple[tuple[tuple[str, ...], float, float], ...]
    constant: float = 1.0

    def at(self, parameters: Mapping[str, float]) -> tuple[float, dict[str, float]]:
        """Return the value, NaN where there is none, and its derivatives by parameters."""
        ratio, logarithmic = self.constant, dict[str, float]()
        for names, reference, power in self.sources:
            name = next(name for name in names if name in parameters)
            relative = parameters[name] / reference
            ratio *= math.nan if relative <= 0 else relative**power
            logarithmic[name] = logarithmic.get(name, 0.0) + power / parameters[name]
        value = parameters[self.shared] * ratio
        return value, {self.shared: ratio} | {name: value * slope for name, slope in logarithmic.items()}


def followers(devices: Sequence[Device], ties: Sequence[Proportion], free: Sequence[str]) -> list[Follower]:
    """Return the values that follow others, for every device that has them.

    References are the values of the first one at the bath of its file, where what is no table belongs.

    Args:
      devices: of the fit.
      ties: what follows what.
      free: parameters that are fitted; a device whose own value is among them takes no part.
    """
    out = []
    for tie in ties:
        having = [device for device in devices if {tie.name, *tie.sources} <= device.numbers().keys()]
        first = at_home(having[0])
        for device in having:
            if {*forms(device, tie.name)[:2]} & set(free):
                continue
            sources = tuple(
                (forms(device, source) if len(devices) > 1 else (source,), first.numbers()[source], power)
                for source, power in tie.sources.items()
            )
            name, of_bath, _ = forms(device, tie.name) if len(devices) > 1 else (tie.name,) * 3
            constant = (device.bath / first.bath) ** tie.powers.get("bath", 0.0)
            out.append(Follower(name, of_bath, tie.name, sources, constant))
    return out


def following(predict: Predict, values: Sequence[Follower]) -> Predict:
    """Return a model in which values follow others; derivatives have their share by the chain rule."""
    if not values:
        return predict
    followed = {follower.name for follower in values}

    def predict_followed(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        given, chain = dict(parameters), dict[str, dict[str, float]]()
        for follower in values:
            given[follower.name], slopes = follower.at(parameters)
            slopes = {name: slope for name, slope in slopes.items() if name in names}
            if slopes:
                chain[follower.name] = slopes
        plain = [name for name in names if name not in followed]
        signals, jacobian = predict(given, [*plain, *chain])
        total = np.zeros((len(signals), len(names)))
        total[:, [list(names).index(name) for name in plain]] = jacobian[:, : len(plain)]
        for k, slopes in enumerate(chain.values(), len(plain)):
            for name, slope in slopes.items():
                total[:, list(names).index(name)] += slope * jacobian[:, k]
        return signals, total

    return predict_followed


def check_proportions(ties: Sequence[Proportion], devices: Sequence[Device], linear: Sequence[str]) -> None:
    """Refuse ties of values that do not exist, or that follow more than one other.

    Args:
      ties: what follows what.
      devices: of the fit.
      linear: names that follow others by a factor.
    """
    plain = list(dict.fromkeys(name for device in devices for name in device.numbers()))
    names, faults = [tie.name for tie in ties], list[str]()
    for tie in ties:
        for name in (tie.name, *tie.sources):
            if name not in plain:
                alone = "name the value alone, it holds for every device" if name in known_parameters(devices) else ""
                faults.append(f"ties: {tie}: got '{name}'; {alone or nearest(name, plain)}")
        if names.count(tie.name) > 1 or tie.name in linear:
            faults.append(f"ties: {tie.name} follows more than one parameter")
        if tie.name in tie.powers or set(tie.sources) & set(names):
            faults.append(f"ties: {tie}: follows what follows another one; name that one")
        if not all(math.isfinite(power) and power for power in tie.powers.values()):
            faults.append(f"ties: {tie}: expected powers that are finite numbers other than 0")
        having = [device for device in devices if {tie.name, *tie.sources} <= device.numbers().keys()]
        if not faults and not having:
            faults.append(f"ties: {tie}: no device has all of these values")
        elif not faults:
            zero = [source for source in tie.sources if not having[0].numbers()[source]]
            faults += [f"ties: {tie}: {source} is 0 in '{having[0].name}', so nothing can follow it" for source in zero]
    if faults:
        raise InputError(list(dict.fromkeys(faults)))
