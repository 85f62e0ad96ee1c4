"""How tight each class is in the space of features, how far from others, and how the last layer points at it.

Papyan, Han and Donoho, "Prevalence of neural collapse during the terminal phase of deep learning training"
(PNAS 2020): within a class features draw together, class means draw apart, and the weights of the last layer
turn towards them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np
from pydantic import Field

from classrob.parts import Metric
from classrob.table import Score, Table
from classrob_classwise.clouds import FEATURES, WEIGHTS, Cloud, directions, means, within
from classrob_classwise.flow import PAIRS

_COLUMNS = frozenset({"sample", "label", FEATURES})


@final
class Scatter(Metric):
    """Within a class, the variance of its features; between, the squared distance of its centroid from the rest.

    Rows `within-scatter` and `between-scatter`, both in squared units of the features, and of the very images
    of a condition: perturbed ones have centroids of their own.
    """

    columns: ClassVar[frozenset[str]] = _COLUMNS

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """Over all and for each class; classes of one sample have no scatter within."""
        cloud = Cloud.of(table)
        if not len(cloud.n):
            return
        apart = np.square(cloud.x - cloud.centre[cloud.owner]).sum(1)
        n = cloud.n[cloud.owner]
        value = np.where(n > 1, apart * n / np.maximum(n - 1, 1), np.nan)
        yield from means(cloud, value).scores(cloud, "within-scatter", least=0.0)
        if (k := len(cloud.n)) > 1:
            u = cloud.centre - cloud.centre.mean(0)
            noise = np.array([cloud.square_noise(t) for t in range(k)])
            found = directions(cloud, between(cloud), 2 * u, 2 * noise)
            yield from found.scores(cloud, "between-scatter", least=0.0)


def between(cloud: Cloud) -> np.ndarray:
    """[K]: squared distance of each centroid from their mean, less what the centroids' noise adds to it."""
    k = len(cloud.n)
    apart = np.square(cloud.centre - cloud.centre.mean(0)).sum(1)
    return np.maximum(apart - (1 - 2 / k) * cloud.noise - cloud.noise.sum() / k**2, 0.0)


@final
class CentroidDistance(Metric):
    """How far a class's centroid is from those of other classes, in units of the features.

    A score's label is one class, its name `centroid-distance-to/` and the other. Pairs that are not among the
    nearest have no score.
    """

    columns: ClassVar[frozenset[str]] = _COLUMNS

    pairs: int = Field(default=PAIRS, ge=1, description="at most so many pairs of classes, the nearest")

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """By class, then by the other class; n counts the samples of both."""
        cloud = Cloud.of(table)
        k = len(cloud.n)
        if k < 2:
            return
        square = squares(cloud) - cloud.noise[:, None] - cloud.noise
        np.fill_diagonal(square, np.inf)
        near = np.argsort(square, axis=None, kind="stable")[: min(self.pairs, k * (k - 1))]
        noise = {t: cloud.square_noise(t) for t in np.unique(np.concatenate(np.divmod(near, k)))}
        for a, b in (divmod(place, k) for place in np.sort(near).tolist()):
            way = cloud.centre[a] - cloud.centre[b]
            variance = 2 * (np.sqrt(noise[a]) + np.sqrt(noise[b])) ** 2
            for t in (a, b):
                along = cloud.of_class(t) @ way
                variance += 4 * along.var(ddof=1) / cloud.n[t] if cloud.n[t] > 1 else np.nan
            n = int(cloud.n[[a, b]].min())
            low, high = within(float(square[a, b]), float(np.sqrt(variance)), n)
            low, value, high = (
                None if x is None else float(np.sqrt(max(x, 0.0))) for x in (low, square[a, b], high)
            )
            both = int(cloud.n[a] + cloud.n[b])
            yield Score(cloud.names[a], f"centroid-distance-to/{cloud.names[b]}", value, low, high, both)


def squares(cloud: Cloud) -> np.ndarray:
    """[K, K]: squared distances of all centroids."""
    centred = cloud.centre - cloud.centre.mean(0)
    square = np.square(centred).sum(1)
    return np.maximum(square[:, None] + square - 2 * centred @ centred.T, 0.0)


@final
class WeightAlignment(Metric):
    """How well the last layer's weights of a class point at its centroid: the cosine between them.

    Both are taken from their mean over the classes: what all weights have in common changes no probability,
    and what all centroids have in common tells no classes apart. 1 is the collapsed state of Papyan et al.
    """

    columns: ClassVar[frozenset[str]] = _COLUMNS | {WEIGHTS}

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """Over all (the mean over the classes) and for each class."""
        cloud, weights = Cloud.of(table), clean.constants.get(WEIGHTS)
        if len(cloud.n) < 2 or weights is None or len(weights) != len(table.classes):
            return
        v = (weights - weights.mean(0))[cloud.index].astype(np.float64)
        v /= np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-30)
        u = cloud.centre - cloud.centre.mean(0)
        size = np.sqrt(between(cloud))
        size = np.where(size > 0, size, np.linalg.norm(u, axis=1) + 1e-30)  # nothing but noise: no correction
        value = np.clip((u * v).sum(1) / size, -1.0, 1.0)
        slope = (v - value[:, None] * u / size[:, None]) / size[:, None]
        yield from directions(cloud, value, slope).scores(cloud, "weight-alignment", -1.0, 1.0)
