"""The metric `mce`: mean corruption error, plain and divided by a baseline's (Hendrycks and Dietterich, 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from pydantic import Field

from classrob.errors import StudyError, nearest
from classrob.parts import Metric
from classrob.table import Score, Table
from classrob_corruptions.judgements import (
    COLUMNS,
    Judgements,
    bounded,
    common,
    judgements,
    quantile,
    share,
)
from classrob_corruptions.published import ALEXNET, CLEAN, ERRORS, SEVERITIES

Array = np.ndarray[Any, Any]


@final
class MeanCorruptionError(Metric):
    """Mean error over corruptions and severities; with a baseline also `mce` and `relative-mce`.

    Over the fifteen corruptions of ImageNet-C as far as the study has them, by family and by corruption.
    A corruption's error is divided by the baseline's over all classes, for a class too, so that classes
    are on one scale. Intervals are by sample: a sample's verdicts, and the baseline's, go together.
    """

    scope: ClassVar = "model"
    columns: ClassVar[frozenset[str]] = COLUMNS

    baseline: str | None = Field(
        default=None,
        description=f"a model of the study, or `{ALEXNET}`: the published figures of ImageNet-C",
    )

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """Rows `corruption-error`, `mce` and `relative-mce`, over all and per class; n counts samples.

        Raises:
            StudyError: no model of the study is called like the baseline.
        """
        found = judgements(table)
        if found is None:
            return
        for ending, names, classes in found.groups():
            errors = found.errors(names)
            cells = sum(len(found.severities[name]) for name in names)
            for label, rows in found.members(classes):
                value, low, high = share(errors[rows].mean(1), cells)
                yield Score(label, f"corruption-error{ending}", value, low, high, len(rows))
        if self.baseline is not None:
            yield from self._against(self.baseline, found, table, clean)

    def _against(self, baseline: str, found: Judgements, table: Table, clean: Table) -> Iterator[Score]:
        rows, at = common(found, clean["sample"])
        found = found.of(rows)
        before = (clean["predicted"] != clean["label"])[at].astype(float)
        published = baseline not in table.peers
        if published:
            if baseline != ALEXNET:
                hint = nearest(baseline, [*table.peers, ALEXNET])
                raise StudyError(f"mce: no model of the study is called '{baseline}'{hint}")
            other, theirs = found, np.full(len(rows), CLEAN)
        else:
            other = judgements(table.peers[baseline])
            if other is None:
                return
            mine, at = common(found, other.samples)
            found, other, before = found.of(mine), other.of(at), before[mine]
            unperturbed = table.peers[baseline].where(table.peers[baseline]["threat"] == "none")
            mine, at = common(found, unperturbed["sample"])
            found, other, before = found.of(mine), other.of(mine), before[mine]
            theirs = (unperturbed["predicted"] != unperturbed["label"])[at].astype(float)
        if not len(found.label):
            return
        for ending, names, classes in found.groups():
            severities = [SEVERITIES if published else other.severities.get(name) for name in names]
            if [found.severities[name] for name in names] != severities:
                continue  # a mean over other severities is no measure of these
            if published:
                base = np.tile([ERRORS[name] for name in names], (len(found.label), 1))
            else:
                base = other.errors(names)
            pair = Pair(found.errors(names), base, before, theirs)
            for label, members in found.members(classes):
                yield Score(label, f"mce{ending}", *pair.ratio(members), len(members))
                yield Score(label, f"relative-mce{ending}", *pair.relative(members), len(members))


@dataclass(frozen=True)
class Pair:
    """A model's errors and a baseline's, of the same n samples under c corruptions.

    Attributes:
        errors: float64 [n, c], each sample's share of misclassified severities.
        base: the same of the baseline; a published figure for every sample.
        before, theirs: float64 [n], whether the model, and the baseline, misclassifies the unperturbed image.
    """

    errors: Array
    base: Array
    before: Array
    theirs: Array

    def ratio(self, rows: Array) -> tuple[float | None, float | None, float | None]:
        """The mean of the ratios of errors, of some samples; undefined where the baseline makes no error."""
        value, variance = _ratios(self.errors, self.base, rows)
        if value is None:
            return None, None, None
        most = float((1 / self.base.mean(0)).mean())  # where everything is misclassified
        low, high = bounded(min(value / most, 1.0), variance / most**2, len(rows), np.inf)
        return value, min(low * most, value), max(high * most, value)

    def relative(self, rows: Array) -> tuple[float | None, float | None, float | None]:
        """The same of what the corruptions add to the error of unperturbed images."""
        value, variance = _ratios(self.errors - self.before[:, None], self.base - self.theirs[:, None], rows)
        if value is None:
            return None, None, None
        if len(rows) < 2:
            return value, None, None
        half = quantile(len(rows)) * float(np.sqrt(variance))
        return value, value - half, value + half


def _ratios(above: Array, below: Array, rows: Array) -> tuple[float | None, float]:
    """The mean over columns of mean(above[rows]) / mean(below), and its variance by the infinitesimal jackknife."""
    under = below.mean(0)
    if (under <= 1e-12).any():
        return None, 0.0
    over = above[rows].mean(0)
    influence = -((below - under) * (over / under**2)).mean(1) / len(below)
    influence[rows] += ((above[rows] - over) / under).mean(1) / len(rows)
    correction = len(rows) / max(len(rows) - 1, 1)
    return float((over / under).mean()), float((influence**2).sum()) * correction
