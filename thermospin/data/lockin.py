"""Lock-in sweeps to signals: P and AP levels of every sweep, and R1 to R4 behind them with their covariance.

What contradicts itself is an error: files or currents of one experiment whose R1 or R2 differ by more than R3 and R4
explain, R3 from V_1f at several currents against R3 from V_3f, V_1f that grows as I^2 next to V_2f that grows as I.
What cannot be seen is a factor that all files share: a peak current taken for an rms one in every file is R1 too small
by sqrt(2).

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

from thermospin.base.units import readable
from thermospin.data import experiment_file, regression, switching
from thermospin.data.columns import FACTORS
from thermospin.data.experiment_file import NONLINEAR, SAME, Sweeps, Trace, root_of_two
from thermospin.data.rows import Row
from thermospin.data.switching import Levels, Plateau, Switch
from thermospin.data.text import DataError
from thermospin.device.device import Device

#: Units of R1 to R4: sweeps are of voltages at a current, see `experiment_file`.
UNITS = {1: "V/A", 2: "V/A^2", 3: "V/A^3", 4: "V/A^4"}
#: Harmonics that are handed to fits. Higher ones hold what the model has not: coefficients that depend on temperature.
HANDED = (1, 2)
#: A sweep that borrows its switching fields is left out if its step should be this many standard deviations and is not
#: as large as it should be.
EXPECTED = 8.0
#: Rows that are correlated by more than this are not to be taken for independent ones.
CORRELATED = 0.1
#: Levels at the same current, or R1 of two files, that differ by this many standard deviations disagree.
DISAGREE = 5.0
#: R1 and R2 that differ between currents, or R3 and R4 that add, by this many times what is allowed for (`nonlinear`)
#: are an error of the record and no property of a material.
BEYOND_NONLINEAR = 10.0


@dataclasses.dataclass(frozen=True)
class Sweep:
    """One field sweep in one direction.

    Attributes:
      trace: the measurement, of all directions.
      part: which points of it.
      rising: whether the field goes up.
      switch: where it switches; None if it does not, for the reason `why`.
      levels: of each harmonic, rms [V]; empty without a switch.
      switching_fields: into and out of the antiparallel state, each with its standard deviation [T]; None without.
      borrowed: whether the switching fields are those of other sweeps, because its own step is not clear.
    """

    trace: Trace
    part: slice
    rising: bool
    switch: Switch | None
    why: str
    levels: Mapping[int, Levels]
    switching_fields: tuple[tuple[float, float], tuple[float, float]] | None = None
    borrowed: bool = False

    @property
    def label(self) -> str:
        """File, current and direction."""
        return f"{self.trace.label}, field {'up' if self.rising else 'down'}"


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """Signals behind lock-in sweeps.

    Attributes:
      rows: baseline and spin of the harmonics that fits take, see `HANDED`.
      correlation: of the rows (rows, rows).
      sweeps: what was found in each.
      higher: rows of the harmonics above, for information.
      notes: what was decided, left out or is odd, in words.
      gain_std, amplifier: see `Sweeps`.
    """

    rows: tuple[Row, ...]
    correlation: np.ndarray
    sweeps: tuple[Sweep, ...]
    higher: tuple[Row, ...]
    notes: tuple[str, ...]
    gain_std: float = 0.0
    amplifier: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers, lists and dictionaries."""
        return {
            "rows": [_row_json(row) for row in self.rows],
            "correlation": self.correlation.tolist(),
            "higher": [_row_json(row) for row in self.higher],
            "sweeps": [
                {
                    "label": sweep.label,
                    "experiment": sweep.trace.experiment,
                    "current_rms": sweep.trace.current,
                    "clear": sweep.switch is not None and not sweep.borrowed,
                    "used": sweep.switch is not None,
                    "why": sweep.why,
                    "switching_fields": sweep.switching_fields,
                    "levels": {
                        f"V{n}": {"P": level.P, "AP": level.AP, "covariance": level.covariance.tolist()}
                        | {"outliers": level.outliers, "noise": level.noise}
                        for n, level in sweep.levels.items()
                    },
                }
                for sweep in self.sweeps
            ],
            "notes": list(self.notes),
        }

    def lost_in_table(self, source: str) -> list[str]:
        """Say what a table of the rows lacks, that they are correlated; nothing where that is negligible.

        Args:
          source: name of the experiment file.
        """
        size = np.abs(np.triu(self.correlation, 1))
        largest = float(np.max(size))
        if largest <= CORRELATED:
            return []
        pair = " and ".join(
            f"{self.rows[i].experiment} {self.rows[i].signal}" for i in np.unravel_index(np.argmax(size), size.shape)
        )
        return [
            f"errors of the rows have a common part (correlation up to {largest:.3g}: {pair}), which is not in this "
            f"table: a fit of it takes rows for independent; a fit of {source} itself keeps the common part"
        ]

    def words(self) -> list[str]:
        """Return a table of the sweeps of each file, a line for each signal and each note."""
        files = dict.fromkeys((sweep.trace.experiment, sweep.trace.source) for sweep in self.sweeps)
        lines = [line for file in files for line in _listed(*file, self.sweeps)]
        lines += [
            f"{row.experiment} {row.signal} = {readable(row.value, row.unit, row.std)}"
            for row in (*self.rows, *self.higher)
        ]
        return [*lines, *self.notes]


def load(path: str | Path, device: Device) -> Measured:
    """Return the signals behind the sweeps that an experiment file names; see `experiment_file.load`.

    Raises:
      DataError: with all faults; no sweep that switches is one.
    """
    sweeps = experiment_file.load(path, device)
    try:
        return reduce(sweeps)
    except DataError as error:
        raise DataError(f"{path}: {fault}" for fault in error.faults) from None


def reduce(measured: Sweeps) -> Measured:
    """Reduce sweeps to their levels and the signals behind them.

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
        used = [sweep for sweep in sweeps if sweep.trace.experiment == experiment and sweep.switch is not None]
        if not used:
            reasons = [f"{sweep.label}: {sweep.why}" for sweep in sweeps if sweep.trace.experiment == experiment]
            listed = "; ".join(reasons[:3]) if reasons else "the field never goes one way for long enough"
            faults.append(f"experiment '{experiment}': no sweep switches clearly: {listed}")
            continue
        faults += _contradictions(experiment, used, measured.nonlinear)
        names, values, covariance, said = regression.regress(_data(used), measured.nonlinear)
        if not faults:
            faults += _too_nonlinear(experiment, used, names, values, covariance, measured.nonlinear)
        missing = [n for n in HANDED if not any(n in sweep.levels for sweep in used)]
        said += [f"V{n} was not measured, so that nothing is known of R{n}" for n in missing]
        notes += [f"experiment '{experiment}': {text}" for text in said]
        notes += _repeats(used)
        made = [
            Row(experiment, f"R{n}.{part}", float(value), float(std), polarity_known, unit=UNITS[n])
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
    gain = measured.gain_std, measured.amplifier
    return Measured(tuple(rows), correlation, sweeps, tuple(higher), tuple(notes), *gain)


def _sweeps(trace: Trace) -> list[Sweep]:
    out = []
    for part in switching.branches(trace.field):
        voltages = {n: voltage[part] for n, voltage in trace.voltages.items()}
        field = trace.field[part]
        rising = bool(field[-1] > field[0])
        resolutions = [trace.resolutions.get(n, 0.0) for n in voltages]
        switch, why = switching.find(list(voltages.values()), resolutions)
        levels = {} if switch is None else _levels(trace, part, switch)
        flat = [n for n, level in levels.items() if level.is_flat]
        if flat and switch is not None:
            switch, why, levels = None, f"V{flat[0]} has no noise at all, so that its levels have no error bars", {}
        where = None if switch is None else _fields(field, list(voltages.values()), switch, list(levels.values()))
        out.append(Sweep(trace, part, rising, switch, why, levels, where))
    return out


def _levels(trace: Trace, part: slice, switch: Switch) -> dict[int, Levels]:
    """Return the levels of each harmonic in one direction of a trace; all know the magnets from the clearest one."""

    def levels(n: int, plateau: Plateau | None = None) -> Levels:
        return switching.levels(trace.voltages[n][part], switch, trace.resolutions.get(n, 0.0), plateau)

    found = {n: levels(n) for n in trace.voltages}
    clearest = max(found.values(), key=lambda level: abs(level.step_over_std))
    return found if clearest.plateau is None else {n: levels(n, clearest.plateau) for n in found}


def _fields(
    field: np.ndarray, voltages: Sequence[np.ndarray], switch: Switch, known: Sequence[Levels]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Switching fields: half way between two points, with the spread of what the noise leaves possible [T]."""
    middle = np.concatenate([[field[0]], (field[1:] + field[:-1]) / 2])
    usual = abs(field[-1] - field[0]) / len(field)
    out = []
    for k, weight in zip((switch.first, switch.end), switching.likelihood(voltages, switch, known), strict=True):
        # Between its two points the field is unknown: that of a uniform distribution.
        gap = max(abs(field[k] - field[k - 1]), usual)
        variance = float(weight @ (middle - middle[k]) ** 2) + gap**2 / 12
        out.append((float(middle[k]), math.sqrt(variance)))
    return out[0], out[1]


def _borrow(sweeps: Sequence[Sweep]) -> tuple[Sweep, ...]:
    """Sweeps without a clear step get the switching fields of clear ones in their direction; see above."""
    out = []
    for sweep in sweeps:
        clear = [one for one in sweeps if one.switch is not None and one.rising == sweep.rising]
        same = [one for one in clear if one.trace.experiment == sweep.trace.experiment]
        field = sweep.trace.field[sweep.part]
        if sweep.switch is not None or not clear or len(field) < switching.LEAST_IN_ALL:
            out.append(sweep)
            continue
        pairs = np.array([other.switching_fields for other in same or clear])
        first, second = where = _together(pairs[:, 0]), _together(pairs[:, 1])
        sign = 1.0 if sweep.rising else -1.0
        switch = Switch(*(int(np.sum(sign * field < sign * field_at)) for field_at, _ in (first, second)))
        if min(switch.first, switch.end - switch.first, len(field) - switch.end) < switching.LEAST:
            out.append(sweep)
            continue
        levels = _levels(sweep.trace, sweep.part, switch)
        flat = any(level.is_flat for level in levels.values())
        missed = "" if flat else _missed(levels, sweep.trace.current, same)
        if flat or missed:
            out.append(dataclasses.replace(sweep, why=f"{sweep.why}{missed}"))
        else:
            out.append(dataclasses.replace(sweep, switch=switch, levels=levels, switching_fields=where, borrowed=True))
    return tuple(out)


def _together(fields: np.ndarray) -> tuple[float, float]:
    """Weighted mean of switching fields (value, std) and its standard deviation, at least what they scatter by."""
    weight = 1 / fields[:, 1] ** 2
    mean = float(weight @ fields[:, 0] / np.sum(weight))
    scatter = float(weight @ (fields[:, 0] - mean) ** 2 / np.sum(weight))
    return mean, math.sqrt(max(scatter, 1 / float(np.sum(weight))))


def _missed(levels: Mapping[int, Levels], current: float, clear: Sequence[Sweep]) -> str:
    """Say which step should be there and is not, judged by sweeps at other currents; nothing if none is missed."""
    for n, level in levels.items():
        data = _data(clear, n)
        if not data or not level.step_over_std or n > 2:
            continue
        values, *_ = regression.solve(data, [n])
        expected = float(values[1] - values[0]) * regression.terms(n, current)[n]
        std = (level.AP - level.P) / level.step_over_std
        off = abs(level.AP - level.P - expected) / std
        if abs(expected) > EXPECTED * std and off > DISAGREE:
            size = f"{expected:.3g} V, {abs(expected) / std:.0f} standard deviations"
            return f"; by the other sweeps V{n} should step by {size}"
    return ""


def _left_out(traces: Sequence[Trace], sweeps: Sequence[Sweep]) -> list[str]:
    notes = [f"{sweep.label} is not used: {sweep.why}" for sweep in sweeps if sweep.switch is None]
    borrowed = sum(sweep.borrowed for sweep in sweeps)
    if borrowed:
        count = f"{borrowed} of {len(sweeps)} sweeps show no clear step of their own"
        notes.append(f"{count}: taken at the switching fields of the others")
    notes += [f"{trace.label}: {trace.missing} points without a number left out" for trace in traces if trace.missing]
    unsettled = [sweep for sweep in sweeps if any(level.plateau for level in sweep.levels.values())]
    if unsettled:
        notes.append(
            f"{len(unsettled)} of {len(sweeps)} sweeps are not two levels: the antiparallel state is reached gradually "
            "or in more than one step (magnets that turn, domain walls that are held). AP is the part furthest from P, "
            "and the bars of all signals know how far that is from the whole"
        )
    lost = [sum(level.outliers for level in sweep.levels.values()) for sweep in sweeps]
    if any(lost):
        notes.append(f"{sum(lost)} outliers left out, in {sum(map(bool, lost))} of {len(sweeps)} sweeps")
    return notes


def _data(sweeps: Sequence[Sweep], *harmonics: int) -> list[regression.Level]:
    """Return levels of some harmonics, by default of all."""
    return [
        (n, sweep.trace.current, level)
        for sweep in sweeps
        for n, level in sweep.levels.items()
        if n in harmonics or not harmonics
    ]


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


@dataclasses.dataclass(frozen=True)
class _Apparent:
    """R_n by the sweeps of one file at one current alone, as if there were no higher orders.

    Attributes:
      file, current: of the sweeps.
      values: {"P" | "AP" | "spin": (value, std)} [V/A^n]; std at least what the sweeps scatter by.
    """

    file: str
    current: float
    values: Mapping[str, tuple[float, float]]

    @property
    def label(self) -> str:
        """File and current."""
        return f"{self.file} at {1e3 * self.current:.4g} mA"


def _apparent(sweeps: Sequence[Sweep], n: int) -> list[_Apparent]:
    """Return R_n of every file and current that has V_n."""
    groups: list[list[Sweep]] = []
    for sweep in sweeps:
        if n not in sweep.levels:
            continue
        for group in groups:
            first = group[0].trace
            if first.source == sweep.trace.source and abs(first.current / sweep.trace.current - 1) <= SAME:
                group.append(sweep)
                break
        else:
            groups.append([sweep])
    return [_Apparent(group[0].trace.source, group[0].trace.current, _of_group(group, n)) for group in groups]


def _of_group(group: Sequence[Sweep], n: int) -> dict[str, tuple[float, float]]:
    per_volt = 1 / regression.terms(n, group[0].trace.current)[n]
    values = {}
    for part, weights in (("P", (1.0, 0.0)), ("AP", (0.0, 1.0)), ("spin", (1.0, -1.0))):
        w = np.array(weights)
        found = np.array([w @ [sweep.levels[n].P, sweep.levels[n].AP] for sweep in group])
        variance = float(np.mean([w @ sweep.levels[n].covariance @ w for sweep in group]))
        variance = max(variance, float(np.var(found, ddof=1)) if len(found) > 1 else 0.0)
        values[part] = float(np.mean(found)) * per_volt, math.sqrt(variance / len(found)) * abs(per_volt)
    return values


def _disagreement(one: _Apparent, other: _Apparent, threshold: float) -> tuple[str, float] | None:
    """Return the part by which two apparent R_n contradict each other and the ratio other/one; None if they do not.

    Steps tell, where both are seen: levels may be offset. Else both levels have to be off.
    """

    def off(part: str) -> float | None:
        (a, std_a), (b, std_b) = one.values[part], other.values[part]
        if abs(a - b) <= DISAGREE * math.hypot(std_a, std_b):
            return None
        smaller = min(abs(a), abs(b))
        ratio = b / a if a else math.inf
        rms = one.file != other.file and root_of_two(ratio)
        return ratio if rms or abs(a - b) > threshold * smaller else None

    seen = all(abs(value) > DISAGREE * std for value, std in (one.values["spin"], other.values["spin"]))
    ratio = off("spin")
    if ratio is not None:
        return "spin", ratio
    levels = [off("P"), off("AP")]
    if seen or levels[0] is None or levels[1] is None:
        return None
    return "P and in AP", levels[0]


def _without_offsets(groups: Sequence[_Apparent], n: int) -> list[_Apparent]:
    """Return apparent R_n less the offset of V_n that the currents of a file tell, see `regression.constant`."""
    out = []
    for one in groups:
        file = [(each.current, *each.values["P"]) for each in groups if each.file == one.file]
        off = regression.constant(n, file) / regression.terms(n, one.current)[n]
        moved = {part: (value - off * (part != "spin"), std) for part, (value, std) in one.values.items()}
        out.append(dataclasses.replace(one, values=moved))
    return out


#: What to look at where measurements of the same signal contradict each other.
_LOOK_AT = (
    "look at the units of its columns, the ranges, gains and offsets of the amplifiers, rms or peak (current_is, "
    "voltage_is), and the leads: swapped ones change the sign"
)


def _hint(ratio: float, same_file: bool) -> str:
    """Say what a ratio suggests; the columns of one file are rms or peak at all currents."""
    if not same_file and (hint := root_of_two(ratio)):
        return f"{hint}; {FACTORS}"
    ten = round(math.log10(abs(ratio))) if ratio and math.isfinite(ratio) else 0
    if ten and abs(ratio / math.copysign(10.0**ten, ratio) - 1) < 0.1:
        return ": a power of ten, as of a range or a unit"
    return ": leads that are swapped" if abs(ratio + 1) < 0.1 else ""


def _contradictions(experiment: str, sweeps: Sequence[Sweep], nonlinear: float) -> list[str]:
    """List files and currents whose R1 or R2 contradict each other, beyond what higher harmonics could explain."""
    faults = []
    threshold = BEYOND_NONLINEAR * max(nonlinear, NONLINEAR)
    for n in (1, 2):
        told = set()
        groups = _apparent(sweeps, n)
        unshifted = _without_offsets(groups, n)
        for other, without in zip(groups[1:], unshifted[1:], strict=True):
            found = _disagreement(first := groups[0], other, threshold)
            # What an offset explains it leaves within three standard deviations of what R3 and R4 may add.
            still = found and _disagreement(unshifted[0], without, 3 * threshold / BEYOND_NONLINEAR)
            if found is None or still is None or other.file in told:
                continue
            told.add(other.file)
            part, ratio = found
            faults.append(
                f"experiment '{experiment}': R{n} in {part} of {other.label} is {ratio:.4g} times that of {first.label}"
                f"{_hint(ratio, first.file == other.file)}; {_LOOK_AT}"
            )
    faults += _swapped(experiment, sweeps)
    ones, third = _data(sweeps, 1), _data(sweeps, 3)
    if third and len(regression.distinct([current for _, current, _ in ones])) > 1:
        values, covariance, _ = regression.solve(ones, [1, 3])
        a, std_a = (values[1] + values[3]) / 2, math.sqrt(max(covariance[1, 1], covariance[3, 3]))
        values, covariance, _ = regression.solve(third, [3])
        b, std_b = float(np.mean(values)), math.sqrt(max(covariance[0, 0], covariance[1, 1]))
        seen = abs(a) > DISAGREE * std_a and abs(b) > DISAGREE * std_b
        if seen and abs(a - b) > DISAGREE * math.hypot(std_a, std_b):
            faults.append(
                f"experiment '{experiment}': R3 from V1 at several currents is {a:.4g} V/A^3, from V3 {b:.4g} V/A^3"
                f"{root_of_two(a / b)}: {FACTORS}"
            )
    return faults


def _too_nonlinear(
    experiment: str,
    sweeps: Sequence[Sweep],
    names: Sequence[tuple[int, str]],
    values: np.ndarray,
    covariance: np.ndarray,
    nonlinear: float,
) -> list[str]:
    """List R3 and R4 that add more to V1 and V2 than any material does."""
    faults = []
    signals = {
        name: (float(value), math.sqrt(covariance[i, i]))
        for i, (name, value) in enumerate(zip(names, values, strict=True))
    }
    threshold = BEYOND_NONLINEAR * max(nonlinear, NONLINEAR)
    for (n, part), (value, std) in signals.items():
        below = [sweep for sweep in sweeps if n - 2 in sweep.levels]
        if n < 3 or not below or (n - 2, part) not in signals:
            continue
        current = max(sweep.trace.current for sweep in below)
        factors = regression.terms(n - 2, current)
        lower, its_std = signals[n - 2, part]
        added = abs(value) * abs(factors[n] / factors[n - 2])
        if abs(value) > DISAGREE * std and added > threshold * (abs(lower) + its_std):
            where = ", ".join(
                dict.fromkeys(f"{one.file} at {1e3 * one.current:.4g} mA" for one in _apparent(below, n - 2))
            )
            faults.append(
                f"experiment '{experiment}': R{n}.{part} would add {added / abs(lower):.2g} times R{n - 2}.{part} at "
                f"{1e3 * current:.4g} mA, where {nonlinear:g} is expected (nonlinear): V{n - 2} of {where} do not "
                f"belong together; {_LOOK_AT}"
            )
    return faults


def _swapped(experiment: str, sweeps: Sequence[Sweep]) -> list[str]:
    """Voltages that grow with the wrong power of the current."""
    powers = {}
    for n in (1, 2):
        levels = sorted((sweep.trace.current, abs(sweep.levels[n].P)) for sweep in sweeps if n in sweep.levels)
        if len(levels) > 1 and levels[-1][0] > 1.2 * levels[0][0] and levels[0][1] > 0:
            (low, small), (high, large) = levels[0], levels[-1]
            powers[n] = math.log(large / small) / math.log(high / low) if large > 0 else 0.0
    if len(powers) == 2 and abs(powers[1] - 2) < 0.3 and abs(powers[2] - 1) < 0.3:
        grown = f"V1 grows with the current to the power {powers[1]:.2f}, V2 to {powers[2]:.2f}"
        return [f"experiment '{experiment}': {grown}, expected 1 and 2; are their columns swapped?"]
    return []


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "experiment": row.experiment,
        "signal": row.signal,
        "value": row.value,
        "std": row.std,
        "unit": row.unit,
        "polarity_known": row.polarity_known,
    }


def _listed(experiment: str, source: str, sweeps: Sequence[Sweep]) -> list[str]:
    """Table of the sweeps of a file, the switching fields of others in brackets."""
    listed = [sweep for sweep in sweeps if (sweep.trace.experiment, sweep.trace.source) == (experiment, source)]
    harmonics = sorted({n for sweep in listed for n in sweep.trace.voltages})
    head = ["mA rms", "field", "AP from [mT]", "to [mT]"]
    head += [title for n in harmonics for title in (f"V{n} in P [nV]", "P - AP [nV]")]
    table = [head]
    for sweep in listed:
        cells = [f"{1e3 * sweep.trace.current:.4g}", "up" if sweep.rising else "down"]
        if sweep.switching_fields is None:
            table.append([*cells, f"not used: {sweep.why}"])
            continue
        fields = [_plus_minus(1e3 * value, 1e3 * std) for value, std in sweep.switching_fields]
        cells += [f"({text})" if sweep.borrowed else text for text in fields]
        for n in harmonics:
            level = sweep.levels[n]
            step = level.P - level.AP
            cells.append(_plus_minus(1e9 * level.P, 1e9 * math.sqrt(level.covariance[0, 0])))
            cells.append(_plus_minus(1e9 * step, 1e9 * abs(step / level.step_over_std) if step else 0.0))
        table.append(cells)
    # The words of a row that is not used need no column.
    aligned = [row if len(row) == len(head) else row[:-1] for row in table]
    widths = [max(len(row[i]) for row in aligned if i < len(row)) for i in range(len(head))]
    lines = []
    for row, cells in zip(table, aligned, strict=True):
        padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=False)]
        lines.append("  " + "  ".join([*padded, *row[len(cells) :]]))
    return [f"{experiment}, {source}", *lines]


def _plus_minus(value: float, std: float) -> str:
    """Both to the place of the second digit of the standard deviation."""
    if not 0 < std < math.inf:
        return f"{value:.6g}"
    digits = max(1 - math.floor(math.log10(std)), 0)
    return f"{value:.{digits}f} +- {std:.{digits}f}"
