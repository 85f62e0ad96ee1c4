"""How well a detector tells images apart: areas under curves, false alarms, and what the model gains by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, Literal, final

import numpy as np
from pydantic import Field, field_validator

from classrob.parts import Metric
from classrob.table import Score, Table
from classrob_detectors.curves import Array, Bounded, Contrast, rate_at
from classrob_detectors.pairs import SUSPICION, Side, Sides

#: What the scores of detectors are computed from.
COLUMNS = frozenset({"sample", "label", "predicted", SUSPICION})


@final
class Auroc(Metric):
    """The area under the ROC curve: the chance that an image to be found is more suspicious than another.

    Rows `auroc`, `auroc-predicted`, `auroc-all`.
    """

    scope: ClassVar[Literal["budget", "sweep", "model", "detector"]] = "detector"
    columns: ClassVar[frozenset[str]] = COLUMNS

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """Over all images, and for each class."""
        return _scores(Sides.of(table, clean), "auroc", Contrast.auroc)


@final
class FalsePositives(Metric):
    """The share of unperturbed images that are suspected where the threshold finds 95 % of the others.

    Rows `fpr95`, `fpr95-predicted`, `fpr95-all`.
    """

    scope: ClassVar[Literal["budget", "sweep", "model", "detector"]] = "detector"
    columns: ClassVar[frozenset[str]] = COLUMNS

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """Over all images, and for each class."""
        return _scores(Sides.of(table, clean), "fpr95", Contrast.false_positive_rate)


@final
class Aupr(Metric):
    """Average precision of finding the images that are to be found, and (`aupr-in`) of passing the others.

    Rows `aupr`, `aupr-predicted`, `aupr-all`, and the same with `aupr-in`.
    """

    scope: ClassVar[Literal["budget", "sweep", "model", "detector"]] = "detector"
    columns: ClassVar[frozenset[str]] = COLUMNS

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """Over all images, and for each class."""
        sides = Sides.of(table, clean)
        yield from _scores(sides, "aupr", Contrast.aupr)
        yield from _scores(sides, "aupr-in", lambda contrast: contrast.turned().aupr())


@final
class GuardedAccuracy(Metric):
    """What becomes of a model that rejects what its detector suspects, at rates of rejected unperturbed images.

    The threshold rejects the given share of the unperturbed images. `undetected-error@RATE` is the share of
    images that are misclassified and not rejected; an image of another data set counts as misclassified.
    `guarded-accuracy@RATE` is the share that is classified right and not rejected, and `rejected@RATE` the
    share that is rejected. The three add up to 1.
    """

    scope: ClassVar[Literal["budget", "sweep", "model", "detector"]] = "detector"
    columns: ClassVar[frozenset[str]] = COLUMNS

    rates: tuple[float, ...] = Field(
        default=(0.05,),
        description="shares of unperturbed images that are rejected, each above 0 and below 1",
    )

    @field_validator("rates")
    @classmethod
    def _inside(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if not rates or not all(0.0 < rate < 1.0 for rate in rates):
            raise ValueError("rates of rejection are above 0 and below 1")
        return rates

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """Over all images, and for each true class; where every image has a score."""
        sides = Sides.of(table, clean)
        changed, scores = sides.changed, sides.clean.score
        if not (len(scores) and len(changed.score)) or not (sides.whole or sides.foreign):
            return
        own = [] if sides.foreign else np.unique(changed.label).tolist()
        for rate in self.rates:
            for label, rows in [(None, changed), *((k, changed.where(changed.label == k)) for k in own)]:
                name = None if label is None else sides.classes[label]
                for what, found in _kept(rows, scores, rate).items():
                    yield Score(name, f"{what}@{rate:g}", *found, len(rows.score))


def _kept(rows: Side, scores: Array, rate: float) -> dict[str, Bounded]:
    """What becomes of some images where the most suspicious share of `scores` is rejected."""

    def share(of: Array, rejected: bool = False) -> Bounded:
        of = np.sort(of)

        def count(at: Array) -> Array:
            below = np.searchsorted(of, at, "left")
            return len(of) - below if rejected else below

        return rate_at(scores, rate, count, len(rows.score))

    return {
        "undetected-error": share(rows.score[rows.wrong]),
        "guarded-accuracy": share(rows.score[~rows.wrong]),
        "rejected": share(rows.score, rejected=True),
    }


def _scores(sides: Sides, name: str, figure: Callable[[Contrast], Bounded]) -> Iterator[Score]:
    for suffix, label, contrast in sides.contrasts():
        if label is None or contrast.defined:
            yield Score(label, f"{name}{suffix}", *figure(contrast), contrast.n)
