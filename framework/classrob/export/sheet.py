"""A metric laid out as a paper prints it: a row for a model under a threat, a column for a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from classrob.errors import UsageError, nearest
from classrob.reading.score import Row
from classrob.report.form import METRICS, budget

#: With more classes than this, only the lowest and the highest have a column.
MOST = 12
#: How many of each.
ENDS = 5


@dataclass(frozen=True)
class Line:
    """A model under a threat at a budget: its score over all classes, and a class's in each column."""

    model: str
    condition: str
    overall: Row | None
    cells: tuple[Row | None, ...]


@dataclass(frozen=True)
class Sheet:
    """A table of one data set.

    Attributes:
        columns: class names. lowest: how many of them are the lowest, where not all are there, else 0.
        classes: how many classes there are.
    """

    dataset: str
    metric: str
    title: str
    share: bool
    columns: tuple[str, ...]
    lowest: int
    classes: int
    lines: tuple[Line, ...]


def sheets(rows: Sequence[Row], metric: str) -> list[Sheet]:
    """A sheet for every data set.

    Raises:
        UsageError: there is no such metric.
    """
    mine = [row for row in rows if row.metric == metric]
    if not mine:
        known = list(dict.fromkeys(row.metric for row in rows))
        raise UsageError(
            f"the run has no metric '{metric}'{nearest(metric, known)} (it has {', '.join(known)})"
        )
    return [
        _sheet(name, metric, [r for r in mine if r.dataset == name])
        for name in dict.fromkeys(r.dataset for r in mine)
    ]


def _sheet(dataset: str, metric: str, rows: Sequence[Row]) -> Sheet:
    unit = METRICS.get(metric)
    classes = list(dict.fromkeys(row.label for row in rows if row.label is not None))
    columns, lowest = classes, 0
    if len(classes) > MOST:
        means = _means(rows)
        ordered = sorted(classes, key=lambda name: means[name])
        columns, lowest = [*ordered[:ENDS], *ordered[-ENDS:]], ENDS
    lines: list[Line] = []
    keys = dict.fromkeys((r.model, r.threat, r.attack, r.budget) for r in rows)
    attacks = {key[2] for key in keys if key[2] is not None}
    cells = {(r.model, r.threat, r.attack, r.budget, r.label): r for r in rows}
    for model, threat, attack, level in keys:
        words = ["all threats" if threat is None else "clean" if threat == "none" else threat]
        words += [] if level is None else [budget(level)]
        words += [f"({attack})"] if attack is not None and len(attacks) > 1 else []
        found = [cells.get((model, threat, attack, level, label)) for label in (None, *columns)]
        lines.append(Line(model, " ".join(words), found[0], tuple(found[1:])))
    title = metric if unit is None else unit.title
    return Sheet(
        dataset,
        metric,
        title,
        unit is not None and unit.share,
        tuple(columns),
        lowest,
        len(classes),
        tuple(lines),
    )


def _means(rows: Sequence[Row]) -> dict[str, float]:
    """Each class's mean over all lines; a class without a number counts as the lowest."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row.label is not None:
            values.setdefault(row.label, []).append(-1.0 if row.value is None else row.value)
    return {label: sum(found) / len(found) for label, found in values.items()}


def number(value: float | None, share: bool) -> str:
    """A share in per cent with one digit, `53.4`; another number with four."""
    if value is None:
        return "–"
    return f"{100 * value:.1f}" if share else f"{value:.4g}"


def sizes(sheet: Sheet) -> list[tuple[int, ...]]:
    """For all classes and for each column: the sample sizes of its scores, ascending."""
    columns = zip(*((line.overall, *line.cells) for line in sheet.lines), strict=True)
    return [tuple(sorted({row.n for row in column if row is not None})) for column in columns]


def span(found: tuple[int, ...]) -> str:
    """Sample sizes as text: `100`, or `98–100` where lines differ."""
    return "" if not found else f"{found[0]}" if len(found) == 1 else f"{found[0]}–{found[-1]}"
