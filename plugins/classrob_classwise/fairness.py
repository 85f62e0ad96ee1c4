"""How evenly accuracy is spread over classes, and over groups of classes that a file names."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from typing import final

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from classrob.errors import StudyError, nearest
from classrob.fields import File
from classrob.parts import Metric
from classrob.statistics.intervals import rate
from classrob.statistics.spread import spread
from classrob.table import Score, Table
from classrob_classwise.differences import difference


@final
class ClassSpread(Metric):
    """Standard deviation and Gini coefficient of the classes' accuracies; each class counts once.

    Rows `class-deviation` and `class-gini`. Noise drives the seen values up, so that an interval may lie
    mostly below its value.
    """

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """Two scores; n counts all samples."""
        n = table.of_class()
        there = np.flatnonzero(n)
        if len(there) < 2:
            return
        found = spread(table.of_class(table["predicted"] == table["label"])[there], n[there])
        for name, ends in (("class-deviation", found.deviation), ("class-gini", found.gini)):
            yield Score(None, name, *ends, int(n.sum()))


@final
class Groups(Metric):
    """Accuracy of groups of classes, such as superclasses, and how far each is from the rest.

    Rows `group-accuracy/GROUP`, and `group-bias/GROUP`: the group's accuracy minus that of all samples outside
    it; `group-gap`: best minus worst group accuracy. Without a file there are none.
    """

    groups: File | None = Field(
        default=None, description='a TOML file, relative to the study: `group = ["class", …]`, a line each'
    )

    _members: dict[str, tuple[str, ...]] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _read(self) -> Groups:
        if self.groups is None:
            return self
        try:
            data = tomllib.loads(self.groups.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ValueError(f"{self.groups} is not readable as TOML: {error}") from None
        seen: dict[str, str] = {}
        for group, names in data.items():
            if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
                raise ValueError(f"{self.groups}: group '{group}' must be a list of class names")
            for name in names:
                if name in seen:
                    raise ValueError(f"{self.groups}: class '{name}' is in '{seen[name]}' and in '{group}'")
                seen[name] = group
            self._members[group] = tuple(names)
        return self

    def check(self, classes: Sequence[str]) -> None:
        """Every class that the file names must be one of the data set's."""
        for group, names in self._members.items():
            for name in names:
                if name not in classes:
                    raise StudyError(
                        f"{self.groups}: group '{group}' names class '{name}', which the data set does not have"
                        f"{nearest(name, classes)}"
                    )

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """Groups that have samples, in the file's order; n counts their samples.

        Raises:
            StudyError: the file, changed since the run, names a class that the data set does not have.
        """
        self.check(table.classes)
        place = {name: i for i, name in enumerate(table.classes)}
        n, hits = table.of_class(), table.of_class(table["predicted"] == table["label"])
        mine = [[place[name] for name in names] for names in self._members.values()]
        found = [
            (g, hits[at].sum(), n[at].sum()) for g, at in zip(self._members, mine, strict=True) if n[at].sum()
        ]
        for group, right, of in found:
            ends = rate(int(right), int(of))
            yield Score(None, f"group-accuracy/{group}", float(right / of), *ends, int(of))
            if rest := int(n.sum() - of):
                counts = (np.array([c]) for c in (right, of, hits.sum() - right, rest))
                apart, low, high = (float(x[0]) for x in difference(*counts))
                yield Score(None, f"group-bias/{group}", apart, low, high, int(of))
        if len(found) > 1:
            gap = spread(*(np.array([one[i] for one in found]) for i in (1, 2))).gap
            yield Score(None, "group-gap", *gap, int(sum(of for *_, of in found)))
