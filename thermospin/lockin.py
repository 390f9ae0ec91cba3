"""Lock-in sweeps to signals: P and AP levels of every sweep, and R1 to R4 behind them with their covariance.

With I the rms current and V = R1 i + R2 i^2 + R3 i^3 + R4 i^4 of the instantaneous one, levels are linear in the R:

    V_1f = R1 I + 3/2 R3 I^3,   V_2f = (R2 I^2 + 2 R4 I^4)/sqrt(2) at -90 degrees,   V_3f = -R3 I^3/2   (rms),

so that all levels of an experiment, in both states, make one weighted least-squares problem. R3 and R4 are taken along
where the currents tell them from R1 and R2 and the Bayesian criterion asks for them (Schwarz 1978). Signals are per
instantaneous current, as everywhere (Slachter et al. 2010).

A sweep whose step is lost in the noise is taken along at the switching fields of the clear ones in its direction: to
use the clear ones alone would select those whose noise adds to the step. One that should have shown a step and does not
is left out, and told.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thermospin import sweepfile, switching
from thermospin.data import DataError, Row
from thermospin.device import Device
from thermospin.sweepfile import FACTORS, SAME, Sweeps, Trace, root_of_two
from thermospin.switching import Levels, Switch
from thermospin.units import KINDS, readable

#: Harmonics that are handed to fits. Higher ones hold what the model has not: coefficients that depend on temperature.
HANDED = (1, 2)
#: A sweep that borrows its switching fields is left out if its step should be so many standard deviations and is not as
#: large as it should be.
EXPECTED = 8.0
#: Levels at the same current, or R1 of two files, that differ by so many standard deviations disagree.
DISAGREE = 5.0


@dataclasses.dataclass(frozen=True)
class Sweep:
    """One field sweep in one direction.

    Attributes:
      trace: the measurement, of all directions.
      part: which points of it.
      rising: whether the field goes up.
      switch: where it switches; None if it does not, for the reason `why`.
      levels: of each harmonic, rms [V]; empty without a switch.
      borrowed: whether the switching fields are those of other sweeps, because its own step is not clear.
    """

    trace: Trace
    part: slice
    rising: bool
    switch: Switch | None
    why: str
    levels: Mapping[int, Levels]
    borrowed: bool = False

    @property
    def label(self) -> str:
        """File, current and direction."""
        return f"{self.trace.label}, field {'up' if self.rising else 'down'}"

    @property
    def switching_fields(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """Field into and out of the antiparallel state, each with its standard deviation (a step/sqrt(12)) [T]."""
        if self.switch is None:
            return None
        field = self.trace.field[self.part]
        pairs = [(field[k - 1], field[k]) for k in (self.switch.first, self.switch.end)]
        first, second = (((a + b) / 2, abs(b - a) / math.sqrt(12)) for a, b in pairs)
        return (float(first[0]), float(first[1])), (float(second[0]), float(second[1]))


@dataclasses.dataclass(frozen=True)
class Measured:
    """Signals behind lock-in sweeps.

    Attributes:
      rows: baseline and spin of the harmonics that fits take, see `HANDED`.
      correlation: of the rows (rows, rows).
      sweeps: what was found in each.
      higher: rows of the harmonics above, for information.
      notes: what was decided, left out or is odd, in words.
    """

    rows: tuple[Row, ...]
    correlation: np.ndarray
    sweeps: tuple[Sweep, ...]
    higher: tuple[Row, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and dictionaries."""
        return {
            "rows": [_row_json(row) for row in self.rows],
            "correlation": self.correlation.tolist(),
            "higher": [_row_json(row) for row in self.higher],
            "sweeps": [
                {
                    "label": each.label,
                    "experiment": each.trace.experiment,
                    "current_rms": each.trace.current,
                    "clear": each.switch is not None and not each.borrowed,
                    "used": each.switch is not None,
                    "why": each.why,
                    "switching_fields": each.switching_fields,
                    "levels": {
                        f"V{n}": {"P": level.P, "AP": level.AP, "covariance": level.covariance.tolist()}
                        | {"outliers": level.outliers, "noise": level.noise}
                        for n, level in each.levels.items()
                    },
                }
                for each in self.sweeps
            ],
            "notes": list(self.notes),
        }

    def words(self) -> list[str]:
        """One line for each sweep, each signal and each note."""
        lines = [f"{each.label}: {_sweep_words(each)}" for each in self.sweeps]
        lines += [
            f"{row.experiment} {row.signal} = {readable(row.value, KINDS[f'R{row.harmonic}'].unit, row.std)}"
            for row in (*self.rows, *self.higher)
        ]
        return [*lines, *self.notes]


def load(path: str | Path, device: Device) -> Measured:
    """The signals behind the sweeps that an experiment file names; see `sweepfile.load`.

    Raises:
      DataError: with all faults; no sweep that switches is one.
    """
    sweeps = sweepfile.load(path, device)
    try:
        return measure(sweeps)
    except DataError as error:
        raise DataError(f"{path}: {fault}" for fault in error.faults) from None


def measure(measured: Sweeps) -> Measured:
    """Levels of every sweep and the signals behind them.

    The gain is one number for all signals, known to `gain_std`: it correlates them.

    Args:
      measured: at least one trace.
    Raises:
      DataError: no sweep of an experiment switches clearly, or files contradict each other.
    """
    traces, polarity_known = measured.traces, measured.polarity_known
    sweeps = _borrow([sweep for trace in traces for sweep in _sweeps(trace)])
    notes = _left_out(traces, sweeps)
    rows: list[Row] = []
    higher: list[Row] = []
    blocks: list[np.ndarray] = []
    faults: list[str] = []
    for experiment in dict.fromkeys(trace.experiment for trace in traces):
        own = [each for each in sweeps if each.trace.experiment == experiment and each.switch is not None]
        if not own:
            reasons = [f"{each.label}: {each.why}" for each in sweeps if each.trace.experiment == experiment]
            listed = "; ".join(reasons[:3]) if reasons else "the field never goes one way for long enough"
            faults.append(f"experiment '{experiment}': no sweep switches clearly: {listed}")
            continue
        faults += _contradictions(experiment, own)
        names, values, covariance, said = _regress(own)
        notes += [f"experiment '{experiment}': {text}" for text in said]
        notes += _repeats(own)
        made = [
            Row(experiment, f"R{n}.{part}", float(value), float(std), polarity_known)
            for (n, part), value, std in zip(names, values, np.sqrt(np.diag(covariance)), strict=True)
        ]
        handed = [i for i, (n, _) in enumerate(names) if n in HANDED]
        rows += [made[i] for i in handed]
        higher += [made[i] for i in range(len(made)) if i not in handed]
        blocks.append(covariance[np.ix_(handed, handed)])
    if faults:
        raise DataError(faults)
    from scipy.linalg import block_diag

    whole = block_diag(*blocks)
    values = np.array([row.value for row in rows])
    whole += measured.gain_std**2 * values[:, None] * values
    deviation = np.sqrt(np.diag(whole))
    rows = [dataclasses.replace(row, std=float(std)) for row, std in zip(rows, deviation, strict=True)]
    correlation = whole / deviation[:, None] / deviation
    np.fill_diagonal(correlation, 1.0)
    if higher:
        notes.append(
            "R3 and R4 are not handed to a fit: what depends on temperature in a real device, and not in the model, "
            "shows in them first"
        )
    return Measured(tuple(rows), correlation, sweeps, tuple(higher), tuple(notes))


def _sweeps(trace: Trace) -> list[Sweep]:
    out = []
    for part in switching.branches(trace.field):
        voltages = {n: each[part] for n, each in trace.voltages.items()}
        field = trace.field[part]
        rising = bool(field[-1] > field[0])
        switch, why = switching.find(list(voltages.values()))
        found = {} if switch is None else {n: switching.levels(each, switch) for n, each in voltages.items()}
        flat = [n for n, level in found.items() if level.noise == 0]
        if flat and switch is not None:
            switch, why, found = None, f"V{flat[0]} has no noise at all, so that its levels have no error bars", {}
        out.append(Sweep(trace, part, rising, switch, why, found))
    return out


def _borrow(sweeps: Sequence[Sweep]) -> tuple[Sweep, ...]:
    """Sweeps without a clear step get the switching fields of clear ones in their direction; see above."""
    out = []
    for sweep in sweeps:
        clear = [each for each in sweeps if each.switch is not None and each.rising == sweep.rising]
        own = [each for each in clear if each.trace.experiment == sweep.trace.experiment]
        field = sweep.trace.field[sweep.part]
        if sweep.switch is not None or not clear or len(field) < switching.LEAST_IN_ALL:
            out.append(sweep)
            continue
        pairs = [each.switching_fields for each in own or clear]
        first, second = (float(np.median([pair[k][0] for pair in pairs if pair is not None])) for k in (0, 1))
        sign = 1.0 if sweep.rising else -1.0
        switch = Switch(int(np.sum(sign * field < sign * first)), int(np.sum(sign * field < sign * second)))
        if min(switch.first, switch.end - switch.first, len(field) - switch.end) < switching.LEAST:
            out.append(sweep)
            continue
        found = {n: switching.levels(each[sweep.part], switch) for n, each in sweep.trace.voltages.items()}
        missed = _missed(found, sweep.trace.current, own)
        if missed or any(level.noise == 0 for level in found.values()):
            out.append(dataclasses.replace(sweep, why=f"{sweep.why}{missed}"))
        else:
            out.append(dataclasses.replace(sweep, switch=switch, levels=found, borrowed=True))
    return tuple(out)


def _missed(found: Mapping[int, Levels], current: float, clear: Sequence[Sweep]) -> str:
    """Which step should be there and is not, judged by sweeps at other currents; nothing if none is missed."""
    for n, level in found.items():
        data = [(n, each.trace.current, each.levels[n]) for each in clear if n in each.levels]
        if not data or not level.step_over_std or n > 2:
            continue
        values, *_ = _solve(data, [n])
        expected = float(values[1] - values[0]) * _terms(n, current)[n]
        std = (level.AP - level.P) / level.step_over_std
        off = abs(level.AP - level.P - expected) / std
        if abs(expected) > EXPECTED * std and off > DISAGREE:
            size = f"{expected:.3g} V, {abs(expected) / std:.0f} standard deviations"
            return f"; by the other sweeps V{n} should step by {size}"
    return ""


def _left_out(traces: Sequence[Trace], sweeps: Sequence[Sweep]) -> list[str]:
    notes = [f"{each.label} is not used: {each.why}" for each in sweeps if each.switch is None]
    borrowed = sum(each.borrowed for each in sweeps)
    if borrowed:
        count = f"{borrowed} of {len(sweeps)} sweeps show no clear step of their own"
        notes.append(f"{count}: taken at the switching fields of the others")
    notes += [f"{each.label}: {each.missing} points without a number left out" for each in traces if each.missing]
    lost = [sum(level.outliers for level in each.levels.values()) for each in sweeps]
    if any(lost):
        notes.append(f"{sum(lost)} outliers left out, in {sum(map(bool, lost))} of {len(sweeps)} sweeps")
    return notes


def _terms(harmonic: int, current: float) -> dict[int, float]:
    """What R1 to R4 add to the rms voltage of a harmonic at an rms current [A^n]."""
    if harmonic == 1:
        return {1: current, 3: 1.5 * current**3}
    if harmonic == 2:
        return {2: current**2 / math.sqrt(2), 4: math.sqrt(2) * current**4}
    return {3: -(current**3) / 2}


def _regress(sweeps: Sequence[Sweep]) -> tuple[list[tuple[int, str]], np.ndarray, np.ndarray, list[str]]:
    """Signals (n, part), their values and covariance [V/A^n], and what was decided."""
    data = [(n, each.trace.current, level) for each in sweeps for n, level in each.levels.items()]
    measured = {n for n, _, _ in data}
    orders = sorted({1: 1, 2: 2, 3: 3}[n] for n in measured)
    notes = []
    for n, extra in ((1, 3), (2, 4)):
        if n not in measured or extra in orders:
            continue
        currents = _distinct([current for m, current, _ in data if m == n])
        if len(currents) < 2:
            notes.append(f"R{extra} is taken for 0: V{n} was measured at one current")
            continue
        with_it, without = (_solve(data, tried)[2] for tried in (sorted({*orders, extra}), orders))
        # Two more parameters, one in each state, at ln(levels) each.
        if with_it + 2 * math.log(2 * len(data)) < without:
            orders = sorted({*orders, extra})
        else:
            notes.append(
                f"R{extra} is taken for 0: it would lower chi2 by no more than {max(without - with_it, 0):.2g}"
            )
    values, covariance, chi2 = _solve(data, orders)
    degrees = 2 * len(data) - 2 * len(orders)
    if degrees > 0 and chi2 > degrees:
        # Birge's ratio: sweeps scatter by more than their noise says, so that the noise is not all there is.
        covariance = covariance * (chi2 / degrees)
        ratio = math.sqrt(chi2 / degrees)
        notes.append(f"chi2 = {chi2:.3g} of {degrees} degrees of freedom: standard deviations are wider by {ratio:.2f}")
    k = len(orders)
    change = np.block([[0.5 * np.eye(k), 0.5 * np.eye(k)], [np.eye(k), -np.eye(k)]])
    mixed = [i + k * part for i in range(k) for part in (0, 1)]
    change = change[mixed]
    names = [(n, part) for n in orders for part in ("baseline", "spin")]
    return names, change @ values, change @ covariance @ change.T, notes


def _solve(data: Sequence[tuple[int, float, Levels]], orders: Sequence[int]) -> tuple[np.ndarray, np.ndarray, float]:
    """R of each order in P, then in AP, their covariance and chi2, by generalised least squares."""
    k = len(orders)
    design, target = [], []
    for harmonic, current, level in data:
        terms = _terms(harmonic, current)
        line = np.array([terms.get(n, 0.0) for n in orders])
        # The levels of a sweep are correlated: they share the drift.
        whiten = np.linalg.inv(np.linalg.cholesky(level.covariance))
        design.append(whiten @ np.block([[line, np.zeros(k)], [np.zeros(k), line]]))
        target.append(whiten @ np.array([level.P, level.AP]))
    matrix, vector = np.concatenate(design), np.concatenate(target)
    # Columns differ by powers of a milliampere.
    size = np.linalg.norm(matrix, axis=0)
    values, *_ = np.linalg.lstsq(matrix / size, vector, rcond=None)
    residual = vector - matrix / size @ values
    inverse = np.linalg.inv((matrix / size).T @ (matrix / size))
    return values / size, inverse / size[:, None] / size, float(residual @ residual)


def _distinct(currents: Sequence[float]) -> list[float]:
    out: list[float] = []
    for current in sorted(currents):
        if not out or current > out[-1] * (1 + 2 * SAME):
            out.append(current)
    return out


def _repeats(sweeps: Sequence[Sweep]) -> list[str]:
    """Sweeps at the same current whose levels disagree."""
    notes = []
    for i, one in enumerate(sweeps):
        for other in sweeps[i + 1 :]:
            if abs(one.trace.current / other.trace.current - 1) > SAME:
                continue
            for n in one.levels.keys() & other.levels.keys():
                a, b = one.levels[n], other.levels[n]
                std = math.sqrt(a.covariance[0, 0] + b.covariance[0, 0])
                if abs(a.P - b.P) > 2 * DISAGREE * std:
                    notes.append(
                        f"V{n} in P of {one.label} and of {other.label}: {a.P:.4g} V and {b.P:.4g} V, "
                        f"{abs(a.P - b.P) / std:.0f} standard deviations apart at the same current"
                    )
    return notes


def _contradictions(experiment: str, sweeps: Sequence[Sweep]) -> list[str]:
    """Factors of sqrt(2) between files, or between harmonics, that a wrong convention makes."""
    faults = []
    by_file: dict[str, list[Sweep]] = {}
    for sweep in sweeps:
        by_file.setdefault(sweep.trace.source, []).append(sweep)
    for n in (1, 2):
        found = {}
        for file, own in by_file.items():
            data = [(n, each.trace.current, each.levels[n]) for each in own if n in each.levels]
            if data:
                values, covariance, _ = _solve(data, [n])
                found[file] = float(np.mean(values)), math.sqrt(max(covariance[0, 0], covariance[1, 1]))
        for file, (value, std) in list(found.items())[1:]:
            first, (reference, its_std) = next(iter(found.items()))
            if abs(value - reference) <= DISAGREE * math.hypot(std, its_std) or not reference:
                continue
            hint = root_of_two(value / reference)
            if hint:
                faults.append(
                    f"experiment '{experiment}': R{n} of {file} is {value / reference:.3f} times that of {first}{hint}"
                    f"; state current_is and voltage_is for each: {FACTORS}"
                )
    ones, third = ([(n, each.trace.current, each.levels[n]) for each in sweeps if n in each.levels] for n in (1, 3))
    if third and len(_distinct([current for _, current, _ in ones])) > 1:
        values, covariance, _ = _solve(ones, [1, 3])
        a, std_a = (values[1] + values[3]) / 2, math.sqrt(max(covariance[1, 1], covariance[3, 3]))
        values, covariance, _ = _solve(third, [3])
        b, std_b = float(np.mean(values)), math.sqrt(max(covariance[0, 0], covariance[1, 1]))
        seen = abs(a) > DISAGREE * std_a and abs(b) > DISAGREE * std_b
        if seen and abs(a - b) > DISAGREE * math.hypot(std_a, std_b):
            faults.append(
                f"experiment '{experiment}': R3 from V1 at several currents is {a:.4g} V/A^3, from V3 {b:.4g} V/A^3"
                f"{root_of_two(a / b)}: {FACTORS}"
            )
    return faults


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "experiment": row.experiment,
        "signal": row.signal,
        "value": row.value,
        "std": row.std,
        "unit": KINDS[f"R{row.harmonic}"].unit,
        "polarity_known": row.polarity_known,
    }


def _sweep_words(sweep: Sweep) -> str:
    fields = sweep.switching_fields
    if fields is None:
        return f"no clear switch: {sweep.why}"
    into, out = (f"{1e3 * value:.4g} +- {1e3 * std:.2g}" for value, std in fields)
    steps = ", ".join(
        f"V{n} {1e9 * level.P:.5g} nV, P - AP {1e9 * (level.P - level.AP):.4g} +- "
        f"{1e9 * abs((level.P - level.AP) / level.step_over_std):.2g} nV"
        for n, level in sweep.levels.items()
    )
    borrowed = ", as in the others" if sweep.borrowed else ""
    return f"antiparallel from {into} to {out} mT{borrowed}; {steps}"
