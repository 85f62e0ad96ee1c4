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
    """

    classes: tuple[str, ...]
    budget: float | None
    columns: dict[str, np.ndarray[Any, Any]] = field(repr=False)
    trials: Table | None = field(default=None, repr=False)
    certified: bool = False

    def __getitem__(self, column: str) -> np.ndarray[Any, Any]:
        return self.columns[column]

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
        return replace(self, budget=self.budget if budget is None else budget, columns=kept)

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
