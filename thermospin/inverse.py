"""Parameters behind measured signals: fit devices to data, with the error bars of the grid.

The covariance of the parameters is (J' C^-1 J + priors)^-1 with J = d model/d p, the linear theory at the minimum:
trust it as far as the model is linear over one standard deviation. The misfit is in `inference.misfit`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from thermospin.accuracy import error_bars
from thermospin.base.errors import InputError
from thermospin.base.names import nearest, require_known
from thermospin.base.version import __version__
from thermospin.data.rows import Row
from thermospin.device.device import OF, Device, Tie, known_parameters
from thermospin.inference.identifiability import Choice, choose
from thermospin.inference.minimisers import FIT_TOLERANCE, MINIMISERS, check_rows, minimise
from thermospin.inference.misfit import Misfit, Prior
from thermospin.inference.parameters import Parameter
from thermospin.inference.predictors import RESIDUAL, Copies, Joint, Journal, Predict, Predictor, corrected, tied
from thermospin.inference.result import FitResult
from thermospin.model import Model, Progress, build
from thermospin.parallel import tasks
from thermospin.solve import Solver


def fit(
    device: Device | Model | Sequence[Device | Model],
    rows: Sequence[Row],
    *,
    free: Sequence[str] | None = None,
    cells: int | None = None,
    order: int = 2,
    progress: Progress | None = None,
    method: str = "least_squares",
    bounds: Mapping[str, tuple[float, float]] | None = None,
    priors: Mapping[str, Prior | tuple[float, float]] | None = None,
    ties: Sequence[Tie] = (),
    correlation: np.ndarray | None = None,
    starts: int = 1,
    rescaled: bool = False,
    grid_errors: bool = True,
    journal: str | Path | None = None,
) -> FitResult:
    """Fits parameters of one device, or of several, to measured signals, with the error bars of the grid.

    The data are fitted with elements of first order, which is cheap, each signal corrected by a factor for what it is
    wrong by at the start, and from there with those of the model. What the orders differ by at the start gives the
    error bars of the signals (`error_bars.tail`), relative to the signal; these are added in quadrature to the standard
    deviations of the data, as if those of different signals were independent.

    Args:
      device: its own values are the start; a model from `model.build` is used as it is (cells and order do nothing).
        Of several, told apart by their names, a free parameter is one for all that have it ("Py.S_s"), or that of
        one device ("wide:zeta"), which goes before; what is not free keeps the value of each device.
      rows: measured signals; of several devices, `Row.device` says whose.
      free: names such as "Py.S_s", "zeta", or a dimension of the device; None: what `choose` finds.
      cells, order: of the grid, as for `model.build`.
      progress: is told what goes on.
      method: "least_squares", "lbfgs", or "adam" for many small steps of gradient descent.
      bounds: {name: (lower, upper)} in SI units, in place of the defaults and of the ranges of dimensions;
        those of a parameter that `choose` leaves out do nothing.
      priors: {name: Prior or (mean, std)} of free parameters in SI units: what is known of them besides the data.
      ties: parameters that follow free ones, value = factor * value of the other.
      correlation: of the rows (rows, rows); None: independent.
      starts: so many starts of the cheap stage, see `scattered`.
      rescaled: multiply the covariance by the reduced chi2.
      grid_errors: False: take the model for exact, and fit on it alone.
      journal: file that keeps every evaluation, from which a fit that was interrupted goes on; see `Journal`.
    Raises:
      ValueError: no rows, a name that does not exist, bounds that exclude the start.
      NotConverged: a solve did not converge at the start; further on the step is shortened instead.
    """
    given = [device] if isinstance(device, Device | Model) else list(device)
    devices = [each.device if isinstance(each, Model) else each for each in given]
    rows, bounds = tuple(rows), dict(bounds or {})
    known_priors = {
        name: prior if isinstance(prior, Prior) else Prior(*prior) for name, prior in (priors or {}).items()
    }
    parameters = joint_parameters(devices, free or ())
    if method not in MINIMISERS:
        raise InputError(f"method: got '{method}'; {nearest(method, MINIMISERS)}")
    known = known_parameters(devices)
    require_known("free", free or (), known)
    require_known("bounds", bounds, known if free is None else free)
    require_known("priors", known_priors, known if free is None else free)
    _check_ties(ties, free, known)
    _check_priors(known_priors)
    check_rows(rows, ["zeta"] if free is None else list(free), rescaled)
    _check_devices(devices, rows)
    models = [
        each if isinstance(each, Model) else build(each, cells=cells, order=order, progress=progress) for each in given
    ]
    own = models[0].grid.order
    kept = None if journal is None else Journal(Path(journal), _problem(models, rows))
    if kept is not None and progress is not None and len(kept):
        progress(f"{journal}: {len(kept)} evaluations are there already")

    def bare_of(models: Sequence[Model], lenient: bool = False, solver: Solver | None = None) -> Predictor | Joint:
        lenient = lenient or (kept is not None and len(kept) > 0)
        if len(models) == 1:
            return Predictor(models[0], rows, RESIDUAL, progress, lenient=lenient, solver=solver)
        places = [np.flatnonzero([row.device == each.device.name for row in rows]) for each in models]
        parts = [
            (
                each.device.name,
                each.device.numbers(),
                place,
                Predictor(each, [rows[i] for i in place], RESIDUAL, progress, lenient=lenient, solver=solver),
            )
            for each, place in zip(models, places, strict=True)
        ]
        return Joint(parts, len(rows))

    def whole_of(bare: Predictor | Joint, order: int, name: str | None = None) -> Predict:
        """With ties, and the journal."""
        whole = tied(bare, ties)
        label = f"order {order}, {name}" if name else f"order {order}"
        return whole if kept is None else kept.keep(whole, label, () if name == "" else bare.parts)

    def copy_of(models: Sequence[Model], name: str, solver: Solver | None) -> Predict:
        return whole_of(bare_of(models, True, solver), models[0].grid.order, name)

    bare = bare_of(models)
    last = whole_of(bare, own)
    stages: list[Predict] = [last]
    first = Copies(models, copy_of, starts)
    grid_stds, wider, wider_correlation = None, list(rows), correlation
    if grid_errors:
        companions = list(zip(*map(error_bars.companions, models), strict=True))
        others = [whole_of(bare_of(each), each[0].grid.order) for each in companions]
        beside = all(each.devices == 1 for each in models)  # messages must be sent in one order
        values = _at_start(own, others, last, parameters, list(free or ["zeta"]), beside)
        grid_stds = _grid_stds(own, values, rows)
        moved = [error_bars.elsewhere(each) for each in models]
        if any(moved):
            there, _ = bare_of([other or each for other, each in zip(moved, models, strict=True)])(parameters, ())
            grid_stds = grid_stds + error_bars.CUT * np.abs(there - values[own - 1])
        wider = [replace(row, std=math.hypot(row.std, grid)) for row, grid in zip(rows, grid_stds, strict=True)]
        if correlation is not None:
            shares = np.array([row.std for row in rows]) / np.array([row.std for row in wider])
            wider_correlation = np.asarray(correlation, float) * shares[:, None] * shares
            np.fill_diagonal(wider_correlation, 1.0)
        if own > 1:
            low, high = values[0], values[own - 1]
            stages.insert(0, corrected(others[0], low, high))
            first = Copies(companions[0], lambda each, *how: corrected(copy_of(each, *how), low, high), starts)
    misfit = Misfit(wider, wider_correlation, known_priors)
    if free is None:
        choice = choose(stages[0], misfit, parameters, _magnetic(devices))
    else:
        choice = Choice(tuple(free), {})
    limits = _ranges(devices) | bounds
    varied = [Parameter(name, parameters[name], limits.get(name)) for name in choice.free]
    fixed = {name: value for name, value in parameters.items() if name not in choice.free}
    result = minimise(
        MINIMISERS[method],
        stages,
        misfit,
        varied,
        fixed,
        rescaled=rescaled,
        starts=starts,
        copies=first,
        progress=progress,
        tolerance=FIT_TOLERANCE,
    )
    return replace(
        result,
        rows=rows,
        correlation_of_data=correlation,
        ties=tuple((tie.name, tie.factor, tie.source) for tie in ties),
        grid_stds=grid_stds,
        left_out=choice.left_out,
        fields=bare.fields,
        problem=replace(
            result.problem,
            models=tuple(models),
            of=lambda others: tied(bare_of(others), ties),
            copies=Copies(models, copy_of, tasks.MOST * max(each.devices for each in models)),
        ),
    )


def joint_parameters(devices: Sequence[Device], free: Sequence[str]) -> dict[str, float]:
    """Values at the start: one for all devices where they agree or where it is free, else each device's own."""
    shared = {name: value for name, value in known_parameters(devices).items() if OF not in name}
    out = dict(shared)
    if len(devices) > 1:
        for device in devices:
            for name, value in device.numbers().items():
                own = f"{device.name}{OF}{name}"
                if own in free or (value != shared[name] and name not in free):
                    out[own] = value
    return out


def _ranges(devices: Sequence[Device]) -> dict[str, tuple[float, float]]:
    """Ranges of the dimensions that have one, by each name that a fit may use."""
    out: dict[str, tuple[float, float]] = {}
    for device in reversed(devices):
        own = {name: each.range for name, each in device.dimensions.items() if each.range is not None}
        out |= own | {f"{device.name}{OF}{name}": each for name, each in own.items()}
    return out


def _magnetic(devices: Sequence[Device]) -> list[str]:
    used = [(each, solid.material) for each in devices for solid in each.solids]
    return list(dict.fromkeys(material for device, material in used if device.materials[material].is_magnetic))


def _check_ties(ties: Sequence[Tie], free: Sequence[str] | None, known: Mapping[str, float]) -> None:
    faults = []
    for tie in ties:
        faults += [
            f"ties: got '{name}'; {nearest(name, known)}" for name in (tie.name, tie.source) if name not in known
        ]
        if tie.name in (free or ()):
            faults.append(f"ties: {tie.name} follows {tie.source} and is free too, expected one of them")
        if tie.source in [other.name for other in ties]:
            faults.append(f"ties: {tie.name} follows {tie.source}, which follows another one; name that one")
        if not math.isfinite(tie.factor):
            faults.append(f"ties: {tie.name}: got factor {tie.factor:g}, expected a finite number")
    twice = [name for name, times in Counter(tie.name for tie in ties).items() if times > 1]
    faults += [f"ties: {name} follows more than one parameter" for name in twice]
    if faults:
        raise InputError("\n".join(faults))


def _check_priors(priors: Mapping[str, Prior]) -> None:
    faults = [
        f"priors: {name}: got {prior.mean:g} +- {prior.std:g}, expected a finite mean and a finite std above 0"
        for name, prior in priors.items()
        if not (math.isfinite(prior.mean) and math.isfinite(prior.std) and prior.std > 0)
    ]
    if faults:
        raise InputError("\n".join(faults))


def _check_devices(devices: Sequence[Device], rows: Sequence[Row]) -> None:
    names = [each.name for each in devices]
    if len(devices) == 1:
        names.append("")
    faults = [f"device: '{name}' is there more than once" for name, times in Counter(names).items() if times > 1]
    for row in rows:
        if row.device not in names:
            faults.append(f"{row.experiment} {row.signal}: got device '{row.device}'; {nearest(row.device, names)}")
    idle = [name for name in names if name and name not in [row.device for row in rows]] if len(devices) > 1 else []
    faults += [f"device '{name}' has no rows, expected at least one" for name in idle]
    if faults:
        raise InputError("\n".join(dict.fromkeys(faults)))


def _problem(models: Sequence[Model], rows: Sequence[Row]) -> str:
    """Describe what the answers of a model depend on: devices, grids and which signals, not what was measured."""
    lines = [[axis.tolist() for axis in each.grid.lines] for each in models]
    wanted = [(row.device, row.experiment, row.signal) for row in rows]
    return repr((__version__, [each.device for each in models], lines, [each.grid.order for each in models], wanted))


def _at_start(
    order: int,
    others: Sequence[Predict],
    own: Predict,
    parameters: Mapping[str, float],
    names: Sequence[str],
    beside: bool,
) -> list[np.ndarray]:
    """Values of the rows at the start at the orders 1, 2, ...; `order` is that of `own`, others may go on beside it."""
    with ThreadPoolExecutor(1) as pool:
        # Beside the others: most of the time is compilation, which is hardly parallel.
        mine = pool.submit(own, parameters, names)
        if not beside:
            mine.result()
        values = [each(parameters, ())[0] for each in others]
    values.insert(order - 1, mine.result()[0])
    return values


def _grid_stds(order: int, values: Sequence[np.ndarray], rows: Sequence[Row]) -> np.ndarray:
    """Error bars of the grid for each row [V/A^n], from the values at the orders 1, 2, ... at the start.

    In proportion to what was measured or to the start, whichever is larger: the start may have a parameter far off that
    the signal is proportional to, and with it the error.
    """
    errors = [error_bars.error(each, order) for each in zip(*values, strict=True)]
    scale = [max(abs(row.value) / abs(at), 1.0) if at else 1.0 for row, at in zip(rows, values[order - 1], strict=True)]
    return np.array(errors) * np.array(scale)
