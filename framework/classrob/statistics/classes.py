"""Classes as counts drawn from rates: how likely gaps are, and what spreads to expect, without drawing samples.

Classes of one size that may have one rate are one group, so that a thousand classes of fifty cost what some fifty
groups do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import gammaln, xlog1py, xlogy

Array = np.ndarray[Any, Any]

#: At most so many products of a group and a place are looked at for a gap; beyond, places are thinned.
WORK = 400_000
#: Rates this close are taken for equal.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Classes:
    """Groups of classes.

    Attributes:
        size: int [g], samples of each class of a group. count: [g], its classes; not whole where they are expected.
    """

    size: Array
    count: Array

    @cached_property
    def share(self) -> Array:
        """[g], of all classes."""
        return self.count / self.count.sum()

    @cached_property
    def _hits(self) -> Array:
        """[g, most + 1]: the counts that there can be, and after them the largest again and again."""
        return np.minimum(np.arange(self.size.max() + 1), self.size[:, None])

    @cached_property
    def _there(self) -> Array:
        return np.arange(self.size.max() + 1) <= self.size[:, None]

    @cached_property
    def _ways(self) -> Array:
        """[g, most + 1]: the logarithm of n over k."""
        log = gammaln(np.arange(self.size.max() + 1) + 1.0)
        return log[self.size][:, None] - log[self._hits] - log[self.size[:, None] - self._hits]

    def chance(self, rates: Array) -> Array:
        """[g, most + 1]: P(X = k) of each group's count at a rate [g]."""
        rest = self.size[:, None] - self._hits
        log = self._ways + xlogy(self._hits, rates[:, None]) + xlog1py(rest, -rates[:, None])
        return np.where(self._there, np.exp(log), 0.0)

    # -- the gap --------------------------------------------------------------------------------------

    def gaps(self, rates: Array, gap: float) -> tuple[float, float]:
        """P(gap < this) and P(gap ≤ this), the gap being the largest of all classes' shares minus the smallest.

        The smallest share is one of the shares that there can be; for each of them, all classes lie from there
        to a gap above, less that all lie from the next one on.

        Args:
            rates: [g], each group's.
        """
        chance = self.chance(rates)
        below = np.concatenate([np.zeros((len(chance), 1)), chance.cumsum(1)], 1)  # P(X < k)
        first, ends = self._windows(gap)
        least = np.take_along_axis(below, first, 1)
        found: list[float] = []
        for end in ends:
            most = np.take_along_axis(below, end, 1)
            inside = self._all(most - least)
            after = self._all(most[:, :-1] - least[:, 1:])
            found.append(float(np.clip(inside.sum() - after.sum(), 0.0, 1.0)))
        return found[0], max(found)

    def _windows(self, gap: float) -> tuple[Array, tuple[Array, Array]]:
        """For every place of the smallest share, counts [g, m]: the least one, and those above the gap's end.

        These for gaps less than this, and of at most this.
        """
        places = self._places
        size = self.size[:, None]
        first = np.ceil(places * size - ROUNDING).astype(np.int64)
        middle = places
        if self._thinned:
            middle = places + np.append(np.diff(places), 0.0) / 2
        inside = np.ceil((middle + gap) * size - ROUNDING)
        at_most = np.floor((middle + gap) * size + ROUNDING) + 1
        less, most = (np.clip(end, first, size + 1).astype(np.int64) for end in (inside, at_most))
        return first, (less, most)

    @cached_property
    def _every(self) -> Array:
        return np.unique(np.concatenate([np.arange(n + 1) / n for n in np.unique(self.size)]).round(12))

    @cached_property
    def _thinned(self) -> bool:
        return len(self._every) * len(self.size) > WORK

    @cached_property
    def _places(self) -> Array:
        """The shares that the smallest may have."""
        if not self._thinned:
            return self._every
        return np.linspace(0, 1, max(50, WORK // len(self.size)))

    def _all(self, chance: Array) -> Array:
        """[m]: that all classes are where each group's are with a chance [g, m]."""
        return np.exp(self.count @ np.log(np.maximum(chance, 1e-300)))

    # -- standard deviation and Gini coefficient -------------------------------------------------------

    def expected(self, rates: Array) -> tuple[Array, Array]:
        """What the standard deviation and the Gini coefficient are with many classes: means [2], deviations [2].

        To the first order in one over the number of classes: each class counts by how much its share moves them.

        Args:
            rates: [g], each group's.
        """
        chance, k = self.chance(rates), float(self.count.sum())
        value = self._hits / self.size[:, None]
        mean = float(self.share @ rates)

        def moments(of: Array) -> tuple[float, float]:
            """The mean over all classes, and the mean variance within one."""
            each = (chance * of).sum(1)
            return float(self.share @ each), float(self.share @ ((chance * of * of).sum(1) - each * each))

        noise = moments(value)[1]
        square, square_noise = moments((value - mean) ** 2)
        square = max(square - noise / k, 1e-18)
        apart, own = self._apart(chance, value)
        difference = max(moments(apart)[0] - own / k, 0.0)
        if mean <= 0:
            return np.zeros(2), np.zeros(2)
        _, gini_noise = moments(apart / mean - difference * value / (2 * mean * mean))
        means = np.array([np.sqrt(square) - square_noise / k / (8 * square**1.5), difference / (2 * mean)])
        variances = np.array([square_noise / (4 * square), gini_noise]) / k
        return means, np.sqrt(np.maximum(variances, 0.0))  # without noise rounding can leave less

    def _apart(self, chance: Array, value: Array) -> tuple[Array, float]:
        """How far each value [g, most + 1] is from that of any class on average; and a class's from its own again."""
        order, back = self._order
        flat, weight = value.reshape(-1)[order], (chance * self.share[:, None]).reshape(-1)[order]
        below, sums = weight.cumsum(), (weight * flat).cumsum()
        apart = flat * (2 * below - below[-1]) - 2 * sums + sums[-1]
        within = chance.cumsum(1)[:, :-1]
        own = float(self.share @ (2 * (within * (1 - within)).sum(1) / self.size))
        return apart[back].reshape(value.shape), own

    @cached_property
    def _order(self) -> tuple[Array, Array]:
        order = np.argsort((self._hits / self.size[:, None]).reshape(-1), kind="stable")
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return order, back
