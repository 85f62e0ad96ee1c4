"""Where an attack sends the samples of a class: to whatever class is easiest, or to the one it aims at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, final

import numpy as np
from pydantic import Field

from classrob.parts import Metric
from classrob.statistics.intervals import rates
from classrob.table import Score, Table

#: So many pairs of classes get a score; ten classes have ninety.
PAIRS = 100


@final
class Flow(Metric):
    """Of the samples of a class that are right without the threat, the share that ends in another class.

    A score's label is the class that samples leave, its name `flow-to/` and the class they end in. Pairs
    that no sample takes have no score.
    """

    columns: ClassVar[frozenset[str]] = frozenset({"sample", "label", "predicted"})

    pairs: int = Field(
        default=PAIRS, ge=1, description="at most so many pairs of classes, those with most samples"
    )

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """By the class left, then the class taken; n counts the right samples of the class left."""
        if table.budget is None:
            return
        before = table.find(clean)
        right = np.append(clean["predicted"] == clean["label"], False)  # −1, no row, is not right
        rows = table.where(right[before])
        of = rows.of_class()
        label, taken, count = rows.pairs()
        left = np.flatnonzero(label != taken)
        most = _most(count, left, self.pairs)
        label, taken, count = label[most], taken[most], count[most]
        yield from _shares("flow-to/", table.classes, label, taken, count, of[label])


@final
class TargetedFlow(Metric):
    """Of the samples of a class that an attack drove towards another class, the share that arrived there.

    Read from the trials of the attack `targeted-flow`, or of any ensemble whose members have goals.
    """

    columns: ClassVar[frozenset[str]] = frozenset({"label", "predicted"})

    pairs: int = Field(
        default=PAIRS, ge=1, description="at most so many pairs of classes, those with most arrivals"
    )

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """By the class left, then the class aimed at; n counts the samples that were driven."""
        trials = table.trials
        if table.budget is None or trials is None:
            return
        yield from targeted_flow(
            trials["label"], trials["goal"], trials["predicted"], table.classes, trials["sample"], self.pairs
        )


def targeted_flow(
    label: np.ndarray[Any, Any],
    target: np.ndarray[Any, Any],
    predicted: np.ndarray[Any, Any],
    classes: Sequence[str],
    sample: np.ndarray[Any, Any] | None = None,
    pairs: int = PAIRS,
) -> Iterator[Score]:
    """Of the samples of a class that an attack drove towards another one, the share that arrived there.

    A score's label is the class that samples leave, its name `targeted-flow-to/` and the class aimed at.
    A pair that was tried in vain has a score of 0; one that was not tried has none.

    Args:
        label: int [n], the true class of each trial's sample.
        target: int [n], the class aimed at; trials with −1, or with the label itself, do not count.
        predicted: int [n], the class of the judged image.
        classes: their names.
        sample: [n], whose trial it is: several trials of a sample at a target count once, as arrived if
            any did. None where each trial is a sample of its own.
        pairs: at most so many pairs, those with most arrivals.
    """
    k = len(classes)
    aimed = (target >= 0) & (target != label)
    _, who = np.unique(np.arange(len(label)) if sample is None else sample, return_inverse=True)
    once, trial = np.unique(who[aimed] * k * k + label[aimed] * k + target[aimed], return_inverse=True)
    arrived = np.zeros(len(once), np.int64)
    np.maximum.at(arrived, trial, predicted[aimed] == target[aimed])
    pair = once % (k * k)
    cells, which, tried = np.unique(pair, return_inverse=True, return_counts=True)
    hits = np.bincount(which[arrived == 1], minlength=len(cells))
    most = _most(hits, np.arange(len(cells)), pairs)
    yield from _shares("targeted-flow-to/", classes, *np.divmod(cells[most], k), hits[most], tried[most])


def _most(count: np.ndarray[Any, Any], among: np.ndarray[Any, Any], most: int) -> np.ndarray[Any, Any]:
    """Of some places, those with the largest counts, in their order."""
    return np.sort(among[np.argsort(-count[among], kind="stable")[:most]])


def _shares(
    name: str,
    classes: Sequence[str],
    left: np.ndarray[Any, Any],
    taken: np.ndarray[Any, Any],
    hits: np.ndarray[Any, Any],
    n: np.ndarray[Any, Any],
) -> Iterator[Score]:
    low, high = rates(hits, n)
    columns: list[list[Any]] = [c.tolist() for c in (left, taken, hits / n, low, high, n)]
    for i, j, value, least, most, count in zip(*columns, strict=True):
        yield Score(classes[int(i)], f"{name}{classes[int(j)]}", value, least, most, count)
