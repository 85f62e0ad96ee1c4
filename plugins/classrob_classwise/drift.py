"""How far an attack moves the features of a class, and towards which other class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np
from pydantic import Field

from classrob.parts import Metric
from classrob.table import Score, Table
from classrob_classwise.clouds import FEATURES, Cloud, means, within
from classrob_classwise.flow import PAIRS
from classrob_classwise.scatter import squares


@final
class Drift(Metric):
    """How far an attack moves the features of a class's images, and which share of the way to which centroid.

    `drift` is the length of the move, by the distance of the class's centroid from the nearest other one.
    `drift-to/CLASS` is the move along the line from the class's own centroid to that of CLASS: 0 not towards
    it, 1 all the way. Centroids are those of the unperturbed images. Of pairs, the largest have a score.
    """

    columns: ClassVar[frozenset[str]] = frozenset({"sample", "label", FEATURES})

    pairs: int = Field(
        default=PAIRS, ge=1, description="at most so many pairs of classes, those with the largest share"
    )

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """Over all and for each class; then by the class left, and the class approached."""
        cloud, moved = Cloud.of(clean), Cloud.of(table)
        if table.budget is None or len(cloud.n) < 2 or not len(moved.x):
            return
        k, delta = len(cloud.n), cloud.aligned(moved) - cloud.x
        square = squares(cloud)
        np.fill_diagonal(square, np.inf)
        nearest = square.argmin(1)
        way = cloud.centre - cloud.centre[nearest]
        length = np.maximum(np.sqrt(square.min(1)), 1e-300)
        value = np.linalg.norm(delta, axis=1) / length[cloud.owner]

        def slope(i: np.ndarray) -> np.ndarray:
            c = cloud.owner[i]
            return (value[i] / length[c] ** 2)[:, None] * way[c]

        pulls = [
            (cloud.owner, lambda i: (-slope(i), 0.0)),
            (nearest[cloud.owner], lambda i: (slope(i), 0.0)),
        ]
        yield from means(cloud, value, pulls).scores(cloud, "drift", least=0.0)
        there = ~np.isnan(value)
        n = np.bincount(cloud.owner[there], minlength=k)
        mean = np.stack([np.where(there, d, 0.0) for d in delta.T], 1)
        mean = np.add.reduceat(mean, cloud.start[:-1]) / np.maximum(n, 1)[:, None]
        share = (mean @ cloud.centre.T - (mean * cloud.centre).sum(1)[:, None]) / np.maximum(square, 1e-300)
        share[n == 0] = -np.inf
        np.fill_diagonal(share, -np.inf)
        best = np.argsort(-share, axis=None, kind="stable")[: self.pairs]
        for c, o in (divmod(place, k) for place in np.sort(best).tolist()):
            if np.isfinite(share[c, o]):
                low, high = self._interval(cloud, delta, mean[c], c, o, float(share[c, o]))
                name = f"drift-to/{cloud.names[o]}"
                yield Score(cloud.names[c], name, float(share[c, o]), low, high, int(n[c]))

    def _interval(
        self, cloud: Cloud, delta: np.ndarray, mean: np.ndarray, c: int, o: int, value: float
    ) -> tuple[float | None, float | None]:
        way = cloud.centre[o] - cloud.centre[c]
        square = max(float(way @ way), 1e-300)
        turn = mean / square - 2 * value * way / square
        own = delta[cloud.rows(c)]
        there = ~np.isnan(own[:, 0])
        n, rest = int(there.sum()), cloud.of_class(o) @ turn
        if n < 2 or len(rest) < 2:
            return None, None
        moved = own[there] @ way / square - cloud.of_class(c)[there] @ turn
        variance = moved.var(ddof=1) / n + rest.var(ddof=1) / len(rest)
        return within(value, float(np.sqrt(variance)), n)
