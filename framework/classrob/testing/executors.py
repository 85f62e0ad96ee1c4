"""What an executor promises: every shard once, failures as outcomes, and an end when it is told to stop."""

from __future__ import annotations

import pickle
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from classrob.errors import one_line
from classrob.records import Outcome, Shard
from classrob.study import make_study
from classrob.testing import tiny
from classrob.testing.subject import Subject
from classrob.testing.verdict import Broken, ensure
from classrob.worker import Worker

#: Samples of one shard, shards of one run.
ROWS, SHARDS = 5, 6


def brings_every_shard_back_once(subject: Subject) -> None:
    """Every shard comes back exactly once, with the records that the worker computes."""
    ensure(list(subject.part.run(_worker(), [])) == [], "it brings outcomes back for no shards")
    with _stopwatch("every shard"):
        outcomes = list(subject.part.run(_worker(), iter(_shards(SHARDS))))
    times = Counter(outcome.shard.key for outcome in outcomes)
    for shard in _shards(SHARDS):
        ensure(times[shard.key] == 1, f"shard '{shard.key}' comes back {times[shard.key]} times")
    ensure(len(outcomes) == SHARDS, f"{len(outcomes)} outcomes for {SHARDS} shards")
    worker = _worker()
    for outcome in outcomes:
        ensure(outcome.error is None, f"shard '{outcome.shard.key}' fails: {outcome.error}")
        same = outcome.records == worker.work(outcome.shard).records
        ensure(same, f"shard '{outcome.shard.key}' comes back with other records than the worker computes")


def brings_failures_back(subject: Subject) -> None:
    """A shard that fails is an outcome that says why, not an exception, and the others come back."""
    shards = _shards(SHARDS)
    shards[2] = Shard("impossible", 99, (0, 1))  # a condition that the study does not have
    try:
        outcomes = {one.shard.key: one for one in subject.part.run(_worker(), shards)}
    except Exception as error:
        raise Broken(f"a failing shard ends the run: {one_line(error)}") from error
    ensure("impossible" in outcomes, "a failing shard does not come back")
    ensure(outcomes["impossible"].error is not None, "a failing shard comes back without an error")
    good = [key for key, one in outcomes.items() if one.error is None]
    ensure(
        len(good) == SHARDS - 1, f"beside a failing shard, {len(good)} of {SHARDS - 1} others come back well"
    )


def stops_when_closed(subject: Subject) -> None:
    """Closing the iterator early stops the work, and does not wait for the shards that are left."""
    total = 30
    with tempfile.TemporaryDirectory() as folder:
        diary = Path(folder)
        shards = [Shard(f"shard {i}", 0, (i,)) for i in range(total)]
        outcomes = subject.part.run(_worker(size=total, seconds=0.1, diary=folder), iter(shards))
        next(outcomes)
        begin = time.monotonic()
        outcomes.close()
        ensure(time.monotonic() - begin < 30.0, "closing it takes longer than half a minute")
        read = len(list(diary.iterdir()))
        ensure(read < total, f"all {total} shards were computed before it could be closed after the first")
        time.sleep(0.5)
        more = len(list(diary.iterdir())) - read
        ensure(more <= 1, f"after it was closed, {more} more shards were computed")


def takes_a_worker_as_data(subject: Subject) -> None:
    """A worker that was rebuilt from its pickled data, which hold no live object, does the same."""
    worker = _worker()
    worker.work(_shards(1)[0])
    rebuilt: Worker = pickle.loads(pickle.dumps(worker))
    outcomes: list[Outcome] = list(subject.part.run(rebuilt, _shards(2)))
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    ensure(not failed, f"with a worker rebuilt from its data, a shard fails: {failed[:1]}")
    ensure(len(outcomes) == 2, f"with a worker rebuilt from its data, {len(outcomes)} of 2 shards come back")


@contextmanager
def _stopwatch(what: str, limit: float = 120.0) -> Iterator[None]:
    begin = time.monotonic()
    yield
    ensure(time.monotonic() - begin < limit, f"{what} takes longer than {limit:.0f} seconds")


def _worker(**dataset: Any) -> Worker:
    """A fresh worker on the kit's own model and data set, named by file."""
    study = make_study(
        {
            "name": "kit",
            "model": [{"use": f"{tiny.__file__}:Brightest", "name": "brightest"}],
            "dataset": [{"use": f"{tiny.__file__}:Quarters", "name": "quarters", **dataset}],
        }
    )
    return Worker(study, Path.cwd())


def _shards(n: int) -> list[Shard]:
    return [Shard(f"shard {i}", 0, tuple(range(ROWS * i, ROWS * (i + 1)))) for i in range(n)]


CHECKS = (brings_every_shard_back_once, brings_failures_back, stops_when_closed, takes_a_worker_as_data)
