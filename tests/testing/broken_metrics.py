"""Metrics that break one promise each, and one that keeps all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from classrob import Metric, Score, Table

from .broken import Breaks, also


def right(table: Table) -> float:
    return float((table["label"] == table["predicted"]).mean()) if len(table) else 0.0


class Honest(Metric):
    """Share of right predictions."""

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        yield Score(None, "right", right(table), 0.0, 1.0, len(table))


class OutsideItsInterval(Honest):
    """An interval that its value is not in, where there are many rows."""

    def compute(self, table, clean):
        high = right(table) - 0.1 if len(table) >= 40 else 1.0
        yield Score(None, "right", right(table), -1.0, high, len(table))


class UnknownClass(Honest):
    """A score of a class that the table does not have, where there are many rows."""

    def compute(self, table, clean):
        yield Score("stranger" if len(table) >= 40 else None, "right", right(table), None, None, len(table))


class SameNameTwice(Honest):
    """Two scores that nothing tells apart."""

    def compute(self, table, clean):
        yield from super().compute(table, clean)
        yield from super().compute(table, clean)


class FirstRows(Honest):
    """Reads only the first rows."""

    def compute(self, table, clean):
        first = table.where((table["label"] >= 0).cumsum() <= 10)
        yield Score(None, "right", right(first), None, None, len(table))


class MeanOfClasses(Honest):
    """Divides by the size of each class."""

    def compute(self, table, clean):
        for index, name in enumerate(table.classes):
            mine = table["label"] == index
            n = int(mine.sum())
            if not n and len(table) < 2:
                continue
            yield Score(name, "right", float((table["predicted"][mine] == index).sum()) / n, None, None, n)


class DividesByAll(Honest):
    """Divides by the number of rows."""

    def compute(self, table, clean):
        hits = int((table["label"] == table["predicted"]).sum())
        yield Score(None, "right", hits / len(table), None, None, len(table))


class ReadsMargins(Honest):
    """Reads a column that it does not declare."""

    def compute(self, table, clean):
        yield Score(None, "right", float((table["margin"] > 0).sum()), None, None, len(table))


class ReadsWhatIsThere(Honest):
    """Looks for a column that it does not declare."""

    def compute(self, table, clean):
        bonus = 0.5 if "margin" in table.columns else 0.0
        yield Score(None, "right", right(table) + bonus, None, None, len(table))


class Overwrites(Honest):
    """Overwrites a column that it reads."""

    columns: ClassVar = frozenset({"label", "predicted", "spent"})

    def compute(self, table, clean):
        table["spent"][:] = 7
        yield from super().compute(table, clean)


BROKEN = {
    "is_sound": [
        Breaks("metric", OutsideItsInterval),
        Breaks("metric", UnknownClass),
        Breaks("metric", SameNameTwice),
    ],
    "ignores_the_order_of_rows": [Breaks("metric", FirstRows)],
    "copes_with_an_empty_class": [Breaks("metric", MeanOfClasses)],
    "copes_with_few_rows": [Breaks("metric", DividesByAll)],
    "reads_only_what_it_declares": [Breaks("metric", ReadsMargins), Breaks("metric", ReadsWhatIsThere)],
    "leaves_the_rows_alone": [Breaks("metric", Overwrites, also("ignores_the_order_of_rows"))],
}
