"""Records as columns, and the scores made of them: what every metric reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, NamedTuple, final

import numpy as np


class Score(NamedTuple):
    """One number with its sample size and 95 % interval.

    `label` is a class name, or None for all classes together. `value` is None where it is undefined
    (a share of no errors), `low` and `high` where no interval exists.
    """

    label: str | None
    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int


@final
class Columns(Mapping[str, np.ndarray[Any, Any]]):
    """Columns that are made when they are first read: a score reads few, and of many rows each costs."""

    def __init__(self, makers: Mapping[str, Callable[[], np.ndarray[Any, Any]]]) -> None:
        self._makers = makers
        self._made: dict[str, np.ndarray[Any, Any]] = {}

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


@dataclass(frozen=True)
class Observed:
    """A column that a probe recorded, kept as it was stored until somebody reads it.

    Attributes:
        values: float16 or float32 [m, …], one for each image that was observed.
        at: int64 [n], for each row of the table its place in `values`; −1 where nothing was observed.
    """

    values: np.ndarray[Any, Any] = field(repr=False)
    at: np.ndarray[Any, Any] = field(repr=False)

    def where(self, rows: np.ndarray[Any, Any]) -> Observed:
        """Some rows, by a mask or by places."""
        return replace(self, at=self.at[rows])

    def read(self) -> np.ndarray[Any, Any]:
        """float32 [n, …]; NaN where nothing was observed."""
        found = np.full((len(self.at), *self.values.shape[1:]), np.nan, np.float32)
        seen = self.at >= 0
        found[seen] = self.values[self.at[seen]]
        return found


@dataclass(frozen=True)
class Table:
    """The records of one condition, as columns of equal length.

    Attributes:
        classes: the class names, in label order.
        budget: the budget of every row; None when the table spans several, or there is none.
        columns: numpy arrays: sample, label, predicted, margin, distance, proposed, spent, queries,
            basis, budget. Missing numbers are NaN. In tables of a run also place, the sample as a number.
        trials: the verdicts of an ensemble's members, one row a trial: sample, label, budget, attack (the
            member's name), goal (the class aimed at, −1 where any would do), predicted, margin, distance,
            spent, queries. None where the attack is a single one.
        certified: was a certifier asked?
        observed: what probes recorded of each row, by column; read like the other columns.
        constants: what probes recorded of the model, by column: float32 [k] or [k, d].
        peers: for a metric of whole models, the tables of all models on the data set, by their names.
    """

    classes: tuple[str, ...]
    budget: float | None
    columns: Mapping[str, np.ndarray[Any, Any]] = field(repr=False)
    trials: Table | None = field(default=None, repr=False)
    certified: bool = False
    observed: dict[str, Observed] = field(default_factory=dict, repr=False)
    constants: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict, repr=False)
    peers: Mapping[str, Table] = field(default_factory=dict, repr=False)

    def __getitem__(self, column: str) -> np.ndarray[Any, Any]:
        if column in self.observed:
            return self.observed[column].read()
        return self.columns[column]

    @property
    def names(self) -> frozenset[str]:
        """The columns that there are."""
        return frozenset(self.columns) | frozenset(self.observed)

    def seen(self, column: str) -> np.ndarray[Any, Any]:
        """bool [n]: the rows in which a probe recorded a column; none where it recorded nothing at all."""
        if column not in self.observed:
            return np.zeros(len(self), bool)
        return self.observed[column].at >= 0

    def __len__(self) -> int:
        return len(self.columns["label"])

    def at(self, budget: float | None) -> Table:
        """The rows of one budget; all rows for None."""
        if budget is None:
            return self
        trials = None if self.trials is None else self.trials.at(budget)
        return replace(self.where(self.columns["budget"] == budget, budget), trials=trials)

    def where(self, mask: np.ndarray[Any, Any], budget: float | None = None) -> Table:
        """The rows that a mask keeps, or those at some places."""
        rows = np.flatnonzero(mask) if mask.dtype == bool else mask
        return self._rows(rows, self.budget if budget is None else budget)

    def _rows(self, rows: np.ndarray[Any, Any], budget: float | None) -> Table:
        makers = {name: partial(_taken, self.columns, name, rows) for name in self.columns}
        observed = {name: column.where(rows) for name, column in self.observed.items()}
        return replace(self, budget=budget, columns=Columns(makers), observed=observed)

    def only(self, names: Collection[str]) -> Table:
        """The columns of these names, as far as there are such (and the sample's number), without trials."""
        kept = {name: self.columns[name] for name in self.columns if name in names or name == "place"}
        return replace(self, columns=kept, trials=None, observed={}, constants={})

    def by_class(self) -> Iterator[tuple[str, Table]]:
        """Each class that has rows, with its rows."""
        order = np.argsort(self.columns["label"], kind="stable")
        ends = np.bincount(self.columns["label"], minlength=len(self.classes)).cumsum()
        for name, rows in zip(self.classes, np.split(order, ends[:-1]), strict=True):
            if len(rows):
                yield name, self._rows(rows, self.budget)

    @cached_property
    def numbers(self) -> np.ndarray[Any, Any]:
        """int64 [n]: each row's sample as a number from 0 to n − 1; rows of one sample share it."""
        if "place" in self.columns:
            place = self.columns["place"]
            there = np.zeros(int(place.max(initial=-1)) + 1, bool)
            there[place] = True
            return (there.cumsum() - 1)[place]
        known: dict[Any, int] = {}
        return np.array([known.setdefault(s, len(known)) for s in self.columns["sample"]], dtype=np.int64)

    def find(self, other: Table) -> np.ndarray[Any, Any]:
        """int64 [n]: for each row, the row of another table that holds the same sample; −1 where none does.

        Args:
            other: a table of the same data set, with a row a sample.
        """
        if "place" in self.columns and "place" in other.columns:
            mine, theirs = self.columns["place"], other.columns["place"]
            rows = np.full(max(mine.max(initial=-1), theirs.max(initial=-1)) + 1, -1)
            rows[theirs] = np.arange(len(theirs))
            return rows[mine]
        known = {sample: row for row, sample in enumerate(other.columns["sample"])}
        return np.array([known.get(sample, -1) for sample in self.columns["sample"]], dtype=np.int64)

    def of_class(self, mask: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, Any]:
        """int64 [k]: how many rows each class has; of those that a mask keeps, where there is one."""
        label = self.columns["label"]
        return np.bincount(label if mask is None else label[mask], minlength=len(self.classes))

    def confusion(self) -> np.ndarray[Any, Any]:
        """int64 [k, k]: how many samples of class i (row) were taken for class j (column)."""
        k = len(self.classes)
        flat = np.bincount(self.columns["label"] * k + self.columns["predicted"], minlength=k * k)
        return flat.reshape(k, k)

    def pairs(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """The confusion matrix's cells that are not 0, in its order: row, column, count; each int64 [m].

        Of many classes nearly all cells are 0, and these cost nothing.
        """
        k = len(self.classes)
        cells, counts = np.unique(self.columns["label"] * k + self.columns["predicted"], return_counts=True)
        return cells // k, cells % k, counts


def _taken(
    columns: Mapping[str, np.ndarray[Any, Any]], name: str, rows: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    return columns[name][rows]
