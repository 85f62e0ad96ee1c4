"""95 % intervals whose coverage holds for small classes.

Rates use the mid-P interval of Clopper and Pearson: the exact binomial tails with half of the observed
count's own probability. Over the rates and class sizes that occur its mean coverage stays near 95 %,
where Wald's collapses towards 0 and 1 and Clopper and Pearson's own averages 97.7 % at n = 20
(tests/host/test_intervals.py measures all three). Source: Agresti and Gottard, "Nonconservative exact
small-sample inference for discrete data", Computational Statistics & Data Analysis 51 (2007).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import betainc, betaincinv, betaln, stdtrit, xlog1py, xlogy

ALPHA = 0.05
#: More rates than this of at most so many samples are looked up.
SMALL = 200
RATE_METHOD = "mid-P Clopper–Pearson"


@lru_cache(maxsize=65536)
def rate(hits: int, n: int, alpha: float = ALPHA) -> tuple[float, float]:
    """The interval of a rate of which `hits` in `n` were seen; (0, 1) for n = 0."""
    low, high = rates(np.array([hits]), np.array([n]), alpha)
    return float(low[0]), float(high[0])


def mean(
    values: np.ndarray[Any, Any], least: float = -math.inf
) -> tuple[float | None, float | None, float | None, int]:
    """The mean of some numbers, Student's 95 % interval cut at the least that they can be, and how many they are.

    There is no interval of fewer than two, and no mean of none.
    """
    n = len(values)
    if not n:
        return None, None, None, 0
    middle = float(values.mean())
    if n == 1:
        return middle, None, None, 1
    half = float(stdtrit(n - 1, 1 - ALPHA / 2) * values.std(ddof=1) / math.sqrt(n))
    return middle, min(middle, max(least, middle - half)), middle + half, n


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
    n, hits = n.astype(np.int64), hits.astype(np.int64)
    if len(n) > SMALL >= n.max():
        tables = {size: _every(size, alpha) for size in np.unique(n).tolist()}
        first = np.zeros(SMALL + 1, np.int64)
        first[list(tables)] = np.cumsum([0, *(size + 1 for size in tables)])[:-1]
        low, high = (np.concatenate(ends)[first[n] + hits] for ends in zip(*tables.values(), strict=True))
        return low, high
    base = int(n.max(initial=0)) + 1
    pairs, back = np.unique(n * base + hits, return_inverse=True)
    low, high = _distinct(*np.divmod(pairs, base), alpha)
    return low[back], high[back]


@lru_cache(maxsize=1024)
def _every(n: int, alpha: float) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The ends [n + 1] of every rate of n."""
    return _distinct(np.full(n + 1, n), np.arange(n + 1), alpha)


def _distinct(
    n: np.ndarray[Any, Any], hits: np.ndarray[Any, Any], alpha: float
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    low, high = np.zeros(len(n)), np.ones(len(n))
    some, short = hits > 0, hits < n
    low[some] = _solve(hits[some], n[some], alpha / 2)
    high[short] = _solve(hits[short], n[short], 1 - alpha / 2)
    return low, high


def _solve(hits: np.ndarray[Any, Any], n: np.ndarray[Any, Any], tail: float) -> np.ndarray[Any, Any]:
    """The rates at which P(X > hits) + P(X = hits) / 2 is `tail` for X ~ binomial(n, rate).

    That is the mean of P(X ≥ hits) and P(X ≥ hits + 1), which both rise with the rate, so the solution lies
    between theirs; there Newton's steps, and halving where one leaves. No rate depends on those beside it.
    """
    ends = np.stack([hits, hits + 1])
    left, right = (_reaches(end, n, tail) for end in ends)
    rate, step = (left + right) / 2, np.ones(len(n))
    for _ in range(100):  # six do, halving alone would take fifty
        moving = (np.abs(step) > 1e-16) & (right - left > 1e-15)
        if not moving.any():
            break
        off = (_at_least(ends[0], n, rate) + _at_least(ends[1], n, rate)) / 2 - tail
        left, right = np.where(off < 0, rate, left), np.where(off > 0, rate, right)
        slope = (_slope(ends[0], n, rate) + _slope(ends[1], n, rate)) / 2
        after = rate - np.divide(off, slope, out=np.full(len(n), np.inf), where=slope > 0)
        after = np.where((after >= left) & (after <= right), after, (left + right) / 2)
        rate, step = np.where(moving, after, rate), np.where(moving, after - rate, 0.0)
    return rate


def _reaches(k: np.ndarray[Any, Any], n: np.ndarray[Any, Any], tail: float) -> np.ndarray[Any, Any]:
    """The rates at which P(X ≥ k) is `tail`: 0 where that is certain, 1 where it cannot be."""
    inside = np.clip(k, 1, n)
    return np.where(k <= 0, 0.0, np.where(k > n, 1.0, betaincinv(inside, n - inside + 1, tail)))


def _at_least(
    k: np.ndarray[Any, Any], n: np.ndarray[Any, Any], rate: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """P(X ≥ k) for X ~ binomial(n, rate)."""
    inside = np.clip(k, 1, n)
    return np.where(k <= 0, 1.0, np.where(k > n, 0.0, betainc(inside, n - inside + 1, rate)))


def _slope(
    k: np.ndarray[Any, Any], n: np.ndarray[Any, Any], rate: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """The derivative of `_at_least` with respect to the rate."""
    inside = np.clip(k, 1, n)
    log = xlogy(inside - 1, rate) + xlog1py(n - inside, -rate) - betaln(inside, n - inside + 1)
    return np.where((k <= 0) | (k > n), 0.0, np.exp(log))
