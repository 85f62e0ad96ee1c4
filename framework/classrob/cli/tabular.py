"""Rows to standard output: as an aligned table, JSON, CSV or Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

import click

#: The option that every reading command takes.
FORMAT = click.option(
    "--format",
    "style",
    type=click.Choice(["table", "json", "csv", "markdown"]),
    default="table",
    show_default=True,
    help="How rows are written to standard output.",
)


def emit(rows: Sequence[dict[str, Any]], style: str, columns: Sequence[str] | None = None) -> None:
    """Write rows that share their keys; JSON is a list of objects, and nothing else goes with it."""
    names = list(columns or (rows[0] if rows else ()))
    match style:
        case "json":
            click.echo(
                json.dumps([{n: row[n] for n in names} for row in rows], ensure_ascii=False, allow_nan=False)
            )
        case "csv":
            file = io.StringIO()
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(names)
            writer.writerows([["" if row[n] is None else row[n] for n in names] for row in rows])
            click.echo(file.getvalue(), nl=False)
        case "markdown":
            cells = [names, ["---"] * len(names), *zip(*_columns(rows, names), strict=True)]
            _echo(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in line)} |" for line in cells)
        case _:
            columns = [[name, *column] for name, column in zip(names, _columns(rows, names), strict=True)]
            padded = [map(str.ljust, column, repeat(max(map(len, column)))) for column in columns]
            _echo("  ".join(line).rstrip() for line in zip(*padded, strict=True))


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "�" for c in text)  # names come from outside: no control codes


def _columns(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> Iterator[list[str]]:
    """Each column as text; a name that occurs a thousand times is written once."""
    for name in names:
        values = [row[name] for row in rows]
        texts = {value: _cell(value) for value in {v for v in values if isinstance(v, str)}}
        yield [texts[v] if isinstance(v, str) else _cell(v) for v in values]


def _echo(lines: Iterable[str]) -> None:
    """All lines in one piece: a call for each costs more than the rest of them."""
    click.echo("".join(f"{line}\n" for line in lines), nl=False)
