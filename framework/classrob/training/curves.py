"""The learning curves of a training as one SVG picture that loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from markupsafe import Markup

from classrob.training.course import Mark

#: A panel's width, height and margins, in pixels.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, FOOT = 360, 210, 58, 14, 34, 30
_COLOURS = ("#1f5fa8", "#c2571a")

_PICTURE = Markup(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" '
    'font-family="system-ui, sans-serif" font-size="12"><title>{title}</title>'
    '<rect width="{w}" height="{h}" fill="#ffffff"/>{inner}</svg>\n'
)
_PANEL = Markup('<g transform="translate({x} {y})">{inner}</g>')
_NAME = Markup('<text x="{x}" y="20" fill="{colour}">{name}</text>')
_LEVEL = Markup(
    '<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d5d8dc"/>'
    '<text x="{x}" y="{base:.1f}" text-anchor="end" fill="#444444">{text}</text>'
)
_EPOCH = Markup('<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" fill="#444444">{text}</text>')
_LINE = Markup('<polyline fill="none" stroke="{colour}" stroke-width="1.8" points="{points}"/>{dots}')
_DOT = Markup('<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}" fill="{colour}"/>')


def curves(history: Sequence[Mark], title: str) -> str:
    """A panel a value, over epochs; a value and the same of the images held out share one."""
    names = list(dict.fromkeys(name for mark in history for name in mark.values))
    panels = [
        [name, *(other for other in names if other == f"held-out {name}")]
        for name in names
        if name.removeprefix("held-out ") == name or name.removeprefix("held-out ") not in names
    ]
    columns = min(2, max(1, len(panels)))
    lines = -(-len(panels) // columns)
    inner = Markup().join(
        _PANEL.format(x=WIDTH * (i % columns), y=HEIGHT * (i // columns), inner=_panel(history, panel))
        for i, panel in enumerate(panels)
    )
    return str(_PICTURE.format(w=WIDTH * columns, h=HEIGHT * max(1, lines), title=title, inner=inner))


def _panel(history: Sequence[Mark], names: Sequence[str]) -> Markup:
    lines = {name: _points(history, name) for name in names}
    values = [value for points in lines.values() for _, value in points] or [0.0]
    low, high = min(values), max(values)
    if names[0].endswith("accuracy"):
        low, high = 0.0, 1.0
    if high == low:
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    last = max(mark.epoch for mark in history) if history else 1

    def place(epoch: int, value: float) -> tuple[float, float]:
        across = (epoch - 1) / max(1, last - 1)
        up = (value - low) / (high - low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), TOP + (1 - up) * (HEIGHT - TOP - FOOT)

    found = [
        _LEVEL.format(
            left=LEFT,
            right=WIDTH - RIGHT,
            y=(y := place(1, level)[1]),
            x=LEFT - 6,
            base=y + 4,
            text=f"{level:.3g}",
        )
        for level in (low, (low + high) / 2, high)
    ]
    for text, anchor, x in ((1, "start", LEFT), (f"epoch {last}", "end", WIDTH - RIGHT)):
        found.append(_EPOCH.format(x=x, y=HEIGHT - 10, anchor=anchor, text=text))
    offset = LEFT
    for colour, (name, points) in zip(_COLOURS, lines.items(), strict=False):
        found.append(_NAME.format(x=offset, colour=colour, name=name))
        offset += 8 * len(name) + 16
        spots = [place(epoch, value) for epoch, value in points]
        radius = 3.0 if len(spots) == 1 else 1.6
        dots = Markup().join(_DOT.format(x=x, y=y, r=radius, colour=colour) for x, y in spots)
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        found.append(_LINE.format(colour=colour, points=joined, dots=dots))
    return Markup().join(found)


def _points(history: Sequence[Mark], name: str) -> list[tuple[int, float]]:
    return [
        (mark.epoch, mark.values[name])
        for mark in history
        if name in mark.values and isfinite(mark.values[name])
    ]
