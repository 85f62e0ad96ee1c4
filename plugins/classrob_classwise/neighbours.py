"""How well each class keeps to itself among the features of others: silhouette, margin, purity."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np
from pydantic import Field

from classrob.parts import Metric
from classrob.statistics.intervals import rate
from classrob.table import Score, Table
from classrob_classwise.clouds import FEATURES, Array, Cloud, means

_COLUMNS = frozenset({"sample", "label", FEATURES})

#: So many queries of neighbours are answered at a time.
CHUNK = 512


@final
class Silhouette(Metric):
    """Rousseeuw's silhouette with squared Euclidean distances: 1 apart from others, 0 amidst them, −1 among them.

    (b − a) / max(a, b) of every sample: a its mean squared distance to the other samples of its class, b the
    same to the class for which it is smallest. (Rousseeuw, J. Comput. Appl. Math. 20, 1987.) Means of squared
    distances follow from centroids, so that this is exact and takes no pairs of samples. A sample that is
    alone in its class has 0. Of the very images of a condition.
    """

    columns: ClassVar[frozenset[str]] = _COLUMNS

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """Over all samples and for each class."""
        cloud = Cloud.of(table)
        if len(cloud.n) < 2:
            return
        own, other, nearest = _against(cloud, cloud.x, cloud.spread)
        n = cloud.n[cloud.owner]
        grow = n / np.maximum(n - 1, 1)  # the sample itself is no other sample of its class
        a, b = own * grow, other
        most = np.maximum(np.maximum(a, b), 1e-300)
        single = n == 1
        value = np.where(single, 0.0, (b - a) / most)
        by_a = np.where(single, 0.0, np.where(b > a, -1 / most, -b / most**2)) * grow
        by_b = np.where(single, 0.0, np.where(b > a, a / most**2, 1 / most))
        pulls = [
            (cloud.owner, lambda i: (-2 * by_a[i, None] * cloud.x[i], by_a[i])),
            (nearest, lambda i: (-2 * by_b[i, None] * cloud.x[i], by_b[i])),
        ]
        yield from means(cloud, value, pulls).scores(cloud, "silhouette", -1.0, 1.0)


@final
class CentroidMargin(Metric):
    """How much nearer a sample is to its own class's centroid than to the nearest other: (b − a) / (b + a).

    a is the distance to the centroid of its own class without the sample itself, b that to the nearest other
    centroid; below 0 the sample lies nearer to another class. Centroids are those of the unperturbed images.
    """

    columns: ClassVar[frozenset[str]] = _COLUMNS

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """Over all samples and for each class."""
        cloud, x = _placed(table, clean)
        if len(cloud.n) < 2:
            return
        _, other, nearest = _against(cloud, x, np.zeros(len(cloud.n)))
        n = cloud.n[cloud.owner]
        rest = (cloud.centre[cloud.owner] * n[:, None] - cloud.x) / np.maximum(n - 1, 1)[:, None]
        a, b = np.linalg.norm(x - rest, axis=1), np.sqrt(other)
        total = np.maximum(a + b, 1e-300)
        value = np.where(n > 1, (b - a) / total, np.nan)
        by_a, by_b = -2 * b / total**2 / np.maximum(a, 1e-300), 2 * a / total**2 / np.maximum(b, 1e-300)
        pulls = [
            (cloud.owner, lambda i: (by_a[i, None] * (rest[i] - x[i]), 0.0)),
            (nearest, lambda i: (by_b[i, None] * (cloud.centre[nearest[i]] - x[i]), 0.0)),
        ]
        yield from means(cloud, value, pulls).scores(cloud, "centroid-margin", -1.0, 1.0)


@final
class NeighbourPurity(Metric):
    """Of a sample's nearest neighbours among the unperturbed images, the share that is of its own class.

    The sample itself is no neighbour. With more images than `references`, neighbours are looked for among so
    many of them, the same number of every class, picked by a digest of their ids.
    """

    columns: ClassVar[frozenset[str]] = _COLUMNS

    neighbours: int = Field(default=10, ge=1, description="how many neighbours")
    references: int = Field(default=5000, ge=10, description="among at most so many images")

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """Over all samples and for each class."""
        cloud, x = _placed(table, clean)
        among = _references(cloud, self.references)
        if len(among) <= self.neighbours or len(cloud.n) < 2:
            return
        there = np.flatnonzero(~np.isnan(x[:, 0]))
        value = np.full(len(x), np.nan)
        middle = cloud.centre.mean(0)
        reference = cloud.x[among] - middle
        square = np.square(reference).sum(1)
        for part in np.split(there, range(CHUNK, len(there), CHUNK)):
            far = square - 2 * (x[part] - middle) @ reference.T
            far[part[:, None] == among] = np.inf
            near = np.argpartition(far, self.neighbours - 1, 1)[:, : self.neighbours]
            value[part] = (cloud.owner[among[near]] == cloud.owner[part][:, None]).mean(1)
        for label, mine in [(None, slice(None)), *((c, cloud.rows(t)) for t, c in enumerate(cloud.names))]:
            pure = value[mine][~np.isnan(value[mine])]
            if n := len(pure):
                # A share a sample varies no more than a hit or miss does, so the interval of a rate is wide enough.
                hits = float(pure.sum())
                low, high = rate(int(hits + 1e-9), n)[0], rate(int(np.ceil(hits - 1e-9)), n)[1]
                yield Score(label, "knn-purity", hits / n, low, high, n)


def _placed(table: Table, clean: Table) -> tuple[Cloud, Array]:
    """The unperturbed images' cloud, and where a condition puts its samples: [n, d], NaN where nowhere."""
    cloud = Cloud.of(clean)
    if table.budget is None:
        return cloud, cloud.x
    moved = Cloud.of(table)
    return cloud, cloud.aligned(moved) if len(moved.x) else np.full_like(cloud.x, np.nan)


def _against(cloud: Cloud, x: Array, add: Array) -> tuple[Array, Array, Array]:
    """Squared distances [n] of samples to their own centroid and to the nearest other one, and which [n] that is.

    `add` [K] is added to the distances of each class first.
    """
    own, other = (np.full(len(x), np.nan) for _ in range(2))
    nearest = np.zeros(len(x), np.int64)
    middle = cloud.centre.mean(0)
    centre = cloud.centre - middle
    square = np.square(centre).sum(1) + add
    for t in range(len(cloud.n)):
        rows = cloud.rows(t)
        part = x[rows] - middle
        far = np.square(part).sum(1)[:, None] + square - 2 * part @ centre.T
        own[rows] = far[:, t]
        far[:, t] = np.inf
        nearest[rows] = np.where(np.isnan(part[:, 0]), 0, far.argmin(1))
        other[rows] = np.where(np.isnan(part[:, 0]), np.nan, np.maximum(far.min(1), 0.0))
    return np.maximum(own, 0.0), other, nearest


def _references(cloud: Cloud, most: int) -> Array:
    """int: the samples among which neighbours are looked for, ascending."""
    if len(cloud.x) <= most:
        return np.arange(len(cloud.x))
    each = max(1, most // len(cloud.n))
    drawn = np.array([zlib.crc32(str(sample).encode()) for sample in cloud.sample])
    parts = (
        np.argsort(drawn[cloud.rows(t)], kind="stable")[:each] + cloud.start[t] for t in range(len(cloud.n))
    )
    return np.sort(np.concatenate(list(parts)))
