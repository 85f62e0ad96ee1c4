"""Sheets as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

from classrob.export.sheet import Sheet, number, sizes, span
from classrob.reading.score import Row


def markdown(sheets: Sequence[Sheet]) -> str:
    """A table a data set, below a line that says what it shows."""
    return "\n".join(_table(sheet) for sheet in sheets)


def _table(sheet: Sheet) -> str:
    unit = ", %" if sheet.share else ""
    left = f"; of {sheet.classes} classes, the {sheet.lowest} lowest and highest" if sheet.lowest else ""
    lines = [f"**{escaped(sheet.title)}** on {escaped(sheet.dataset)}{unit} (95 % interval){left}", ""]
    ns = sizes(sheet)
    heads = ["all", *map(escaped, sheet.columns)]
    lines.append(_row(["model", "threat", *(f"{h} (n = {span(n)})" for h, n in zip(heads, ns, strict=True))]))
    lines.append(_row(["---"] * 2 + ["---:"] * len(heads)))
    for line in sheet.lines:
        cells = [_score(row, sheet.share) for row in (line.overall, *line.cells)]
        lines.append(_row([escaped(line.model), escaped(line.condition), *cells]))
    return "\n".join([*lines, ""])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _score(row: Row | None, share: bool) -> str:
    if row is None:
        return "–"
    ends = (
        ""
        if row.low is None or row.high is None
        else f" ({number(row.low, share)}–{number(row.high, share)})"
    )
    return number(row.value, share) + ends


def escaped(name: str) -> str:
    """A name as Markdown shows it: nothing in it is a mark or HTML."""
    text = " ".join(name.split())
    text = "".join(c if c.isprintable() else "�" for c in text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{c}" if c in "\\`*_{}[]|#~" else c for c in text)
