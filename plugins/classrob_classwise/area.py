"""The Accuracy-Robustness Area: how much accuracy beyond a guess is left, summed over the budget.

Woods, Chen and Teuscher, "Adversarial explanations for understanding image classification decisions and
improved neural network robustness", Nature Machine Intelligence 1 (2019), arXiv 1906.02896: the integral
over r ≥ 0 of max(0, acc(r) − b), where acc(r) is the share of samples whose smallest distance exceeds r
and b = 1/K the accuracy of a guess at random among K classes. Here r ends at the sweep's largest budget,
and the distances are the smallest that were judged, which can only make the area larger.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, ClassVar, final

import numpy as np

from classrob.columnar import Columnar
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
#: So many such parts at once, each in a thread, and so many curves in a product, which is too small for numpy to
#: start threads of its own: these would stand in the way.
THREADS, BLOCK = min(4, os.cpu_count() or 1), 40


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
    parts = [gaps[at : at + TOGETHER] for at in range(0, m, TOGETHER)]
    with ThreadPoolExecutor(THREADS) as pool:
        low, high = np.concatenate(list(pool.map(partial(_ends, _curves(n, guess)), parts)), 1)
    return value, np.minimum(low, value), np.maximum(high, value)


def _ends(curves: np.ndarray[Any, Any], gaps: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """[2, m]: the ends of the intervals of the areas under curves, with gaps [m, n + 1]."""
    blocks, places, block = curves.shape
    drawn = np.empty((len(gaps), 4, blocks, block))
    for i, shift in enumerate((1, 0)):
        np.matmul(_weights(gaps, shift, places), curves, out=drawn[:, i].swapaxes(0, 1))
    np.add(drawn[:, 0], drawn[:, 1], out=drawn[:, 2])
    drawn[:, 2] /= 2
    drawn[:, 3] = drawn[:, 2]
    return _quantiles(drawn.reshape(len(gaps), -1), (ALPHA / 2, 1 - ALPHA / 2))


def _quantiles(numbers: np.ndarray[Any, Any], shares: tuple[float, ...]) -> np.ndarray[Any, Any]:
    """[s, m]: the points below which these shares lie, of each line of numbers [m, n], which are moved about."""
    last = numbers.shape[1] - 1
    places = [divmod(share * last, 1) for share in shares]
    sides = [(int(place), min(int(place) + 1, last)) for place, _ in places]
    numbers.partition(sorted({place for side in sides for place in side}), 1)
    return np.stack(
        [
            numbers[:, near] + beyond * (numbers[:, far] - numbers[:, near])
            for (near, far), (_, beyond) in zip(sides, places, strict=True)
        ]
    )


@lru_cache(maxsize=8)
def _curves(n: int, guess: float) -> np.ndarray[Any, Any]:
    """[b, p, BLOCK]: accuracy beyond a guess at p even places from 0 to n + 1 among n samples, in b · BLOCK curves.

    The same draws whenever n is the same, so that an interval is a function of the rows.
    """
    places = min(n + 1, PLACES)
    steps = _steps((n + 1) / places)[:places]
    curves = np.maximum(np.concatenate([np.ones((1, DRAWS)), 1 - steps / steps[-1]]) - guess, 0)
    return np.ascontiguousarray(curves.reshape(places + 1, -1, BLOCK).swapaxes(0, 1))


@lru_cache(maxsize=4)
def _steps(samples: float) -> np.ndarray[Any, Any]:
    """[PLACES, DRAWS]: sorted uniform numbers, so many samples apart, before they are scaled to end at 1."""
    return np.random.default_rng(0).standard_gamma(samples, (PLACES, DRAWS)).cumsum(0)


def _weights(gaps: np.ndarray[Any, Any], shift: int, places: int) -> np.ndarray[Any, Any]:
    """[m, places]: how far the gaps [m, n] weigh at each place, when gap j has the accuracy at sample j + shift."""
    m, n = gaps.shape
    at = (np.arange(n) + shift) * ((places - 1) / n)
    place = at.astype(np.int64)
    beyond = at - place
    line = (places + 1) * np.arange(m)[:, None]
    found = np.zeros((2, m * (places + 1)))
    for i, (cell, share) in enumerate(((place, 1 - beyond), (place + 1, beyond))):
        found[i] = np.bincount((line + cell).reshape(-1), (gaps * share).reshape(-1), m * (places + 1))
    return found.sum(0).reshape(m, places + 1)[:, :places]


@final
class AccuracyRobustnessArea(Metric):
    """Accuracy-Robustness Area over all and per class, up to the largest budget, in the threat's unit.

    The guess taken off is 1/K for all samples and for every class alike: so often does a guess at random
    hit each of them. Distances are those that the sweep's attack found, so the area is an upper bound.
    """

    scope: ClassVar = "sweep"
    columns: ClassVar[frozenset[str]] = COLUMNS

    def compute(self, table: Table, clean: Table) -> Columnar[Score]:
        """One score over all samples, one for each class; n counts samples."""
        return area_scores(list(groups(table)), len(table.classes), "ara")


def area_scores(found: Sequence[Group], classes: int, name: str) -> Columnar[Score]:
    """The areas of groups of samples with one largest budget, against a guess among so many classes."""
    scores, measured = Columnar(Score), np.empty((3, len(found)))
    n = np.array([len(group.distance) for group in found], np.int64)
    for size in np.unique(n).tolist():
        alike = np.flatnonzero(n == size)
        distances = np.stack([found[place].distance for place in alike.tolist()])
        measured[:, alike] = areas(distances, found[0].largest, 1 / classes)
    scores.stack(len(found), [group.label for group in found], name, *measured, n)
    return scores
