"""What the page is about: every condition with its scores, confusions and verdicts, as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from classrob.report.form import LEFT_OUT, METRICS, Shown, budget, shown
from classrob.results import Results, Stored
from classrob.score import Row
from classrob.table import Table

#: Up to so many classes everything is drawn; above it, the page shows extremes and a search.
FEW = 24
#: So many confused pairs are listed of a condition and budget.
PAIRS = 20


@dataclass(frozen=True)
class Confusion:
    """Who is taken for whom: the whole matrix for few classes, and the most frequent wrong pairs.

    `pairs` holds true class, predicted class, how many, and of how many images of the true class.
    """

    matrix: list[list[int]] | None
    pairs: list[tuple[int, int, int, int]]
    errors: int


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
    mine: dict[tuple[str, str, str, str | None], list[Row]] = {}
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
        view.confusions = [confusion(table.at(cut)) for cut in cuts]
        view.bases = Counter(table["basis"].tolist())
        view.spent, view.queries = int(table["spent"].sum()), int(table["queries"].sum())
    return view


def confusion(table: Table) -> Confusion:
    """Count who is taken for whom, without ever holding a matrix of many classes."""
    k = len(table.classes)
    codes, counts = np.unique(table["label"] * k + table["predicted"], return_counts=True)
    cells = {divmod(int(code), k): int(n) for code, n in zip(codes, counts, strict=True)}
    of = Counter(table["label"].tolist())
    wrong = [(i, j, n, of[i]) for (i, j), n in cells.items() if i != j]
    matrix = [[cells.get((i, j), 0) for j in range(k)] for i in range(k)] if k <= FEW else None
    pairs = sorted(wrong, key=lambda pair: (-pair[2], pair[0], pair[1]))[:PAIRS]
    return Confusion(matrix, pairs, sum(n for _, _, n, _ in wrong))
