"""95 % intervals whose coverage holds for small classes.

Rates use the mid-P interval of Clopper and Pearson: the exact binomial tails with half of the observed
count's own probability. Over the rates and class sizes that occur its mean coverage stays near 95 %,
where Wald's collapses towards 0 and 1 and Clopper and Pearson's own averages 97.7 % at n = 20
(tests/host/test_intervals.py measures all three). Source: Agresti and Gottard, "Nonconservative exact
small-sample inference for discrete data", Computational Statistics & Data Analysis 51 (2007).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.optimize import root_scalar
from scipy.special import betainc

ALPHA = 0.05
RATE_METHOD = "mid-P Clopper–Pearson"


@lru_cache(maxsize=65536)
def rate(hits: int, n: int, alpha: float = ALPHA) -> tuple[float, float]:
    """The interval of a rate of which `hits` in `n` were seen; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} of {n} is no rate")
    tail = alpha / 2
    low = 0.0 if hits == 0 else _solve(hits, n, tail, 0.0, hits / n)
    high = 1.0 if hits == n else _solve(hits, n, 1 - tail, hits / n, 1.0)
    return low, high


def _solve(hits: int, n: int, tail: float, left: float, right: float) -> float:
    """The rate in [left, right] at which `_above` is `tail`."""
    found = root_scalar(lambda p: _above(hits, n, p) - tail, bracket=(left, right), method="brentq")
    return float(found.root)


def _above(hits: int, n: int, p: float) -> float:
    """P(X > hits) + P(X = hits) / 2 for X ~ binomial(n, p)."""
    at_least = betainc(hits, n - hits + 1, p) if hits > 0 else 1.0
    more = betainc(hits + 1, n - hits, p) if hits < n else 0.0
    return float(at_least + more) / 2


def extremes(hits: np.ndarray, n: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Intervals of the smallest of several rates, and of the gap between the largest and the smallest.

    Simultaneous: each rate's interval at 1 − 0.05/k (Bonferroni), so that the smallest, chosen after
    looking, is still covered; coverage is at least 95 %, for many classes above it.
    """
    each = [rate(int(h), int(m), ALPHA / len(n)) for h, m in zip(hits, n, strict=True)]
    low, high = np.array(each).T
    gap = max(0.0, float(low.max() - high.min())), float(high.max() - low.min())
    return (float(low.min()), float(high.min())), gap
