"""Scores of explanations: how far they move, against what they must at least, and how far they agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, final

import numpy as np

from classrob.parts import Metric
from classrob.statistics.intervals import rate
from classrob.table import Score, Table
from classrob_classwise.clouds import within

Array = np.ndarray[Any, Any]

#: Rounding of a discrepancy, as a share of it, that is no violation of its bound.
ROUNDING = 1e-4


def _mean(label: str | None, name: str, values: Array, least: float, most: float = np.inf) -> Score:
    """The mean of some images' numbers, with Student's interval."""
    n = len(values)
    if not n:
        return Score(label, name, None, None, None, 0)
    value = float(np.sort(values).mean())
    error = float(np.sort(values).std(ddof=1) / np.sqrt(n)) if n > 1 else np.inf
    low, high = within(value, error, n, least, most)
    return Score(label, name, value, low, high, n)


def _groups(table: Table) -> Iterator[tuple[str | None, Table]]:
    yield None, table
    yield from table.by_class()


def _turned(table: Table, clean: Table, column: str) -> Table:
    """The observed images that the model is right about until an attack turns it."""
    rows = table.find(clean)
    right = np.zeros(len(table), bool)
    right[rows >= 0] = (clean["predicted"] == clean["label"])[rows[rows >= 0]]
    return table.where(table.seen(column) & right & (table["predicted"] != table["label"]))


@final
class InterpretationDiscrepancy(Metric):
    """How far an attack that turned the model's mind also moved its explanations, in ranges of a map.

    `interpretation-discrepancy` is the 2-class discrepancy in l1; rows with `/1-class`, `/all-class` and `-l2` are
    the others. Only images count that the model is right about until they are attacked.
    """

    columns: ClassVar[frozenset[str]] = frozenset(
        {"sample", "label", "predicted", "discrepancy-l1", "discrepancy-l2"}
    )

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """Over all and per class; n counts images that an attack turned."""
        if table.budget is None:
            return
        turned = _turned(table, clean, "discrepancy-l1")
        for label, rows in _groups(turned):
            for norm, end in (("l1", ""), ("l2", "-l2")):
                values = rows[f"discrepancy-{norm}"].astype(np.float64)
                forms = (
                    ("/1-class", "", "/all-class") if norm == "l1" else ("/1-class", "/2-class", "/all-class")
                )
                for form, column in zip(forms, values.T, strict=False):
                    yield _mean(label, f"interpretation-discrepancy{form}{end}", column, 0.0)


@final
class InterpretationBound(Metric):
    """What the 2-class discrepancy cannot be less than, what it is, and how often it is less nevertheless.

    Both in logits: a violation would mean that an explanation does not add up to its logit.
    """

    columns: ClassVar[frozenset[str]] = frozenset({"sample", "label", "predicted", "discrepancy-bound"})

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """Over all and per class; n counts images that an attack turned."""
        if table.budget is None:
            return
        turned = _turned(table, clean, "discrepancy-bound")
        for label, rows in _groups(turned):
            found, bound = rows["discrepancy-bound"].astype(np.float64).T
            yield _mean(label, "interpretation-bound", bound, 0.0)
            yield _mean(label, "interpretation-bound/discrepancy", found, 0.0)
            hits, n = int((found < bound * (1 - ROUNDING)).sum()), len(found)
            share = (hits / n, *rate(hits, n)) if n else (None, None, None)
            yield Score(label, "interpretation-bound/violations", *share, n)


@final
class ExplanationAgreement(Metric):
    """Kendall's τ and top-k agreement of explanations before and after, where the prediction did not change.

    Images that an attack turns drop out, and with them those whose explanations it moves most: look at n.
    """

    columns: ClassVar[frozenset[str]] = frozenset({"sample", "label", "predicted", "agreement"})

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """Over all and per class; n counts images with an unchanged prediction."""
        if table.budget is None:
            return
        rows = table.find(clean)
        same = np.zeros(len(table), bool)
        same[rows >= 0] = (table["predicted"][rows >= 0]) == clean["predicted"][rows[rows >= 0]]
        for label, kept in _groups(table.where(same & table.seen("agreement"))):
            tau, share = kept["agreement"].astype(np.float64).T
            yield _mean(label, "explanation-agreement", tau, -1.0, 1.0)
            yield _mean(label, "explanation-agreement/top", share, 0.0, 1.0)
