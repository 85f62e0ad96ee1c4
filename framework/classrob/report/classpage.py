"""A page for each class: its curves, who swallows it, whom it swallows, its nearest centroid, its weakest images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from classrob.reading.score import Row
from classrob.report.charts import HALF, Axis, Series, curve
from classrob.report.detail import COLOURS, ENDS
from classrob.report.facts import View, Weak
from classrob.report.form import LEFT_OUT, METRICS, Shown, shown, unit
from classrob.report.gallery import Picture
from classrob.report.overview import Board

#: Metrics of a class's features against another's: how far their centroids are apart, and how far images are moved.
CENTROID, DRIFT = "centroid-distance-to/", "drift-to/"
#: So many classes that it loses images to, or takes them from, are listed.
NEIGHBOURS = 5


@dataclass(frozen=True)
class Flow:
    """Under one condition: what the class's images are taken for, and whose are taken for it.

    A pair is a class, how many images, and of how many: of this class, or of the other one.
    """

    view: View
    accuracy: Shown
    loses: list[tuple[int, int, int]]
    takes: list[tuple[int, int, int]]


@dataclass(frozen=True)
class Near:
    """Under one condition: the class whose centroid is nearest, by its place, and the one that images move towards.

    At the middle budget, or at the largest where features were recorded only there; `cut` is its place.
    """

    view: View
    cut: int
    nearest: int
    distance: Shown
    towards: int | None
    moved: Shown


@dataclass
class Page:
    """All that the report knows of one class; what there is nothing of is an empty list."""

    key: str
    index: int
    name: str
    view: View
    boards: list[Board] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    near: list[Near] = field(default_factory=list)
    weakest: list[tuple[View, list[Weak]]] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    scores: list[tuple[View, str, Row, Shown]] = field(default_factory=list)


def pages(
    found: Sequence[View],
    places: Mapping[tuple[str, ...], int],
    pictures: Mapping[tuple[int, int], list[Picture]],
) -> list[Page]:
    """The pages by data sets' classes: of each class, or of the lowest and the highest of many."""
    made: list[Page] = []
    for classes, place in places.items():
        mine = [view for view in found if view.stored.classes == classes and not view.empty]
        if not mine:
            continue
        hardest = next((view for view in mine if not view.stored.clean), mine[0])
        for index in _chosen(hardest):
            made.append(_page(index, place, mine, pictures))
    return made


def _chosen(view: View) -> list[int]:
    names = view.stored.classes
    if view.few:
        return list(range(len(names)))
    position = {name: i for i, name in enumerate(names)}
    ranked = [position[row.label] for row in view.ranking(view.cuts[view.middle]) if row.label in position]
    return list(dict.fromkeys([*ranked[:ENDS], *ranked[-ENDS:]]))


def _page(
    index: int, place: int, mine: Sequence[View], pictures: Mapping[tuple[int, int], list[Picture]]
) -> Page:
    name = mine[0].stored.classes[index]
    page = Page(f"{place}-{index}", index, name, mine[0])
    page.boards = _boards(page, mine)
    for view in mine:
        cut = view.cuts[view.middle]
        loses, takes = view.crossings[view.middle].around(index, NEIGHBOURS)
        page.flows.append(Flow(view, view.shown("accuracy", cut, name), loses, takes))
        if (near := _near(view, name)) is not None:
            page.near.append(near)
        if view.weakest.get(index):
            page.weakest.append((view, view.weakest[index]))
        page.pictures += pictures.get((view.index, index), [])
        for (metric, at), rows in view.scores.items():
            if (
                name in rows
                and metric != "accuracy"
                and not metric.startswith(LEFT_OUT)
                and at in (None, cut)
            ):
                page.scores.append((view, _title(metric), rows[name], shown(rows[name])))
    return page


def _near(view: View, name: str) -> Near | None:
    for cut in (view.middle, len(view.cuts) - 1):
        if (nearest := _first(view, cut, CENTROID, name, 1)) is not None:
            towards, moved = _first(view, cut, DRIFT, name, -1) or (None, shown(None))
            return Near(view, cut, *nearest, towards, moved)
    return None


def _first(view: View, cut: int, lead: str, name: str, sign: int) -> tuple[int, Shown] | None:
    """Of a class's scores against other classes the smallest (sign 1) or the largest: which class, and the score."""
    rows = [
        (metric.removeprefix(lead), rows[name])
        for (metric, at), rows in view.scores.items()
        if metric.startswith(lead) and at == view.cuts[cut] and name in rows
    ]
    ranked = sorted((sign * row.value, other, row) for other, row in rows if row.value is not None)
    return (view.stored.classes.index(ranked[0][1]), shown(ranked[0][2])) if ranked else None


def _title(metric: str) -> str:
    return unit(metric).title if metric in METRICS else metric


def _boards(page: Page, mine: Sequence[View]) -> list[Board]:
    """Its curve under each threat, a line a model."""
    groups: dict[tuple[str, str, tuple[float, ...]], list[View]] = {}
    for view in mine:
        if view.stored.budgets:
            groups.setdefault((view.stored.dataset, view.threat, view.stored.budgets), []).append(view)
    made: list[Board] = []
    for number, ((dataset, threat, budgets), group) in enumerate(groups.items()):
        title = f"{threat} on {dataset}"
        series = [
            Series(view.stored.model, f"on c{i % COLOURS}", _points(view, page.name))
            for i, view in enumerate(group)
        ]
        said = "; ".join(
            f"{view.stored.model}: {view.shown('accuracy', view.cuts[view.middle], page.name).text} at budget "
            f"{view.labels[view.middle]}"
            for view in group
        )
        ident = f"class-{page.key}-{number}"
        chart = curve(
            series, Axis.of(budgets, HALF), ident, f"Accuracy of {page.name} over budget, {title}", said
        )
        made.append(Board(title, chart, [(v.stored.model, f"c{i % COLOURS}") for i, v in enumerate(group)]))
    return made


def _points(view: View, name: str) -> list[Shown]:
    clean = view.clean.shown("accuracy", None, name) if view.clean else shown(None)
    return [clean, *(view.shown("accuracy", cut, name) for cut in view.cuts)]
