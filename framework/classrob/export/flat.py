"""Rows as CSV, which no spreadsheet runs as a formula, and as Parquet, which keeps names as they are."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from classrob.reading.results import Results
from classrob.reading.score import Row

_TEXT = ("model", "dataset", "threat", "attack", "detector", "metric", "label")
_SCORE = pa.schema(
    [
        (name, pa.int64() if name == "n" else pa.string() if name in _TEXT else pa.float64())
        for name in Row._fields
    ]
)
_JUDGEMENT = pa.schema(
    [
        ("model", pa.string()),
        ("dataset", pa.string()),
        ("threat", pa.string()),
        ("attack", pa.string()),
        ("sample", pa.string()),
        ("label", pa.string()),
        ("budget", pa.float64()),
        ("predicted", pa.string()),
        ("correct", pa.bool_()),
        ("margin", pa.float64()),
        ("distance", pa.float64()),
        ("proposed", pa.float64()),
        ("spent", pa.int64()),
        ("queries", pa.int64()),
        ("basis", pa.string()),
    ]
)
#: What makes a spreadsheet take a text for a formula, when it comes first.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def score_rows(rows: Sequence[Row]) -> pa.Table:
    """The rows of `show`."""
    columns = [[getattr(row, name) for row in rows] for name in _SCORE.names]
    return pa.Table.from_arrays([_column(c, f) for c, f in zip(columns, _SCORE, strict=True)], schema=_SCORE)


def judgements(results: Results) -> pa.Table:
    """The rows of the store's view `judgement`, in the order of conditions and samples."""
    parts: list[pa.Table] = []
    for condition in results.conditions:
        table = results.table(condition)
        n = len(table)
        names = {"model": condition.model, "dataset": condition.dataset, "threat": condition.threat}
        columns: dict[str, Any] = {key: pa.repeat(pa.scalar(_valid(name)), n) for key, name in names.items()}
        columns["attack"] = pa.repeat(
            pa.scalar(condition.attack and _valid(condition.attack), pa.string()), n
        )
        classes = [_valid(name) for name in condition.classes]
        for key in ("label", "predicted"):
            columns[key] = pa.array([classes[i] for i in table[key].tolist()], pa.string())
        columns["correct"] = pa.array(table["label"] == table["predicted"])
        for field in _JUDGEMENT:
            if field.name not in columns:
                columns[field.name] = pa.array(table[field.name], field.type, from_pandas=True)
        parts.append(pa.Table.from_arrays([columns[name] for name in _JUDGEMENT.names], schema=_JUDGEMENT))
    return pa.concat_tables(parts) if parts else _JUDGEMENT.empty_table()


def _column(values: list[Any], field: pa.Field) -> pa.Array:
    return pa.array([_valid(v) if isinstance(v, str) else v for v in values], field.type)


def _valid(text: str) -> str:
    """The text without lone surrogates, which no UTF-8 file holds."""
    return text.encode("utf-8", "replace").decode()


def parquet_of(table: pa.Table) -> bytes:
    """A Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def csv_of(table: pa.Table) -> bytes:
    """A CSV file in UTF-8; a text that a spreadsheet would run has an apostrophe before it."""
    file = io.StringIO()
    writer = csv.writer(file)  # ends lines as RFC 4180 says, and so quotes both of their characters
    writer.writerow(table.column_names)
    for batch in table.to_batches(max_chunksize=10_000):
        writer.writerows(
            zip(*([_cell(v) for v in column.to_pylist()] for column in batch.columns), strict=True)
        )
    return file.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return "" if value is None else int(value) if isinstance(value, bool) else value
