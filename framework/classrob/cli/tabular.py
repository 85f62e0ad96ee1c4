"""Rows to standard output: as an aligned table, JSON, CSV or Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import add
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
            # keys and values written one by one, the same as `json.dumps` of a list of objects, but sooner
            keys = [f"{_json(name)}: " for name in names]
            objects = (", ".join(map(add, keys, line)) for line in _lines(rows, names, _json))
            click.echo(f"[{', '.join(f'{{{one}}}' for one in objects)}]")
        case "csv":
            file = io.StringIO()
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(names)
            writer.writerows(rows)  # None is written as nothing
            click.echo(file.getvalue(), nl=False)
        case "markdown":
            lines = [names, ["---"] * len(names), *_lines(rows, names, _cell)]
            _echo(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in line)} |" for line in lines)
        case _:
            padded = map(_padded, names, _columns(rows, names))
            _echo("  ".join(line).rstrip() for line in zip(*padded, strict=True))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _lines(
    rows: Sequence[tuple[Any, ...]], names: Sequence[str], text: Callable[[Any], str]
) -> Iterable[tuple[str, ...]]:
    return zip(*(_texts(column, text) for column in _columns(rows, names)), strict=True)


def _columns(rows: Sequence[tuple[Any, ...]], names: Sequence[str]) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) if rows else [()] * len(names)


def _texts(values: Sequence[Any], text: Callable[[Any], str]) -> list[str]:
    """Values as text, each made once: a name or a rate may occur a thousand times."""
    kinds = set(map(type, values)) - {type(None)}
    if len(kinds) > 1 or not kinds <= {str, int, float}:  # 1 and 1.0 are equal, and written differently
        return list(map(text, values))
    known = {value: text(value) for value in dict.fromkeys(values)}
    return list(map(known.__getitem__, values))


def _padded(name: str, values: Sequence[Any]) -> list[str]:
    """A column under its name, every cell as wide as the widest."""
    texts = [name, *_texts(values, _cell)]
    width = max(map(len, set(texts)))
    return _texts(texts, lambda text: text.ljust(width))


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
