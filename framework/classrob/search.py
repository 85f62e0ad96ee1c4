"""The search loop of every attack that moves a point step by step, written once.

A finished sample leaves the live rows and the next one from the pool takes its place, so the batch
stays full while there is work. An attack contributes `begin` and `step`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from classrob.live import REST, Batch, Classifier
from classrob.parts import Attack
from classrob.pool import Pool
from classrob.rows import Live
from classrob.space import Space
from classrob.streams import Streams

#: What an attack remembers between steps: tensors with the live rows first. `z` is where a row stands;
#: where there is a `best`, that is what a failed walk hands on.
State = dict[str, Tensor]

#: Finished rows wait in the batch until they are this share of it: moving the others costs more than they do.
LEAVE = 1 / 16


class StepwiseAttack(Attack):
    """An attack that walks; subclasses say where it begins and what a step is."""

    batches_itself: ClassVar[bool] = True
    #: Does a row go on after it was broken, to come nearer? Else it leaves at once.
    persists: ClassVar[bool] = False

    steps: int = Field(default=20, ge=1, description="steps of one restart, most often one gradient each")
    restarts: int = Field(default=1, ge=1, description="attempts for a sample that still stands")
    targets: int = Field(
        default=0,
        ge=0,
        description="0: untargeted; else how many other classes are aimed at, the likeliest first, then the others",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of the search; what it finds is always judged in float32"
    )

    @abstractmethod
    def begin(self, live: Live) -> State:
        """The state of fresh rows; must hold `z`."""

    @abstractmethod
    def step(self, live: Live, state: State) -> State:
        """The state after one step; look at the model through `live` only."""

    @final
    def search(
        self, classifier: Classifier, space: Space, batch: Batch, streams: Streams, start: Tensor | None
    ) -> Tensor:
        """Walk every sample of the pool; the last point of a failed walk is left to the judge."""
        return self.walk(Pool(classifier, space, batch.labels, streams, start))

    @final
    def walk(self, pool: Pool) -> Tensor:
        """Walk every sample of a pool; the nearest misclassified points found, else the last ones."""
        pool.prepare(self.precision, self.targets, self.persists, self.restarts)
        waiting = pool.begin()
        live, state = pool.live(waiting[:0]), State()
        while True:
            if live.finished >= LEAVE * len(live):
                room = pool.classifier.batch_size - int(live.open().sum())
                # walks of their own for a few rows would take as many steps as for all
                if len(waiting) - room <= REST * pool.classifier.batch_size:
                    room = len(waiting)
                room = pool.room_for(waiting, room, alone=not live.open().any())
                fresh, waiting = waiting[:room], waiting[room:]
                rows = live.staying(len(fresh))
                index, state = live.index[rows], {k: v[rows] for k, v in state.items()}
                if len(fresh):
                    begun = self.begin(pool.live(fresh))
                    state = {k: torch.cat([state[k], v]) for k, v in begun.items()} if len(index) else begun
                if not len(index) + len(fresh):
                    pool.release()
                    return pool.answer
                live = pool.live(torch.cat([index, fresh]))
            state = self.step(live, state)
            live.grow()
            if (worn := live.open() & (live.age >= self.steps)).any():
                ends = state.get("best", state["z"])[worn].detach()
                waiting = torch.cat([waiting, pool.follow(live.index[worn], ends)])
                live.leave(worn)
