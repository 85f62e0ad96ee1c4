"""The rows of a search at work, as an attack's step sees them: what is known of each, and their view of the model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from classrob.live import ROWS
from classrob.streams import Streams

if TYPE_CHECKING:
    from classrob.pool import Pool

#: (logits [n, k], labels [n]) → [n]; larger is worse for the model.
Loss = Callable[[Tensor, Tensor], Tensor]

#: A point this much beyond the budget, as a share of it, is inside but for rounding; the judge projects it.
SLACK = 1e-6


class Live:
    """The rows at work, as an attack's step sees them.

    Attributes:
        classifier: differentiable images → logits.
        space: the rows' space, with their budgets.
        labels: int64 [n].
        index: int64 [n], their places in the pool; `sample` the samples there.
        restart: int64 [n], the number of the walk, 0 for the first; `age` the steps taken in it.
        target: int64 [n], the class aimed at in this walk; −1 when untargeted.
        last_logits: float32 [n, k] of the latest evaluation.
        done: bool [n], found or worn out: such a row only waits to leave, and nothing of it counts.
        finished: how many rows have finished since these came together.
    """

    last_logits: Tensor
    #: What a row has grown older by when a step ends.
    taken: Tensor | int = 1

    def __init__(self, pool: Pool, index: Tensor) -> None:
        self.pool, self.index = pool, index
        self.sample, self.restart = index // pool.walks, index % pool.walks
        self.classifier, self.space = pool.classifier, pool.space.select(self.sample)
        self.labels, self.nearest = pool.labels[self.sample], pool.nearest[self.sample]
        self.done = pool.done[index]
        self.age = torch.where(self.done, 0, pool.age[index])  # a finished row is of an age that steps know
        self.finished = 0
        self.at_work()

    def __len__(self) -> int:
        return len(self.index)

    @property
    def room(self) -> int:
        """How many images one call of the network takes."""
        return self.classifier.most

    @cached_property
    def streams(self) -> Streams:
        """One stream a row, of its own for every walk."""
        return self.pool.streams.select(self.sample).fork(self.restart)

    @cached_property
    def origin(self) -> Tensor:
        """Where the first walk begins: the centre, or where a larger budget ended."""
        return self.pool.origin[self.sample]

    @property
    def fresh_start(self) -> Tensor:
        """bool [n]: does nothing better than a point of the attack's own choice exist to begin at?"""
        return (self.restart > 0) | self.pool.fresh_start[self.sample]

    @property
    def proof(self) -> Tensor:
        """The nearest misclassified point seen so far, where `nearest` [n] is finite."""
        return self.pool.answer[self.sample]

    @cached_property
    def target(self) -> Tensor:
        """The class aimed at in this walk; −1 when untargeted."""
        aims = self.pool.aims
        if not aims.shape[1]:
            return torch.full_like(self.labels, -1)
        return aims[self.sample, self.restart % aims.shape[1]]

    # -- looking at the model -----------------------------------------------------------------------

    def slope(self, z: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """Gradient of the loss in z, like z, and its values [n]; one forward and one backward pass."""
        z = z.detach().requires_grad_()
        logits = self.classifier(self.space.render(z))
        values = loss(logits, self.labels)
        (slope,) = torch.autograd.grad(values.sum(), z)
        self._note(z.detach(), logits.detach())
        return slope, values.detach()

    def jacobian(self, z: Tensor) -> Tensor:
        """Gradients of all logits in z, [n, k, …]; one forward and k backward passes."""
        z = z.detach().requires_grad_()
        logits = self.classifier(self.space.render(z))
        k = logits.shape[1]
        rows = [torch.autograd.grad(logits[:, c].sum(), z, retain_graph=c < k - 1)[0] for c in range(k)]
        self._note(z.detach(), logits.detach())
        return torch.stack(rows, 1)

    @torch.no_grad()
    def logits(self, z: Tensor) -> Tensor:
        """Logits [n, k]; one forward pass."""
        logits = self.classifier(self.space.render(z))
        self._note(z, logits)
        return logits

    @torch.no_grad()
    def ahead(self, images: Tensor) -> Tensor:
        """Logits [m, k] of images that rows may come to; one forward pass, which only `came` charges."""
        self._count(self.sample[:0])
        logits = self.classifier(images)
        self.at_work()
        return logits

    def came(self, z: Tensor, logits: Tensor, looks: Tensor) -> None:
        """After `looks` [n] steps of a forward pass each, logits [n, k] are of z, or of where a row has not gone.

        What was looked at ahead and lies beyond is charged to nobody: nothing rests on it.
        """
        self.taken = looks
        if (meter := self.pool.judged.meter) is not None:
            meter.forwards.index_add_(0, self.sample.cpu(), looks.cpu())
        self._note(z, logits)

    def _note(self, z: Tensor, logits: Tensor) -> None:
        """Whatever an attack evaluates counts: a row seen misclassified within its budget is found."""
        self.last_logits = logits
        broken = self._broken(logits, self.labels) & ~self.done
        if not broken.any():
            return
        distance = self.space.distance(z)
        broken &= (distance <= self.space.budget * (1 + SLACK)) & (distance < self.nearest)
        if (pool := self.pool).classifier is not pool.judged and broken.any():
            rows = broken.nonzero()[:, 0]  # the fast form may err: only what the judge's form says counts
            self._count(self.sample[rows])
            with torch.no_grad():
                exact = pool.judged(self.space.select(rows).render(z[rows]))
            self.at_work()
            broken[rows] = self._broken(exact, self.labels[rows])
        if broken.any():
            rows = broken.nonzero()[:, 0]
            if len(rows) > 1:  # of walks abreast, the first one to find something counts
                sample = self.sample[rows]
                rows = rows[torch.cat([sample[:1] >= 0, sample[1:] != sample[:-1]])]
            pool.answer[self.sample[rows]] = z[rows]
            pool.nearest[self.sample[rows]] = distance[rows]
            self.nearest = pool.nearest[self.sample]
            if not pool.persists:
                self.leave(self.nearest.isfinite())

    def _broken(self, logits: Tensor, labels: Tensor) -> Tensor:
        predicted = logits.argmax(1)
        return predicted != labels if self.pool.goal is None else predicted == self.pool.goal

    # -- coming and going ---------------------------------------------------------------------------

    def open(self) -> Tensor:
        """bool [n], the rows that still search."""
        return ~self.done

    def grow(self) -> None:
        """Older by the step, or the steps, that were taken."""
        self.age += self.taken * ~self.done
        self.taken = 1

    def leave(self, rows: Tensor) -> None:
        """These rows have finished."""
        rows = rows & ~self.done
        self.finished += int(rows.sum())
        self.done = self.done | rows
        self.age = torch.where(rows, 0, self.age)
        self.pool.done[self.index[rows]] = True
        self.at_work()

    def staying(self, fresh: int) -> Tensor:
        """int64: the rows that still search, and as many finished ones as fill the network's last places.

        It is called on a multiple of `ROWS` rows; a finished row that rides along costs less than padding.
        """
        rows = self.open().nonzero()[:, 0]
        self.pool.age[self.index[rows]] = self.age[rows]
        if not len(rows) + fresh:
            return rows
        count = len(rows) + fresh
        places = -count % ROWS if count + -count % ROWS <= self.pool.classifier.most else 0
        riders = self.done.nonzero()[:places, 0]
        return torch.cat([rows, riders])

    def at_work(self) -> None:
        """What follows is charged to the rows that search."""
        self._count(self.sample[~self.done], len(self))

    def _count(self, rows: Tensor, of: int | None = None) -> None:
        if (meter := self.pool.judged.meter) is not None:
            meter.rows, meter.width = rows.cpu(), len(rows) if of is None else of
