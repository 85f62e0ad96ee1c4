"""The space of a transformation: a few numbers an image, each from −budget to budget, or from 0 to it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from classrob.fields import Budgets
from classrob.live import Batch, Classifier
from classrob.parts import Threat
from classrob.space import Space
from classrob.streams import Streams


class Transformation(Threat):
    """An image changed by a few numbers z; a budget is a share of the limits that the fields set."""

    default_attack: ClassVar[str] = "random"
    #: How many numbers there are.
    numbers: ClassVar[int]
    #: Is a number a strength, from 0 up?
    strength: ClassVar[bool] = False

    budgets: Budgets = Field(default=(0.25, 0.5, 1.0), description="ascending, shares of the limits below")

    @abstractmethod
    def transform(self, images: Tensor, z: Tensor) -> Tensor:
        """The images [n, c, h, w] changed by z [n, numbers], where 1 is a limit; differentiable in z."""

    @final
    def open(self, batch: Batch, classifier: Classifier, streams: Streams) -> Space:
        """The numbers around each image."""
        return Transformed(batch.images.new_full((len(batch),), self.budgets[-1]), batch.images, self)


@final
@dataclass(frozen=True)
class Transformed(Space):
    """The images that a transformation makes; z [n, numbers] is 0 where nothing changes."""

    images: Tensor
    transformation: Transformation

    def centre(self) -> Tensor:
        """Nothing changed."""
        return self.images.new_zeros(len(self.images), self.transformation.numbers)

    def start(self, streams: Streams) -> Tensor:
        """Each number uniform within the budget."""
        draw = streams.uniform(self.transformation.numbers)
        return self.budget[:, None] * (draw if self.transformation.strength else 2.0 * draw - 1.0)

    def project(self, z: Tensor) -> Tensor:
        """Each number clamped."""
        high = self.budget[:, None]
        low = torch.zeros_like(high) if self.transformation.strength else -high
        return z.maximum(low).minimum(high)

    def render(self, z: Tensor) -> Tensor:
        """The changed image, cut to the box."""
        return self.transformation.transform(self.images, z).clamp(0.0, 1.0)

    def distance(self, z: Tensor) -> Tensor:
        """The largest number."""
        return z.abs().amax(1)

    def steepest(self, slope: Tensor) -> Tensor:
        """The sign of each number's slope."""
        return slope.sign()
