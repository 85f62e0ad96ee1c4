"""Rows to standard output: as an aligned table, JSON, CSV or Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
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


def emit(rows: Sequence[Mapping[str, Any]], style: str, columns: Sequence[str] | None = None) -> None:
    """Write rows that share their keys; JSON is a list of objects, and nothing else goes with it."""
    names = list(columns or (rows[0] if rows else ()))
    write([tuple(row[name] for name in names) for row in rows], style, names)


def write(rows: Sequence[tuple[Any, ...]], style: str, names: Sequence[str]) -> None:
    """Write rows of as many values as there are names."""
    match style:
        case "json":
            objects = [dict(zip(names, row, strict=True)) for row in rows]
            click.echo(json.dumps(objects, ensure_ascii=False, allow_nan=False))
        case "csv":
            file = io.StringIO()
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(names)
            writer.writerows(rows)  # None is written as nothing
            click.echo(file.getvalue(), nl=False)
        case "markdown":
            lines = [names, ["---"] * len(names), *zip(*map(_texts, _columns(rows, names)), strict=True)]
            _echo(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in line)} |" for line in lines)
        case _:
            padded = (
                _texts(values, name, pad=True)
                for name, values in zip(names, _columns(rows, names), strict=True)
            )
            _echo("  ".join(line).rstrip() for line in zip(*padded, strict=True))


def _columns(rows: Sequence[tuple[Any, ...]], names: Sequence[str]) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) if rows else [()] * len(names)


def _texts(values: Sequence[Any], name: str = "", pad: bool = False) -> list[str]:
    """Values as text, each made once: a name or a rate may occur a thousand times; padded, after the name."""
    kinds = set(map(type, values)) - {type(None)}
    alike = len(kinds) <= 1 and kinds <= {str, int, float}  # 1 and 1.0 are equal, and written differently
    if not alike:
        texts = list(map(_cell, values))
        width = max(map(len, [name, *texts])) if pad else 0
        return [text.ljust(width) for text in ([name, *texts] if pad else texts)]
    known = {value: _cell(value) for value in dict.fromkeys(values)}
    if not pad:
        return list(map(known.__getitem__, values))
    width = max(map(len, [name, *known.values()]))
    padded = {value: text.ljust(width) for value, text in known.items()}
    return [name.ljust(width), *map(padded.__getitem__, values)]


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    text = f"{value + 0.0:.4g}" if isinstance(value, float) else str(value)  # 0 has no sign
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "�" for c in text)  # names come from outside: no control codes


def _echo(lines: Iterable[str]) -> None:
    """All lines in one piece: a call for each costs more than the rest of them."""
    click.echo("\n".join([*lines, ""]), nl=False)
