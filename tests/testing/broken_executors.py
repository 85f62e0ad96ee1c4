"""Executors that break one promise each, and one that keeps all."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable

from classrob import Executor
from classrob.records import Outcome, Shard
from classrob.worker import Worker

from .broken import Breaks, also


class Honest(Executor):
    """One shard after the other."""

    def run(self, worker: Worker, shards: Iterable[Shard]) -> Generator[Outcome, None, None]:
        for shard in shards:
            yield worker.work(shard)


class Repeats(Honest):
    """Brings the third shard back twice."""

    def run(self, worker, shards):
        for count, outcome in enumerate(super().run(worker, shards)):
            yield outcome
            if count == 2:
                yield outcome


class Loses(Honest):
    """Never brings the third shard back."""

    def run(self, worker, shards):
        yield from (outcome for count, outcome in enumerate(super().run(worker, shards)) if count != 2)


class Raises(Honest):
    """Raises where a shard fails."""

    def run(self, worker, shards):
        for outcome in super().run(worker, shards):
            if outcome.error is not None:
                raise RuntimeError(outcome.error)
            yield outcome


class Eager(Honest):
    """Computes everything before it brings anything back."""

    def run(self, worker, shards):
        yield from list(super().run(worker, shards))


class Deaf(Honest):
    """Goes on in a thread of its own after it was closed."""

    def run(self, worker, shards):
        outcomes = super().run(worker, shards)
        for outcome in outcomes:
            try:
                yield outcome
            except GeneratorExit:
                threading.Thread(target=list, args=(outcomes,), daemon=True).start()
                raise


class WantsALiveWorker(Honest):
    """Uses what a worker holds in memory after it has worked."""

    def run(self, worker, shards):
        for shard in shards:
            yield Outcome(shard) if worker._model is None else worker.work(shard)
            raise RuntimeError("the worker holds no model")


BROKEN = {
    "brings_every_shard_back_once": [
        Breaks("executor", Repeats),
        Breaks("executor", Loses, also("brings_failures_back")),
    ],
    "brings_failures_back": [Breaks("executor", Raises)],
    "stops_when_closed": [Breaks("executor", Eager), Breaks("executor", Deaf)],
    "takes_a_worker_as_data": [
        Breaks(
            "executor",
            WantsALiveWorker,
            also("brings_every_shard_back_once", "brings_failures_back"),
        )
    ],
}
