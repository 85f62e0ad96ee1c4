"""Accuracy over budget as inline SVG: lines with interval bands, on a linear or a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from classrob.report.form import Shown, budget

#: The picture's size for a whole column, and for half a one.
WHOLE, HALF = (780.0, 360.0), (460.0, 270.0)
LEFT, RIGHT, TOP, BOTTOM = 50.0, 16.0, 12.0, 46.0
#: Budgets spanning more than this ratio get a logarithmic axis.
WIDE = 30.0

Points = Sequence[Shown | None]


@dataclass(frozen=True)
class Axis:
    """Where the clean images (first) and each budget lie, in the picture's units."""

    places: tuple[float, ...]
    labels: tuple[str, ...]
    log: bool
    size: tuple[float, float]

    @classmethod
    def of(cls, budgets: Sequence[float], size: tuple[float, float] = WHOLE) -> Axis:
        """Linear from 0; logarithmic, with the clean images set apart, where budgets span a wide range."""
        right = size[0] - RIGHT - 10
        log = len(budgets) > 2 and budgets[-1] / budgets[0] > WIDE
        if log:
            first, span = LEFT + 64, math.log(budgets[-1] / budgets[0])
            places = [first + (right - first) * math.log(b / budgets[0]) / span for b in budgets]
        else:
            places = [LEFT + 10 + (right - LEFT - 10) * b / budgets[-1] for b in budgets]
        return cls((LEFT + 10, *places), ("clean", *map(budget, budgets)), log, size)

    def ticks(self, apart: float = 44.0) -> list[tuple[float, str]]:
        """The labels that fit: clean, the largest, and what lies far enough from those before."""
        found = [(self.places[0], self.labels[0])]
        last = self.places[-1]
        for place, label in zip(self.places[1:-1], self.labels[1:-1], strict=True):
            if place - found[-1][0] >= apart and last - place >= apart:
                found.append((place, label))
        return [*found, (last, self.labels[-1])]

    @property
    def foot(self) -> float:
        """Where a share of 0 lies."""
        return self.size[1] - BOTTOM

    def height(self, value: float) -> float:
        """Where a share lies, in the picture's units."""
        return TOP + (1.0 - value) * (self.foot - TOP)


@dataclass(frozen=True)
class Series:
    """One line: a name, the style classes, a key for the script, and a score for clean and each budget."""

    name: str
    style: str
    points: Points
    key: str = ""


def curve(series: Sequence[Series], axis: Axis, ident: str, title: str, text: str, under: Markup = Markup()) -> Markup:
    """A chart of series; `under` is drawn first, `title` and `text` are what a screen reader says."""
    inner = Markup().join([_frame(axis), under, *(_line(one, axis) for one in series)])
    return Markup(
        '<svg class="curve" viewBox="0 0 {w:g} {h:g}" role="img" aria-labelledby="{id}-t {id}-d">'
        '<title id="{id}-t">{title}</title><desc id="{id}-d">{text}</desc>{inner}'
        '<line class="chosen" x1="0" x2="0" y1="{top:g}" y2="{foot:g}"/><line class="hair" x1="0" x2="0" '
        'y1="{top:g}" y2="{foot:g}"/></svg>'
    ).format(w=axis.size[0], h=axis.size[1], id=ident, title=title, text=text, inner=inner, top=TOP, foot=axis.foot)


def _frame(axis: Axis) -> Markup:
    foot, right = axis.foot, axis.size[0] - RIGHT
    lines = [
        Markup('<line class="grid" x1="{:g}" x2="{:g}" y1="{:.1f}" y2="{:.1f}"/><text class="tick" x="{:g}" y="{:.1f}" '
               'text-anchor="end">{}</text>').format(LEFT, right, axis.height(v), axis.height(v), LEFT - 7, axis.height(v) + 4, t)
        for v, t in ((0.0, "0"), (0.25, "25"), (0.5, "50"), (0.75, "75"), (1.0, "100 %"))
    ]  # fmt: skip
    for place, label in axis.ticks():
        lines.append(
            Markup('<line class="notch" x1="{:.1f}" x2="{:.1f}" y1="{:g}" y2="{:g}"/><text class="tick" x="{:.1f}" '
                   'y="{:g}" text-anchor="middle">{}</text>').format(place, place, foot, foot + 4, place, foot + 18, label)
        )  # fmt: skip
    if axis.log:
        gap = LEFT + 37
        lines.append(
            Markup('<path class="break" d="M{:g} {:g}l4 -10m4 0l-4 10"/>').format(gap - 4, foot + 5)
        )
    name = "budget (logarithmic)" if axis.log else "budget"
    lines.append(
        Markup('<text class="tick name" x="{:g}" y="{:g}" text-anchor="end">{} →</text>').format(
            right, axis.size[1] - 4, name
        )
    )
    return Markup().join(lines)


def band(axis: Axis, lows: Sequence[float | None], highs: Sequence[float | None], style: str = "band") -> Markup:
    """The area between two lines; where a value is missing, the area has no corner."""
    found = [(x, a, b) for x, a, b in zip(axis.places, lows, highs, strict=True) if a is not None and b is not None]
    if not found:
        return Markup()
    there = " ".join(f"{x:.1f},{axis.height(b):.1f}" for x, _, b in found)
    back = " ".join(f"{x:.1f},{axis.height(a):.1f}" for x, a, _ in reversed(found))
    return Markup('<polygon class="{}" points="{} {}"/>').format(style, there, back)


def _line(series: Series, axis: Axis) -> Markup:
    scores = [point if point is not None and point.value is not None else None for point in series.points]
    area = band(axis, [s.low if s else None for s in scores], [s.high if s else None for s in scores])
    spots = [(x, axis.height(s.value)) for x, s in zip(axis.places, scores, strict=True) if s and s.value is not None]
    if not spots:
        return Markup()
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
    dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in spots)
    return Markup(
        '<g class="series {}" data-key="{}"><title>{}</title>{}<path class="line" d="{}"/><path class="dots" d="{}"/></g>'
    ).format(series.style, series.key, series.name, area, path, dots)
