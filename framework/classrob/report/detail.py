"""One condition in detail: its table, its chart, and the data with which the script redraws them."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup

from classrob.report import words
from classrob.report.charts import TOP, Axis, Series, band, curve
from classrob.report.facts import View
from classrob.report.form import METRICS, Shown, plural, unit

#: So many of the lowest and of the highest classes stand for all where there are many.
ENDS = 10
#: So many line colours there are.
COLOURS = 6


@dataclass(frozen=True)
class Column:
    """A column of the class table: a metric, of the condition or of the unperturbed images."""

    metric: str
    title: str
    note: str
    clean: bool = False

    @property
    def bar(self) -> bool:
        """Is it drawn as well as written?"""
        return self.metric == "accuracy"

    def shown(self, view: View, place: int, label: str) -> Shown:
        """The cell of a class at a budget."""
        if not self.clean:
            return view.shown(self.metric, view.cuts[place], label)
        return view.clean.shown(self.metric, None, label) if view.clean else view.shown("", None, label)


@dataclass
class Pool:
    """Every distinct score once, so that thousands of classes cost little; the first is no score."""

    entries: dict[Shown, int] = field(default_factory=dict)

    def index(self, one: Shown) -> int:
        """The place of a score, which is made when it is new."""
        return self.entries.setdefault(one, len(self.entries))

    def data(self) -> list[list[Any]]:
        """The scores as lists: text, interval, n, value, low, high."""
        return [[round(x, 5) if isinstance(x, float) else x for x in astuple(one)] for one in self.entries]


def columns(view: View) -> list[Column]:
    """Unperturbed accuracy beside the condition's own, then every other metric of classes."""
    own = [Column(name, unit(name).title, unit(name).note) for name in view.metrics(labelled=True)]
    if view.clean is not None and own and own[0].metric == "accuracy":
        note = "share of unperturbed images classified right"
        own.insert(0, Column("accuracy", "Clean accuracy", note, clean=True))
    return own


def figures(view: View) -> list[Column]:
    """The metrics of all classes together."""
    return [Column(name, unit(name).title, unit(name).note) for name in view.metrics(labelled=False)]


def extremes(view: View, place: int) -> list[int | None]:
    """The classes that the static table shows, worst first; None marks where classes are left out."""
    classes = view.stored.classes
    position = {name: i for i, name in enumerate(classes)}
    ranked = [position[row.label] for row in view.ranking(view.cuts[place]) if row.label in position]
    order = ranked + sorted(set(range(len(classes))) - set(ranked))
    return [*order] if view.few else [*order[:ENDS], None, *order[len(order) - ENDS :]]


def axis(view: View) -> Axis | None:
    """The chart's horizontal axis; None where there is no budget to draw over."""
    return Axis.of(view.stored.budgets) if view.stored.budgets else None


def lines(view: View) -> list[tuple[int, str]]:
    """The classes drawn at first, with their styles: worst and best stand out, the others can be chosen."""
    ranked = [i for i in extremes(view, view.middle) if i is not None]
    named = {ranked[0]: "on c1"}
    if len(ranked) > 1:
        named[ranked[-1]] = "on c0"
    chosen = range(len(view.stored.classes)) if view.few else ranked[:5] + ranked[-5:]
    return [(i, named.get(i, "")) for i in chosen]


def chart(view: View, drawn: list[tuple[int, str]], place: int) -> Markup:
    """Accuracy over budget, a line a class and one for all; `place` is that of the classes' names."""
    ruler = axis(view)
    if ruler is None or view.empty:
        return Markup()
    names = view.stored.classes
    series = [Series(names[i], style, _points(view, names[i]), str(i), f"{place}-{i}") for i, style in drawn]
    series.append(Series("All classes", "on all", _points(view, None), "all"))
    text = " ".join(words.reading(view, view.middle))
    under = Markup() if view.few else _spread(view, ruler)
    return curve(series, ruler, f"curve-{view.index}", f"Accuracy over budget: {view.title}", text, under)


def _points(view: View, label: str | None) -> list[Shown]:
    clean = view.clean.shown("accuracy", None, label) if view.clean else view.shown("", None)
    return [clean, *(view.shown("accuracy", cut, label) for cut in view.cuts)]


def _spread(view: View, ruler: Axis) -> Markup:
    """Where all classes lie, and the middle half of them."""
    values = [[p.value for p in _points(view, name)] for name in view.stored.classes]
    grid = np.array(values, dtype=float)
    parts: list[Markup] = []
    for style, (low, high) in (("spread", (0, 100)), ("spread half", (25, 75))):
        cuts = [column[~np.isnan(column)] for column in grid.T]
        lows = [float(np.percentile(c, low)) if len(c) else None for c in cuts]
        highs = [float(np.percentile(c, high)) if len(c) else None for c in cuts]
        parts.append(band(ruler, lows, highs, style))
    return Markup().join(parts)


def payload(view: View, pool: Pool, classes: int) -> dict[str, Any]:
    """What the script needs to redraw the condition; `classes` is the place of its names."""
    ruler, own, summary = axis(view), columns(view), figures(view)
    names = view.stored.classes
    places = range(len(view.cuts)) if not view.empty else range(0)

    def cells(column: Column) -> list[list[int]]:
        """A column's scores by budget and class; once where the budget does not matter."""
        own_places = places[:1] if column.clean else places
        return [[pool.index(column.shown(view, p, name)) for name in names] for p in own_places]

    return {
        "classes": classes,
        "model": view.stored.model,
        "dataset": view.stored.dataset,
        "threat": view.threat,
        "budgets": view.labels,
        "start": view.middle,
        "columns": [{"title": c.title, "bar": c.bar} for c in own],
        "accuracy": next((i for i, c in enumerate(own) if c.metric == "accuracy" and not c.clean), -1),
        "clean": next((i for i, c in enumerate(own) if c.clean), -1),
        "cells": [cells(column) for column in own],
        "overall": [pool.index(point) for point in _points(view, None)],
        "figures": [[pool.index(view.shown(c.metric, view.cuts[p])) for c in summary] for p in places],
        "reading": [words.reading(view, p) for p in places],
        "confusion": [{"matrix": c.matrix, "pairs": c.pairs, "errors": c.errors} for c in view.confusions],
        "x": [round(x, 1) for x in ruler.places] if ruler else [],
        "y": [TOP, ruler.foot] if ruler else [],
        "few": view.few,
        "ends": ENDS,
    }


def described(view: View) -> list[str]:
    """What the table's columns and figures mean, once each."""
    names = dict.fromkeys(view.metrics(labelled=True) + view.metrics(labelled=False))
    return [f"{METRICS[n].title}: {METRICS[n].note}." for n in names if n in METRICS]


def count(view: View) -> str:
    """How many images of how many classes the condition rests on."""
    row = view.row("accuracy", view.cuts[0])
    images = plural(row.n, "image") if row else plural(view.samples, "planned image")
    return f"{images}, {plural(len(view.stored.classes), 'class', 'classes')}"
