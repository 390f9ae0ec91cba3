"""Field sweeps with known levels: recovery, calibrated bars, and what is no switch."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from scipy import signal

from thermospin.data import switching
from thermospin.data.switching import Switch


def trace(
    rng: np.random.Generator, n: int = 120, first: int = 70, end: int = 90, step: float = 1.0, noise: float = 0.1
) -> np.ndarray:
    """P = 5, AP = 5 + step, a drift of 0.4 from end to end."""
    out = 5 + 0.4 * np.linspace(-0.5, 0.5, n) + noise * rng.standard_normal(n)
    out[first:end] += step
    return out


def brute(y: np.ndarray) -> tuple[int, int]:
    """The best pair by a least-squares solve for each."""
    n, best = len(y), (np.inf, (0, 0))
    least = switching.LEAST
    for first, end in itertools.product(range(least, n), range(least, n - least + 1)):
        if end - first < least:
            continue
        inside = np.zeros(n)
        inside[first:end] = 1
        design = np.stack([np.ones(n), np.arange(n), inside], axis=1)
        rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
        best = min(best, (float(rest @ rest), (first, end)))
    return best[1]


def test_the_search_is_the_best_of_all_pairs() -> None:
    rng = np.random.default_rng(3)
    for step in (0.15, 0.4, -0.6):
        y = trace(rng, n=30, first=12, end=20, step=step, noise=0.2)
        switch, *_ = switching._search(y, np.ones(30, bool))
        assert switch is not None and (switch.first, switch.end) == brute(y)


@pytest.mark.parametrize("step", [1.0, -1.0])
def test_a_clear_switch_is_found_where_it_is(step: float) -> None:
    switch, why = switching.find([trace(np.random.default_rng(0), step=step)])
    assert switch == Switch(70, 90) and why == ""


def test_a_noiseless_trace_is_found_too() -> None:
    y = trace(np.random.default_rng(0), noise=0.0)
    assert switching.find([y])[0] == Switch(70, 90)
    found = switching.levels(y, Switch(70, 90))
    weights = switching.likelihood([y], Switch(70, 90), [found])
    assert [np.flatnonzero(each > 0.99).tolist() for each in weights] == [[70], [90]]
    square = np.where((np.arange(100) >= 40) & (np.arange(100) < 60), 1.0, 0.0)
    weights = switching.likelihood([square], Switch(40, 60), [switching.levels(square, Switch(40, 60))])
    assert [np.flatnonzero(each).tolist() for each in weights] == [[40], [60]], "not even round-off"
    assert found.P == pytest.approx(5.0) and found.AP == pytest.approx(6.0)


def test_the_trace_that_shows_it_best_decides_for_all() -> None:
    rng = np.random.default_rng(1)
    weak, strong = trace(rng, step=0.02), trace(rng, step=1.0)
    assert switching.find([weak])[0] is None
    assert switching.find([weak, strong])[0] == Switch(70, 90)


@pytest.mark.parametrize("correlated", [False, True])
def test_bars_are_as_wide_as_the_scatter(correlated: bool) -> None:
    """Pulls of P, AP and the step over 400 sweeps with outliers have a standard deviation of 1.

    It is known to 1/sqrt(800) = 3.5 %; the breakpoints, which are found too, widen it by a little. Autoregressive noise
    of 0.5 is known by its likelihood: within a fifth.
    """
    rng = np.random.default_rng(5)
    pulls = []
    for _ in range(400):
        y = trace(rng, noise=0.0)
        white = rng.standard_normal(len(y))
        if correlated:
            for i in range(1, len(y)):
                white[i] = 0.5 * white[i - 1] + np.sqrt(1 - 0.25) * white[i]
        y = y + 0.1 * white
        y[rng.integers(0, len(y), 2)] += 3.0
        switch, _ = switching.find([y])
        if switch is None:
            continue
        found = switching.levels(y, switch)
        std = np.sqrt(np.diag(found.covariance))
        pulls.append([(found.P - 5) / std[0], (found.AP - 6) / std[1], (found.AP - found.P - 1) * found.step_over_std])
        pulls[-1][2] /= found.AP - found.P
        assert found.outliers >= 1
    assert len(pulls) > 390, "noise that looks slow hides a step of ten times its size now and then"
    spread = np.std(pulls, axis=0)
    assert np.all(np.abs(spread - 1) < (0.2 if correlated else 0.15)), spread
    assert np.all(np.abs(np.mean(pulls, axis=0)) < 0.2)


def test_bars_that_ignored_correlation_would_be_too_narrow() -> None:
    rng = np.random.default_rng(5)
    white = rng.standard_normal(4000)
    for i in range(1, 4000):
        white[i] = 0.5 * white[i - 1] + np.sqrt(0.75) * white[i]
    found = switching.levels(trace(rng, n=4000, first=2500, end=3000, noise=0.0) + 0.1 * white, Switch(2500, 3000))
    assert found.widening == pytest.approx(3.0, rel=0.2)
    # (1 + r)/(1 - r) = 3 times the variance of independent points, 0.01/3500 for P, and 4 % more for the drift; more
    # still by slow noise that a hundred runs of points cannot exclude. Of 100 numbers a variance is known to
    # sqrt(2/100), 14 %, of which two are let pass above and one below.
    assert 0.86 < found.covariance[0, 0] / (3 * 0.01 / 3500 * 1.04) < 1.28


@pytest.mark.parametrize(("poles", "time"), [(1, 20), (2, 10), (4, 5)])
def test_bars_hold_for_an_oversampled_lock_in(poles: int, time: float) -> None:
    """White noise behind low-pass filters, many points a time constant: pulls of the step have a spread near 1.

    200 sweeps tell it to 5 %. The shorter level rests on the 4 to 16 time constants of its 80 points, of which a
    standard deviation is known to 18 to 35 %: bars may be off by about that. Those of independent points are too narrow
    by three and more.
    """
    rng = np.random.default_rng(21)
    n, k = 400, np.exp(-1 / time)
    pulls, independent = [], []
    for _ in range(200):
        noise = rng.standard_normal(n + 1000)
        for _ in range(poles):
            noise = signal.lfilter([1 - k], [1, -k], noise)
        y = trace(rng, n, 250, 330, noise=0.0) + 0.1 * noise[1000:] / np.std(noise)
        found = switching.levels(y, Switch(250, 330))
        error = found.AP - found.P - 1.0
        pulls.append(error * found.step_over_std / (found.AP - found.P))
        independent.append(error / found.noise / np.sqrt(1 / 80 + 1 / 320))
    assert 0.7 < np.std(pulls) < 1.25, np.std(pulls)
    assert np.std(independent) > 3


@pytest.mark.parametrize("size", [0.6, -1.0, 3.0, 1000.0])
@pytest.mark.parametrize("places", [(75,), (70,), (20, 80), (7, 30, 100)])
def test_spikes_shift_no_level(places: tuple[int, ...], size: float) -> None:
    """Of 20 points in AP and of 100 in P: least squares moves the level by size/20 or more, at least 6 of noise.

    Levels are those without these points, but for points at the limit for outliers.
    """
    y = trace(np.random.default_rng(9), noise=0.005)
    usual = switching.levels(y, Switch(70, 90))
    y[list(places)] += size
    found = switching.levels(y, Switch(70, 90))
    assert found.outliers == len(places)
    std = 0.005 / np.sqrt(20)
    assert found.P == pytest.approx(usual.P, abs=std) and found.AP == pytest.approx(usual.AP, abs=std)
    switch, _ = switching.find([y])
    assert switch is not None and switching.levels(y, switch).AP == pytest.approx(usual.AP, abs=std)


def test_rounding_is_no_certainty() -> None:
    """A level of 5.30 in steps of 0.2 reads 5.2 or 5.4 whatever the number of points; noise of a step averages out."""
    quiet = np.round(trace(np.random.default_rng(4), noise=1e-3) / 0.2 + 0.5) * 0.2
    coarse = switching.levels(quiet, Switch(70, 90), resolution=0.2)
    assert coarse.covariance[0, 0] > 0.2**2 / 12 * 0.9
    dithered = np.round(trace(np.random.default_rng(4), noise=0.2) / 0.2) * 0.2
    fine = switching.levels(dithered, Switch(70, 90), resolution=0.2)
    assert fine.covariance[0, 0] == pytest.approx(switching.levels(dithered, Switch(70, 90)).covariance[0, 0], rel=1e-6)
    assert np.sqrt(fine.covariance[0, 0]) < 0.2 / np.sqrt(12)


def test_scatter_between_two_numbers_does_not_dither() -> None:
    """P of 5.1 in steps of 0.2 reads 5.0 and 5.2 whatever the noise, which at 0.04 carries no AP across."""
    rng = np.random.default_rng(4)
    for _ in range(10):
        y = 5.1 + 0.04 * rng.standard_normal(120)
        y[70:90] += 1.04
        found = switching.levels(np.round(y / 0.2) * 0.2, Switch(70, 90), resolution=0.2)
        assert found.noise == pytest.approx(0.1, rel=0.1), "of P, which is not that of the points before rounding"
        assert found.rounding > 0.5 * 0.2**2 / 12 and abs(found.AP - 6.14) < 0.2 / 2


def test_an_antiparallel_state_that_is_no_level_is_told_by_its_furthest_part() -> None:
    rng = np.random.default_rng(6)
    gradual, three = trace(rng, noise=0.01, step=0.0), trace(rng, noise=0.01, step=0.0)
    gradual[70:90] += np.minimum(np.linspace(0.1, 2.0, 20), 1.0)
    three[70:76] += 0.8
    three[76:90] += 1.0
    for y, share in ((gradual, 0.22), (three, 0.06)):
        found = switching.levels(y, Switch(70, 90))
        assert found.plateau is not None and found.plateau.share == pytest.approx(share, abs=0.03)
        assert found.AP == pytest.approx(6.0, abs=0.02) and found.P == pytest.approx(5.0, abs=0.01)
    assert switching.levels(trace(rng, noise=0.01), Switch(70, 90)).plateau is None


@pytest.mark.parametrize("step", [3.0, 6.0])
def test_places_of_the_switches_are_as_uncertain_as_they_scatter(step: float) -> None:
    """Pulls of 600 places: truth is anywhere between two points, found half way between two.

    Their spread is known to 3 %; where noise leaves a few places with unequal weights a variance is a crude measure, so
    that a quarter is asked for. Bars of the distance of the points alone are too narrow for the smaller step.
    """
    rng = np.random.default_rng(11)
    pulls, certain = [], []
    for _ in range(300):
        y = trace(rng, n=80, first=50, end=62, step=step, noise=1.0)
        switch, _ = switching.find([y])
        if switch is None:
            continue
        weights = switching.likelihood([y], switch, [switching.levels(y, switch)])
        for weight, at, truth in zip(weights, (switch.first, switch.end), (50, 62), strict=True):
            assert weight.sum() == pytest.approx(1) and np.argmax(weight) == at
            off = at - 0.5 - (truth - rng.random())
            pulls.append(off / np.sqrt(weight @ (np.arange(80) - at) ** 2.0 + 1 / 12))
            certain.append(off * np.sqrt(12))
    assert len(pulls) > 400 and 0.75 < np.std(pulls) < 1.25, np.std(pulls)
    assert step > 5 or np.std(certain) > 1.5 * np.std(pulls)


def test_all_traces_together_place_the_switches() -> None:
    """With four traces instead of one the places are right more often: steps of twice the noise, 2/3 against all."""
    rng = np.random.default_rng(12)
    right = np.zeros(2)
    for _ in range(100):
        traces = [trace(rng, step=2.5, noise=1.0, first=60, end=90) for _ in range(4)]
        for k, some in enumerate((traces[:1], traces)):
            switch, _ = switching.find(some)
            right[k] += switch == Switch(60, 90)
    assert right[1] > 1.3 * right[0] > 0, right


def test_noise_alone_is_no_switch() -> None:
    """A false alarm needs 6 standard deviations; none is expected in 300 sweeps."""
    rng = np.random.default_rng(7)
    for _ in range(300):
        switch, why = switching.find([trace(rng, step=0.0)])
        assert switch is None and "standard deviations" in why


def test_a_single_step_is_no_switch_and_is_told() -> None:
    rng = np.random.default_rng(8)
    for _ in range(50):
        switch, why = switching.find([trace(rng, first=70, end=120)])
        assert switch is None
        assert "does not come back" in why or "standard deviations" in why, why


def test_what_is_too_small_looks_too_small() -> None:
    """Steps of all sizes around the limit: no reason says that 6 or more are found and 6 are needed."""
    rng = np.random.default_rng(9)
    found = []
    for step in np.linspace(0.05, 0.2, 300):
        why = switching.find([trace(rng, step=step)])[1]
        found += re.findall(r"([\d.]+) (?:standard deviations|variances), (\d+) are needed", why)
    assert max(float(size) for size, _ in found) > 5.5 and len(found) > 50, "some just miss it"
    assert all(float(size) < float(needed) for size, needed in found)
    assert switching._floor(5.9999) == "5.99"


def test_directions_that_were_sorted_together_are_told() -> None:
    """Every second point is of the other direction: two levels by turns, far apart, and no stretch of one of them."""
    rng = np.random.default_rng(10)
    up, down = (trace(rng, n=81, first=first, end=first + 12, noise=0.01) for first in (48, 21))
    switch, why = switching.find([np.stack([up, down], axis=1).ravel()])
    assert switch is None
    ((size, change),) = re.findall(r"best step is ([\d.]+) standard .* by ([\d.]+) variances, 30 are needed", why)
    assert float(size) >= switching.CLEAR and float(change) < switching.SECOND
    assert "both directions may have been sorted together: keep the order in which points were taken" in why


@pytest.mark.parametrize(
    ("y", "words"), [(np.zeros(100), "constant"), (np.linspace(0, 1, 100), "constant"), (np.zeros(5), "5 points")]
)
def test_what_cannot_be_judged_is_told(y: np.ndarray, words: str) -> None:
    switch, why = switching.find([y])
    assert switch is None and words in why


def test_a_sweep_is_split_where_the_field_turns() -> None:
    up, down = np.linspace(-1, 1, 50), np.linspace(1, -1, 50)
    # The extreme is there twice in a row; the first one ends the branch.
    ends = [(each.start, each.stop) for each in switching.branches(np.concatenate([up, down, up]))]
    assert ends == [(0, 49), (49, 99), (99, 150)]
    jitter = up + 0.03 * np.random.default_rng(0).standard_normal(50)
    assert switching.branches(jitter) == [slice(0, 50)]
    assert switching.branches(down) == [slice(0, 50)]
    assert switching.branches(np.zeros(10)) == []


def test_a_field_that_flies_back_makes_no_sweep_of_its_own() -> None:
    """All up, the way back not recorded: as many stretches as sweeps, each with all of its points."""
    up = np.linspace(-1, 1, 50)
    for way in (up, -up):
        for noise in (0.0, 0.03):
            field = np.tile(way, 3) + noise * np.random.default_rng(1).standard_normal(150)
            found = [(part.start, part.stop) for part in switching.branches(field)]
            assert found == [(0, 50), (50, 100), (100, 150)]
    # A sweep that was stopped after its first point is that point, and takes none from the one before.
    assert switching.branches(np.append(up, -1.0)) == [slice(0, 50), slice(50, 51)]
    # A way back of some points is a sweep: of too few points, which is told.
    assert switching.branches(np.concatenate([up, [0.4, -0.4], up])) == [slice(0, 49), slice(49, 52), slice(52, 102)]


@pytest.mark.parametrize("step", [1.0, -1.0])
def test_an_antiparallel_state_of_two_points_is_one_where_they_agree(step: float) -> None:
    """Its step is known to noise sqrt(1/2 + 1/118): the parallel state says what the noise is."""
    rng = np.random.default_rng(5)
    found = []
    for _ in range(60):
        y, blind = trace(rng, first=70, end=72, step=step, noise=0.02), rng.standard_normal(120)
        switch, why = switching.find([blind, y])
        assert switch == Switch(70, 72) and why == ""
        levels = switching.levels(y, switch)
        assert levels.noise == pytest.approx(0.02, rel=0.3)
        variance = levels.covariance[0, 0] + levels.covariance[1, 1] - 2 * levels.covariance[0, 1]
        found.append((levels.AP - levels.P - step) / np.sqrt(variance))
    # A standard deviation of 60 numbers is known to 9 %.
    assert 0.65 < np.std(found) < 1.35
    weights = switching.likelihood([y], Switch(70, 72), [levels])
    assert [int(np.argmax(each)) for each in weights] == [70, 72]


@pytest.mark.parametrize(
    ("spikes", "words"),
    [
        ({70: 1.0}, "single points stand out (1 times, at most 1 side by side)"),
        ({70: 1.0, 71: 0.5}, "single points stand out (1 times, at most 2 side by side)"),
        ({30: 1.0, 31: 1.0, 70: 1.0, 71: 1.0}, "single points stand out (2 times, at most 2 side by side)"),
    ],
)
def test_points_that_do_not_agree_are_no_state(spikes: dict[int, float], words: str) -> None:
    y = trace(np.random.default_rng(6), step=0.0, noise=0.02)
    for place, size in spikes.items():
        y[place] += size
    switch, why = switching.find([y])
    assert switch is None and words in why and why.endswith("sweep in finer steps"), why
