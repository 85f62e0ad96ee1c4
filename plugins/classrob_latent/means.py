"""Means of numbers with 95 % intervals, over all samples and by class; what the metrics of latent space share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from classrob.statistics import intervals
from classrob.statistics.intervals import rate
from classrob.table import Score, Table

Array = np.ndarray[Any, Any]


def mean(label: str | None, name: str, values: Array, low: float = -math.inf) -> Score:
    """The mean of numbers and Student's interval, cut at the smallest that they can be; none for fewer than two."""
    return Score(label, name, *intervals.mean(values, low))


def share(label: str | None, name: str, hits: Array) -> Score:
    """The share of a mask that is set, and the interval of a rate."""
    if not len(hits):
        return Score(label, name, None, None, None, 0)
    n, seen = len(hits), int(hits.sum())
    return Score(label, name, seen / n, *rate(seen, n), n)


def groups(table: Table) -> Iterator[tuple[str | None, Array]]:
    """None with all rows of a table; then each class that has any, with its rows."""
    label = table["label"]
    if len(label):
        yield None, np.arange(len(label))
    for k, name in enumerate(table.classes):
        if len(rows := np.flatnonzero(label == k)):
            yield name, rows


def initial(table: Table, column: str) -> str | None:
    """`G` where all codes of a condition were drawn, `R` where all were encoded, as the paper's names have it.

    Of the condition and not of the rows at hand, since rows that were implied tell nothing.
    """
    values = table.observed[column].values if column in table.observed else np.zeros(0)
    if not len(values) or values.min() != values.max():
        return None
    return "G" if values[0] else "R"


def first_told(table: Table, column: str) -> Table:
    """One row a sample: the first in which the threat told a column."""
    rows = np.flatnonzero(table.seen(column))
    _, first = np.unique(table.numbers[rows], return_index=True)
    return table.where(rows[np.sort(first)])


def nearest_found(table: Table, column: str) -> Table:
    """One row a sample that was broken: that of its smallest distance, where the threat told a column."""
    rows = np.flatnonzero(table.seen(column) & (table["predicted"] != table["label"]))
    rows = rows[np.argsort(table["distance"][rows], kind="stable")]
    _, first = np.unique(table.numbers[rows], return_index=True)
    return table.where(np.sort(rows[first]))
