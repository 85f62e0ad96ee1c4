"""The run's store: SQLite, one transaction a shard, so a killed run has lost at most the shards at work."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from classrob.errors import StoreError
from classrob.packing import Pack
from classrob.records import Outcome, Shard

if TYPE_CHECKING:
    from classrob.condition import Condition
    from classrob.plan import Plan

#: Raised when the schema changes; an older store is refused, not migrated, while there is one version.
VERSION = 5
_APPLICATION = 0x636C7262  # "clrb", so that no other SQLite file is taken for a run

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE condition (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, dataset TEXT NOT NULL, threat TEXT NOT NULL, attack TEXT,
    budgets TEXT NOT NULL, classes TEXT NOT NULL, parts TEXT NOT NULL);
CREATE TABLE plan (
    shard TEXT PRIMARY KEY, condition INTEGER NOT NULL, position INTEGER NOT NULL, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE shard (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, seconds REAL NOT NULL, finished TEXT NOT NULL, source TEXT,
    how TEXT NOT NULL);
CREATE TABLE record (
    shard INTEGER NOT NULL REFERENCES shard ON DELETE CASCADE, sample TEXT NOT NULL, label INTEGER NOT NULL,
    budget REAL, predicted INTEGER NOT NULL, margin REAL, distance REAL, proposed REAL, spent INTEGER NOT NULL,
    queries INTEGER NOT NULL, basis TEXT NOT NULL);
CREATE INDEX record_shard ON record (shard);
CREATE TABLE pack (
    shard INTEGER PRIMARY KEY REFERENCES shard ON DELETE CASCADE, names TEXT NOT NULL, rows BLOB NOT NULL);
CREATE TRIGGER record_insert AFTER INSERT ON record BEGIN DELETE FROM pack WHERE shard = NEW.shard; END;
CREATE TRIGGER record_update AFTER UPDATE ON record BEGIN DELETE FROM pack WHERE shard IN (OLD.shard, NEW.shard); END;
CREATE TRIGGER record_delete AFTER DELETE ON record BEGIN DELETE FROM pack WHERE shard = OLD.shard; END;
CREATE TABLE trial (
    shard INTEGER NOT NULL REFERENCES shard ON DELETE CASCADE, sample TEXT NOT NULL, label INTEGER NOT NULL,
    budget REAL, attack TEXT NOT NULL, goal INTEGER, predicted INTEGER NOT NULL,
    margin REAL NOT NULL, distance REAL NOT NULL,
    spent INTEGER NOT NULL, queries INTEGER NOT NULL);
CREATE INDEX trial_shard ON trial (shard);
CREATE TABLE observation (
    shard INTEGER NOT NULL REFERENCES shard ON DELETE CASCADE, sample TEXT, budget REAL, probe TEXT NOT NULL,
    name TEXT NOT NULL, shape TEXT NOT NULL, type TEXT NOT NULL, value BLOB NOT NULL);
CREATE INDEX observation_shard ON observation (shard, name);
CREATE TABLE failure (shard TEXT NOT NULL, sample TEXT, reason TEXT NOT NULL, trace TEXT);
CREATE TABLE example (
    shard INTEGER NOT NULL REFERENCES shard ON DELETE CASCADE, sample TEXT NOT NULL, label INTEGER NOT NULL,
    predicted INTEGER NOT NULL, budget REAL, distance REAL, original BLOB NOT NULL, perturbed BLOB NOT NULL,
    difference BLOB NOT NULL, gain REAL NOT NULL);
CREATE TABLE drawing (
    shard INTEGER NOT NULL REFERENCES shard ON DELETE CASCADE, sample TEXT NOT NULL, budget REAL,
    explainer TEXT NOT NULL, original BLOB NOT NULL, perturbed BLOB NOT NULL, difference BLOB NOT NULL);
CREATE VIEW judgement AS
    SELECT c.model, c.dataset, c.threat, c.attack, r.sample,
           json_extract(c.classes, '$[' || r.label || ']') AS label, r.budget,
           json_extract(c.classes, '$[' || r.predicted || ']') AS predicted,
           r.predicted = r.label AS correct, r.margin, r.distance, r.proposed, r.spent, r.queries, r.basis
    FROM record r JOIN shard s ON s.id = r.shard JOIN plan p ON p.shard = s.key
         JOIN condition c ON c.id = p.condition
    WHERE r.label >= 0;
"""

_RECORD = "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PACK = "INSERT INTO pack VALUES (?, ?, ?)"
_TRIAL = "INSERT INTO trial VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_OBSERVATION = "INSERT INTO observation VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_EXAMPLE = "INSERT INTO example VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_DRAWING = "INSERT INTO drawing VALUES (?, ?, ?, ?, ?, ?, ?)"
#: The tables that hold a shard's rows, in the order in which they are written.
_COPIED = (
    ("record", _RECORD),
    ("pack", _PACK),
    ("trial", _TRIAL),
    ("observation", _OBSERVATION),
    ("example", _EXAMPLE),
    ("drawing", _DRAWING),
)


class Store:
    """A run's SQLite file; opened for reading it is never changed."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self.path = path

    @classmethod
    @contextmanager
    def open(cls, path: Path, *, write: bool = False) -> Iterator[Self]:
        """Open a store; `write` makes it where it is absent.

        Raises:
            StoreError: it is absent, no store of a run, damaged, or of another version.
        """
        if not write and not path.is_file():
            raise StoreError(f"no run in {path.parent}: there is no {path.name}; 'classrob run' makes one")
        mode = "rwc" if write else "ro"
        try:
            connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, timeout=30)
            try:
                connection.execute("PRAGMA foreign_keys = ON")
                _check(connection, path, write)
                yield cls(connection, path)
                if write:
                    _settle(connection)
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise StoreError(f"{path} cannot be used: {error}") from error

    def notes(self) -> dict[str, list[str]]:
        """What the preflight noted, each line with the content addresses of the conditions it is about."""
        row = self.connection.execute("SELECT value FROM meta WHERE name = 'notes'").fetchone()
        return {} if row is None else json.loads(row[0])

    # -- writing ------------------------------------------------------------------------------------

    def begin(self, plan: Plan, meta: dict[str, Any]) -> None:
        """Make a plan the one that the store's readers see; rows of other plans stay for later."""
        with self.connection as db:
            db.execute("DELETE FROM meta")
            db.executemany("INSERT INTO meta VALUES (?, ?)", [(k, json.dumps(v)) for k, v in meta.items()])
            db.execute("DELETE FROM condition")
            db.executemany(
                "INSERT INTO condition VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [_condition(i, c, plan) for i, c in enumerate(plan.conditions)],
            )
            db.execute("DELETE FROM plan")
            db.executemany(
                "INSERT INTO plan VALUES (?, ?, ?, ?)",
                [(s.key, s.condition, i, len(s.indices)) for i, s in enumerate(plan.shards)],
            )
            db.execute("DELETE FROM failure WHERE sample IS NULL")  # failed shards are tried again

    def add(self, outcome: Outcome) -> None:
        """Write a shard's outcome in one transaction; a failed one leaves only its reason."""
        key = outcome.shard.key
        with self.connection as db:
            if outcome.error is not None:
                db.execute("INSERT INTO failure VALUES (?, NULL, ?, ?)", (key, outcome.error, outcome.trace))
                return
            how = {**outcome.how, **({"costs": outcome.costs} if outcome.costs else {})}
            values = (key, outcome.seconds, json.dumps(how))
            row = db.execute(
                "INSERT INTO shard VALUES (NULL, ?, ?, datetime('now'), NULL, ?)", values
            ).lastrowid
            db.executemany(_RECORD, [(row, *record) for record in outcome.records])
            pack = Pack.of(outcome.records)  # after the records, whose change drops what was packed of them
            db.execute(_PACK, (row, pack.names, pack.rows))
            db.executemany(_TRIAL, [(row, *trial) for trial in outcome.trials])
            db.executemany(_OBSERVATION, [(row, *observation) for observation in outcome.observations])
            failures = [(key, sample, reason) for sample, reason in outcome.failures.items()]
            db.executemany("INSERT INTO failure VALUES (?, ?, ?, NULL)", failures)
            examples = [
                (
                    row,
                    e.sample,
                    e.label,
                    e.predicted,
                    e.budget,
                    e.distance,
                    e.original,
                    e.perturbed,
                    e.difference,
                    e.gain,
                )
                for e in outcome.examples
            ]
            db.executemany(_EXAMPLE, examples)
            db.executemany(_DRAWING, [(row, *drawing) for drawing in outcome.drawings])

    def adopt(self, other: Store, keys: Iterable[str]) -> int:
        """Copy finished shards from another run's store; returns how many."""
        count = 0
        for key in keys:
            found = other.connection.execute(
                "SELECT id, seconds, finished, how FROM shard WHERE key = ?", (key,)
            ).fetchone()
            if found is None:
                continue
            with self.connection as db:
                values = (key, found[1], found[2], str(other.path), found[3])
                row = db.execute("INSERT INTO shard VALUES (NULL, ?, ?, ?, ?, ?)", values).lastrowid
                for table, statement in _COPIED:
                    rows = other.connection.execute(f"SELECT * FROM {table} WHERE shard = ?", (found[0],))
                    db.executemany(statement, ((row, *rest) for _, *rest in rows))
                rows = other.connection.execute(
                    "SELECT * FROM failure WHERE shard = ? AND sample IS NOT NULL", (key,)
                )
                db.executemany("INSERT INTO failure VALUES (?, ?, ?, ?)", rows)
            count += 1
        return count

    # -- reading ------------------------------------------------------------------------------------

    def done(self) -> set[str]:
        """The keys of all finished shards, of whatever plan."""
        return {key for (key,) in self.connection.execute("SELECT key FROM shard")}

    def missing(self, shards: Iterable[Shard]) -> list[Shard]:
        """The shards that are not finished."""
        done = self.done()
        return [shard for shard in shards if shard.key not in done]


def _condition(index: int, condition: Condition, plan: Plan) -> tuple[Any, ...]:
    named = {
        "model": condition.model,
        "dataset": condition.dataset,
        "threat": condition.threat,
        "attack": condition.attack,
    }
    parts = {kind: one.part.model_dump(mode="json") for kind, one in named.items()}
    if (certifier := condition.certifier) is not None:
        parts["certifier"] = {"name": certifier.name, **certifier.part.model_dump(mode="json")}
    for one in condition.detections:
        learned = [outliers.name for outliers in one.outliers]
        reference = None if one.reference is None else one.reference.model_dump(mode="json")
        fields = {"column": one.column, "budgets": one.budgets, "reference": reference, "outliers": learned}
        fields |= {"evaded": condition.evaded == one, **one.detector.part.model_dump(mode="json")}
        parts.setdefault(f"detector {one.detector.name}", fields)
    if (stranger := condition.stranger) is not None:
        parts["stranger"] = {"name": stranger.name, **stranger.part.model_dump(mode="json")}
    for watch in condition.watches:
        fields = watch.probe.part.model_dump(mode="json")
        parts[f"probe {watch.probe.name}"] = {"budgets": watch.budgets, **fields}
    for one in condition.explainers:
        parts[f"explainer {one.name}"] = one.part.model_dump(mode="json")
    attack = None if condition.attack.name == "none" else condition.attack.name
    return (
        index,
        condition.model.name,
        condition.dataset.name,
        condition.threat.name,
        attack,
        json.dumps(condition.threat.part.budgets),
        json.dumps(list(plan.samples[condition.dataset.name].classes)),
        json.dumps(parts),
    )


def _check(connection: sqlite3.Connection, path: Path, write: bool) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    empty = not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    if write:
        connection.execute("PRAGMA journal_mode = WAL")  # readers are welcome while a run goes on
    if empty and write:
        with connection as db:  # executescript would commit between statements
            db.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA.strip().rstrip(";").split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {_APPLICATION}")
            db.execute(f"PRAGMA user_version = {VERSION}")
    elif empty or application != _APPLICATION:
        raise StoreError(f"{path} is not a store of classrob; take another folder with --out")
    elif version != VERSION:
        raise StoreError(
            f"{path} has version {version}, this classrob reads {VERSION}; run the study into a new folder"
        )


def _settle(connection: sqlite3.Connection) -> None:
    """Back to a single file, so that a finished run can be copied; a reader at work keeps it as it is."""
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
