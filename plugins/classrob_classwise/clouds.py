"""Features as one cloud of points a class, and the errors of what is computed from them.

Every quantity here is a mean over the samples of a class of something that depends on the sample and on the
means of classes. Its standard error is that of the infinitesimal jackknife (Jaeckel 1972; Efron, "The
Jackknife, the Bootstrap and Other Resampling Plans", 1982): a sample counts by how much the quantity moves
with its weight, also where it moves a mean that others are measured against. Classes are drawn separately.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import stdtrit

from classrob.statistics.intervals import ALPHA
from classrob.table import Score, Table

Array = np.ndarray[Any, Any]

#: The column that holds features, and the one that holds the last layer's weights.
FEATURES, WEIGHTS = "features", "weights"

#: So many samples go into a product at a time.
CHUNK = 4096

#: Which classes' means some samples are measured against (int [n], places in the cloud), and how each sample's
#: value moves with the mean of its class's features [m, d] and with their mean square [m]; for samples by place.
Pull = tuple[Array, Callable[[Array], tuple[Array, Array | float]]]


@dataclass(frozen=True)
class Cloud:
    """Features by class, samples in the order of their ids, so that nothing depends on that of the rows.

    Attributes:
        names: the classes that have samples, K.
        index: int [K], their places among all classes.
        x: float64 [n, d], class by class.
        sample: object [n], ids.
        start: int [K + 1], where each class begins.
    """

    names: tuple[str, ...]
    index: Array
    x: Array
    sample: Array
    start: Array

    @classmethod
    def of(cls, table: Table) -> Cloud:
        """The rows in which features were recorded."""
        rows = table.where(table.seen(FEATURES))
        order = np.lexsort((rows["sample"].astype(str), rows["label"]))
        label = rows["label"][order]
        index, start = np.unique(label, return_index=True)
        x = rows[FEATURES][order].astype(np.float64) if len(order) else np.zeros((0, 1))
        names = tuple(table.classes[i] for i in index)
        return cls(names, index, x, rows["sample"][order], np.append(start, len(order)))

    @cached_property
    def n(self) -> Array:
        """int [K], samples of each class."""
        return np.diff(self.start)

    @cached_property
    def owner(self) -> Array:
        """int [n], each sample's class by its place in the cloud."""
        return np.repeat(np.arange(len(self.n)), self.n)

    @cached_property
    def centre(self) -> Array:
        """[K, d], the centroids."""
        return np.add.reduceat(self.x, self.start[:-1]) / self.n[:, None]

    @cached_property
    def spread(self) -> Array:
        """[K], mean squared distance of a class's samples from their centroid."""
        return np.array(
            [np.square(self.of_class(t) - self.centre[t]).sum(1).mean() for t in range(len(self.n))]
        )

    @cached_property
    def noise(self) -> Array:
        """[K], how far a centroid of so many samples lies from the true one, squared, on average."""
        return np.where(self.n > 1, self.spread / np.maximum(self.n - 1, 1), 0.0)

    def rows(self, t: int) -> slice:
        """Where a class stands."""
        return slice(int(self.start[t]), int(self.start[t + 1]))

    def of_class(self, t: int) -> Array:
        """[n_t, d], a class's features."""
        return self.x[self.rows(t)]

    def square_noise(self, t: int) -> float:
        """tr((Σ/n)²) of a class: what its centroid's noise adds to the variance of squared distances."""
        x, n = self.of_class(t) - self.centre[t], self.n[t]
        gram = x.T @ x if x.shape[1] < n else x @ x.T
        return float(np.square(gram).sum()) / max(n - 1, 1) ** 2 / n**2

    def aligned(self, other: Cloud) -> Array:
        """[n, d]: another cloud's features of these samples; NaN where it has none."""
        place = {sample: i for i, sample in enumerate(other.sample)}
        at = np.fromiter((place.get(sample, -1) for sample in self.sample), np.int64, len(self.sample))
        found = np.full((len(at), other.x.shape[1]), np.nan)
        found[at >= 0] = other.x[at[at >= 0]]
        return found


@dataclass(frozen=True)
class Means:
    """A quantity of every class and of all: its value, standard error and sample size, each [K + 1], all last.

    `skew` is the skewness of the value's own distribution, 0 where it is not known.
    """

    value: Array
    error: Array
    n: Array
    skew: Array

    def scores(
        self, cloud: Cloud, name: str, least: float = -np.inf, most: float = np.inf
    ) -> Iterator[Score]:
        """All classes together, then each that has samples; an interval where two samples or more are."""
        k = len(cloud.n)
        for i in (k, *range(k)):
            if self.n[i] and np.isfinite(self.value[i]):
                label = None if i == k else cloud.names[i]
                one = float(self.value[i]), float(self.error[i]), int(self.n[i])
                low, high = within(*one, least, most, float(self.skew[i]))
                yield Score(label, name, float(self.value[i]), low, high, int(self.n[i]))


def within(
    value: float, error: float, n: int, least: float = -np.inf, most: float = np.inf, skew: float = 0.0
) -> tuple[float | None, float | None]:
    """Student's 95 % interval, cut to the values that there can be; none from a single sample.

    Where the value's distribution is skewed, the quantiles are Student's after Hall's cubic transformation. ("On the
    removal of skewness by transformation", Journal of the Royal Statistical Society B 54, 1992.)
    """
    if n < 2 or not np.isfinite(error):
        return None, None
    far = float(stdtrit(n - 1, 1 - ALPHA / 2))
    below, above = _straightened(far, skew) * error, -_straightened(-far, skew) * error
    return float(min(max(value - below, least), value)), float(max(min(value + above, most), value))


def _straightened(quantile: float, skew: float) -> float:
    """The quantile of a skewed statistic from that of a symmetric one."""
    if abs(skew) < 1e-6:
        return quantile
    return 3 / skew * (float(np.cbrt(1 + skew * (quantile - skew / 6))) - 1)


def means(cloud: Cloud, value: Array, pulls: Sequence[Pull] = ()) -> Means:
    """The mean of each class's samples, and of all, with standard errors.

    Args:
        cloud: whose means the samples are measured against, and whose samples they are.
        value: float64 [n], NaN for samples that do not count.
        pulls: how values move with the means of classes; those of one call add up.
    """
    k, there = len(cloud.n), ~np.isnan(value)
    n = np.bincount(cloud.owner[there], minlength=k)
    value = np.where(there, value, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(cloud.owner, value, k) / n
    weight = n / max(n.sum(), 1)
    variance, third = np.zeros(k + 1), np.zeros(k + 1)
    for t in range(k):
        moved = np.zeros((k, cloud.n[t]))
        x = cloud.of_class(t)
        for target, gradient in pulls:
            if len(hit := np.flatnonzero((target == t) & there)):
                g, h = gradient(hit)
                owner = cloud.owner[hit]
                first = np.flatnonzero(np.diff(owner, prepend=-1))
                c = owner[first]
                square = np.square(x).sum(1)
                moved[c] += (np.add.reduceat(g, first) / n[c, None]) @ (x - cloud.centre[t]).T
                h = np.add.reduceat(np.broadcast_to(h, len(hit)), first) / n[c]
                moved[c] += h[:, None] * (square - square.mean())
        if n[t]:
            own = there[cloud.rows(t)]
            moved[t] += np.where(own, value[cloud.rows(t)] - mean[t], 0.0) * (cloud.n[t] / n[t])
        moved[n == 0] = 0.0
        if cloud.n[t] > 1:
            moved = np.concatenate([moved, (weight @ moved)[None]])
            variance += moved.var(1, ddof=1) / cloud.n[t]
            third += ((moved - moved.mean(1, keepdims=True)) ** 3).mean(1) / cloud.n[t] ** 2
    total = float(np.nansum(weight * np.where(n > 0, mean, 0.0)))
    size = variance**1.5
    known = (size > 0) & (not pulls)  # where values move with means, how they bend would count as much
    skew = np.divide(third, size, out=np.zeros(k + 1), where=known)
    return Means(np.append(mean, total), np.sqrt(variance), np.append(n, n.sum()), skew)


def directions(cloud: Cloud, value: Array, slope: Array, extra: Array | None = None) -> Means:
    """Quantities of where each centroid lies from the mean of all; for all classes, their mean.

    Args:
        value: [K].
        slope: [K, d], how each quantity moves with its centroid's place, seen from the mean of all.
        extra: [K], variance beside that.
    """
    k, extra = len(cloud.n), np.zeros(len(cloud.n)) if extra is None else extra
    own, rest, total = np.zeros(k), np.zeros(k), 0.0
    for start in range(0, len(cloud.x), CHUNK):  # all classes' noise, as one product with many rows
        part = slice(start, start + CHUNK)
        c = cloud.owner[part]
        scale = np.sqrt(np.maximum(cloud.n * (cloud.n - 1.0), 1.0))[c]
        noise = (cloud.x[part] - cloud.centre[c]) / scale[:, None]
        own += np.bincount(c, np.square((noise * slope[c]).sum(1)), k)
        rest += np.square(noise @ slope.T).sum(0)
        total += float(np.square((noise * (slope[c] - slope.mean(0))).sum(1)).sum())
    # A centroid is part of the mean of all: its own noise counts by (1 − 1/k)², that of each other by 1/k².
    variance = np.append(extra + (1 - 2 / k) * own + rest / k**2, (extra.sum() + total) / k**2)
    n = np.append(cloud.n, cloud.n.sum())
    return Means(np.append(value, value.mean()), np.sqrt(variance), n, np.zeros(k + 1))
