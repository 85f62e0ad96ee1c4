"""Which images a detector is asked to tell apart: those to be found, and the unperturbed ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from classrob.table import Table
from classrob_detectors.curves import Contrast

Array = np.ndarray[Any, Any]

#: The column of a detector's scores.
SUSPICION = "suspicion"


@dataclass(frozen=True)
class Side:
    """Images of one kind with their scores, those that have one.

    Attributes:
        score: float64 [n]. label, predicted: int64 [n]; the label is −1 of an image that is of no class.
        sample: int64 [n]; equal where two images are of one sample, on whichever side.
    """

    score: Array
    label: Array
    predicted: Array
    sample: Array

    @property
    def wrong(self) -> Array:
        """bool [n]: was the model wrong about it? Always, where it is of no class."""
        return self.label != self.predicted

    def where(self, mask: Array) -> Side:
        """Some of the images."""
        return Side(self.score[mask], self.label[mask], self.predicted[mask], self.sample[mask])


@dataclass(frozen=True)
class Sides:
    """The perturbed or foreign images, and the unperturbed ones, of one model.

    Attributes:
        whole: does every perturbed image have a score? Not where a verdict was implied.
        foreign: are they images of another data set, of no class of this one?
    """

    changed: Side
    clean: Side
    classes: tuple[str, ...]
    whole: bool
    foreign: bool

    @classmethod
    def of(cls, table: Table, clean: Table) -> Self:
        """The images of two tables with a column `suspicion`."""
        foreign = bool(len(table)) and int(table["label"][0]) < 0
        here, own = np.arange(len(clean)), len(clean) + np.arange(len(table))
        place = own if foreign else table.find(clean)
        place = np.where(place < 0, own, place)
        whole = np.isin(here, place[table.seen(SUSPICION)])[clean.seen(SUSPICION)].all()
        return cls(_side(table, place), _side(clean, here), table.classes, bool(whole), foreign)

    def apart(self, changed: Array | None = None, clean: Array | None = None) -> Contrast:
        """The scores of the images that two masks keep; all of a side for None."""
        found = self.changed if changed is None else self.changed.where(changed)
        others = self.clean if clean is None else self.clean.where(clean)
        if self.foreign:
            return Contrast(found.score, others.score)
        return Contrast(found.score, others.score, np.concatenate([found.sample, others.sample]))

    def contrasts(self) -> Iterator[tuple[str, str | None, Contrast]]:
        """What is told apart: a suffix for the metric's name, a class or None, and the scores.

        Images to be found are the misclassified ones, and all of another data set; `-all` also those that the
        model got right although they were changed. Classes are the true ones, `-predicted` the model's.
        """
        wrong = self.changed.wrong
        yield "", None, self.apart(wrong)
        for k in np.unique(self.clean.label).tolist():
            mine = wrong if self.foreign else wrong & (self.changed.label == k)
            yield "", self.classes[k], self.apart(mine, self.clean.label == k)
        for k in np.unique(self.clean.predicted).tolist():
            mine = wrong & (self.changed.predicted == k)
            yield "-predicted", self.classes[k], self.apart(mine, self.clean.predicted == k)
        if self.whole and not self.foreign:
            yield "-all", None, self.apart()
            for k in np.unique(self.clean.label).tolist():
                yield "-all", self.classes[k], self.apart(self.changed.label == k, self.clean.label == k)


def _side(table: Table, sample: Array) -> Side:
    seen = table.seen(SUSPICION)
    columns = (table[SUSPICION].astype(np.float64), table["label"], table["predicted"], sample)
    return Side(*(column[seen] for column in columns))
