"""Tests of differences: their level under the null by enumeration, their power, and the laws of Holm."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from classrob.statistics.significance import EXACT, holm, mcnemar, mean_difference, paired, permutation

ALPHA = 0.05


def level(n: int, told_apart: float) -> float:
    """How often n equally good pairs are called different at 5 %, exactly."""
    chance = stats.binom.pmf(np.arange(n + 1), n, told_apart)
    return sum(
        chance[m] * stats.binom.pmf(k, m, 0.5)
        for m in range(n + 1)
        for k in range(m + 1)
        if mcnemar(k, m - k) <= ALPHA
    )


@pytest.mark.parametrize("n", [10, 20, 50])
def test_mcnemar_keeps_its_level(n: int) -> None:
    levels = [level(n, share) for share in np.linspace(0.05, 0.95, 10)]
    assert max(levels) <= 0.053  # mid-P may exceed by a little; the uncorrected test stays near 3 %
    assert n < 50 or levels[-1] > 0.04


def test_mcnemar_by_hand() -> None:
    """Fagerland, Lydersen and Laake's airway example: 1 and 7 told apart; exact 0.070, mid-P 0.039."""
    assert mcnemar(1, 7) == pytest.approx(2 * (1 + 8 / 2) / 256)
    assert mcnemar(1, 7) == pytest.approx(0.0391, abs=5e-5)
    assert mcnemar(0, 0) == mcnemar(3, 3) == pytest.approx(1)
    assert mcnemar(0, 5) == pytest.approx(1 / 32)
    with pytest.raises(ValueError, match="no counts"):
        mcnemar(-1, 3)


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_takes_no_side_and_falls_with_the_evidence(a: int, b: int) -> None:
    assert mcnemar(a, b) == mcnemar(b, a)
    assert 0 < mcnemar(a, b) <= 1
    low, high = sorted((a, b))
    assert mcnemar(low, high + 1) <= mcnemar(low, high) + 1e-12


@settings(deadline=None)
@given(st.lists(st.integers(-4, 4), max_size=7))
def test_permutation_looks_at_every_sign(values: list[int]) -> None:
    d = np.array(values, dtype=float)
    signs = itertools.product((-1, 1), repeat=len(values))
    truth = np.mean([abs(np.dot(sign, d)) >= abs(d.sum()) for sign in signs])
    assert permutation(d) == pytest.approx(truth)


@pytest.mark.parametrize("n", [8, 40])
def test_permutation_keeps_its_level(n: int) -> None:
    """Skewed magnitudes and random signs: exactly at or below the level, whatever they are."""
    generator = np.random.default_rng(1)
    trials = 2000 if n <= EXACT else 1000
    draws = generator.lognormal(0, 1.5, (trials, n)) * generator.choice([-1, 1], (trials, n))
    rejected = np.mean([permutation(d, draws=199) <= ALPHA for d in draws])
    assert rejected <= ALPHA + 2.6 * np.sqrt(ALPHA * (1 - ALPHA) / trials)
    assert rejected > 0.02


def test_permutation_by_draws_agrees_with_all_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    d = np.random.default_rng(0).normal(0.4, 1, 15)
    exact = permutation(d)
    monkeypatch.setattr("classrob.statistics.significance.EXACT", 0)
    drawn = permutation(d, draws=20_000)
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000))
    assert permutation(d, draws=20_000) == drawn


def test_permutation_ignores_ties_scale_and_direction() -> None:
    d = np.random.default_rng(2).normal(0.5, 1, 60)
    assert permutation(d) == permutation(np.append(d, np.zeros(30))) == permutation(d * 1e-9)
    assert permutation(np.full(200, 0.1)) == 1 / 10_000
    assert permutation(np.zeros(5)) == permutation(np.array([])) == 1.0
    with pytest.raises(ValueError, match="finite"):
        permutation(np.array([1.0, np.inf]))


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0, 1))
def test_holm(p: list[float], alpha: float) -> None:
    adjusted = holm(p)
    assert len(adjusted) == len(p)
    assert all(
        0 <= raw <= new <= min(1.0, raw * len(p) * (1 + 1e-12)) for raw, new in zip(p, adjusted, strict=True)
    )
    order = sorted(range(len(p)), key=p.__getitem__)
    assert [adjusted[i] for i in order] == sorted(adjusted)
    rejected: set[int] = set()  # the procedure as Holm wrote it: step down until one is not small enough
    for rank, i in enumerate(order):
        if p[i] * (len(p) - rank) > alpha:
            break
        rejected.add(i)
    assert {i for i in range(len(p)) if adjusted[i] <= alpha and alpha < 1} == (
        rejected if alpha < 1 else set()
    )


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, float("nan")])


def test_holm_keeps_the_level_of_all_tests_together() -> None:
    p = np.random.default_rng(3).random((4000, 12))
    assert np.mean([min(holm(row)) <= ALPHA for row in p.tolist()]) <= ALPHA + 3 * np.sqrt(0.05 * 0.95 / 4000)


@pytest.mark.parametrize("n", [10, 20, 40])
def test_tango_covers_a_paired_difference(n: int) -> None:
    """Exactly, over all counts of samples that only one gets right, for shares near 0 and far from it."""
    cells = np.array([(a, b, n - a - b) for a in range(n + 1) for b in range(n + 1 - a)])
    low, high = paired(cells[:, 0], cells[:, 1], np.full(len(cells), n))
    held = []
    for only_a, only_b in itertools.product((0.002, 0.02, 0.1, 0.3, 0.6), (0.0, 0.02, 0.1, 0.3)):
        chance = stats.multinomial.pmf(cells, n, [only_a, only_b, 1 - only_a - only_b])
        difference = only_a - only_b
        held.append(chance[(low <= difference + 1e-12) & (difference - 1e-12 <= high)].sum())
    assert min(held) >= 0.925
    assert 0.95 <= np.mean(held) <= 0.99


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_tango_holds_the_difference_and_takes_no_side(a: int, b: int, rest: int) -> None:
    n = a + b + rest
    (low, turned), (high, other) = paired(np.array([a, b]), np.array([b, a]), np.array([n, n]))
    assert -1 <= low <= high <= 1
    assert (low, high) == pytest.approx((-other, -turned), abs=1e-9)
    if n:
        assert low - 1e-9 <= (a - b) / n <= high + 1e-9
    else:
        assert (low, high) == (-1, 1)


def test_tango_by_hand() -> None:
    """Tango's own example: 44 pairs, 0 and 1 told apart: −0.014 ± … is (−0.1178, 0.0608) for 1 of 44."""
    (low,), (high,) = paired(np.array([0]), np.array([1]), np.array([44]))
    assert (low, high) == pytest.approx((-0.1177, 0.0590), abs=2e-3)


@pytest.mark.parametrize("n", [8, 30])
def test_the_interval_of_a_mean_difference_covers_it(n: int) -> None:
    """Symmetric, skewed and mostly 0, bounded by 1."""
    generator = np.random.default_rng(4)
    shapes = {
        0.1: lambda: np.clip(generator.normal(0.1, 0.2, n), -0.8, 1),
        0.05: lambda: (generator.random(n) < 0.1) * 0.5,
        0.0999: lambda: np.minimum(generator.exponential(0.1, n), 1),
    }
    for mean, draw in shapes.items():
        held = 0
        for _ in range(300):
            low, high = mean_difference(draw(), 1.0, draws=999)
            held += low <= mean <= high
        assert held / 300 >= 0.915  # 0.95 less what 300 draws vary by


def test_the_interval_of_a_mean_difference_agrees_with_the_test() -> None:
    generator = np.random.default_rng(5)
    agreed = 0
    for shift in np.linspace(0, 0.12, 60):
        d = np.clip(generator.normal(shift, 0.2, 60), -1, 1)
        low, high = mean_difference(d, 1.0)
        agreed += (low <= 0 <= high) == (permutation(d) > ALPHA)
    assert agreed >= 54
    assert (
        mean_difference(np.zeros(0), 0.3) == mean_difference(np.zeros(3), 0.3) == pytest.approx((-0.3, 0.3))
    )
