"""The everyday metrics: rates per class and over all, each with its sample size and interval.

The Class False Positive Score is Medi, Grabinski and Keuper's, "Towards Class-wise Robustness Analysis"
(2024): the share of all misclassifications that land in a class.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from classrob.intervals import extremes, rate
from classrob.parts import Metric
from classrob.table import Score, Table


def _share(label: str | None, name: str, hits: int, n: int) -> Score:
    """A rate with its interval; undefined, and without one, when there is nothing to count."""
    if n == 0:
        return Score(label, name, None, None, None, 0)
    low, high = rate(hits, n)
    return Score(label, name, hits / n, low, high, n)


def _by_class(table: Table) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The classes that have samples, how many are right, how many there are."""
    matrix = table.confusion()
    n = matrix.sum(1)
    there = np.flatnonzero(n)
    return [table.classes[i] for i in there], matrix.diagonal()[there], n[there]


@final
class Accuracy(Metric):
    """Share of samples classified right; under a threat, robust accuracy. Per class and over all."""

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """All classes together, then each."""
        names, hits, n = _by_class(table)
        yield _share(None, "accuracy", int(hits.sum()), int(n.sum()))
        for name, right, of in zip(names, hits, n, strict=True):
            yield _share(name, "accuracy", int(right), int(of))


@final
class CertifiedAccuracy(Metric):
    """Share of samples that no attack can break, by proof; per class and over all, where a certifier ran."""

    columns: ClassVar[frozenset[str]] = frozenset({"label", "basis"})

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """All classes together, then each."""
        if table.certified:
            for name, part in [(None, table), *table.by_class()]:
                yield _share(name, "certified-accuracy", int((part["basis"] == "certified").sum()), len(part))


@final
class WorstClassAccuracy(Metric):
    """The smallest class accuracy; its interval holds although the class was chosen after looking."""

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """One score; n is the size of the worst class."""
        _, hits, n = _by_class(table)
        if len(n):
            worst = int(np.argmin(hits / n))
            (low, high), _ = extremes(hits, n)
            yield Score(None, "worst-class-accuracy", float(hits[worst] / n[worst]), low, high, int(n[worst]))


@final
class ClassGap(Metric):
    """The best class's accuracy minus the worst's, with a simultaneous interval."""

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """One score; n counts all samples."""
        _, hits, n = _by_class(table)
        if len(n):
            rates = hits / n
            _, (low, high) = extremes(hits, n)
            yield Score(None, "class-gap", float(rates.max() - rates.min()), low, high, int(n.sum()))


def _shares_of_errors(table: Table, name: str, axis: int) -> Iterator[Score]:
    """Each class's share of all misclassified samples: by what they are taken for (0), or what they are (1)."""
    wrong = table.confusion()
    np.fill_diagonal(wrong, 0)
    errors = int(wrong.sum())
    for label, count in zip(table.classes, wrong.sum(axis), strict=True):
        yield _share(label, name, int(count), errors)


@final
class ClassFalsePositiveScore(Metric):
    """CFPS: of all misclassified samples, the share taken for this class. n counts the errors."""

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """One score a class; undefined without errors."""
        yield from _shares_of_errors(table, "cfps", axis=0)


@final
class ClassFalseNegativeScore(Metric):
    """CFNS: of all misclassified samples, the share that belongs to this class. n counts the errors."""

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """One score a class; undefined without errors."""
        yield from _shares_of_errors(table, "cfns", axis=1)


@final
class FlipRate(Metric):
    """Share of samples whose prediction differs from that of the unperturbed image."""

    columns: ClassVar[frozenset[str]] = frozenset({"sample", "label", "predicted"})

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """All classes together, then each; nothing for the unperturbed images themselves."""
        if table.budget is None:
            return
        before = dict(zip(clean["sample"], clean["predicted"], strict=True))
        known = np.array([sample in before for sample in table["sample"]], dtype=bool)
        rows = table.where(known)
        was = np.array([before[sample] for sample in rows["sample"]], dtype=np.int64)
        flipped = rows["predicted"] != was
        yield _share(None, "flip-rate", int(flipped.sum()), len(flipped))
        for index, name in enumerate(table.classes):
            mine = rows["label"] == index
            if mine.any():
                yield _share(name, "flip-rate", int(flipped[mine].sum()), int(mine.sum()))


@final
class ImpliedError(Metric):
    """Of the implied verdicts that were spot-checked, the share that a direct attack refuted."""

    scope: ClassVar = "sweep"
    columns: ClassVar[frozenset[str]] = frozenset({"basis"})

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """One score over all budgets, where anything was checked."""
        refuted = int((table["basis"] == "refuted").sum())
        checked = refuted + int((table["basis"] == "confirmed").sum())
        if checked:
            yield _share(None, "implied-error", refuted, checked)
