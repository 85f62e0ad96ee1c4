"""SQL over a run's store that can only read: no statement writes, attaches, or runs for ever."""

from __future__ import annotations

import math
import sqlite3
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from classrob.errors import UsageError
from classrob.reading.results import Results
from classrob.statistics.intervals import rate

#: Views beside the store's own `judgement`, for this connection alone.
VIEWS = """
CREATE TEMP VIEW attempt AS
    SELECT c.model, c.dataset, c.threat, c.attack AS ensemble, t.sample,
           json_extract(c.classes, '$[' || t.label || ']') AS label, t.budget, t.attack,
           json_extract(c.classes, '$[' || t.goal || ']') AS goal,
           json_extract(c.classes, '$[' || t.predicted || ']') AS predicted,
           t.predicted = t.label AS correct, t.margin, t.distance, t.spent, t.queries
    FROM main.trial t JOIN main.shard s ON s.id = t.shard JOIN main.plan p ON p.shard = s.key
         JOIN main.condition c ON c.id = p.condition;
CREATE TEMP VIEW unmeasured AS
    SELECT c.model, c.dataset, c.threat, c.attack, f.sample, f.reason
    FROM main.failure f JOIN main.plan p ON p.shard = f.shard JOIN main.condition c ON c.id = p.condition;
CREATE TEMP VIEW progress AS
    SELECT c.model, c.dataset, c.threat, c.attack, count(*) AS shards, count(s.id) AS done,
           sum(p.n) AS samples, sum(s.seconds) AS seconds
    FROM main.condition c JOIN main.plan p ON p.condition = c.id LEFT JOIN main.shard s ON s.key = p.shard
    GROUP BY c.id;
"""

#: What a statement may do; everything else is refused before it runs.
_ALLOWED = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
#: The largest text or blob that a statement may make, in bytes.
_LARGEST = 16 << 20
#: What SQLite says of a file that is damaged or cannot be read.
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY)
#: SQLite's own steps between two looks at the clock.
_STEPS = 10_000


@dataclass(frozen=True)
class Answer:
    """The rows of a query; `cut` where there are more."""

    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    cut: bool


def query(results: Results, sql: str, *, rows: int = 10_000, seconds: float = 60.0) -> Answer:
    """Ask a run's store.

    Beside SQLite's functions there are `rate_low(right, n)` and `rate_high(right, n)`, the ends of the 95 %
    interval of a rate.

    Args:
        sql: one SELECT over the tables and the views `judgement`, `attempt`, `unmeasured`, `progress`.
        rows: at most so many rows are read.
        seconds: after which the query is stopped.

    Raises:
        UsageError: it is no single SELECT, SQLite cannot run it, or it takes too long.
    """
    db = results.store.connection
    db.executescript(VIEWS)
    db.create_function("rate_low", 2, lambda right, n: _end(right, n, 0), deterministic=True)
    db.create_function("rate_high", 2, lambda right, n: _end(right, n, 1), deterministic=True)
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST)
    db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    deadline = time.monotonic() + seconds
    refused: list[int] = []

    def authorize(action: int, one: str | None, two: str | None, *_: str | None) -> int:
        if action not in _ALLOWED or (action == sqlite3.SQLITE_FUNCTION and two == "load_extension"):
            refused.append(action)
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    db.set_authorizer(authorize)
    db.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        cursor = db.execute(sql)
        if cursor.description is None:
            raise UsageError("query: a SELECT is needed, which gives rows")
        found = cursor.fetchmany(rows + 1)
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        if refused:
            raise UsageError(
                "query: only reading is allowed: one SELECT over the run's tables and views"
            ) from None
        if time.monotonic() > deadline:
            raise UsageError(f"query: stopped after {seconds:g} s; --seconds gives it longer") from None
        if getattr(error, "sqlite_errorcode", None) in _DAMAGE:
            raise  # no fault of the query: the store's own message
        raise UsageError(f"query: {error}") from None
    finally:
        db.set_authorizer(None)
        db.set_progress_handler(None, 0)
    columns = _distinct([one[0] for one in cursor.description])
    made = tuple(dict(zip(columns, map(_plain, row), strict=True)) for row in found[:rows])
    return Answer(columns, made, len(found) > rows)


def _end(right: Any, n: Any, which: int) -> float | None:
    """One end of a rate's interval; null where the counts are none."""
    if not isinstance(right, int) or not isinstance(n, int) or not 0 <= right <= n:
        return None
    return rate(right, n)[which]


def _distinct(names: list[str]) -> tuple[str, ...]:
    """Column names, a second of the same name with its number."""
    seen: Counter[str] = Counter()
    made: list[str] = []
    for name in names:
        seen[name] += 1
        made.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return tuple(made)


def _plain(value: Any) -> Any:
    """A value that JSON can hold: bytes in base 16, infinite numbers as text."""
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
