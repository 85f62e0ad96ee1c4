"""Records as columns, and the scores made of them: what every metric reads and writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Score:
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
            basis, budget. Missing numbers are NaN.
        trials: the verdicts of an ensemble's members, one row a trial: sample, label, budget, attack (the
            member's name), goal (the class aimed at, −1 where any would do), predicted, margin, distance,
            spent, queries. None where the attack is a single one.
        certified: was a certifier asked?
        observed: what probes recorded of each row, by column; read like the other columns.
        constants: what probes recorded of the model, by column: float32 [k] or [k, d].
    """

    classes: tuple[str, ...]
    budget: float | None
    columns: dict[str, np.ndarray[Any, Any]] = field(repr=False)
    trials: Table | None = field(default=None, repr=False)
    certified: bool = False
    observed: dict[str, Observed] = field(default_factory=dict, repr=False)
    constants: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict, repr=False)

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
        """The rows that a mask keeps."""
        kept = {name: column[mask] for name, column in self.columns.items()}
        observed = {name: column.where(mask) for name, column in self.observed.items()}
        budget = self.budget if budget is None else budget
        return replace(self, budget=budget, columns=kept, observed=observed)

    def by_class(self) -> Iterator[tuple[str, Table]]:
        """Each class that has rows, with its rows."""
        for index, name in enumerate(self.classes):
            mask = self.columns["label"] == index
            if mask.any():
                yield name, self.where(mask)

    def confusion(self) -> np.ndarray[Any, Any]:
        """int64 [k, k]: how many samples of class i (row) were taken for class j (column)."""
        k = len(self.classes)
        flat = np.bincount(self.columns["label"] * k + self.columns["predicted"], minlength=k * k)
        return flat.reshape(k, k)
