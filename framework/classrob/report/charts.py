"""Accuracy over budget as inline SVG: lines with interval bands, on a linear or a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from classrob.report.form import NOTHING, Shown, budget

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
    """One line: a name, style classes, scores (clean, each budget), a key for the script, the class it is of."""

    name: str
    style: str
    points: Points
    key: str = ""
    whose: str = ""


_CURVE = Markup(
    '<svg class="curve" viewBox="0 0 {w:g} {h:g}" role="img" aria-labelledby="{id}-t {id}-d">'
    '<title id="{id}-t">{title}</title><desc id="{id}-d">{text}</desc>{inner}'
    '<line class="chosen" x1="0" x2="0" y1="{top:g}" y2="{foot:g}"/>'
    '<line class="hair" x1="0" x2="0" y1="{top:g}" y2="{foot:g}"/></svg>'
)
_LEVEL = Markup(
    '<line class="grid" x1="{left:g}" x2="{right:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
    '<text class="tick" x="{x:g}" y="{base:.1f}" text-anchor="end">{text}</text>'
)
_TICK = Markup(
    '<line class="notch" x1="{x:.1f}" x2="{x:.1f}" y1="{foot:g}" y2="{end:g}"/>'
    '<text class="tick" x="{x:.1f}" y="{base:g}" text-anchor="middle">{text}</text>'
)
_BREAK = Markup('<path class="break" d="M{:g} {:g}l4 -10m4 0l-4 10"/>')
_NAME = Markup('<text class="tick" x="{:g}" y="{:g}" text-anchor="end">{} →</text>')
_BAND = Markup('<polygon class="{}" points="{} {}"/>')
_LINE = Markup(
    '<g class="series {}" data-key="{}" data-class="{}"><title>{}</title>{}'
    '<path class="line" d="{}"/><path class="dots" d="{}"/></g>'
)
_LEVELS = ((0.0, "0"), (0.25, "25"), (0.5, "50"), (0.75, "75"), (1.0, "100 %"))


def curve(
    series: Sequence[Series], axis: Axis, ident: str, title: str, text: str, under: Markup | None = None
) -> Markup:
    """A chart of series; `under` is drawn first, `title` and `text` are what a screen reader says."""
    inner = Markup().join([_frame(axis), under or "", *(_line(one, axis) for one in series)])
    width, height = axis.size
    return _CURVE.format(
        w=width, h=height, id=ident, title=title, text=text, inner=inner, top=TOP, foot=axis.foot
    )


def _frame(axis: Axis) -> Markup:
    foot, right = axis.foot, axis.size[0] - RIGHT
    lines = [
        _LEVEL.format(left=LEFT, right=right, y=y, x=LEFT - 7, base=y + 4, text=text)
        for y, text in ((axis.height(value), text) for value, text in _LEVELS)
    ]
    lines += [
        _TICK.format(x=x, foot=foot, end=foot + 4, base=foot + 18, text=text) for x, text in axis.ticks()
    ]
    if axis.log:
        lines.append(_BREAK.format(LEFT + 33, foot + 5))
    lines.append(_NAME.format(right, axis.size[1] - 4, "budget (logarithmic)" if axis.log else "budget"))
    return Markup().join(lines)


def band(
    axis: Axis, lows: Sequence[float | None], highs: Sequence[float | None], style: str = "band"
) -> Markup:
    """The area between two lines; where a value is missing, the area has no corner."""
    corners = zip(axis.places, lows, highs, strict=True)
    found = [(x, axis.height(a), axis.height(b)) for x, a, b in corners if a is not None and b is not None]
    there = " ".join(f"{x:.1f},{high:.1f}" for x, _, high in found)
    back = " ".join(f"{x:.1f},{low:.1f}" for x, low, _ in reversed(found))
    return _BAND.format(style, there, back) if found else Markup()


def _line(series: Series, axis: Axis) -> Markup:
    scores = [point or NOTHING for point in series.points]
    spots = [
        (x, axis.height(score.value))
        for x, score in zip(axis.places, scores, strict=True)
        if score.value is not None
    ]
    if not spots:
        return Markup()
    area = band(axis, [score.low for score in scores], [score.high for score in scores])
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
    dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in spots)
    return _LINE.format(series.style, series.key, series.whose, series.name, area, path, dots)
