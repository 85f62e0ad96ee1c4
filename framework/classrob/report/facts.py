"""What the page is about: every condition with its scores, confusions and verdicts, as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from classrob.reading.results import Results, Stored
from classrob.reading.score import Row
from classrob.report.form import LEFT_OUT, METRICS, Shown, budget, shown
from classrob.table import Table

#: Up to so many classes everything is drawn; above it, the page shows extremes and a search.
FEW = 24
#: So many confused pairs are listed of a condition and budget.
PAIRS = 20
#: So many of a class's weakest images are named.
WEAKEST = 5


@dataclass(frozen=True)
class Confusion:
    """Who is taken for whom: the whole matrix for few classes, and the most frequent wrong pairs.

    `pairs` holds true class, predicted class, how many, and of how many images of the true class.
    """

    matrix: list[list[int]] | None
    pairs: list[tuple[int, int, int, int]]
    errors: int


@dataclass(frozen=True)
class Weak:
    """An image that little is needed to break: its id, the smallest distance found, what it is taken for."""

    sample: str
    distance: float
    predicted: int


@dataclass(frozen=True)
class Crossings:
    """All confusions of a budget as cells that are not 0: true class, predicted class, count; images a class."""

    label: np.ndarray[Any, Any]
    predicted: np.ndarray[Any, Any]
    count: np.ndarray[Any, Any]
    of: np.ndarray[Any, Any]

    def around(self, index: int, most: int) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
        """Where a class's images go, and whose come to it: class, how many, of how many; the most first."""
        found = []
        for mine, other in ((self.label, self.predicted), (self.predicted, self.label)):
            cells = np.flatnonzero((mine == index) & (other != index))
            cells = cells[np.argsort(-self.count[cells], kind="stable")[:most]]
            of = self.of[self.label[cells]]
            found.append(
                list(zip(other[cells].tolist(), self.count[cells].tolist(), of.tolist(), strict=True))
            )
        return found[0], found[1]


@dataclass
class View:
    """A condition and all that the page shows of it; `cuts` are its budgets, (None,) without one."""

    index: int
    stored: Stored
    done: int
    planned: int
    samples: int
    scores: dict[tuple[str, float | None], dict[str | None, Row]]
    detected: list[Row]
    cuts: tuple[float | None, ...]
    labels: tuple[str, ...]
    confusions: list[Confusion] = field(default_factory=list)
    crossings: list[Crossings] = field(default_factory=list)
    weakest: dict[int, list[Weak]] = field(default_factory=dict)
    bases: Counter[str] = field(default_factory=Counter)
    spent: int = 0
    queries: int = 0
    clean: View | None = None

    @property
    def few(self) -> bool:
        """Are there few enough classes to draw each?"""
        return len(self.stored.classes) <= FEW

    @property
    def empty(self) -> bool:
        """Is nothing finished yet?"""
        return not self.confusions

    @property
    def middle(self) -> int:
        """The position of the budget shown first, the middle one."""
        return (len(self.cuts) - 1) // 2

    @property
    def title(self) -> str:
        """How the page calls the condition."""
        return " · ".join([self.stored.model, self.stored.dataset, self.threat])

    @property
    def threat(self) -> str:
        """The threat and who searched it."""
        if self.stored.clean:
            return "unperturbed"
        return f"{self.stored.threat} · {self.stored.attack}" if self.stored.attack else self.stored.threat

    def row(self, metric: str, cut: float | None, label: str | None = None) -> Row | None:
        """A score at a budget, or the one over all budgets where the metric has only that."""
        at = self.scores.get((metric, cut)) or self.scores.get((metric, None)) or {}
        return at.get(label)

    def shown(self, metric: str, cut: float | None, label: str | None = None) -> Shown:
        """The same, ready for the page."""
        return shown(self.row(metric, cut, label))

    def metrics(self, labelled: bool) -> list[str]:
        """The metrics on the page with scores of classes, or of all together; the known ones first."""
        fitting = (m for (m, _), at in self.scores.items() if any((c is not None) == labelled for c in at))
        names = dict.fromkeys(name for name in fitting if not name.startswith(LEFT_OUT))
        known = list(METRICS)
        return sorted(names, key=lambda name: known.index(name) if name in METRICS else len(known))

    def ranking(self, cut: float | None) -> list[Row]:
        """The classes' accuracies at a budget, lowest first; equal ones by their mean over all budgets."""
        at = self.scores.get(("accuracy", cut), {})

        def mean(row: Row) -> float:
            rows = [self.scores.get(("accuracy", c), {}).get(row.label) for c in self.cuts]
            values = [r.value for r in rows if r is not None and r.value is not None]
            return sum(values) / len(values) if values else 0.0

        rated = [(r.value, mean(r), r) for r in at.values() if r.label is not None and r.value is not None]
        return [row for *_, row in sorted(rated, key=lambda item: item[:2])]


def views(results: Results, rows: Sequence[Row]) -> list[View]:
    """Every condition of a run, in the study's order."""
    mine: dict[tuple[str, str, str | None, str | None], list[Row]] = {}
    for row in rows:
        mine.setdefault((row.model, row.dataset, row.threat, row.attack), []).append(row)
    found: list[View] = []
    for index, stored in enumerate(results.conditions):
        key = (stored.model, stored.dataset, stored.threat, stored.attack)
        view = _view(index, stored, results, mine.get(key, []))
        pair = (stored.model, stored.dataset)
        same = (v for v in found if v.stored.clean and (v.stored.model, v.stored.dataset) == pair)
        view.clean = None if stored.clean else next(same, None)
        found.append(view)
    return found


def _view(index: int, stored: Stored, results: Results, rows: Sequence[Row]) -> View:
    scores: dict[tuple[str, float | None], dict[str | None, Row]] = {}
    for row in rows:
        if row.detector is None:
            scores.setdefault((row.metric, row.budget), {})[row.label] = row
    detected = [row for row in rows if row.detector is not None]
    cuts: tuple[float | None, ...] = stored.budgets or (None,)
    labels = tuple(budget(cut) for cut in stored.budgets) or ("unperturbed",)
    view = View(index, stored, *results.progress(stored), scores, detected, cuts, labels)
    table = results.table(stored)
    if len(table):
        parts = [table.at(cut) for cut in cuts]
        view.crossings = [Crossings(*part.pairs(), part.of_class()) for part in parts]
        view.confusions = [confusion(one) for one in view.crossings]
        view.weakest = {} if stored.clean else weakest(table)
        view.bases = Counter(table["basis"].tolist())
        view.spent, view.queries = int(table["spent"].sum()), int(table["queries"].sum())
    return view


def weakest(table: Table) -> dict[int, list[Weak]]:
    """Of each class, the images that were right at first and broke at the smallest distances."""
    rows = np.flatnonzero((table["predicted"] != table["label"]) & (table["distance"] > 0))
    rows = rows[np.argsort(table["distance"][rows], kind="stable")]
    _, first = np.unique(table.numbers[rows], return_index=True)
    found: dict[int, list[Weak]] = {}
    columns = [table[name] for name in ("label", "sample", "distance", "predicted")]
    for row in rows[np.sort(first)].tolist():
        label, sample, distance, predicted = (column[row] for column in columns)
        if len(mine := found.setdefault(int(label), [])) < WEAKEST:
            mine.append(Weak(str(sample), float(distance), int(predicted)))
    return found


def confusion(crossings: Crossings) -> Confusion:
    """Count who is taken for whom, without ever holding a matrix of many classes."""
    of = crossings.of.tolist()
    columns = (crossings.label, crossings.predicted, crossings.count)
    cells = list(zip(*(column.tolist() for column in columns), strict=True))
    wrong = [(i, j, n, of[i]) for i, j, n in cells if i != j]
    matrix = None
    if len(of) <= FEW:
        matrix = [[0] * len(of) for _ in of]
        for i, j, n in cells:
            matrix[i][j] = n
    pairs = sorted(wrong, key=lambda pair: (-pair[2], pair[0], pair[1]))[:PAIRS]
    return Confusion(matrix, pairs, sum(n for _, _, n, _ in wrong))
