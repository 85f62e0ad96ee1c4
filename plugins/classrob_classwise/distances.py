"""The smallest distance found for every sample, and its median and quantiles with exact intervals.

A sweep judges a sample at every budget; the smallest distance at which a judged image was misclassified
is an upper bound of the sample's own smallest distance, and 0 where the unperturbed image is wrong.
A sample that stands at every budget is censored: its distance lies beyond the largest one, or is not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
from pydantic import Field, field_validator
from scipy.special import bdtr

from classrob.columnar import Columnar
from classrob.parts import Metric
from classrob.statistics.intervals import ALPHA
from classrob.table import Score, Table

#: The columns from which smallest distances are read.
COLUMNS = frozenset({"sample", "label", "predicted", "budget", "distance"})


class Group(NamedTuple):
    """All samples, or those of a class.

    Attributes:
        label: the class; None for all samples.
        distance: float64 [n], each sample's smallest distance; infinite where no budget broke it.
        largest: the largest budget, at which distances are censored.
    """

    label: str | None
    distance: np.ndarray[Any, Any]
    largest: float


def groups(table: Table, broken: np.ndarray[Any, Any] | None = None) -> Iterator[Group]:
    """All samples of a sweep, then each class that has any; nothing without a budget.

    A row counts as broken where it is misclassified, or where `broken` [n] says so.
    """
    attacked = ~np.isnan(table["budget"])
    rows = table.where(attacked)
    if not len(rows):
        return
    largest = float(rows["budget"].max())
    at = rows.numbers
    label = np.empty(at.max() + 1, np.int64)
    label[at] = rows["label"]
    known = np.where(np.isnan(rows["distance"]), rows["budget"], rows["distance"])
    broken = rows["predicted"] != rows["label"] if broken is None else broken[attacked]
    distance = np.full(len(label), np.inf)
    # the judge allows a rounding more than the largest budget
    np.minimum.at(distance, at[broken], np.minimum(known[broken], largest))
    yield Group(None, distance, largest)
    order = np.argsort(label, kind="stable")
    ends = np.bincount(label, minlength=len(table.classes)).cumsum()
    for name, mine in zip(table.classes, np.split(distance[order], ends[:-1]), strict=True):
        if len(mine):
            yield Group(name, mine, largest)


def quantile(
    distance: np.ndarray[Any, Any], share: float, largest: float
) -> tuple[float | None, float | None, float | None]:
    """The smallest distance within which at least `share` of the samples fall, and its 95 % interval.

    The places of its ends among the ordered distances follow from the binomial distribution alone, whatever
    the distances are distributed like. An end lies between two places such that the interval holds the
    quantile in 95 % of the draws and not more. (Hettmansperger and Sheather, "Confidence intervals based on
    interpolated order statistics", Statistics and Probability Letters 4, 1986.)

    Returns:
        value, low, high. Beyond `largest` the value is None, the upper end is None wherever it is not
        known, and the lower end is at most `largest`; with too few samples for one it is 0.
    """
    ends = _quantile(np.sort(distance)[None], share, largest)
    value, low, high = (float(end[0]) for end in ends)
    return _known(value), low, _known(high)


def _quantile(
    ordered: np.ndarray[Any, Any], share: float, largest: float
) -> tuple[np.ndarray[Any, Any], ...]:
    """Value, low and high of `quantile`, [m] each, of distances [m, n] that rise; infinite where not known."""
    m, n = ordered.shape
    ordered = np.concatenate([np.zeros((m, 1)), ordered, np.full((m, 1), np.inf)], 1)
    (first, on), (last, back) = _places(n, share)
    value = ordered[:, _rank(n, share)]
    near, far = (np.minimum(ordered[:, place], largest) for place in (first, first + 1))
    low = np.minimum(near + on * (far - near), np.minimum(value, largest))
    high, before = ordered[:, last], ordered[:, last - 1]
    if back > 0:
        known = np.isfinite(high)
        high = np.where(
            known, high - back * (np.where(known, high, 0.0) - np.where(known, before, 0.0)), high
        )
    return value, low, np.maximum(high, value)


def _known(distance: float) -> float | None:
    return float(distance) if np.isfinite(distance) else None


def _rank(n: int, share: float) -> int:
    """The place of the quantile among n ordered samples, from 1; 0.1 · 30 is 3 and not 4."""
    return max(1, int(np.ceil(n * share * (1 - 1e-12))))


@lru_cache(maxsize=65536)
def _places(n: int, share: float, alpha: float = ALPHA) -> tuple[tuple[int, float], tuple[int, float]]:
    """The places of the ends, and how far on towards the next place, and back towards the one before.

    Place 0 stands for no lower distance, n + 1 for no upper one.
    """
    at_most = np.append(
        bdtr(np.arange(n + 1.0), n, share), 1.0
    )  # P(X ≤ k), X the samples within the quantile
    before = np.concatenate([[0.0], at_most])
    last = int(np.searchsorted(at_most, 1 - alpha / 2)) + 1
    tail = alpha if last > n else alpha / 2  # where no distance is the upper end, that end never misses
    first = int(np.searchsorted(at_most, tail))
    on = (tail - before[first]) / (before[first + 1] - before[first])
    back = (before[last] - (1 - alpha / 2)) / (before[last] - before[last - 1])
    return (first, float(on)), (last, float(back))


def _name(share: float) -> str:
    return "distance-median" if share == 0.5 else f"distance-q{100 * share:.12g}"


@final
class DistanceQuantiles(Metric):
    """Median and quantiles of the smallest distance found, over all and per class, in the threat's unit.

    Scores are called `distance-median`, `distance-q10` and so on. The value is None where the quantile
    lies beyond the largest budget, and an end of the interval where it is not known.
    """

    scope: ClassVar = "sweep"
    columns: ClassVar[frozenset[str]] = COLUMNS

    quantiles: tuple[float, ...] = Field(
        default=(0.1, 0.25, 0.5, 0.75, 0.9), description="shares of the samples, ascending, between 0 and 1"
    )

    @field_validator("quantiles")
    @classmethod
    def _ascending(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if not all(low < high for low, high in zip((0.0, *shares), (*shares, 1.0), strict=True)):
            raise ValueError("quantiles ascend, each between 0 and 1")
        return shares

    def compute(self, table: Table, clean: Table) -> Columnar[Score]:
        """Every quantile over all samples, then those of each class; n counts samples."""
        scores, found = Columnar(Score), list(groups(table))
        if not found:
            return scores
        n = np.array([len(group.distance) for group in found])
        ends = np.empty((3, len(found), len(self.quantiles)))
        for size in np.unique(n).tolist():
            alike = np.flatnonzero(n == size)
            ordered = np.sort(np.stack([found[place].distance for place in alike.tolist()]), 1)
            for column, share in enumerate(self.quantiles):
                ends[:, alike, column] = _quantile(ordered, share, found[0].largest)
        value, low, high = np.where(np.isinf(ends), np.nan, ends).reshape(3, -1)  # not known
        labels = [group.label for group in found for _ in self.quantiles]
        names = list(map(_name, self.quantiles)) * len(found)
        scores.stack(len(labels), labels, names, value, low, high, np.repeat(n, len(self.quantiles)))
        return scores
