"""Metrics along severities: where a class falls under a threshold, and what withstands every severity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np
from pydantic import Field

from classrob.parts import Metric
from classrob.table import Score, Table
from classrob_corruptions.judgements import COLUMNS, judgements, share


@final
class SeverityLimit(Metric):
    """The smallest severity at which accuracy, averaged over corruptions, is below a threshold.

    Undefined where it never is. The ends are the severities at which the lower and the upper end of the
    accuracy's interval are below.
    """

    scope: ClassVar = "model"
    columns: ClassVar[frozenset[str]] = COLUMNS

    threshold: float = Field(default=0.5, gt=0.0, le=1.0, description="the accuracy to stay above")

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """Over all and per class: the fifteen corruptions, each family, each corruption; n counts samples."""
        found = judgements(table)
        for ending, names, classes in found.groups() if found else ():
            assert found is not None
            shared = sorted(set.intersection(*(set(found.severities[name]) for name in names)))
            columns = [[found.severities[name].index(one) for one in shared] for name in names]
            cells = [found.wrong[name][:, at] for name, at in zip(names, columns, strict=True)]
            right = 1.0 - np.mean(cells, axis=0)
            for label, rows in found.members(classes):
                ends = [share(right[rows, level], len(names)) for level in range(len(shared))]
                below = [
                    [one for one, end in zip(shared, ends, strict=True) if end[i] < self.threshold]
                    for i in range(3)
                ]
                value, low, high = (levels[0] if levels else None for levels in below)
                yield Score(label, f"severity-limit{ending}", value, low, high, len(rows))


@final
class WorstSeverityAccuracy(Metric):
    """The share of samples that are right at every severity of a corruption, averaged over corruptions."""

    scope: ClassVar = "model"
    columns: ClassVar[frozenset[str]] = COLUMNS

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """Over all and per class: the fifteen corruptions, each family, each corruption; n counts samples."""
        found = judgements(table)
        for ending, names, classes in found.groups() if found else ():
            assert found is not None
            right = np.stack([~found.wrong[name].any(1) for name in names], 1).mean(1)
            for label, rows in found.members(classes):
                yield Score(
                    label, f"worst-severity-accuracy{ending}", *share(right[rows], len(names)), len(rows)
                )
