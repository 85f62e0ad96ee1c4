"""The interval of the smallest of several rates, which was picked after looking.

The smallest of ten noisy rates is low partly by chance, and how much depends on how many classes are near the
bottom. So every candidate m for the true smallest rate is tested against what is seen. For the upper end the
measure is the least surprising-from-below class: T = min over classes of P(X ≤ seen) at rate m, with half of the
seen count's own probability. Its distribution is computed with the rates that the other classes have by the
data, moved towards their mean by as much as sampling noise explains and never below m (the restricted
estimates of Andrews and Soares, "Inference for parameters defined by moment inequalities", Econometrica 78,
2010). Classes far above m then cost nothing, and classes that may be the smallest each cost their share. For the
lower end the same is done with the class that exceeds m least.

The lower end never lies above the seen minimum. Where so many classes are alike that it can hardly miss, the
upper end takes over what the lower one does not use of the 5 %.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import bdtr

from classrob.statistics.intervals import ALPHA

Array = np.ndarray[Any, Any]

#: Rates are searched within (EDGE, 1 − EDGE).
EDGE = 1e-9
#: So closely are they found.
PRECISION = 1e-4
#: Probabilities this close, relatively, are taken for equal.
_ROUNDING = 1e-9


def smallest(hits: Array, n: Array) -> tuple[float, float]:
    """The 95 % interval of the smallest of k true rates.

    Args:
        hits: int [k], how often each was seen.
        n: int [k], among how many, each at least 1.
    """
    order = np.lexsort((n, hits))
    return _smallest(tuple(hits[order].tolist()), tuple(n[order].tolist()))


@lru_cache(maxsize=4096)
def _smallest(hits: tuple[int, ...], n: tuple[int, ...]) -> tuple[float, float]:
    seen = _Seen.of(np.array(hits), np.array(n))
    least = float((seen.hits / seen.n).min())

    def above(m: float) -> float:
        return seen.as_low(m) - (ALPHA - min(ALPHA / 2, seen.all_above(m)))

    def below(m: float) -> float:
        return seen.as_high(m) - ALPHA / 2

    start = min(max(least, EDGE), 1 - EDGE)
    high = 1.0 if least == 1 else _crossing(above, start, 1 - EDGE)
    low = 0.0 if least == 0 else _crossing(below, start, EDGE)
    return min(low, least), max(high, least)


def _crossing(f: Callable[[float], float], start: float, end: float) -> float:
    """Where f falls below 0 between `start` and `end`; `start` where it is below from there on.

    By false position, and by halving after a step that took less than half away.
    """
    above, below = f(start), f(end)
    if above <= 0 or below > 0:
        return start if above <= 0 else end
    halve = False
    while (width := abs(end - start)) > PRECISION:
        share = 0.5 if halve else float(np.clip(above / (above - below), 0.02, 0.98))
        middle = start + share * (end - start)
        if (value := f(middle)) > 0:
            start, above = middle, value
        else:
            end, below = middle, value
        halve = abs(end - start) > width / 2
    return (start + end) / 2


@dataclass(frozen=True)
class _Seen:
    """Classes with equal counts put together: `count` [g] of them each, and their estimated `rates` [g]."""

    hits: Array
    n: Array
    count: Array
    rates: Array
    sizes: Array
    size: Array

    @classmethod
    def of(cls, hits: Array, n: Array) -> _Seen:
        pairs, count = np.unique(np.stack([hits, n]), axis=1, return_counts=True)
        mean = hits.sum() / n.sum()
        noise = max(float(mean * (1 - mean)), 1e-12)
        apart = float((n * (hits / n - mean) ** 2).sum() / noise)
        signal = max(0.0, 1 - (len(n) - 1) / apart) if apart > 0 else 0.0
        rates = mean + np.sqrt(signal) * (pairs[0] / pairs[1] - mean)
        sizes, size = np.unique(pairs[1], return_inverse=True)
        return cls(pairs[0], pairs[1], count, rates, sizes, size.reshape(-1))

    def as_low(self, m: float) -> float:
        """P(T ≤ as seen) with smallest rate m, half of the tie's probability taken off."""
        return 1 - self.as_high(m)

    def as_high(self, m: float) -> float:
        """P(T ≥ as seen), likewise: no class exceeds m by less than the one that does by least."""
        seen = float(_below(self.hits, self.n, m).min())
        last = self._last(m, seen * np.array([[1 - _ROUNDING], [1 + _ROUNDING]]))
        return (self._none_within(last[0], m) + self._none_within(last[1], m)) / 2

    def all_above(self, m: float) -> float:
        """P(every class is seen above m), with smallest rate m."""
        return self._none_within(np.floor(self.n * m + 1e-9).astype(np.int64), m)

    def _last(self, m: float, tail: Array) -> Array:
        """int [t, g]: the largest count of each whose lower tail at rate m is at most `tail` [t, 1], or −1."""
        shape = (len(tail), len(self.sizes))
        low, high = np.full(shape, -1), np.broadcast_to(self.sizes + 1, shape)  # within, beyond
        while (high - low > 1).any():
            middle = (low + high) // 2
            within = (middle < 0) | (_below(np.maximum(middle, 0), self.sizes, m) <= tail)
            low, high = np.where(within, middle, low), np.where(within, high, middle)
        return low[:, self.size]

    def _none_within(self, last: Array, m: float) -> float:
        """P(no class is seen at most `last` [g] times), with smallest rate m."""
        rates = np.maximum(self.rates, m)
        rates[rates.argmin()] = m
        within = np.where(last < 0, 0.0, bdtr(np.maximum(last, 0).astype(float), self.n, rates))
        return float(np.exp((self.count * np.log1p(-np.minimum(within, 1 - 1e-15))).sum()))


def _below(hits: Array, n: Array | int, rate: float) -> Array:
    """P(X < hits) + P(X = hits) / 2."""
    less = np.where(hits > 0, bdtr(np.maximum(hits - 1, 0).astype(float), n, rate), 0.0)
    return (less + bdtr(hits.astype(float), n, rate)) / 2
