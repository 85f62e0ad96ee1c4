"""Sheets as an HTML table for a notebook's cell, which needs no script, no style and no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from classrob.export.sheet import Sheet, number, sizes, span
from classrob.reading.score import Row


def fragment(sheets: Sequence[Sheet]) -> str:
    """A table a data set; a number's interval and sample size show when the pointer rests on it."""
    return "".join(_table(sheet) for sheet in sheets)


def _table(sheet: Sheet) -> str:
    unit = ", %" if sheet.share else ""
    left = f"; of {sheet.classes} classes, the {sheet.lowest} lowest and highest" if sheet.lowest else ""
    heads = ["all", *map(escape, sheet.columns)]
    tops = [f"<th>{h}<br><small>n = {span(n)}</small></th>" for h, n in zip(heads, sizes(sheet), strict=True)]
    body = "".join(
        f"<tr><th>{escape(line.model)}</th><th>{escape(line.condition)}</th>"
        + "".join(_cell(row, sheet.share) for row in (line.overall, *line.cells))
        + "</tr>"
        for line in sheet.lines
    )
    caption = f"{escape(sheet.title)} on {escape(sheet.dataset)}{unit}, with 95 % intervals{left}"
    head = f"<tr><th>model</th><th>threat</th>{''.join(tops)}</tr>"
    return f"<table><caption>{caption}</caption><thead>{head}</thead><tbody>{body}</tbody></table>"


def _cell(row: Row | None, share: bool) -> str:
    if row is None:
        return "<td>–</td>"
    ends = (
        "" if row.low is None or row.high is None else f"{number(row.low, share)}–{number(row.high, share)}"
    )
    hint = f"{ends + ', ' if ends else ''}n = {row.n}"
    small = f"<br><small>{ends}</small>" if ends else ""
    return f'<td title="{hint}">{number(row.value, share)}{small}</td>'
