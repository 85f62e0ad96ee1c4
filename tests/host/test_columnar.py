"""Rows as columns are the rows that they were made of, and are written as their objects would be."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest

from classrob.cli.tabular import write
from classrob.columnar import Columnar


class Point(NamedTuple):
    """Something with a name and two numbers."""

    name: str | None
    x: float | None
    n: int


POINTS = [Point("a", 0.1, 1), Point(None, None, 2), Point("b|,\n\"c'", 1e-300, 3)]


def test_they_are_the_rows_that_they_were_made_of() -> None:
    columns = Columnar(Point, iter(POINTS[:1]))
    columns.append(POINTS[1])
    columns.extend(Columnar(Point, POINTS[2:]))
    assert list(columns) == POINTS
    assert len(columns) == len(POINTS)
    assert columns[-1] == POINTS[-1]
    assert columns[1:] == POINTS[1:]
    assert list(Columnar(Point, [])) == []


def test_a_column_is_an_array_a_sequence_or_one_thing_for_all() -> None:
    columns = Columnar(Point)
    columns.stack(2, "a", np.array([0.5, np.nan]), range(2))
    columns.stack(1, ("b",), None, np.array([2]))
    assert list(columns) == [Point("a", 0.5, 0), Point("a", None, 1), Point("b", None, 2)]
    assert [type(value) for value in columns[0]] == [str, float, int]


def test_columns_of_different_lengths_are_no_rows() -> None:
    for columns in (("a", [0.5], [1, 2]), ("a", [0.5, 0.5])):
        with pytest.raises(ValueError, match="2 rows of 3 fields"):
            Columnar(Point).stack(2, *columns)


def written(
    capsys: pytest.CaptureFixture[str], style: str, names: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> str:
    write(list(zip(*rows, strict=True)), style, names)
    return capsys.readouterr().out


def test_json_and_csv_are_what_their_libraries_write(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*POINTS, ("é", 0.1 + 0.2, 10**20), ("a", 1.0, True), (None, 1, 1)]
    names = Point._fields
    expected = json.dumps([dict(zip(names, row, strict=True)) for row in rows], ensure_ascii=False)
    assert written(capsys, "json", names, rows) == expected + "\n"
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([names, *rows])
    assert written(capsys, "csv", names, rows) == file.getvalue()
    assert written(capsys, "csv", ["x"], [(None,)]) == 'x\n""\n'


def test_no_zero_has_a_sign(capsys: pytest.CaptureFixture[str]) -> None:
    for style in ("table", "json", "csv", "markdown"):
        text = written(capsys, style, ["x", "y"], [(-0.0, 0.5), (0.0, 0.5)])
        assert "-0" not in text


def test_a_table_is_as_wide_as_its_widest_cell(capsys: pytest.CaptureFixture[str]) -> None:
    assert written(capsys, "table", ["name", "x"], [("a", 1.0), ("longer", None)]) == (
        "name    x\na       1\nlonger  –\n"
    )
    write([[], []], "table", ["name", "x"])
    assert capsys.readouterr().out == "name  x\n"
    write([[], []], "json", ["name", "x"])
    assert capsys.readouterr().out == "[]\n"


def test_markdown_keeps_its_bars(capsys: pytest.CaptureFixture[str]) -> None:
    assert written(capsys, "markdown", ["a|b"], [("c|d",)]) == "| a\\|b |\n| --- |\n| c\\|d |\n"
