"""The worst of several points of a space, on a grid or at random: no gradients, only looks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from itertools import product
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from classrob.errors import StudyError
from classrob.live import Batch, Classifier
from classrob.parts import Attack, Need
from classrob.space import Space
from classrob.streams import Streams

#: In a space of more numbers an image, or a grid of more points, looking about finds nothing.
NUMBERS, POINTS = 16, 10_000


class WorstOf(Attack):
    """Points tried in turn; the one with the smallest margin is proposed. A sample that is broken leaves."""

    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "logits"})

    @abstractmethod
    def points(self, space: Space, streams: Streams, numbers: int) -> Iterator[Tensor]:
        """The points, [n, …] each, for a space of so many numbers an image."""

    @final
    @torch.no_grad()
    def search(
        self, classifier: Classifier, space: Space, batch: Batch, streams: Streams, start: Tensor | None
    ) -> Tensor:
        """The worst point, the centre and `start` among them.

        Raises:
            StudyError: the space has too many numbers for that.
        """
        centre = space.centre()
        numbers = centre[0].numel()
        if numbers > NUMBERS:
            raise StudyError(
                f"a space of {numbers} numbers an image is too large to try points of: take an attack with a direction"
            )
        worst, least = centre.clone(), centre.new_full((len(batch),), torch.inf, dtype=torch.float32)
        rows = torch.arange(len(batch), device=batch.labels.device)
        first = [centre] if start is None else [centre, space.project(start)]
        for z in (*first, *self.points(space, streams, numbers)):
            if not len(rows):
                break
            labels = batch.labels[rows]
            logits = classifier(space.select(rows).render(z[rows]))
            margin = logits.gather(1, labels[:, None])[:, 0] - logits.scatter(
                1, labels[:, None], -torch.inf
            ).amax(1)
            better = margin < least[rows]
            worst[rows[better]], least[rows[better]] = z[rows[better]], margin[better]
            rows = rows[least[rows] >= 0]
        return worst


@final
class Random(WorstOf):
    """The worst of several random points; in a corruption's space, of several draws of the corruption."""

    draws: int = Field(default=10, ge=1, description="how many points")

    def points(self, space: Space, streams: Streams, numbers: int) -> Iterator[Tensor]:
        """Points from the space's own distribution."""
        for draw in range(self.draws):
            yield space.start(streams.fork(draw))


@final
class Grid(WorstOf):
    """The worst point of a regular grid from −budget to budget in each number."""

    steps: int = Field(default=5, ge=2, description="points a number; all of them are its power")

    def points(self, space: Space, streams: Streams, numbers: int) -> Iterator[Tensor]:
        """Every combination.

        Raises:
            StudyError: z holds no numbers that a grid can be laid over, or too many.
        """
        centre = space.centre()
        if not centre.is_floating_point() or not numbers:
            raise StudyError("attack 'grid' needs a threat with numbers to vary: take 'random' or 'none'")
        if self.steps**numbers > POINTS:
            raise StudyError(
                f"a grid of {self.steps} steps in {numbers} numbers has more than {POINTS} points: take fewer `steps`"
            )
        line = torch.linspace(-1.0, 1.0, self.steps).tolist()
        scale = space.budget.reshape(-1, *[1] * (centre.ndim - 1))
        for point in product(line, repeat=numbers):
            yield space.project(centre + scale * centre.new_tensor(point).view(centre.shape[1:]))
