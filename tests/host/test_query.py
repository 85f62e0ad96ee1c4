"""SQL that reads and can do nothing else."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from classrob.statistics.intervals import rate

from .conftest import Called


@pytest.fixture
def done(study: Path, cli: Callable[..., Called]) -> Path:
    folder = study.parent / "out"
    assert cli("run", study, "--out", folder).code == 0
    return folder


WRITES = [
    "DELETE FROM record",
    "UPDATE record SET predicted = label",
    "INSERT INTO meta VALUES ('a', 'b')",
    "DROP TABLE record",
    "CREATE TABLE mine (x)",
    "CREATE TEMP TABLE mine (x)",
    "ATTACH 'other.db' AS other",
    "VACUUM INTO 'copy.db'",
    "PRAGMA journal_mode = WAL",
    "PRAGMA writable_schema = 1",
    "BEGIN",
    "SELECT load_extension('x')",
    "SELECT * FROM pragma_database_list",
    "SELECT 1; DELETE FROM record",
    "WITH a AS (SELECT 1) DELETE FROM record",
]


def test_nothing_can_be_written(
    done: Path, cli: Callable[..., Called], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    before = hashlib.sha256((done / "run.sqlite").read_bytes()).hexdigest(), sorted(tmp_path.rglob("*"))
    for sql in WRITES:
        called = cli("query", done, sql)
        assert (called.code, called.out, called.err.count("\n")) == (2, "", 1), sql
    assert (
        hashlib.sha256((done / "run.sqlite").read_bytes()).hexdigest(),
        sorted(tmp_path.rglob("*")),
    ) == before


def test_views_and_functions(done: Path, cli: Callable[..., Called]) -> None:
    sql = """SELECT label, sum(correct) AS hits, count(*) AS n, rate_low(sum(correct), count(*)) AS low,
             rate_high(sum(correct), count(*)) AS high FROM judgement WHERE budget = 0.2 GROUP BY label"""
    rows = json.loads(cli("query", done, sql, "--format", "json").out)
    assert len(rows) == 4
    for row in rows:
        assert (row["low"], row["high"]) == rate(row["hits"], row["n"])
    (row,) = json.loads(
        cli("query", done, "SELECT rate_low(3, 2) a, rate_low('x', 2) b", "--format", "json").out
    )
    assert row == {"a": None, "b": None}
    progress = json.loads(cli("query", done, "SELECT * FROM progress", "--format", "json").out)
    assert [(r["threat"], r["shards"], r["done"], r["samples"]) for r in progress] == [
        ("none", 3, 3, 48),
        ("linf", 3, 3, 48),
        ("l2", 3, 3, 48),
    ]
    for view in ("attempt", "unmeasured"):
        assert cli("query", done, f"SELECT * FROM {view}").code == 0


def test_attempts_have_names(study: Path, cli: Callable[..., Called]) -> None:
    study.write_text(
        study.read_text().replace(
            'attack = { use = "pgd", steps = 8, restarts = 2, random_start = true }', 'attack = "curve"'
        )
    )
    folder = study.parent / "out"
    assert (
        cli(
            "run", study, "--out", folder, "--set", "threat.0.budgets=[0.1]", "--set", "dataset.0.limit=8"
        ).code
        == 0
    )
    sql = "SELECT DISTINCT ensemble, attack, label, typeof(correct) AS kind FROM attempt"
    rows = json.loads(cli("query", folder, sql, "--format", "json").out)
    assert {r["ensemble"] for r in rows} == {"curve"}
    assert {r["label"] for r in rows} <= {"0", "1", "2", "3"}
    assert {r["kind"] for r in rows} == {"integer"}


def test_guards(done: Path, cli: Callable[..., Called]) -> None:
    endless = "WITH RECURSIVE a(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM a) SELECT sum(x) FROM a"
    stopped = cli("query", done, endless, "--seconds", "0.2")
    assert stopped.code == 2
    assert "stopped after 0.2 s" in stopped.err
    cut = cli("query", done, "SELECT * FROM judgement", "--rows", "3", "--format", "csv")
    assert cut.out.count("\n") == 4
    assert "more than 3 rows" in cut.err
    assert cli("query", done, "SELECT zeroblob(1000000000)").code == 2


def test_answers_that_json_can_hold(done: Path, cli: Callable[..., Called]) -> None:
    called = cli(
        "query", done, "SELECT 1 AS a, 2 AS a, x'00ff' AS b, 9e999 AS c, NULL AS d", "--format", "json"
    )
    assert json.loads(called.out) == [{"a": 1, "a_2": 2, "b": "00ff", "c": "inf", "d": None}]
    assert json.loads(cli("query", done, "SELECT 1 AS a WHERE 0", "--format", "json").out) == []


@pytest.mark.parametrize("sql", ["", "SELEC 1", "SELECT * FROM nowhere", "/* nothing */"])
def test_mistakes_are_one_line(done: Path, cli: Callable[..., Called], sql: str) -> None:
    called = cli("query", done, sql)
    assert (called.code, called.err.count("\n")) == (2, 1)


def test_a_damaged_store_is_the_stores_fault(done: Path, cli: Callable[..., Called]) -> None:
    file = done / "run.sqlite"
    with sqlite3.connect(file) as db:
        size = db.execute("PRAGMA page_size").fetchone()[0]
    raw = bytearray(file.read_bytes())
    raw[4 * size :] = b"\xff" * (len(raw) - 4 * size)
    file.write_bytes(raw)
    assert cli("query", done, "SELECT count(*) FROM judgement").code == 5
