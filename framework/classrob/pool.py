"""The samples of a search and the rows of them at work: what is known of each, and their view of the model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from classrob.live import ROWS, Classifier
from classrob.space import Space
from classrob.streams import Streams

#: (logits [n, k], labels [n]) → [n]; larger is worse for the model.
Loss = Callable[[Tensor, Tensor], Tensor]

#: A point this much beyond the budget, as a share of it, is inside but for rounding; the judge projects it.
SLACK = 1e-6


class Pool:
    """All samples of one search.

    Attributes:
        classifier: what the search looks at: the model as it searches fastest.
        judged: the model as the judge sees it.
        answer: the nearest misclassified point found of each, else where its last walk ended, [n, …].
        nearest: float32 [n], its distance; inf where none was found.
        restart, age: int64 [n], the walk each is at, and its steps.
        done: bool [n], nothing more is searched for it.
        aims: int64 [n, t], the other classes aimed at in turn, the likeliest first; t = 0 untargeted.
    """

    def __init__(
        self,
        classifier: Classifier,
        space: Space,
        labels: Tensor,
        streams: Streams,
        start: Tensor | None,
        goal: int | None = None,
    ) -> None:
        """`goal` is the one class that counts as success; None: every class but the label does."""
        self.classifier, self.judged = classifier, classifier
        self.space, self.labels, self.streams, self.goal = space, labels, streams, goal
        centre = space.centre()
        self.origin = centre if start is None else start
        self.fresh_start = (self.origin == centre).reshape(len(centre), centre[:1].numel()).all(1)
        self.answer = self.origin.clone()
        self.nearest = torch.full_like(space.budget, torch.inf)
        self.restart, self.age = torch.zeros_like(labels), torch.zeros_like(labels)
        self.done = torch.zeros_like(labels, dtype=torch.bool)
        self.aims = labels.new_zeros(len(labels), 0)
        self.persists = False

    def __len__(self) -> int:
        return len(self.labels)

    def prepare(self, precision: str, targets: int, persists: bool) -> None:
        """Choose the model's fastest form for the search, and the classes that each sample is aimed at."""
        self.classifier, self.persists = self.judged.twin(precision), persists
        if self.goal is not None:
            self.aims = torch.full_like(self.labels, self.goal)[:, None]
        elif targets and len(self):
            with torch.no_grad():
                logits = self.classifier(self.space.render(self.space.centre()))
            others = logits.scatter(1, self.labels[:, None], -torch.inf)
            self.aims = others.argsort(1, descending=True)[:, : min(targets, logits.shape[1] - 1)]

    def live(self, index: Tensor) -> Live:
        """The rows at work at some positions."""
        return Live(self, index)

    def hand_on(self, index: Tensor, z: Tensor) -> None:
        """Where walks ended; kept for the samples that nothing was found for."""
        lost = self.nearest[index].isinf()
        self.answer[index[lost]] = z[lost]

    def once_more(self, index: Tensor) -> Tensor:
        """Begin the next walk of samples whose last point, now looked at, stands too; returns which."""
        if not len(index):
            return index
        self.done[index] = False
        ended = self.live(index)
        if not self.persists:
            ended.logits(self.answer[index])
        index = index[ended.open()]
        self.restart[index] += 1
        self.age[index] = 0
        return index

    def release(self) -> None:
        """Nothing is at work any more."""
        if self.judged.meter is not None:
            self.judged.meter.rows = None


class Live:
    """The rows at work, as an attack's step sees them.

    Attributes:
        classifier: differentiable images → logits.
        space: the rows' space, with their budgets.
        labels: int64 [n].
        index: int64 [n], their positions in the pool.
        restart: int64 [n], 0 for the first walk; `age` the steps taken in it.
        target: int64 [n], the class aimed at in this walk; −1 when untargeted.
        last_logits: float32 [n, k] of the latest evaluation.
        done: bool [n], found or worn out: such a row only waits to leave, and nothing of it counts.
        finished: how many rows have finished since these came together.
    """

    last_logits: Tensor

    def __init__(self, pool: Pool, index: Tensor) -> None:
        self.pool, self.index = pool, index
        self.classifier, self.space, self.labels = (
            pool.classifier,
            pool.space.select(index),
            pool.labels[index],
        )
        self.restart = pool.restart[index]
        self.nearest = pool.nearest[index]
        self.done = pool.done[index]
        self.age = torch.where(self.done, 0, pool.age[index])  # a finished row is of an age that steps know
        self.finished = 0
        self.at_work()

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def streams(self) -> Streams:
        """One stream a row, of its own for every walk."""
        return self.pool.streams.select(self.index).fork(self.restart)

    @cached_property
    def origin(self) -> Tensor:
        """Where the first walk begins: the centre, or where a larger budget ended."""
        return self.pool.origin[self.index]

    @property
    def fresh_start(self) -> Tensor:
        """bool [n]: does nothing better than a point of the attack's own choice exist to begin at?"""
        return (self.restart > 0) | self.pool.fresh_start[self.index]

    @property
    def proof(self) -> Tensor:
        """The nearest misclassified point seen so far, where `nearest` [n] is finite."""
        return self.pool.answer[self.index]

    @cached_property
    def target(self) -> Tensor:
        """The class aimed at in this walk; −1 when untargeted."""
        aims = self.pool.aims
        if not aims.shape[1]:
            return torch.full_like(self.labels, -1)
        return aims[self.index, self.restart % aims.shape[1]]

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
    def logits(self, z: Tensor, images: Tensor | None = None) -> Tensor:
        """Logits [n, k]; one forward pass. `images` are what z renders to, where the attack keeps them."""
        logits = self.classifier(self.space.render(z) if images is None else images)
        self._note(z, logits)
        return logits

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
            self._count(self.index[rows])
            with torch.no_grad():
                exact = pool.judged(self.space.select(rows).render(z[rows]))
            self.at_work()
            broken[rows] = self._broken(exact, self.labels[rows])
        if broken.any():
            pool.answer[self.index[broken]] = z[broken]
            pool.nearest[self.index[broken]] = distance[broken]
            self.nearest = torch.where(broken, distance, self.nearest)
            if not pool.persists:
                self.leave(broken)

    def _broken(self, logits: Tensor, labels: Tensor) -> Tensor:
        predicted = logits.argmax(1)
        return predicted != labels if self.pool.goal is None else predicted == self.pool.goal

    # -- coming and going ---------------------------------------------------------------------------

    def open(self) -> Tensor:
        """bool [n], the rows that still search."""
        return ~self.done

    def grow(self) -> None:
        """One step older."""
        self.age += ~self.done

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
        over = self.done & self.pool.done[self.index]  # not those that wait for another walk
        riders = over.nonzero()[:places, 0]
        return torch.cat([rows, riders])

    def at_work(self) -> None:
        """What follows is charged to the rows that search."""
        self._count(self.index[~self.done], len(self))

    def _count(self, rows: Tensor, of: int | None = None) -> None:
        if (meter := self.pool.judged.meter) is not None:
            meter.rows, meter.width = rows.cpu(), len(rows) if of is None else of
