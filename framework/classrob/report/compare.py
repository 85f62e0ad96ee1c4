"""All models of a run side by side: over all classes at every budget, and class by class with differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from classrob.report.facts import View
from classrob.report.form import NOTHING, THIN, Shown, shown
from classrob.score import Row

#: Of many classes, so many with the largest differences are listed.
MOST = 20


@dataclass(frozen=True)
class Line:
    """A row of a comparison: what it is about, a score of each model, and each one's lead over the first."""

    head: str
    index: int | None
    scores: list[Shown]
    leads: list[Shown]


@dataclass(frozen=True)
class Contest:
    """Models under one threat on one data set.

    `overall` has a line a budget for all classes, then one for the worst class; `classes` has, for each
    budget, a line a class: all of few, or those of many with the largest differences.
    """

    title: str
    views: list[View]
    overall: list[Line]
    classes: list[tuple[str, list[Line]]]
    left_out: int

    @property
    def middle(self) -> int:
        """The budget that is shown first."""
        return self.views[0].middle


def contests(found: Sequence[View]) -> list[Contest]:
    """Every threat that at least two models faced, at the same budgets and with the same classes."""
    groups: dict[object, list[View]] = {}
    for view in found:
        stored = view.stored
        if not view.empty:
            key = (stored.dataset, view.threat, stored.budgets, stored.classes)
            groups.setdefault(key, []).append(view)
    return [_contest(group) for group in groups.values() if len(group) > 1]


def _contest(group: list[View]) -> Contest:
    first = group[0]
    overall = []
    for cut, label in zip(first.cuts, first.labels, strict=True):
        where = label if first.stored.clean else f"budget {label}"
        for metric, what in (("accuracy", "all classes"), ("worst-class-accuracy", "worst class")):
            rows = [view.row(metric, cut) for view in group]
            if any(row is not None for row in rows):
                overall.append(_line(f"{where}, {what}", None, rows, metric == "accuracy"))
    names = first.stored.classes
    classes = []
    for cut, label in zip(first.cuts, first.labels, strict=True):
        at = [view.scores.get(("accuracy", cut), {}) for view in group]
        lines = [_line(name, i, [rows.get(name) for rows in at], True) for i, name in enumerate(names)]
        lines = [line for line in lines if any(one is not NOTHING for one in line.scores)]
        if not first.few:
            kept = sorted(lines, key=lambda line: -max(abs(one.value or 0.0) for one in line.leads))[:MOST]
            lines = kept
        classes.append((label, lines))
    title = f"{first.threat} on {first.stored.dataset}"
    return Contest(title, group, overall, classes, 0 if first.few else max(0, len(names) - MOST))


def _line(head: str, index: int | None, rows: Sequence[Row | None], paired: bool) -> Line:
    leads = [lead(row, rows[0]) if paired else NOTHING for row in rows[1:]]
    return Line(head, index, [shown(row) for row in rows], leads)


def lead(row: Row | None, first: Row | None) -> Shown:
    """How far a rate lies above another, in percentage points, with its 95 % interval.

    The interval is made of those of the two rates (Newcombe, "Interval estimation for the difference between
    independent proportions", Statistics in Medicine 17, 1998, method 10). It takes them for independent; two
    models that err on the same images differ more certainly than it says.
    """
    if row is None or first is None:
        return NOTHING
    ends = (row.value, row.low, row.high, first.value, first.low, first.high)
    if any(end is None for end in ends):
        return NOTHING
    p, low, high, q, least, most = (float(end or 0.0) for end in ends)
    below = p - q - math.hypot(p - low, most - q)
    above = p - q + math.hypot(high - p, q - least)
    interval = f"{_points(below)} to {_points(above)}"
    return Shown(f"{_points(p - q)}{THIN}pp", interval, min(row.n, first.n), p - q)


def _points(share: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    text = f"{100 * share:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")
