"""95 % intervals whose coverage holds for small classes.

Rates use the mid-P interval of Clopper and Pearson: the exact binomial tails with half of the observed
count's own probability. Over the rates and class sizes that occur its mean coverage stays near 95 %,
where Wald's collapses towards 0 and 1 and Clopper and Pearson's own averages 97.7 % at n = 20
(tests/host/test_intervals.py measures all three). Source: Agresti and Gottard, "Nonconservative exact
small-sample inference for discrete data", Computational Statistics & Data Analysis 51 (2007).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import betainc, betaincinv

ALPHA = 0.05
RATE_METHOD = "mid-P Clopper–Pearson"


@lru_cache(maxsize=65536)
def rate(hits: int, n: int, alpha: float = ALPHA) -> tuple[float, float]:
    """The interval of a rate of which `hits` in `n` were seen; (0, 1) for n = 0."""
    low, high = rates(np.array([hits]), np.array([n]), alpha)
    return float(low[0]), float(high[0])


def rates(
    hits: np.ndarray[Any, Any], n: np.ndarray[Any, Any], alpha: float = ALPHA
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The intervals of many rates at once: their lower and upper ends, float64 [k].

    Args:
        hits: int [k], how often each was seen.
        n: int [k], among how many.

    Raises:
        ValueError: one is no rate: fewer hits than 0, or more than n.
    """
    if len(wrong := np.flatnonzero((hits < 0) | (hits > n))):
        raise ValueError(f"{hits[wrong[0]]} of {n[wrong[0]]} is no rate")
    pairs, back = np.unique(np.stack([hits, n]), axis=1, return_inverse=True)
    hits, n = pairs
    back = back.reshape(-1)
    low, high = np.zeros(len(n)), np.ones(len(n))
    some, short = hits > 0, hits < n
    low[some] = _solve(hits[some], n[some], alpha / 2)
    high[short] = _solve(hits[short], n[short], 1 - alpha / 2)
    return low[back], high[back]


def _solve(hits: np.ndarray[Any, Any], n: np.ndarray[Any, Any], tail: float) -> np.ndarray[Any, Any]:
    """The rates at which `_above` is `tail`, to the last digits.

    `_above` is the mean of two rising functions, so it is `tail` between where the one is and where the
    other is; there, halving.
    """
    left, right = _at_least(hits, n, tail), _at_least(hits + 1, n, tail)
    for _ in range(60):
        middle = (left + right) / 2
        low = _above(hits, n, middle) < tail
        left, right = np.where(low, middle, left), np.where(low, right, middle)
        if (right - left <= 1e-15).all():
            break
    return (left + right) / 2


def _at_least(hits: np.ndarray[Any, Any], n: np.ndarray[Any, Any], tail: float) -> np.ndarray[Any, Any]:
    """The rates at which P(X ≥ hits) is `tail`: 0 where that is certain, 1 where it cannot be."""
    inside = np.clip(hits, 1, n)
    found = betaincinv(inside, n - inside + 1, tail)
    return np.where(hits <= 0, 0.0, np.where(hits > n, 1.0, found))


def _above(
    hits: np.ndarray[Any, Any], n: np.ndarray[Any, Any], p: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """P(X > hits) + P(X = hits) / 2 for X ~ binomial(n, p)."""
    at_least = np.where(hits > 0, betainc(np.maximum(hits, 1), n - hits + 1, p), 1.0)
    more = np.where(hits < n, betainc(hits + 1, np.maximum(n - hits, 1), p), 0.0)
    return (at_least + more) / 2
