"""Intervals: known values, laws, and coverage by exact enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from classrob.statistics.intervals import rate


@given(st.integers(1, 400), st.data())
def test_a_rate_lies_inside_and_mirrors(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    low, high = rate(hits, n)
    assert 0.0 <= low <= hits / n <= high <= 1.0
    assert (1.0 - high, 1.0 - low) == pytest.approx(rate(n - hits, n), abs=1e-9)


@given(st.integers(1, 300), st.data())
def test_more_hits_move_it_up_and_more_samples_narrow_it(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n - 1))
    assert rate(hits, n)[0] <= rate(hits + 1, n)[0]
    assert rate(hits, n)[1] <= rate(hits + 1, n)[1]
    narrow, wide = rate(4 * hits, 4 * n), rate(hits, n)
    assert narrow[1] - narrow[0] < wide[1] - wide[0]


def test_it_solves_the_mid_p_equations() -> None:
    low, high = rate(7, 20)
    binomial = stats.binom
    assert 1 - binomial.cdf(7, 20, low) + binomial.pmf(7, 20, low) / 2 == pytest.approx(0.025)
    assert binomial.cdf(6, 20, high) + binomial.pmf(7, 20, high) / 2 == pytest.approx(0.025)
    assert rate(0, 20) == pytest.approx((0.0, 1 - 0.05 ** (1 / 20)))  # half of (1 − p)ⁿ is the tail
    assert rate(0, 0) == (0.0, 1.0)


def coverage(interval: object, n: int, rates: np.ndarray) -> np.ndarray:
    """The exact probability that the interval holds the rate, for each rate."""
    bounds = np.array([interval(k, n) for k in range(n + 1)])  # type: ignore[operator]
    chance = stats.binom.pmf(np.arange(n + 1)[:, None], n, rates[None])
    return (chance * ((bounds[:, :1] <= rates) & (rates <= bounds[:, 1:]))).sum(0)


def clopper_pearson(k: int, n: int) -> tuple[float, float]:
    low = stats.beta.ppf(0.025, k, n - k + 1) if k else 0.0
    high = stats.beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
    return low, high


def wald(k: int, n: int) -> tuple[float, float]:
    half = 1.96 * np.sqrt(k / n * (1 - k / n) / n)
    return k / n - half, k / n + half


RATES = np.linspace(0.02, 0.98, 481)


@pytest.mark.parametrize("n", [20, 50, 100, 1000])
def test_coverage_stays_near_95_percent(n: int) -> None:
    """Averaged over rates from 2 % to 98 %; no single rate falls below 91 %."""
    held = coverage(rate, n, RATES)
    assert 0.945 <= held.mean() <= 0.97
    assert held.min() >= 0.91


def test_the_alternatives_do_not() -> None:
    """Why this interval: at n = 20, Clopper and Pearson's is too wide and Wald's fails near 0 and 1."""
    assert coverage(clopper_pearson, 20, RATES).mean() > 0.97
    assert coverage(wald, 20, RATES).min() < 0.5
