"""How it was measured: the study, the parts, the verdicts and their price, as the page's end shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from classrob.reading.results import Results
from classrob.records import BASES
from classrob.report.facts import View


def toml(study: Mapping[str, Any]) -> str:
    """A study as its file would read."""
    plain = {k: v for k, v in study.items() if not _tables(v)}
    blocks = ["\n".join(_assignment(k, v) for k, v in plain.items() if v not in (None, [], {}))]
    for kind, entries in study.items():
        for entry in entries if _tables(entries) else ():
            blocks.append("\n".join([f"[[{kind}]]", *_entry(kind, entry)]))
    return "\n\n".join(block for block in blocks if block)


def _tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _entry(kind: str, entry: Mapping[str, Any]) -> list[str]:
    plain = [_assignment(k, v) for k, v in entry.items() if v is not None and not isinstance(v, dict)]
    for key, value in entry.items():
        if isinstance(value, dict):
            plain += ["", f"[{kind}.{key}]", *(_assignment(k, v) for k, v in value.items() if v is not None)]
    return plain


def _assignment(key: str, value: Any) -> str:
    return f"{key} = {_value(value)}"


def _value(value: Any) -> str:
    match value:
        case dict():
            return f"{{{', '.join(_assignment(k, v) for k, v in value.items())}}}"
        case list() | tuple():
            return f"[{', '.join(_value(v) for v in value)}]"
        case _:
            return json.dumps(value, ensure_ascii=False)


def parts(views: Sequence[View], base: str) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Every part once: its kind, its name, its fields; files beside the study without their folder."""
    found: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for view in views:
        stored = view.stored
        names = {
            "model": stored.model,
            "dataset": stored.dataset,
            "threat": stored.threat,
            "attack": stored.attack,
            "certifier": stored.parts.get("certifier", {}).get("name"),
        }
        for kind, fields in stored.parts.items():
            rows = [(field, _field(value, base)) for field, value in fields.items() if value is not None]
            found.setdefault((kind, names.get(kind) or "none", json.dumps(rows)), rows)
    order = {kind: i for i, kind in enumerate(("model", "dataset", "threat", "attack", "certifier"))}
    items = sorted(found.items(), key=lambda item: order.get(item[0][0], len(order)))
    return [(kind, name, rows) for (kind, name, _), rows in items]


def _field(value: Any, base: str) -> str:
    text = _value(value)
    return text.replace(f'"{json.dumps(base)[1:-1]}/', '"') if base else text


def bases(views: Sequence[View]) -> list[tuple[str, int, str]]:
    """What verdicts rest on: the word, how many, and its meaning."""
    total: dict[str, int] = {}
    for view in views:
        for basis, n in view.bases.items():
            total[basis] = total.get(basis, 0) + n
    known = [(basis, total.pop(basis), text) for basis, text in BASES.items() if basis in total]
    return [*known, *((basis, n, "") for basis, n in sorted(total.items()))]


def times(results: Results) -> tuple[str, str, float]:
    """When the first and the last shard finished (UTC), and the seconds that all took together."""
    query = """SELECT min(s.finished), max(s.finished), total(s.seconds)
               FROM plan p JOIN shard s ON s.key = p.shard"""
    first, last, seconds = results.store.connection.execute(query).fetchone()
    return first or "", last or "", seconds


def manners(results: Results) -> list[dict[str, Any]]:
    """How each model was run, each way once: batch size, threads, layout, and shards that ran so."""
    query = """SELECT c.model, json_extract(s.how, '$.batch_size'), json_extract(s.how, '$.threads'),
                      json_extract(s.how, '$.channels_last'), count(*)
               FROM plan p JOIN shard s ON s.key = p.shard JOIN condition c ON c.id = p.condition
               WHERE s.how != '{}' GROUP BY 1, 2, 3, 4 ORDER BY min(c.id), 2, 3"""
    names = ("model", "batch_size", "threads", "channels_last", "shards")
    return [dict(zip(names, row, strict=True)) for row in results.store.connection.execute(query)]
