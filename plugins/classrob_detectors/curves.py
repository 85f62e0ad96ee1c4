"""How well scores tell two kinds of images apart: areas under curves and rates at thresholds, with intervals.

The kind to be found is the positive one, and larger scores are more suspicious. Areas have intervals of the
score type: the true areas from which the seen one is not surprisingly far. How far is surprising is DeLong's
variance (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988), summed by sample where images of one sample
are on both sides (Obuchowski, Biometrics 53, 1997), with one uninformative image added to either side, which
keeps it from vanishing for perfect scores; how it changes with the true area is taken from Newcombe
(Statistics in Medicine 25, 2006). `tests/plugins/test_detection_curves.py` holds them to their coverage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.special import bdtr, betainc

from classrob.statistics.intervals import ALPHA

Array = np.ndarray[Any, Any]

#: The standard normal's 97.5 % point.
Z = 1.959963984540054
#: How far the seen variance may lie from the assumed one, as a factor.
FACTORS = (0.25, 8.0)


class Bounded(NamedTuple):
    """A figure and the ends of its 95 % interval; None where there is none."""

    value: float | None
    low: float | None
    high: float | None


UNDEFINED = Bounded(None, None, None)


@dataclass(frozen=True)
class Contrast:
    """Scores of the images to be found, and of the others.

    Attributes:
        positive: float64 [m]. negative: float64 [n].
        samples: int64 [m + n], which images are of one sample, positives first; None where all are of different ones.
    """

    positive: Array
    negative: Array
    samples: Array | None = None

    @property
    def n(self) -> int:
        """How many images there are."""
        return len(self.positive) + len(self.negative)

    @property
    def defined(self) -> bool:
        """Are there images of both kinds?"""
        return bool(len(self.positive) and len(self.negative))

    def turned(self) -> Contrast:
        """The same with the others to be found: scores are turned round."""
        m = len(self.positive)
        samples = None if self.samples is None else np.concatenate([self.samples[m:], self.samples[:m]])
        return Contrast(-self.negative, -self.positive, samples)

    @cached_property
    def _ranked(self) -> tuple[Array, Array, Array, Array]:
        """Of all images, positives first: the shares of positives at or above and above each score; of negatives."""
        every = np.concatenate([self.positive, self.negative])
        shares = []
        for group in (np.sort(self.positive), np.sort(self.negative)):
            for side in ("left", "right"):
                shares.append(1.0 - np.searchsorted(group, every, side) / len(group))
        return shares[0], shares[1], shares[2], shares[3]

    def _variance(self, influence: Array) -> float:
        """Of a mean to which every image contributes so much, images of one sample together."""
        if self.samples is not None:
            influence = np.bincount(self.samples, influence)
        return float(influence @ influence)

    def auroc(self) -> Bounded:
        """The chance that an image to be found has the larger score; half of it where both are equal."""
        if not self.defined:
            return UNDEFINED
        m, n = len(self.positive), len(self.negative)
        at, above, others_at, others_above = self._ranked
        beats = 1.0 - (others_at + others_above)[:m] / 2  # of a positive: over negatives
        loses = (at + above)[m:] / 2  # of a negative: to positives
        area = float(beats.mean())
        seen = self._variance(np.concatenate([(beats - area) / m, (loses - area) / n]))
        seen += (area - 0.5) ** 2 * ((m + 1) ** -2 + (n + 1) ** -2)
        few = min(m, n)

        def assumed(true: Array | float) -> Any:
            """Hanley and McNeil's variance with Newcombe's number of images."""
            spread = 1 + ((m + n) / 2 - 1) * ((1 - true) / (2 - true) + true / (1 + true))
            return true * (1 - true) * spread / (m * n)

        factor = np.clip(seen / assumed((area * few + 0.5) / (few + 1)), *FACTORS)
        return _bounded(area, lambda true: factor * assumed(true))

    def aupr(self) -> Bounded:
        """Average precision: the mean over the images to be found of the precision at their scores.

        It grows with the share of images to be found; the interval takes that share as given.
        """
        if not self.defined:
            return UNDEFINED
        m, n = len(self.positive), len(self.negative)
        at, _, others_at, _ = self._ranked
        found, wrong = m * at[:m], n * others_at[:m]
        precision = found / (found + wrong)
        area = float(precision.mean())
        # what one more image at or above a positive's score does to the precision there
        by_found, by_wrong = m * wrong / (found + wrong) ** 2 / m, -n * found / (found + wrong) ** 2 / m
        order = np.argsort(self.positive, kind="stable")
        ranked = self.positive[order]
        gains = [np.concatenate([[0.0], np.cumsum(by[order])]) for by in (by_found, by_wrong)]
        mine = gains[0][np.searchsorted(ranked, self.positive, "right")] - float(by_found @ at[:m])
        theirs = gains[1][np.searchsorted(ranked, self.negative, "right")] - float(by_wrong @ others_at[:m])
        seen = self._variance(np.concatenate([(precision - area + mine) / m, theirs / n]))
        seen += (area - m / (m + n)) ** 2 * ((m + 1) ** -2 + (n + 1) ** -2)
        middle = (area * m + 0.5) / (m + 1)
        factor = np.clip(seen / (middle * (1 - middle)), 1e-9, 1.0)
        return _bounded(area, lambda true: factor * true * (1 - true))

    def false_positive_rate(self, found: float = 0.95) -> Bounded:
        """The share of the others at or above the largest threshold that finds such a share of the positives."""
        if not self.defined:
            return UNDEFINED
        others = np.sort(self.negative)

        def above(threshold: Array) -> Array:
            return len(others) - np.searchsorted(others, threshold, "left")

        return rate_at(self.positive, found, above, len(others))


def rate_at(scores: Array, share: float, count: Callable[[Array], Array], n: int) -> Bounded:
    """A rate at the threshold that a share of `scores` reaches; the largest such one.

    `count` says how many of n images a threshold concerns. The true threshold has a binomial number of the
    scores above it; given that it lies between two of them, the rate is distributed as Jeffreys' posterior
    says. The interval is that of the mixture. Where images of one sample are on both sides and have similar
    scores it is somewhat wide.
    """
    m = len(scores)
    down = np.sort(scores)[::-1]
    value = float(count(down[[max(1, int(np.ceil(share * m - 1e-9))) - 1]])[0]) / n
    reached = np.arange(m + 1)
    below = bdtr(reached, m, share)
    weight = np.diff(below, prepend=0.0)
    kept = np.flatnonzero(weight > 1e-7)
    edges = np.concatenate([[np.inf], down, [-np.inf]])
    hits = np.concatenate([count(edges[kept]), count(edges[kept + 1])]).astype(np.float64)
    weight = np.tile(weight[kept], 2) / (2 * weight[kept].sum())
    hits, where = np.unique(hits, return_inverse=True)
    weight = np.bincount(where, weight)
    ends = []
    for tail in (ALPHA / 2, 1 - ALPHA / 2):
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            mass = float(weight @ betainc(hits + 0.5, n - hits + 0.5, middle))
            low, high = (middle, high) if mass < tail else (low, middle)
        ends.append((low + high) / 2)
    return Bounded(value, min(ends[0], value) if value else 0.0, max(ends[1], value) if value < 1 else 1.0)


def _bounded(seen: float, variance: Callable[[Any], Any]) -> Bounded:
    """The true values from which the seen one is at most 1.96 standard errors away, by halving."""
    ends = []
    for outside, inside in ((0.0, seen), (1.0, seen)):
        for _ in range(50):
            middle = (outside + inside) / 2
            far = abs(seen - middle) > Z * np.sqrt(variance(middle))
            outside, inside = (middle, inside) if far else (outside, middle)
        ends.append((outside + inside) / 2)
    return Bounded(seen, ends[0], ends[1])
