"""The summary: a card for every model and data set, and a chart for every threat with all models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from classrob.report import words
from classrob.report.charts import HALF, Axis, Series, curve
from classrob.report.detail import COLOURS
from classrob.report.facts import View
from classrob.report.form import Shown, shown


@dataclass(frozen=True)
class Line:
    """A threat's line in a card's table: where, and the figures there."""

    view: View
    budget: str
    accuracy: Shown
    worst: Shown
    label: str


@dataclass
class Card:
    """One model on one data set: the clean reading, a line a threat and budget, and the sentences."""

    model: str
    dataset: str
    clean: list[str] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    threats: list[tuple[View, list[str]]] = field(default_factory=list)


@dataclass(frozen=True)
class Board:
    """One threat on one data set: accuracy over budget of every model."""

    title: str
    chart: Markup
    models: list[tuple[str, str]]


def cards(found: Sequence[View]) -> list[Card]:
    """The cards in the study's order."""
    made: dict[tuple[str, str], Card] = {}
    for view in found:
        stored = view.stored
        card = made.setdefault((stored.model, stored.dataset), Card(stored.model, stored.dataset))
        if view.empty:
            card.threats += [] if stored.clean else [(view, words.attacked(view))]
            continue
        last = len(view.cuts) - 1
        card.lines += [_line(view, place) for place in dict.fromkeys((view.middle, last))]
        if stored.clean:
            card.clean = words.reading(view, 0)
        else:
            card.threats.append((view, words.attacked(view)))
    return list(made.values())


def _line(view: View, place: int) -> Line:
    cut = view.cuts[place]
    lowest = view.ranking(cut)[:1]
    row = view.row("worst-class-accuracy", cut) or (lowest[0] if lowest else None)
    ties = [r for r in view.ranking(cut) if lowest and r.value == lowest[0].value]
    label = (ties[0].label or "") if len(ties) == 1 else f"{len(ties)} classes"
    where = "" if view.stored.clean else view.labels[place]
    return Line(view, where, view.shown("accuracy", cut), shown(row), label)


def boards(found: Sequence[View]) -> list[Board]:
    """The charts, where there is a budget to draw over."""
    groups: dict[tuple[str, str, tuple[float, ...]], list[View]] = {}
    for view in found:
        if view.stored.budgets and not view.empty:
            groups.setdefault((view.stored.dataset, view.threat, view.stored.budgets), []).append(view)
    made: list[Board] = []
    for number, ((dataset, threat, budgets), group) in enumerate(groups.items()):
        series: list[Series] = []
        for i, view in enumerate(group):
            colour = f"on c{i % COLOURS}"
            model = view.stored.model
            series.append(Series(f"{model}, worst class", f"{colour} dashed", _points(view, worst=True)))
            series.append(Series(f"{model}, all classes", colour, _points(view, worst=False)))
        title = f"{threat} on {dataset}"
        text = " ".join(words.overall(v, [v.middle, len(v.cuts) - 1]) for v in group)
        name = f"Accuracy over budget under {title}"
        chart = curve(series, Axis.of(budgets, HALF), f"board-{number}", name, text)
        made.append(Board(title, chart, [(v.stored.model, f"c{i % COLOURS}") for i, v in enumerate(group)]))
    return made


def _points(view: View, worst: bool) -> list[Shown]:
    """Clean and every budget: over all classes with its interval, or of the worst class without one."""
    places = [(view.clean, None), *((view, cut) for cut in view.cuts)]
    if not worst:
        return [v.shown("accuracy", cut) if v else shown(None) for v, cut in places]
    lowest = [v.ranking(cut)[:1] if v else [] for v, cut in places]
    return [Shown("", "", 0, rows[0].value) if rows else shown(None) for rows in lowest]
