"""Rows to standard output: as an aligned table, JSON, CSV or Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
            padded = map(_padded, names, _columns(rows, names))
            _echo("  ".join(line).rstrip() for line in zip(*padded, strict=True))


def _columns(rows: Sequence[tuple[Any, ...]], names: Sequence[str]) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) if rows else [()] * len(names)


class _Written(dict[Any, str]):
    """Values as text, each made when it is first asked for: a name or a rate may occur a thousand times."""

    def __missing__(self, value: Any) -> str:
        self[value] = text = _cell(value)
        return text


def _texts(values: Sequence[Any]) -> list[str]:
    kinds = set(map(type, values)) - {type(None)}
    alike = len(kinds) == 1 and kinds <= {str, int, float}  # 1 and 1.0 are equal, and written differently
    return list(map(_Written().__getitem__ if alike else _cell, values))


def _padded(name: str, values: Sequence[Any]) -> Iterator[str]:
    """A column under its name, every cell as wide as the widest."""
    texts = [name, *_texts(values)]
    return map(str.ljust, texts, repeat(max(map(len, texts))))


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
