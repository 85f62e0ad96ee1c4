"""The actors of one run, the shards in line before each, and what comes of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, final

from classrob.errors import PluginError, one_line
from classrob.records import Outcome, Shard
from classrob.worker import Worker
from classrob_ray.cluster import Sharing

#: Shards in line before an actor, the one at work included.
LINE = 2


@final
class Bench:
    """What an actor is: a worker in a process of its own."""

    def __init__(self, worker: Worker, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.worker = worker

    def work(self, shard: Shard) -> Outcome:
        """Compute a shard."""
        return self.worker.work(shard)


@dataclass(eq=False)
class Seat:
    """An actor and its line: the promised outcomes and their shards, the one at work first."""

    actor: Any
    line: deque[tuple[Any, Shard]] = field(default_factory=deque)


class Crew:
    """Actors that are started when they are needed, and replaced when they die."""

    def __init__(self, ray: ModuleType, worker: Worker, sharing: Sharing) -> None:
        self.ray, self.worker, self.sharing = ray, worker, sharing
        self.seats: list[Seat] = []

    def outcomes(self, shards: Iterable[Shard]) -> Iterator[Outcome]:
        """The outcome of every shard, as they finish.

        Raises:
            PluginError: a process of the cluster cannot make a worker.
        """
        again: deque[Shard] = deque()  # in line before an actor that died, and never begun
        waiting = iter(shards)
        while True:
            while self._room() and (shard := again.popleft() if again else next(waiting, None)) is not None:
                seat = self._seat()
                seat.line.append((seat.actor.work.remote(shard), shard))
            heads = {seat.line[0][0]: seat for seat in self.seats if seat.line}
            if not heads:
                return
            # An actor works through its line in order, so only the heads can be next.
            (ready, *_), _ = self.ray.wait(list(heads), num_returns=1)
            yield self._outcome(heads[ready], again)

    def dismiss(self) -> None:
        """End all actors now, whatever they are at."""
        while self.seats:
            self.ray.kill(self.seats.pop().actor)

    def _room(self) -> bool:
        lines = sum(len(seat.line) for seat in self.seats)
        return lines < LINE * self.sharing.workers

    def _seat(self) -> Seat:
        """The seat that takes the next shard: the shortest line, or a new one while all are at work."""
        best = min(self.seats, key=lambda seat: len(seat.line), default=None)
        if best is None or (best.line and len(self.seats) < self.sharing.workers):
            best = Seat(self._actor())
            self.seats.append(best)
        return best

    def _actor(self) -> Any:
        share = self.sharing
        options = {"num_cpus": share.cpus, "num_gpus": share.gpus, "scheduling_strategy": "SPREAD"}
        return self.ray.remote(Bench).options(**options).remote(self.worker, share.threads)

    def _outcome(self, seat: Seat, again: deque[Shard]) -> Outcome:
        """What came of the shard at the head of a line; with the actor dead, the rest goes back."""
        exceptions = self.ray.exceptions
        promise, shard = seat.line.popleft()
        samples = f"samples {shard.indices[0]}–{shard.indices[-1]}"
        try:
            return self.ray.get(promise)
        except (
            exceptions.RayTaskError
        ) as error:  # the actor lives: its answer, or the shard, could not be sent
            return Outcome(shard, error=f"{samples}: {_last_line(error)}", trace=str(error))
        except exceptions.RayError as error:
            self.seats.remove(seat)
            self.ray.kill(seat.actor)
            again.extend(waiting for _, waiting in seat.line)
            if isinstance(error, exceptions.RayActorError) and error.actor_init_failed:
                reason = f"a process of the cluster cannot make a worker: {_last_line(error)}"
                raise PluginError(f"executor 'ray': {reason}; is classrob installed there?") from error
            hint = "killed, or out of memory: take fewer --workers or a smaller shard_size"
            return Outcome(shard, error=f"{samples}: its ray actor died ({hint}; {type(error).__name__})")


def _last_line(error: BaseException) -> str:
    """Where ray quotes a traceback of another process: what it ends with."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else one_line(error)
