"""The spread of many classes: the distribution of their true rates is estimated, cut, stretched and bent.

For the gap it is cut to a window with a class at either end; for the standard deviation its distances from the mean
are stretched. The Gini coefficient depends on more of the shape than noise leaves to be seen: of one standard
deviation two camps have a smaller one than a bell. So it is found for distributions of which the distances are raised
to a power, towards camps or towards a few classes far out, as far as the likelihood does not reject them (it falls by
no more than half of the 95 % point of χ² with one degree of freedom, as for a profile likelihood: Venzon and
Moolgavkar, "A method for computing profile-likelihood-based confidence intervals", Applied Statistics 37, 1988); the
interval is from the lowest end to the highest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from classrob.statistics.classes import Classes
from classrob.statistics.inverted import Ends, ends, place
from classrob.statistics.mixing import likelihood, mixing

Array = np.ndarray[Any, Any]

#: Powers of the distances from the mean, from two camps to a few classes far out.
POWERS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
#: By so much may the logarithm of the likelihood fall.
FALL = 1.92
#: Seen deviations this many standard errors away are tried.
REACH = 6.0


@dataclass(frozen=True)
class Mixed:
    """Classes whose true rates are `atoms` [a], each as likely as its `weight` [a].

    Attributes:
        hits: int [g], how often was seen in each group of `groups`.
    """

    hits: Array
    groups: Classes
    atoms: Array
    weight: Array

    @classmethod
    def of(cls, hits: Array, groups: Classes) -> Mixed:
        """The likeliest distribution of what was seen."""
        return cls(hits, groups, *mixing(hits, groups.size, groups.count))

    @cached_property
    def mean(self) -> float:
        """Of the rates."""
        return float(self.weight @ self.atoms)

    @cached_property
    def sizes(self) -> tuple[Array, Array]:
        """The sizes that there are [s], and how many classes have each [s]."""
        sizes, group = np.unique(self.groups.size, return_inverse=True)
        return sizes, np.bincount(group, self.groups.count)

    @cached_property
    def classes(self) -> Classes:
        """A group for each size and rate: every size has every rate."""
        sizes, count = self.sizes
        return Classes(np.repeat(sizes, len(self.atoms)), (count[:, None] * self.weight).reshape(-1))

    def rates(self, atoms: Array) -> Array:
        """[s · a]: those of `classes`."""
        return np.tile(atoms, len(self.sizes[0]))

    # -- the gap --------------------------------------------------------------------------------------

    def gap(self, seen: float, widths: Array) -> Ends:
        """Of the largest share less the smallest; `widths` [m] are tried."""
        sizes, count = self.sizes
        outer = np.repeat(sizes[count.argmax()], 2)
        ended = Classes(
            np.append(self.classes.size, outer),
            np.append(self.classes.count * (1 - 2 / count.sum()), [1.0, 1.0]),
        )
        tails = np.empty((2, len(widths), 2))
        for i, width in enumerate(widths.tolist()):
            edge, inside = self._cut(width)
            rates = np.append(self.rates(inside), [edge, edge + width])
            tails[:, i] = ended.gaps(rates, seen), ended.gaps(rates, width)
        return ends(seen, place(tails[0]), widths, place(tails[1]))

    def _cut(self, width: float) -> tuple[float, Array]:
        """Where a window of a width begins that is nearest to the rates by squares, and the rates cut to it."""
        atoms = self.atoms
        room = float(atoms[-1] - atoms[0]) - width
        if room > 0:
            edges = atoms[0] + np.linspace(0, room, 41)
        else:
            edges = np.array([min(max(0.0, float(atoms[0]) + room / 2), 1 - width)])
        cut = np.clip(atoms, edges[:, None], edges[:, None] + width)
        nearest = ((atoms - cut) ** 2 @ self.weight).argmin()
        return float(edges[nearest]), cut[nearest]

    # -- standard deviation and Gini coefficient -------------------------------------------------------

    def deviation_and_gini(self, seen: tuple[float, float], steps: int) -> tuple[Ends, Ends]:
        """Of the standard deviation and the Gini coefficient; so many candidates are tried."""
        bent = {power: self._bent(power) for power in POWERS}
        lengths = self._lengths(seen[0], steps)
        likely = {power: self._likelihood(shape, self._true(seen[0])) for power, shape in bent.items()}
        kept = [power for power in POWERS if likely[power] >= max(likely.values()) - FALL]
        plain = self._ends(bent[1.0], lengths, seen)
        ginis = [
            plain[1],
            *(self._ends(bent[power], lengths, seen)[1] for power in {kept[0], kept[-1]} - {1.0}),
        ]
        return plain[0], Ends(seen[1], min(one.low for one in ginis), max(one.high for one in ginis))

    def _bent(self, power: float) -> Array:
        """[a] of mean 0 and standard deviation 1: the rates' distances from the mean, raised to a power."""
        apart = self.atoms - self.mean
        shape = np.sign(apart) * np.abs(apart / max(float(np.abs(apart).max()), 1e-12)) ** power
        shape -= self.weight @ shape
        return shape / max(float(np.sqrt(self.weight @ shape**2)), 1e-12)

    def _stretched(self, shape: Array, length: float) -> Array:
        return np.clip(self.mean + length * shape, 0, 1)

    def _true(self, seen: float) -> float:
        """The standard deviation of true rates for which a seen one is what to expect."""
        share = float(self.groups.share @ (1 / self.groups.size))
        most = self.mean * (1 - self.mean)  # with every rate 0 or 1
        square = (seen * seen - most * share) / max(1 - share, 1e-12)
        return float(np.sqrt(np.clip(square, 0.0, most)))

    def _lengths(self, seen: float, steps: int) -> Array:
        """Standard deviations that rise: none, and those that may be."""
        error = float(self.classes.expected(self.rates(self.atoms))[1][0])
        least, most = (self._true(max(seen + side * REACH * error, 0.0)) for side in (-1, 1))
        if least == 0:
            return np.linspace(0, most, steps)
        return np.append(0, np.linspace(least, most, steps - 1))

    def _likelihood(self, shape: Array, length: float) -> float:
        return likelihood(self.hits, self.groups, self._stretched(shape, length), self.weight)

    def _ends(self, shape: Array, lengths: Array, seen: tuple[float, float]) -> list[Ends]:
        stretched = [self._stretched(shape, length) for length in lengths.tolist()]
        laws = [self.classes.expected(self.rates(one)) for one in stretched]
        mean, error = np.array(laws).transpose(1, 2, 0)
        error = np.maximum(error, 1e-12)
        truth = np.array([self._spread(one) for one in stretched]).T
        places, own = (np.array(seen)[:, None] - mean) / error, (truth - mean) / error
        return [ends(seen[i], places[i], truth[i], own[i]) for i in (0, 1)]

    def _spread(self, rates: Array) -> tuple[float, float]:
        """The standard deviation and the Gini coefficient of rates [a] that rise."""
        mean, below = float(self.weight @ rates), self.weight.cumsum()
        apart = float((self.weight * rates) @ (2 * below - self.weight - 1))
        return float(np.sqrt(self.weight @ (rates - mean) ** 2)), max(apart / mean, 0.0) if mean > 0 else 0.0
