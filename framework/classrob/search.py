"""The search loop of every attack that moves a point step by step, written once.

A finished sample leaves the live rows at once and the next one from the pool takes its place, so the
batch stays full while there is work. An attack contributes `begin` and `step`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from classrob.live import Batch, Classifier
from classrob.parts import Attack
from classrob.space import Space
from classrob.streams import Streams

#: What an attack remembers between steps: tensors with the live rows first; `z` is where it stands.
State = dict[str, Tensor]

#: (logits [n, k], labels [n]) → [n]; larger is worse for the model.
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Live:
    """The rows at work, as an attack's step sees them.

    Attributes:
        classifier: differentiable images → logits.
        space: the rows' space, with their budgets.
        labels: int64 [n].
        streams: one stream a row, of its own for every restart.
        restart: int64 [n], 0 for the first.
        age: int64 [n], the steps taken in this restart.
        origin: where the first restart begins, [n, …]: the centre, or where a larger budget ended.
    """

    classifier: Classifier
    space: Space
    labels: Tensor
    streams: Streams
    restart: Tensor
    age: Tensor
    origin: Tensor
    found: Tensor = field(init=False)
    proof: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.found = torch.zeros_like(self.labels, dtype=torch.bool)
        self.proof = self.origin

    def slope(self, z: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """Gradient of the loss in z, like z, and its values [n]; one forward and one backward pass."""
        z = z.detach().requires_grad_()
        logits = self.classifier(self.space.render(z))
        values = loss(logits, self.labels)
        (slope,) = torch.autograd.grad(values.sum(), z)
        self._note(z.detach(), logits.detach())
        return slope, values.detach()

    @torch.no_grad()
    def logits(self, z: Tensor) -> Tensor:
        """Logits [n, k]; one forward pass."""
        logits = self.classifier(self.space.render(z))
        self._note(z, logits)
        return logits

    def _note(self, z: Tensor, logits: Tensor) -> None:
        """Whatever an attack evaluates counts: a row seen misclassified is found, and leaves."""
        fresh = (logits.argmax(1) != self.labels) & ~self.found
        if fresh.any():
            self.proof = torch.where(fresh.reshape(-1, *[1] * (z.ndim - 1)), z, self.proof)
            self.found |= fresh


class StepwiseAttack(Attack):
    """An attack that walks; subclasses say where it begins and what a step is."""

    batches_itself: ClassVar[bool] = True

    steps: int = Field(default=20, ge=1, description="gradient evaluations of one restart")
    restarts: int = Field(default=1, ge=1, description="attempts for a sample that still stands")

    @abstractmethod
    def begin(self, live: Live) -> State:
        """The state of fresh rows; must hold `z`."""

    @abstractmethod
    def step(self, live: Live, state: State) -> State:
        """The state after one step; look at the model through `live.slope` or `live.logits` only."""

    @final
    def search(
        self, classifier: Classifier, space: Space, batch: Batch, streams: Streams, start: Tensor | None
    ) -> Tensor:
        """Walk every sample of the pool; the last point of a failed walk is left to the judge."""
        origin = space.centre() if start is None else start
        answer = origin.clone()
        restart = torch.zeros_like(batch.labels)
        age = torch.zeros_like(batch.labels)
        waiting = torch.arange(len(batch), device=batch.labels.device)
        index = waiting[:0]
        state: State = {}

        def view(rows: Tensor) -> Live:
            if classifier.meter is not None:
                classifier.meter.rows = rows.cpu()
            fork = streams.select(rows).fork(restart[rows])
            return Live(
                classifier,
                space.select(rows),
                batch.labels[rows],
                fork,
                restart[rows],
                age[rows],
                origin[rows],
            )

        while len(index) or len(waiting):
            room = classifier.batch_size - len(index)
            if room > 0 and len(waiting):
                fresh, waiting = waiting[:room], waiting[room:]
                begun = self.begin(view(fresh))
                state = {k: torch.cat([state[k], v]) for k, v in begun.items()} if state else begun
                index = torch.cat([index, fresh])
            live = view(index)
            state = self.step(live, state)
            age[index] += 1
            answer[index] = torch.where(
                live.found.reshape(-1, *[1] * (answer.ndim - 1)), live.proof, state["z"].detach()
            )
            worn = ~live.found & (age[index] >= self.steps)
            again = index[worn & (restart[index] + 1 < self.restarts)]
            if len(again):
                ended = view(again)
                ended.logits(answer[again])
                again = again[~ended.found]
                restart[again] += 1
                age[again] = 0
                waiting = torch.cat([waiting, again])
            keep = ~(live.found | worn)
            index, state = index[keep], {k: v[keep] for k, v in state.items()}
        if classifier.meter is not None:
            classifier.meter.rows = None
        return answer
