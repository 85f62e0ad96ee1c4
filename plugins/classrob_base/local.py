"""Shards on this machine: in this process, or in a few worker processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import wait as wait_for
from typing import final

from pydantic import Field

from classrob.parts import Executor
from classrob.records import Outcome, Shard
from classrob.worker import Worker


@final
class LocalExecutor(Executor):
    """Computes shards here; one worker is this process itself."""

    workers: int = Field(
        default=1, ge=1, le=256, description="processes; the processor's threads are shared out"
    )

    def run(self, worker: Worker, shards: Iterable[Shard]) -> Generator[Outcome, None, None]:
        """Outcomes as they finish; at most two shards a process wait in line."""
        if self.workers == 1:
            yield from map(worker.work, shards)
            return
        waiting = iter(shards)
        pool = self._pool(worker)
        running: dict[Future[Outcome], Shard] = {}
        try:
            while True:
                for shard in islice(waiting, 2 * self.workers - len(running)):
                    try:
                        future = pool.submit(_work, shard)
                    except BrokenProcessPool:  # a process died: its shards are told below, the rest goes on
                        pool.shutdown(wait=False)
                        pool = self._pool(worker)
                        future = pool.submit(_work, shard)
                    running[future] = shard
                if not running:
                    return
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield _outcome(future, running.pop(future))
        finally:
            for process in list((pool._processes or {}).values()):
                process.terminate()  # a stopped run must not wait for the shards at work
            pool.shutdown(wait=True, cancel_futures=True)

    def _pool(self, worker: Worker) -> ProcessPoolExecutor:
        threads = max(1, (os.cpu_count() or 1) // self.workers)
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, context, initializer=_begin, initargs=(worker, threads))


def _outcome(future: Future[Outcome], shard: Shard) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        reason = (
            "its worker process died (killed, or out of memory: take fewer --workers or a smaller shard_size)"
        )
        return Outcome(shard, error=f"samples {shard.indices[0]}–{shard.indices[-1]}: {reason}")


@dataclass
class _Process:
    """What a worker process holds between shards."""

    worker: Worker | None = field(default=None)


_process = _Process()


def _begin(worker: Worker, threads: int) -> None:
    """Prepare a worker process: its share of the threads, and an end when the driver's comes."""
    import torch

    torch.set_num_threads(threads)
    _process.worker = worker
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    """A killed driver takes its workers along; nobody else would stop them."""
    wait_for([sentinel])
    os._exit(1)


def _work(shard: Shard) -> Outcome:
    assert _process.worker is not None
    return _process.worker.work(shard)
