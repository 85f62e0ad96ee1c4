"""The Accuracy-Robustness Area: how much accuracy beyond a guess is left, summed over the budget.

Woods, Chen and Teuscher, "Adversarial explanations for understanding image classification decisions and
improved neural network robustness", Nature Machine Intelligence 1 (2019), arXiv 1906.02896: the integral
over r ≥ 0 of max(0, acc(r) − b), where acc(r) is the share of samples whose smallest distance exceeds r
and b = 1/K the accuracy of a guess at random among K classes. Here r ends at the sweep's largest budget,
and the distances are the smallest that were judged, which can only make the area larger.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, ClassVar, final

import numpy as np

from classrob.parts import Metric
from classrob.statistics.intervals import ALPHA
from classrob.table import Score, Table
from classrob_classwise.distances import COLUMNS, Group, groups

#: Random curves from which an interval's ends are read; their number is worth 3 % of an interval's length.
DRAWS = 4000
#: A random curve is drawn at so many places; between them, where there are more samples, it is straight.
PLACES = 100
#: So many classes are drawn at a time; their random areas are held together.
TOGETHER = 64


def area(distance: np.ndarray[Any, Any], largest: float, guess: float) -> tuple[float, float, float]:
    """The area between the curve of n samples and `guess`, up to `largest`, and its 95 % interval.

    The interval assumes nothing about the distances' distribution. n independent draws from it cut the
    range of accuracies like n uniform numbers, so every draw of uniform numbers makes one curve that the
    whole population may have. It is unknown between two samples: a quarter of the curves are as high as they
    can be there, a quarter as low, half in the middle. The ends are the 97.5 % and the 2.5 % point of their
    areas. With the upper end from the highest curves and the lower from the lowest alone this is Gaffke's bound
    of a mean ("Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative
    variable", Mathematical Methods of Statistics 14, 2005) with the guess taken off, which never errs on the
    narrow side and is wider than need be.

    Args:
        distance: [n], the samples' smallest distances; infinite, or above `largest`, where they stand.
        largest: where the area ends, above 0.
        guess: the accuracy that counts for nothing, 0 to 1.

    Returns:
        value, low, high; between 0 and (1 − guess) · largest.
    """
    value, low, high = areas(distance[None], largest, guess)
    return float(value[0]), float(low[0]), float(high[0])


def areas(
    distances: np.ndarray[Any, Any], largest: float, guess: float
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The areas of m classes of n samples each, float64 [m, n], and their intervals; each result is [m]."""
    m, n = distances.shape
    gaps = np.diff(np.sort(np.minimum(distances, largest)), prepend=0.0, append=largest)
    value = gaps @ np.maximum(1 - np.arange(n + 1) / n - guess, 0)
    curves = _curves(n, guess)
    ends = np.empty((2, m))
    for at in range(0, m, TOGETHER):
        part = gaps[at : at + TOGETHER]
        drawn = [np.stack([_weights(one, shift, len(curves)) for one in part]) @ curves for shift in (1, 0)]
        middle = (drawn[0] + drawn[1]) / 2
        ordered = np.sort(
            np.concatenate([*drawn, middle, middle], 1), 1
        )  # faster than looking for two quantiles
        for end, tail in zip(ends, (ALPHA / 2, 1 - ALPHA / 2), strict=True):
            end[at : at + TOGETHER] = _quantile(ordered, tail)
    return value, np.minimum(ends[0], value), np.maximum(ends[1], value)


def _quantile(ordered: np.ndarray[Any, Any], share: float) -> np.ndarray[Any, Any]:
    """[m]: the point below which that share lies, of numbers [m, n] that rise."""
    place, beyond = divmod(share * (ordered.shape[1] - 1), 1)
    near, far = ordered[:, int(place)], ordered[:, min(int(place) + 1, ordered.shape[1] - 1)]
    return near + beyond * (far - near)


@lru_cache(maxsize=8)
def _curves(n: int, guess: float) -> np.ndarray[Any, Any]:
    """[p, DRAWS]: accuracy beyond a guess at p even places from 0 to n + 1 among n samples.

    The same draws whenever n is the same, so that an interval is a function of the rows.
    """
    places = min(n + 1, PLACES)
    steps = _steps((n + 1) / places)[:places]
    return np.maximum(np.concatenate([np.ones((1, DRAWS)), 1 - steps / steps[-1]]) - guess, 0)


@lru_cache(maxsize=4)
def _steps(samples: float) -> np.ndarray[Any, Any]:
    """[PLACES, DRAWS]: sorted uniform numbers, so many samples apart, before they are scaled to end at 1."""
    return np.random.default_rng(0).standard_gamma(samples, (PLACES, DRAWS)).cumsum(0)


def _weights(gaps: np.ndarray[Any, Any], shift: int, places: int) -> np.ndarray[Any, Any]:
    """[places]: how far the gaps weigh at each place, when gap j has the accuracy at sample j + shift."""
    at = (np.arange(len(gaps)) + shift) * ((places - 1) / len(gaps))
    place = at.astype(np.int64)
    beyond = at - place
    here = np.bincount(place, gaps * (1 - beyond), places)
    return here + np.bincount(place + 1, gaps * beyond, places)[:places]


@final
class AccuracyRobustnessArea(Metric):
    """Accuracy-Robustness Area over all and per class, up to the largest budget, in the threat's unit.

    The guess taken off is 1/K for all samples and for every class alike: so often does a guess at random
    hit each of them. Distances are those that the sweep's attack found, so the area is an upper bound.
    """

    scope: ClassVar = "sweep"
    columns: ClassVar[frozenset[str]] = COLUMNS

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """One score over all samples, one for each class; n counts samples."""
        yield from area_scores(list(groups(table)), len(table.classes), "ara")


def area_scores(found: Sequence[Group], classes: int, name: str) -> Iterator[Score]:
    """The areas of groups of samples with one largest budget, against a guess among so many classes."""
    alike: dict[int, list[int]] = {}
    for place, group in enumerate(found):
        alike.setdefault(len(group.distance), []).append(place)
    scores: dict[int, Score] = {}
    for n, places in alike.items():
        distances = np.stack([found[place].distance for place in places])
        measured = areas(distances, found[0].largest, 1 / classes)
        for place, value, low, high in zip(places, *(ends.tolist() for ends in measured), strict=True):
            scores[place] = Score(found[place].label, name, value, low, high, n)
    yield from (scores[place] for place in range(len(found)))
