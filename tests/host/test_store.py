"""The store: one file, one transaction a shard, refused when it is not ours, readable while it is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from classrob.errors import StoreError
from classrob.records import Outcome, Record, Shard
from classrob.results import Results
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
