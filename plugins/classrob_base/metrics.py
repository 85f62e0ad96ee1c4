"""The everyday metrics: rates per class and over all, each with its sample size and interval.

The Class False Positive Score is Medi, Grabinski and Keuper's, "Towards Class-wise Robustness Analysis"
(2024): the share of all misclassifications that land in a class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, final

import numpy as np

from classrob.columnar import Columnar
from classrob.parts import Metric
from classrob.statistics.intervals import rate, rates
from classrob.statistics.smallest import smallest
from classrob.statistics.spread import spread
from classrob.table import Score, Table


def _share(label: str | None, name: str, hits: int, n: int) -> Score:
    """A rate with its interval; undefined, and without one, when there is nothing to count."""
    if n == 0:
        return Score(label, name, None, None, None, 0)
    low, high = rate(hits, n)
    return Score(label, name, hits / n, low, high, n)


def _add_shares(
    found: Columnar[Score],
    labels: Sequence[str],
    name: str,
    hits: np.ndarray[Any, Any],
    n: np.ndarray[Any, Any],
) -> None:
    """Add a rate for each label, none of them of nothing."""
    found.stack(len(labels), labels, name, hits / n, *rates(hits, n), n)


def _by_class(
    table: Table, mask: np.ndarray[Any, Any]
) -> tuple[list[str], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The classes that have samples, how many of these a mask keeps, how many there are."""
    n = table.of_class()
    there = np.flatnonzero(n)
    return [table.classes[i] for i in there], table.of_class(mask)[there], n[there]


def _rates(table: Table, name: str, mask: np.ndarray[Any, Any]) -> Columnar[Score]:
    """The share of rows that a mask keeps: of all, then of each class."""
    names, hits, n = _by_class(table, mask)
    found = Columnar(Score, [_share(None, name, int(hits.sum()), int(n.sum()))])
    _add_shares(found, names, name, hits, n)
    return found


def _right(table: Table) -> np.ndarray[Any, Any]:
    return table["predicted"] == table["label"]


@final
class Accuracy(Metric):
    """Share of samples classified right; under a threat, robust accuracy. Per class and over all."""

    def compute(self, table: Table, clean: Table) -> Columnar[Score]:
        """All classes together, then each."""
        return _rates(table, "accuracy", _right(table))


@final
class CertifiedAccuracy(Metric):
    """Share of samples that no attack can break, by proof; per class and over all, where a certifier ran."""

    columns: ClassVar[frozenset[str]] = frozenset({"label", "basis"})

    def compute(self, table: Table, clean: Table) -> Columnar[Score]:
        """All classes together, then each."""
        if not table.certified:
            return Columnar(Score)
        return _rates(table, "certified-accuracy", table["basis"] == "certified")


@final
class WorstClassAccuracy(Metric):
    """The smallest class accuracy; its interval holds although the class was chosen after looking."""

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """One score; n is the size of the worst class."""
        _, hits, n = _by_class(table, _right(table))
        if len(n):
            worst = int(np.argmin(hits / n))
            low, high = smallest(hits, n)
            yield Score(None, "worst-class-accuracy", float(hits[worst] / n[worst]), low, high, int(n[worst]))


@final
class ClassGap(Metric):
    """The best class's accuracy minus the worst's; its interval allows for noise driving classes apart."""

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """One score; n counts all samples."""
        _, hits, n = _by_class(table, _right(table))
        if len(n):
            yield Score(None, "class-gap", *spread(hits, n).gap, int(n.sum()))


def _shares_of_errors(table: Table, name: str, column: str) -> Columnar[Score]:
    """Each class's share of all misclassified samples: by what they are taken for, or what they are."""
    wrong = table[column][~_right(table)]
    if not len(wrong):
        return Columnar(Score, (_share(label, name, 0, 0) for label in table.classes))
    found = Columnar(Score)
    count = np.bincount(wrong, minlength=len(table.classes))
    _add_shares(found, table.classes, name, count, np.full(len(count), len(wrong)))
    return found


@final
class ClassFalsePositiveScore(Metric):
    """CFPS: of all misclassified samples, the share taken for this class. n counts the errors."""

    def compute(self, table: Table, clean: Table) -> Columnar[Score]:
        """One score a class; undefined without errors."""
        return _shares_of_errors(table, "cfps", "predicted")


@final
class ClassFalseNegativeScore(Metric):
    """CFNS: of all misclassified samples, the share that belongs to this class. n counts the errors."""

    def compute(self, table: Table, clean: Table) -> Columnar[Score]:
        """One score a class; undefined without errors."""
        return _shares_of_errors(table, "cfns", "label")


@final
class FlipRate(Metric):
    """Share of samples whose prediction differs from that of the unperturbed image."""

    columns: ClassVar[frozenset[str]] = frozenset({"sample", "label", "predicted"})

    def compute(self, table: Table, clean: Table) -> Columnar[Score]:
        """All classes together, then each; nothing for the unperturbed images themselves."""
        if table.budget is None:
            return Columnar(Score)
        before = table.find(clean)
        rows = table.where(before >= 0)
        return _rates(rows, "flip-rate", rows["predicted"] != clean["predicted"][before[before >= 0]])


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
