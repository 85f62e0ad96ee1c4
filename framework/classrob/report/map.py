"""A map of features: every class of an attacked condition in a plane, and where the attack moves it.

The plane is that of the two principal components of the unperturbed images' features; perturbed images are
projected into the same plane. UMAP, where it is installed and asked for, bends the plane instead.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from markupsafe import Markup, escape

from classrob.errors import UsageError
from classrob.reading.results import Results
from classrob.report.facts import View
from classrob.report.form import clip, percent
from classrob.table import Table

Array = np.ndarray[Any, Any]
Projection = Literal["pca", "umap"]
#: Left, top, width and height.
Box = tuple[int, int, int, int]

#: The column that is mapped.
COLUMN = "features"
#: Up to so many classes are drawn with their images; of more, the extremes are.
FEW = 12
#: So many images of a class are drawn, so many arrows of pictured ones, and so many images make the plane.
POINTS, ARROWS, SAMPLES = 60, 4, 1500
#: The picture's sides, and its margin.
WIDTH, HEIGHT, MARGIN = 780, 520, 30
#: A label's line, about the width of one of its letters, and half the room of a mean.
LINE, LETTER, DOT = 15, 9, 7
#: So many characters may all maps take together, so that the page stays quick.
ROOM = 280_000


@dataclass(frozen=True)
class Mean:
    """A class in the plane: its name, its number among the colours, and its mean before and after."""

    name: str
    colour: int
    before: tuple[float, float]
    after: tuple[float, float]


class Label(NamedTuple):
    """A name in the picture, its colour, and where the mean stands before and after."""

    name: str
    colour: int
    spots: tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Map:
    """A condition's map: the picture, the classes that are drawn in colour, and what is to be said of it."""

    view: View
    picture: Markup
    means: list[Mean]
    budget: str
    said: str
    choose: bool
    left_out: int


@dataclass(frozen=True)
class Plane:
    """Where features [n, d] lie in the plane, [n, 2]; a linear one takes means to means."""

    project: Callable[[Array], Array]
    linear: bool
    said: str


@dataclass(frozen=True)
class Drawn:
    """One class in the plane: the means of its images, and some of them, before and after the attack."""

    index: int
    mean: tuple[Array, Array]
    spots: tuple[Array, Array]
    shown: Array


def maps(results: Results, views: Sequence[View], projection: Projection = "pca") -> list[Map]:
    """The maps of all attacked conditions in which features were recorded, within the room that there is.

    Raises:
        UsageError: UMAP is asked for and not installed.
    """
    if projection == "umap" and importlib.util.find_spec("umap") is None:
        raise UsageError("a map by UMAP needs umap-learn: install classrob[umap], or leave --map out")
    found: list[Map] = []
    room = ROOM
    source: tuple[View, Table, Plane] | None = None
    for view in views:
        if view.stored.clean or view.clean is None or view.empty:
            continue
        moved = _observed(results, view, view.stored.budgets[-1])
        if not len(moved):
            continue
        if source is None or source[0] is not view.clean:
            clean = _observed(results, view.clean, None)
            if len(clean) < 3:
                continue
            source = (view.clean, clean, _plane(clean[COLUMN], projection))
        _, clean, plane = source
        clean = clean.where(np.isin(clean["sample"].astype(str), moved["sample"].astype(str)))
        pictured = {one.sample for one in results.examples(view.stored)}
        chosen = _chosen(view)
        for quiet in (True, False) if len(chosen) < len(view.stored.classes) else (False,):
            classes = range(len(view.stored.classes)) if quiet else chosen
            drawn = [d for i in classes if (d := _drawn(i, clean, moved, plane, pictured)) is not None]
            one = _map(view, drawn, plane, chosen) if drawn else None
            if one is not None and len(one.picture) <= room:
                room -= len(one.picture)
                found.append(one)
                break
    return found


def _observed(results: Results, view: View, budget: float | None) -> Table:
    """The rows in which features were recorded."""
    table = results.table(view.stored, frozenset([COLUMN])).at(budget)
    return table.where(table.seen(COLUMN))


def _plane(x: Array, projection: Projection) -> Plane:
    """A plane made of some of the unperturbed images' features."""
    some = x.reshape(len(x), -1)[np.linspace(0, len(x) - 1, min(len(x), SAMPLES)).astype(int)].astype(
        np.float64
    )
    if projection == "umap":
        model = importlib.import_module("umap").UMAP(random_state=0, n_jobs=1).fit(some)
        said = "UMAP of the features; distances between far points mean little, class means are of the images drawn"
        return Plane(lambda y: model.transform(y.astype(np.float64)), False, said)
    middle = some.mean(0)
    _, size, axes = np.linalg.svd(some - middle, full_matrices=False)
    axes = axes[:2] * np.where(axes[:2].sum(1) < 0, -1.0, 1.0)[:, None]
    axes = np.pad(axes, ((0, 2 - len(axes)), (0, 0)))  # features of a single number
    share = float(np.square(size[:2]).sum() / max(np.square(size).sum(), 1e-300))
    said = f"the first two principal components of the features, which hold {percent(share, 0)} of their variance"
    return Plane(lambda y: (y.reshape(len(y), -1) - middle) @ axes.T, True, said)


def _drawn(index: int, clean: Table, moved: Table, plane: Plane, pictured: set[str]) -> Drawn | None:
    """A class of the map; None where it has no image both before and after."""
    both = [table.where(table["label"] == index) for table in (clean, moved)]
    both = [table.where(np.argsort(table["sample"].astype(str), kind="stable")) for table in both]
    if not len(both[0]) or len(both[0]) != len(both[1]):
        return None
    shown = np.fromiter((sample in pictured for sample in both[0]["sample"]), bool, len(both[0]))
    first = np.argsort(~shown, kind="stable")[:POINTS]
    spots = [plane.project(table.where(first)[COLUMN]) for table in both]
    if plane.linear:
        means = [plane.project(table[COLUMN].mean(0, keepdims=True))[0] for table in both]
    else:
        means = [spot.mean(0) for spot in spots]
    return Drawn(index, (means[0], means[1]), (spots[0], spots[1]), shown[first])


def _map(view: View, drawn: Sequence[Drawn], plane: Plane, chosen: Sequence[int]) -> Map:
    names = view.stored.classes
    everything = np.concatenate([spot for one in drawn for spot in one.spots])
    low, high = np.quantile(everything, (0.002, 0.998), axis=0)
    scale = np.array([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN]) / np.maximum(high - low, 1e-12)

    def at(place: Array) -> Array:
        spot = np.clip((place - low) * scale + MARGIN, 4, (WIDTH - 4, HEIGHT - 4))
        return np.stack([spot[..., 0], HEIGHT - spot[..., 1]], -1).round().astype(int)

    layers: dict[str, list[str]] = {"quiet": [], "dots": [], "ways": [], "means": []}
    means: list[Mean] = []
    labels: list[Label] = []
    for one in drawn:
        name, (before, after) = names[one.index], (at(spot) for spot in one.spots)
        (x, y), (u, v) = (at(mean).tolist() for mean in one.mean)
        title = f"<title>{escape(clip(name, 60))}</title>"
        if one.index not in chosen:
            layers["quiet"].append(
                f'<g data-c="{escape(name)}">{title}<path d="M{x} {y}h0M{x} {y}L{u} {v}"/></g>'
            )
            continue
        colour = len(means)
        means.append(Mean(name, colour, _rounded(one.mean[0]), _rounded(one.mean[1])))
        dots = "".join(f"M{i} {j}h0" for i, j in before.tolist())
        cross = "".join(f"M{i - 2} {j - 2}l4 4m0-4l-4 4" for i, j in after.tolist())
        layers["dots"].append(
            f'<g class="k{colour}">{title}<path class="dots" d="{dots}"/><path d="{cross}"/></g>'
        )
        both = np.concatenate([before, after], 1)[one.shown][:ARROWS].tolist()
        layers["ways"].append(
            f'<path class="k{colour}" d="{"".join(f"M{i} {j}L{k} {m}" for i, j, k, m in both)}"/>'
        )
        rings = f'<circle cx="{x}" cy="{y}" r="6"/><circle class="after" cx="{u}" cy="{v}" r="4"/>'
        layers["means"].append(f'<g class="k{colour}"><path d="M{x} {y}L{u} {v}"/>{rings}</g>')
        labels.append(Label(clip(name, 20), colour, ((x, y), (u, v))))
    layers["names"] = _labels(labels)
    ident = f"map{view.index}"
    inside = "".join(f'<g class="{layer}">{"".join(parts)}</g>' for layer, parts in layers.items())
    picture = Markup(
        f'<svg class="map" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{ident}t {ident}d">'
        f'<title id="{ident}t">{escape(f"Map of the features of {view.title}")}</title>'
        f'<desc id="{ident}d">{escape(_described(means))}</desc>{inside}</svg>'
    )
    left_out = len(names) - len(means)
    return Map(view, picture, means, view.labels[-1], plane.said, bool(layers["quiet"]), left_out)


def _labels(wanted: Sequence[Label]) -> list[str]:
    """Names beside their points, the topmost first: as near as leaves all points and other names readable.

    A name that had to go farther away hangs on a line.
    """
    points = [spot for one in wanted for spot in one.spots]
    found, taken = [], [(x - DOT, y - DOT, 2 * DOT, 2 * DOT) for x, y in points]
    for one in sorted(wanted, key=lambda one: one.spots[0][1]):
        (x, y), wide = one.spots[0], LETTER * len(one.name)
        boxes = [
            (left, y + turn * step * LINE // 2 - LINE // 2, wide, LINE)
            for step in range(2 * len(wanted) + 1)
            for turn in (1, -1)
            for left in (x + 9 + 4 * step, x - 9 - 4 * step - wide)
        ]
        inside = [b for b in boxes if 0 <= b[0] <= WIDTH - wide and 0 <= b[1] <= HEIGHT - LINE] or boxes
        box = next((b for b in inside if not any(_overlap(b, other) for other in taken)), inside[0])
        taken.append(box)
        left, top = box[:2]
        end = left - 2 if left > x else left + wide + 2
        far = abs(top + LINE // 2 - y) > LINE // 2 or abs(end - x) > LINE
        line = f'<path d="M{x} {y}L{end} {top + LINE // 2}"/>' if far else ""
        text = f'<text x="{left}" y="{top + LINE - 4}">{escape(one.name)}</text>'
        found.append(f'<g class="k{one.colour}">{line}{text}</g>')
    return found


def _overlap(one: Box, other: Box) -> bool:
    """Do two boxes (left, top, width, height) share any place?"""
    (a, b, c, d), (e, f, g, h) = one, other
    return a < e + g and e < a + c and b < f + h and f < b + d


def _rounded(place: Array) -> tuple[float, float]:
    return float(place[0]), float(place[1])


def _described(means: Sequence[Mean]) -> str:
    """The picture in a sentence, for those who do not see it; the table beside it holds the numbers."""
    far = sorted(means, key=lambda m: -float(np.hypot(*np.subtract(m.after, m.before))))
    names = ", ".join(clip(one.name, 40) for one in far[:3])
    return f"{len(means)} classes as clouds of points. The attack moves these class means most: {names}."


def _chosen(view: View) -> list[int]:
    """The classes drawn in colour: all where they are few, else the least and the most robust ones."""
    names = view.stored.classes
    if len(names) <= FEW:
        return list(range(len(names)))
    ranked = [
        names.index(row.label) for row in view.ranking(view.stored.budgets[-1]) if row.label is not None
    ]
    ranked += [i for i in range(len(names)) if i not in set(ranked)]
    return [*ranked[: FEW // 2 - 1], *ranked[-(FEW // 2 - 1) :]]
