"""Rows to standard output: as an aligned table, JSON, CSV or Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import isfinite
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
    write([[row[name] for row in rows] for name in names], style, names)


def write(columns: Sequence[Sequence[Any]], style: str, names: Sequence[str]) -> None:
    """Write rows by their columns, each of which has a name."""
    pairs = zip(names, columns, strict=True)
    match style:
        case "json":
            # keys and values written one by one, the same as `json.dumps` of a list of objects, but sooner
            objects = _lines((_texts(c, partial(_keyed, f"{_json(name)}: ")) for name, c in pairs), ", ")
            click.echo(f"[{', '.join(f'{{{one}}}' for one in objects)}]")
        case "csv":
            file = io.StringIO()
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(names)
            writer.writerows(zip(*(_texts(column, _plain) for column in columns), strict=True))
            click.echo(file.getvalue(), nl=False)
        case "markdown":
            cells = ([*_barred([name]), "---", *_texts(c, _barred)] for name, c in pairs)
            _echo(f"| {line} |" for line in _lines(cells, " | "))
        case _:
            _echo(map(str.rstrip, _lines((_padded(name, c) for name, c in pairs), "  ")))


def _lines(columns: Iterable[Sequence[str]], between: str) -> Iterator[str]:
    return map(between.join, zip(*columns, strict=True))


def _texts(values: Sequence[Any], text: Callable[[Sequence[Any]], Iterable[str]]) -> list[str]:
    """Values as text, each made once: a name or a rate may occur a thousand times."""
    kinds = set(map(type, values)) - {type(None)}
    if len(kinds) > 1 or not kinds <= {str, int, float}:  # 1 and 1.0 are equal, and written differently
        return list(text(values))
    distinct = list(dict.fromkeys(values))
    known = dict(zip(distinct, text(distinct), strict=True))
    return list(map(known.__getitem__, values))


def _keyed(key: str, values: Sequence[Any]) -> Iterator[str]:
    """Values as JSON after their key."""
    return map(key.__add__, map(_json, values))


def _json(value: Any) -> str:
    if type(value) is float and isfinite(value):
        return repr(value + 0.0)  # 0 has no sign
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _plain(values: Sequence[Any]) -> Iterator[str]:
    """Values as the CSV writer has them; None is written as nothing."""
    return ("" if v is None else repr(v + 0.0) if type(v) is float else str(v) for v in values)


def _barred(values: Sequence[Any]) -> Iterator[str]:
    return (_cell(value).replace("|", "\\|") for value in values)


def _padded(name: str, values: Sequence[Any]) -> list[str]:
    """A column under its name, every cell as wide as the widest."""
    name = _cell(name)

    def padded(values: Sequence[Any]) -> list[str]:
        cells = [_cell(value) for value in values]
        width = max(map(len, [name, *cells]))
        return [cell.ljust(width) for cell in cells]

    texts = _texts(values, padded)
    return [name.ljust(len(texts[0]) if texts else 0), *texts]


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
