"""What every common corruption is: a recipe at five severities, drawn anew for each image by a key.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (2019). Their parameters are published for images of 224 pixels (ImageNet-C) and of 32
(CIFAR-10-C); `Corruption.parameters` says what holds in between.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from pydantic import Field, field_validator
from torch import Tensor

from classrob.fields import Budgets
from classrob.live import Batch, Classifier
from classrob.parts import Threat
from classrob.space import Keyed, Space
from classrob.streams import Streams
from classrob_corruptions.published import SEVERITIES

#: The sides, in pixels, for which parameters are published.
SMALL, LARGE = 32, 224


class Corruption(Threat):
    """A common corruption; its budgets are severities. Smaller ones do not lie inside larger ones.

    Values are not rounded to 8 bits, as those of the published sets are.
    """

    nested: ClassVar[bool] = False
    gradients: ClassVar[bool] = False
    #: So many numbers are corrupted at a time on a processor, so that they stay in its cache; more where threads share
    #: images out.
    together: ClassVar[int] = 200_000
    #: What is published for images of 32 pixels, and of 224: a row a severity.
    small: ClassVar[tuple[tuple[float, ...], ...]]
    large: ClassVar[tuple[tuple[float, ...], ...]]

    budgets: Budgets = Field(default=SEVERITIES, description="severities, whole numbers from 1 to 5")
    side: int | None = Field(
        default=None, ge=1, description="use the parameters for images of so many pixels; None: their own"
    )

    @field_validator("budgets")
    @classmethod
    def _severities(cls, budgets: tuple[float, ...]) -> tuple[float, ...]:
        if not set(budgets) <= set(SEVERITIES):
            raise ValueError(f"a severity is a whole number from 1 to 5, not {[*budgets]}")
        return budgets

    @abstractmethod
    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """The corrupted images in memory of their own, float32 [n, c, h, w]; they are cut to [0, 1] afterwards.

        `images` are float32 [n, c, h, w] in [0, 1], of one or three channels.
        """

    @final
    def open(self, batch: Batch, classifier: Classifier, streams: Streams) -> Space:
        """The recipe over each image, with the image's own key."""
        severity = batch.images.new_full((len(batch),), self.budgets[-1])
        return Corrupted(severity, streams.to(batch.images.device).keys[:, None], batch.images, self)

    @final
    def parameters(self, severity: int, height: int, width: int) -> tuple[float, ...]:
        """The recipe's numbers at a severity from 1 to 5, for images of a size in pixels.

        Those for 32 pixels hold where the shorter side is 32 or less, those for 224 where it is 224 or
        more; in between each number runs linearly with the logarithm of the side.
        """
        side = min(height, width) if self.side is None else self.side
        share = math.log(side / SMALL) / math.log(LARGE / SMALL)
        share = min(1.0, max(0.0, share))
        small, large = self.small[severity - 1], self.large[severity - 1]
        return tuple((1.0 - share) * a + share * b for a, b in zip(small, large, strict=True))

    @final
    def at(self, images: Tensor, severity: int, streams: Streams) -> Tensor:
        """The images at one severity, in [0, 1], a few at a time."""
        numbers = self.parameters(severity, *images.shape[2:])
        rows = (
            len(images) if images.device.type != "cpu" else max(1, self.together // max(1, images[0].numel()))
        )
        if rows >= len(images):
            return self.corrupt(images, numbers, streams).clamp_(0.0, 1.0)
        corrupted = torch.empty_like(images)
        for i in range(0, len(images), rows):
            some = slice(i, i + rows)
            drawn = self.corrupt(images[some], numbers, Streams(streams.keys[some]))
            torch.clamp(drawn, 0.0, 1.0, out=corrupted[some])
        return corrupted


@final
@dataclass(frozen=True)
class Corrupted(Keyed):
    """The images that a recipe can make at a severity."""

    images: Tensor
    recipe: Corruption

    def render(self, z: Tensor) -> Tensor:
        """The corrupted images; a severity that is no whole number is rounded to one that exists."""
        severity = self.budget.round().clamp(1, 5)
        rendered = torch.empty_like(self.images)
        for one in severity.unique().tolist():
            rows = (severity == one).nonzero()[:, 0]
            rendered[rows] = self.recipe.at(self.images[rows], int(one), Streams(z[rows, 0]))
        return rendered
