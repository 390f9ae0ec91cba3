"""R1 to R4 behind levels: the factors of each harmonic, and bars that hold whatever R3 and R4 are."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from thermospin.data import columns, experiment_file, regression
from thermospin.data.switching import Levels

CURRENTS = (0.5e-3, 0.75e-3, 1.0e-3, 1.25e-3, 1.5e-3)
R = {"P": {1: 2.0, 2: -24.0, 3: 0.0, 4: 0.0}, "AP": {1: 1.9, 2: -23.0, 3: 0.0, 4: 0.0}}
NOISE = 3e-9


def test_the_terms_of_each_harmonic_are_the_fourier_components_of_the_polynomial() -> None:
    """Lock-in at sin(n wt + phase) of V(i), i = sqrt(2) I sin(wt): rms component from a mean over one period."""
    current, t = 1.3, np.arange(4096) / 4096 * 2 * np.pi
    i = math.sqrt(2) * current * np.sin(t)
    for power in (1, 2, 3, 4):
        for n, phase in columns.PHASES.items():
            reference = np.sin(n * t + np.radians(phase))
            measured = math.sqrt(2) * np.mean(i**power * reference)
            # Means over equal steps are exact for trigonometric polynomials of a degree below their number.
            assert measured == pytest.approx(regression.terms(n, current).get(power, 0.0), abs=1e-12)
            other = math.sqrt(2) * np.mean(i**power * np.sin(n * t + np.radians(phase + 90)))
            assert other == pytest.approx(0, abs=1e-12)
    assert regression.terms(1, 1.0) == {1: 1.0, 3: 1.5}


def levels(
    rng: np.random.Generator,
    R3: float = 0.0,
    R4: float = 0.0,
    *,
    harmonics: tuple[int, ...] = (1, 2),
    currents: tuple[float, ...] = CURRENTS,
    noise: float = NOISE,
) -> list[regression.Level]:
    """Levels at each current, twice; R3 and R4 are what they add at the largest one, relative to R1 and R2."""
    largest = max(CURRENTS)
    covariance = noise**2 * np.array([[1.0, 0.2], [0.2, 3.0]])
    root = np.linalg.cholesky(covariance)
    out = []
    for current in (each for each in currents for _ in range(2)):
        for n in harmonics:
            both = []
            for state in ("P", "AP"):
                own = R[state] | {3: R3 * R[state][1] / 1.5 / largest**2, 4: R4 * R[state][2] / 2 / largest**2}
                both.append(sum(own[m] * factor for m, factor in regression.terms(n, current).items()))
            P, AP = np.array(both) + root @ rng.standard_normal(2)
            out.append((n, current, Levels(P, AP, covariance, 0.0, 9.0, noise, 0.0, 0)))
    return out


def expected(n: int, part: str) -> float:
    P, AP = R["P"][n], R["AP"][n]
    return (P + AP) / 2 if part == "baseline" else P - AP


def pulls(count: int, nonlinear: float, size: float | None, noise: float = NOISE) -> np.ndarray:
    """(value - truth)/std of R1 and R2 over data sets whose R3 and R4 have that relative size, or a random one."""
    out = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        R3, R4 = experiment_file.NONLINEAR * rng.standard_normal(2) if size is None else (size, size)
        names, values, covariance, _ = regression.regress(levels(rng, R3, R4, noise=noise), nonlinear)
        found = dict(zip(names, zip(values, np.sqrt(np.diag(covariance)), strict=True), strict=True))
        wanted = [(n, part) for n in (1, 2) for part in ("baseline", "spin")]
        out.append([(found[each][0] - expected(*each)) / found[each][1] for each in wanted])
    return np.array(out)


@pytest.mark.parametrize("noise", [NOISE, 100 * NOISE])
def test_bars_hold_whatever_r3_and_r4_are_within_what_is_allowed(noise: float) -> None:
    """200 data sets: the spread of pulls is known to 1/sqrt(400) = 5 %, and Birge's factor widens bars by a few."""
    found = pulls(200, experiment_file.NONLINEAR, None, noise)
    assert np.all(np.abs(np.std(found, axis=0) - 1) < 0.25), np.std(found, axis=0)
    assert np.all(np.abs(np.mean(found, axis=0)) < 4 / math.sqrt(200))


def test_to_leave_out_what_is_too_small_to_be_seen_would_bias() -> None:
    """R4 of half a percent is lost in this noise, and R2 is off by several of the bars that take it for 0."""
    noise, size = 2e-8, 0.005
    assert np.all(np.abs(np.mean(pulls(100, experiment_file.NONLINEAR, size, noise), axis=0)) < 0.75)
    assert np.max(np.abs(np.mean(pulls(100, 0.0, size, noise), axis=0))) > 3


def test_r3_and_r4_are_told_where_the_data_know_them() -> None:
    rng = np.random.default_rng(0)
    names, values, covariance, said = regression.regress(levels(rng, 0.02, -0.01, noise=1e-10), 0.03)
    found = dict(zip(names, zip(values, np.sqrt(np.diag(covariance)), strict=True), strict=True))
    value, std = found[3, "baseline"]
    assert std < 0.01 * value and value == pytest.approx(0.02 * expected(1, "baseline") / 1.5 / 1.5e-3**2, abs=5 * std)
    value, std = found[4, "spin"]
    assert value == pytest.approx(-0.01 * expected(2, "spin") / 2 / 1.5e-3**2, abs=5 * std)
    assert "R3 to about 3 % of V1 and R4 to about 3 % of V2 at 1.5 mA" in said[0]
    names, *_ = regression.regress(levels(rng, noise=1e-6), 0.03)
    assert (4, "spin") not in names, "a prior is no measurement"


def test_r3_beyond_what_is_allowed_is_left_free_and_told() -> None:
    names, values, covariance, said = regression.regress(levels(np.random.default_rng(1), 0.3), 0.03)
    assert any("R3 is larger than that and left free" in each for each in said)
    place = names.index((1, "baseline"))
    assert values[place] == pytest.approx(expected(1, "baseline"), abs=5 * math.sqrt(covariance[place, place]))


def test_one_current_cannot_tell_r1_from_r3_and_has_the_bar_of_the_prior() -> None:
    data = levels(np.random.default_rng(2), harmonics=(1,), currents=(1e-3,))
    names, values, covariance, _ = regression.regress(data, 0.03)
    assert names == [(1, "baseline"), (1, "spin")]
    assert math.sqrt(covariance[0, 0]) == pytest.approx(0.03 * values[0], rel=0.02)
    with_third = levels(np.random.default_rng(2), harmonics=(1, 3), currents=(1e-3,))
    names, values, covariance, _ = regression.regress(with_third, 0.03)
    assert math.sqrt(covariance[0, 0]) < 1e-4 * values[0], "V3 holds R3"


@pytest.mark.parametrize("means", [(10.0, -8.0), (1.0, -1.0), (9.0, 1.0)])
def test_offsets_of_any_sign_are_found(means: tuple[float, float]) -> None:
    """Of two sweeps at one current chi2 is d^2/(2 v), 1 for a variance of d^2/2: less their own, it is the offset."""
    one, other = (Levels(a + 1, a - 1, 0.01 * np.eye(2), 0.0, -14.0, 0.1, 1.0, 0) for a in means)
    ((_, _, wider), _), *_ = regression.scattered([(2, 1e-3, one), (2, 1e-3, other)], [2, 4])
    variance = np.array([0.5, 0.5]) @ wider.covariance @ [0.5, 0.5]
    assert variance == pytest.approx((means[0] - means[1]) ** 2 / 2, rel=1e-6)


def test_spin_parts_are_known_far_better_than_offset_baselines() -> None:
    """To the noise of the mean step, while sweeps are offset by a billion times that."""
    noise, offset = 1e-10, 0.1
    data = [
        (1, current, Levels(1.5 * current + a, 0.5 * current + a, noise**2 * np.eye(2), 0.0, -1.0, noise, 1.0, 0))
        for current, a in ((1.0, offset), (1.0, -offset), (2.0, offset), (2.0, -offset))
    ]
    names, _, covariance, _ = regression.regress(data, 0.0)
    baseline, spin = (math.sqrt(covariance[i, i]) for i in (names.index((1, part)) for part in ("baseline", "spin")))
    assert 0 < spin < 1e-5 * offset < 0.1 * offset < baseline


def test_scatter_beyond_the_bars_widens_them() -> None:
    """Of what scatters alone: an offset of whole sweeps widens their mean levels, one of P alone their steps too."""
    data = levels(np.random.default_rng(5))
    first = [part for part in data if part[0] == 1]
    _, _, before, _ = regression.regress(data, 0.03)
    both, alone = (
        regression.regress(
            [*data, *((n, i, dataclasses.replace(x, P=x.P + 5e-8, AP=x.AP + change)) for n, i, x in first)], 0.03
        )
        for change in (5e-8, 0.0)
    )
    names = alone[0]
    assert both[0] == names
    baseline, spin, other = names.index((1, "baseline")), names.index((1, "spin")), names.index((2, "baseline"))
    for _, _, after, said in (both, alone):
        assert after[baseline, baseline] > 4 * before[baseline, baseline]
        assert after[other, other] < 2 * before[other, other]
        assert any("V1: sweeps are offset by" in each for each in said)
    assert both[2][spin, spin] < 1.2 * before[spin, spin] and alone[2][spin, spin] > 4 * before[spin, spin]
    assert any("V1: steps of sweeps scatter" in each for each in alone[3])


def moved(data: list[regression.Level], offset: float) -> list[regression.Level]:
    return [(n, i, dataclasses.replace(x, P=x.P + offset, AP=x.AP + offset)) for n, i, x in data]


@pytest.mark.parametrize(("nonlinear", "currents"), [(0.03, CURRENTS), (0.0, CURRENTS[1:3])])
def test_a_constant_offset_is_no_signal(nonlinear: float, currents: tuple[float, ...]) -> None:
    """100 data sets: the spread of pulls is known to 1/sqrt(200) = 7 %, their mean to 0.1.

    Without it R1.baseline would be off by more than 30 NOISE/1.5 mA = 6e-5, tens of its bars; spin parts know nothing.
    """
    found = []
    for seed in range(100):
        data = levels(np.random.default_rng(seed), currents=currents)
        names, values, covariance, said = regression.regress(moved(data, 30 * NOISE), nonlinear)
        assert sum("all sweeps share an offset of" in each for each in said) == 2
        std = np.sqrt(np.diag(covariance))
        found.append([(values[i] - expected(*name)) / std[i] for i, name in enumerate(names) if name[0] < 3])
        spin = names.index((1, "spin"))
        _, usual, before, _ = regression.regress(data, nonlinear)
        assert values[spin] == pytest.approx(usual[spin], abs=std[spin])
        assert std[spin] == pytest.approx(math.sqrt(before[spin, spin]), rel=0.1)
    assert np.all(np.abs(np.mean(found, axis=0)) < 0.4) and np.all(np.abs(np.std(found, axis=0) - 1) < 0.3)


@pytest.mark.parametrize("offset", [0.0, 1.0, 3.0])
def test_an_offset_that_noise_hides_is_in_the_bars(offset: float) -> None:
    """60 data sets: the mean of pulls is known to 0.13, their spread to 9 %."""
    found = []
    for seed in range(60):
        data = moved(levels(np.random.default_rng(seed), currents=CURRENTS), offset * NOISE)
        names, values, covariance, _ = regression.regress(data, 0.0)
        std = np.sqrt(np.diag(covariance))
        found.append([(values[i] - expected(*name)) / std[i] for i, name in enumerate(names) if name[0] < 3])
    assert np.all(np.abs(np.mean(found, axis=0)) < 0.5), np.mean(found, axis=0)
    assert np.all(np.std(found, axis=0) < 1.3) and np.all(np.std(found, axis=0) > 0.5), np.std(found, axis=0)


def test_one_current_or_as_many_as_there_are_r_tell_no_offset() -> None:
    for currents in (CURRENTS[:1], CURRENTS[:2]):
        data = moved(levels(np.random.default_rng(0), currents=currents), 30 * NOISE)
        assert not any("share" in each for each in regression.regress(data, 0.03)[3])


def test_rounding_is_the_same_in_all_sweeps_at_a_current() -> None:
    """Its variance q^2/12 of each level, 1/6 of the step, falls with the number of currents, not with that of sweeps.

    The weight of a level in R1 of two currents is that of its current; sweeps of another resolution have their own.
    """
    resolution, rounding = 1e-8, 1e-16 / 12
    own = 1e-6 * rounding * np.eye(2)

    def spin(currents: tuple[float, ...], repeats: int, resolutions: tuple[float, ...] = (resolution,)) -> float:
        data = [
            (1, i, Levels(2 * i, 1.9 * i, own + rounding * np.eye(2), 0, -9.0, 1e-10, 1.0, 0, None, q, rounding))
            for i in currents
            for q in resolutions
            for _ in range(repeats)
        ]
        names, _, covariance, _ = regression.regress(data, 0.0)
        return float(covariance[names.index((1, "spin")), names.index((1, "spin"))])

    one = 2 * rounding / 1e-3**2
    assert spin((1e-3,), 1) == pytest.approx(one, rel=1e-5) and spin((1e-3,), 15) == pytest.approx(one, rel=1e-5)
    assert spin((1e-3, 2e-3), 5) == pytest.approx(one / 5, rel=1e-5)
    assert spin((1e-3,), 5, (resolution, 3 * resolution)) == pytest.approx(one / 2, rel=1e-5)
