"""All models of a run side by side: over all classes at every budget, and class by class with differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from classrob.reading.comparison import Change, between_models
from classrob.reading.results import Results
from classrob.report.facts import View
from classrob.report.form import NOTHING, THIN, Shown, shown

#: Of many classes, so many with the largest differences are listed.
MOST = 20
#: Smaller p values are not told apart.
LEAST = 0.001


@dataclass(frozen=True)
class Lead:
    """How far a model's accuracy lies above the first's on the same images: a share, and as it is written.

    `p` is McNemar's, adjusted for all comparisons of the run; `significant` says whether it is at most 5 %.
    """

    value: float
    text: str
    interval: str
    p: str
    significant: bool


@dataclass(frozen=True)
class Line:
    """A row of a comparison: what it is about, a score of each model, and each one's lead over the first."""

    head: str
    index: int | None
    scores: list[Shown]
    leads: list[Lead | None]


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


#: Accuracies compared: by model, data set, threat, attack, budget and class.
Found = Mapping[tuple[str, str, str, str | None, float | None, str | None], Change]


def contests(found: Sequence[View], results: Results) -> list[Contest]:
    """Every threat that at least two models faced, at the same budgets and with the same classes.

    Differences are those of `classrob compare` with the run alone: on the same images, by Tango's interval and
    McNemar's test, with Holm's adjustment over all comparisons of the run.
    """
    groups: dict[object, list[View]] = {}
    for view in found:
        stored = view.stored
        if not view.empty:
            key = (stored.dataset, view.threat, stored.budgets, stored.classes)
            groups.setdefault(key, []).append(view)
    several = [group for group in groups.values() if len(group) > 1]
    if not several:
        return []
    changes = {
        (c.model, c.dataset, c.threat, c.attack, c.budget, c.label): c
        for c in between_models(results)
        if c.metric == "accuracy"
    }
    return [_contest(group, changes) for group in several]


def _contest(group: list[View], changes: Found) -> Contest:
    first = group[0]

    def line(head: str, index: int | None, metric: str, cut: float | None, name: str | None) -> Line:
        rows = [view.scores.get((metric, cut), {}).get(name) for view in group]
        leads = [_lead(changes, view, cut, name) if metric == "accuracy" else None for view in group[1:]]
        return Line(head, index, [shown(row) for row in rows], leads)

    overall = []
    for cut, label in zip(first.cuts, first.labels, strict=True):
        where = label if first.stored.clean else f"budget {label}"
        for metric, what in (("accuracy", "all classes"), ("worst-class-accuracy", "worst class")):
            if any(view.row(metric, cut) is not None for view in group):
                overall.append(line(f"{where}, {what}", None, metric, cut, None))
    names = first.stored.classes
    classes = []
    for cut, label in zip(first.cuts, first.labels, strict=True):
        lines = [line(name, i, "accuracy", cut, name) for i, name in enumerate(names)]
        lines = [one for one in lines if any(score is not NOTHING for score in one.scores)]
        if not first.few:
            lines = sorted(lines, key=_apart)[:MOST]
        classes.append((label, lines))
    title = f"{first.threat} on {first.stored.dataset}"
    return Contest(title, group, overall, classes, 0 if first.few else max(0, len(names) - MOST))


def _apart(line: Line) -> float:
    return -max((abs(lead.value) for lead in line.leads if lead is not None), default=0.0)


def _lead(changes: Found, view: View, cut: float | None, name: str | None) -> Lead | None:
    """None where the two models share no images of the class."""
    stored = view.stored
    change = changes.get((stored.model, stored.dataset, stored.threat, stored.attack, cut, name))
    if change is None:
        return None
    return Lead(
        change.difference,
        f"{_points(change.difference)}{THIN}pp",
        f"{_points(change.low)} to {_points(change.high)}",
        f"p < {LEAST}" if change.adjusted < LEAST else f"p = {change.adjusted:.2g}",
        change.changed,
    )


def _points(share: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    text = f"{100 * share:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")
