"""Accuracy-Robustness Areas beside `ara`: down to chance, and by each attack of an ensemble alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from classrob.parts import Metric
from classrob.table import Score, Table
from classrob_classwise.area import area_scores
from classrob_classwise.distances import COLUMNS, Group, groups

#: A probability this share above chance is chance but for the rounding between a search and the judge.
ROUNDING = 1e-3


@final
class AreaToChance(Metric):
    """BTR ARA (Woods, Chen and Teuscher, 2019): as `ara`, but an image stands while it is likelier than chance.

    Of K classes chance is 1/K. Reads the probe `confidence`; the attack is `ara-descent-to-chance`, since others
    stop at an error.
    """

    scope: ClassVar = "sweep"
    columns: ClassVar[frozenset[str]] = COLUMNS | {"confidence"}

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """One score over all samples, one for each class; n counts samples."""
        seen = table.seen("confidence")
        if not seen.any() or np.isnan(table["budget"]).all():
            return
        rows = table.where(seen)
        low = rows["confidence"] <= (1 + ROUNDING) / len(table.classes)
        yield from area_scores(list(groups(rows, low)), len(table.classes), "ara-btr")


@final
class AreaByAttack(Metric):
    """Accuracy-Robustness Area by each member of an ensemble alone: rows `ara/MEMBER`.

    Where the members are asked about every sample, as in `ara-search`, the smallest is the tightest bound of one
    attack, and `ara` itself, the nearer of them for every sample, is tighter still.
    """

    scope: ClassVar = "sweep"
    columns: ClassVar[frozenset[str]] = COLUMNS

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """By member: one score over all samples, one for each class."""
        trials = table.trials
        if trials is None or not (found := list(groups(table))):
            return
        samples = table["sample"]
        wrong = samples[(table["predicted"] != table["label"]) & (table["distance"] == 0)]
        label = dict(zip(samples.tolist(), table["label"].tolist(), strict=True))
        for name in sorted(set(trials["attack"].tolist())):
            mine = trials.where(trials["attack"] == name)
            least = dict.fromkeys(label, np.inf) | dict.fromkeys(wrong.tolist(), 0.0)
            for sample, true, said, far in zip(
                mine["sample"], mine["label"], mine["predicted"], mine["distance"], strict=True
            ):
                if said != true:
                    least[sample] = min(least[sample], float(far))
            yield from area_scores(
                _grouped(least, label, table, found[0].largest), len(table.classes), f"ara/{name}"
            )


def _grouped(least: dict[str, float], label: dict[str, int], table: Table, largest: float) -> list[Group]:
    """All samples, then each class, by their smallest distances."""
    order = sorted(label)
    far, of = np.array([least[s] for s in order]), np.array([label[s] for s in order])
    classes = [(table.classes[c], of == c) for c in range(len(table.classes)) if (of == c).any()]
    return [Group(None, far, largest), *(Group(name, far[mine], largest) for name, mine in classes)]
