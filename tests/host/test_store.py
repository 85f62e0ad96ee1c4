"""The store: one file, one transaction a shard, refused when it is not ours, readable while it is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from classrob.errors import StoreError
from classrob.reading.results import Results
from classrob.records import Outcome, Record, Shard
from classrob.store import VERSION, Store

from .conftest import Called


def outcome(key: str, n: int = 3) -> Outcome:
    records = [Record(str(i), 0, None, 0, 1.0, 0.0, 0.0, 0, 1, "clean") for i in range(n)]
    return Outcome(Shard(key, 0, tuple(range(n))), records, {"broken": "no image"})


def test_a_shard_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    bad = Record("x", None, None, 0, 1.0, 0.0, 0.0, 0, 1, "clean")  # type: ignore[arg-type]
    with Store.open(tmp_path / "run.sqlite", write=True) as store:
        store.add(outcome("a"))
        broken = outcome("b")
        broken.records.append(bad)
        with pytest.raises(sqlite3.IntegrityError):
            store.add(broken)
        assert store.done() == {"a"}
        assert store.connection.execute("SELECT count(*) FROM record").fetchone() == (3,)
        with pytest.raises(sqlite3.IntegrityError):
            store.add(outcome("a"))
        assert store.connection.execute("SELECT count(*) FROM record").fetchone() == (3,)


def test_packed_and_unpacked_records_read_alike(study: Path, cli: Callable[..., Called]) -> None:
    folder = study.parent / "out"
    cli("run", study, "--out", folder)
    with Results.open(folder) as results:
        packed = [dict(results.table(c).columns) for c in results.conditions]
    with sqlite3.connect(folder / "run.sqlite") as db:
        assert (
            db.execute("SELECT count(*) FROM pack").fetchone()
            == db.execute("SELECT count(*) FROM shard").fetchone()
        )
        db.execute("DELETE FROM pack")
    db.close()
    with Results.open(folder) as results:
        for stored, before in zip(results.conditions, packed, strict=True):
            now, rows = results.table(stored).columns, results.store.connection
            for name, column in before.items():
                np.testing.assert_array_equal(now[name], column)
            query = (
                "SELECT sample, label, budget, predicted, margin, distance, proposed, spent, queries, basis"
            )
            query += " FROM record JOIN shard s ON s.id = record.shard JOIN plan p ON p.shard = s.key WHERE p.condition = ?"
            names = (
                "sample",
                "label",
                "budget",
                "predicted",
                "margin",
                "distance",
                "proposed",
                "spent",
                "queries",
                "basis",
            )
            written = rows.execute(f"{query} ORDER BY p.position, record.rowid", (stored.id,)).fetchall()
            for name, column in zip(names, zip(*written, strict=True), strict=True):
                np.testing.assert_array_equal(now[name], np.array(column, dtype=now[name].dtype))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE record SET predicted = 1 WHERE sample = '1'",
        "DELETE FROM record WHERE sample = '1'",
        "INSERT INTO record SELECT shard, 'more', 1, NULL, 1, 0.5, 0, NULL, 0, 1, 'clean' FROM record LIMIT 1",
    ],
)
def test_rows_that_were_changed_by_hand_are_not_read_from_the_pack(tmp_path: Path, change: str) -> None:
    path = tmp_path / "run.sqlite"
    with Store.open(path, write=True) as store, store.connection as db:
        db.execute("INSERT INTO condition VALUES (0, 'm', 'd', 'none', NULL, '[]', '[\"a\", \"b\"]', '{}')")
        db.executemany("INSERT INTO plan VALUES (?, 0, ?, 3)", [("a", 0), ("b", 1)])
        store.add(outcome("a"))
        store.add(outcome("b"))

    def read() -> list[tuple[str, int]]:
        with Results.open(tmp_path) as results:
            table = results.table(results.conditions[0])
            return list(zip(table["sample"], table["predicted"].tolist(), strict=True))

    before = read()
    with sqlite3.connect(path) as db:
        db.execute(change)
        query = (
            "SELECT sample, predicted FROM record JOIN shard s ON s.id = shard ORDER BY s.key, record.rowid"
        )
        rows = db.execute(query).fetchall()
    db.close()
    assert read() == rows != before


def test_a_failed_shard_leaves_its_reason_only(tmp_path: Path) -> None:
    with Store.open(tmp_path / "run.sqlite", write=True) as store:
        store.add(Outcome(Shard("a", 0, (0,)), error="it broke", trace="…"))
        assert store.done() == set()
        assert store.connection.execute("SELECT reason FROM failure").fetchall() == [("it broke",)]


def test_a_finished_run_is_one_file(study: Path, cli: Callable[..., Called]) -> None:
    folder = study.parent / "out"
    cli("run", study, "--out", folder)
    cli("show", folder)
    assert {p.name for p in folder.iterdir()} - {"run.lock"} == {"run.sqlite"}


def test_a_reader_may_look_while_a_run_writes(study: Path, cli: Callable[..., Called]) -> None:
    folder = study.parent / "out"
    cli("run", study, "--out", folder)
    with Results.open(folder) as results:
        before = len(results.table(results.conditions[1]))
        with Store.open(folder / "run.sqlite", write=True) as store:
            store.add(outcome("new"))
            assert len(results.table(results.conditions[1])) == before
    with Store.open(folder / "run.sqlite") as store:
        assert "new" in store.done()


def test_reading_never_writes(study: Path, cli: Callable[..., Called]) -> None:
    folder = study.parent / "out"
    cli("run", study, "--out", folder)
    before = (folder / "run.sqlite").read_bytes()
    for command in (["show"], ["report"]):
        assert cli(*command, folder).code == 0
    with (
        Store.open(folder / "run.sqlite") as store,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        store.connection.execute("DELETE FROM record")
    assert (folder / "run.sqlite").read_bytes() == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: sqlite3.connect(path).execute("CREATE TABLE mine (x)"), "not a store of classrob"),
        (lambda path: path.write_bytes(b"x" * 4096), "cannot be used"),
    ],
)
def test_a_strangers_file_is_left_alone(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "run.sqlite"
    made = make(path)
    if isinstance(made, sqlite3.Cursor):
        made.connection.close()
    for write in (False, True):
        with pytest.raises(StoreError, match=message), Store.open(path, write=write):
            pass


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    with Store.open(path, write=True) as store:
        store.connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(StoreError, match=f"version {VERSION + 1}"), Store.open(path):
        pass
