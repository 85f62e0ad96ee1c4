"""The samples of a search and their walks: what is known of each, and which walk follows which."""

from __future__ import annotations

import torch
from torch import Tensor

from classrob.live import Classifier
from classrob.rows import Live
from classrob.space import Space
from classrob.streams import Streams

#: So many classes at most are aimed at side by side.
ABREAST = 16


class Pool:
    """All samples of one search, and their walks: that of sample i numbered w has the place i · walks + w.

    The walks of a sample follow one another. Only where it is aimed at several classes, and a found point ends
    the search, those after the likeliest one go side by side: what the first one does not break mostly stands,
    and a few samples fill a batch so. They begin and end together, whatever else there is.

    Attributes:
        classifier: what the search looks at: the model as it searches fastest.
        judged: the model as the judge sees it.
        answer: the nearest misclassified point found of each sample, else where its last walk ended, [n, …].
        nearest: float32 [n], its distance; inf where none was found.
        walks: how many there are of each sample.
        age: int64 [n · walks], the steps of each walk. done: bool [n · walks], it is over.
        aims: int64 [n, t], the other classes aimed at, the likeliest first; t = 0 untargeted.
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
        self.aims = labels.new_zeros(len(labels), 0)
        self.persists = False
        self._number(1, False)

    def __len__(self) -> int:
        return len(self.labels)

    def prepare(self, precision: str, targets: int, persists: bool, restarts: int = 1) -> None:
        """Choose the model's fastest form for the search, and the classes that each sample is aimed at."""
        self.classifier, self.persists = self.judged.twin(precision), persists
        if self.goal is not None:
            self.aims = torch.full_like(self.labels, self.goal)[:, None]
        elif targets and len(self):
            with torch.no_grad():
                logits = self.classifier(self.space.render(self.space.centre()))
            others = logits.scatter(1, self.labels[:, None], -torch.inf)
            self.aims = others.argsort(1, descending=True)[:, : min(targets, logits.shape[1] - 1)]
        several = self.aims.shape[1]
        self._number(restarts * max(1, several), not persists and 1 < several <= ABREAST)

    def _number(self, walks: int, abreast: bool) -> None:
        """So many walks a sample; `abreast`: those after the first, and then those of each restart, together."""
        self.walks = walks
        self.age = self.labels.new_zeros(len(self) * walks)
        self.done = torch.zeros_like(self.age, dtype=torch.bool)
        number = torch.arange(walks, device=self.labels.device)
        width = self.aims.shape[1] if abreast else 1
        self._next = ((number + 1) % width == 0).long() * width
        if abreast:
            self._next[0] = width - 1
        self._next[-1] = 0

    def begin(self) -> Tensor:
        """The first walk of every sample."""
        return torch.arange(len(self), device=self.labels.device) * self.walks

    def live(self, index: Tensor) -> Live:
        """The rows at work at some places."""
        return Live(self, index)

    def room_for(self, waiting: Tensor, room: int, alone: bool) -> int:
        """How many of the walks that wait find room; `alone`: some must. Those that go abreast stay together."""
        if room >= len(waiting):
            return len(waiting)
        sample = waiting // self.walks
        ends = (sample[1:] != sample[:-1]).nonzero()[:, 0] + 1
        fits = ends[ends <= room]
        if len(fits):
            return int(fits[-1])
        return (int(ends[0]) if len(ends) else len(waiting)) if alone else 0

    def follow(self, index: Tensor, z: Tensor) -> Tensor:
        """The walks that follow those at `index`, which ended at z; the last of a sample is left to the judge."""
        number = index % self.walks
        last = number == self.walks - 1
        sample = index[last] // self.walks
        lost = self.nearest[sample].isinf()
        self.answer[sample[lost]] = z[last][lost]
        index, z, number = index[~last], z[~last], number[~last]
        if not len(index):
            return index
        ended = self.live(index)
        if not self.persists:
            ended.logits(z)
        count = self._next[number] * ended.open()
        within = torch.arange(int(count.sum()), device=count.device)
        within -= (count.cumsum(0) - count).repeat_interleave(count)
        return (index + 1).repeat_interleave(count) + within

    def release(self) -> None:
        """Nothing is at work any more."""
        if self.judged.meter is not None:
            self.judged.meter.rows = None
