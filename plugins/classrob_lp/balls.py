"""The ℓ∞ and ℓ2 balls around an image, cut to the box [0, 1]; z is the offset."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast, final

import torch
from pydantic import Field, field_validator
from torch import Tensor

from classrob.fields import Budgets
from classrob.live import Batch, Classifier
from classrob.parts import Threat
from classrob.space import Space
from classrob.streams import Streams


class _Shifted(torch.autograd.Function):
    """image + offset, cut to the box, in one pass; its gradient is that of both, on the faces too.

    The gradient of a clamp at its bounds differs between releases of torch (2.13 passes it, 2.15 blocks
    it). Blocked, no black or white pixel would ever be attacked, and a model would look robust.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, z: Tensor) -> Tensor:
        return (images + z).clamp_(0.0, 1.0)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        return grad_outputs[0], grad_outputs[0]


@dataclass(frozen=True)
class Offsets(Space):
    """Pixel offsets; `images` is float32 [n, c, h, w] in [0, 1]."""

    images: Tensor

    @final
    def centre(self) -> Tensor:
        """No offset."""
        return self.images.new_zeros(self.images.shape)

    @final
    def render(self, z: Tensor) -> Tensor:
        """The shifted image, cut to the box."""
        return cast(Tensor, _Shifted.apply(self.images, z))

    @final
    def rows(self, values: Tensor) -> Tensor:
        """Per-sample numbers [n] in a shape that broadcasts over images."""
        return values.reshape(-1, 1, 1, 1)

    @final
    @cached_property
    def darkest(self) -> Tensor:
        """The smallest offset that the box leaves each pixel, [n, c, h, w]."""
        return -self.images

    @final
    @cached_property
    def middle(self) -> Tensor:
        """How far each pixel is from the middle of the box, [n, c, h, w]."""
        return self.images - 0.5

    @final
    @cached_property
    def brightest(self) -> Tensor:
        """The largest offset that the box leaves each pixel, [n, c, h, w]."""
        return 1.0 - self.images


@final
@dataclass(frozen=True)
class LinfBall(Offsets):
    """Offsets whose largest pixel is within the budget."""

    @cached_property
    def _reach(self) -> tuple[Tensor, Tensor]:
        """Ball and box together, which are a box: its corners."""
        limit = self.rows(self.budget)
        return self.darkest.maximum(-limit), self.brightest.minimum(limit)

    def project(self, z: Tensor) -> Tensor:
        """Every pixel clamped to the budget and to the box."""
        low, high = self._reach
        return z.maximum(low).minimum(high)  # several times faster than a clamp between tensors

    def project_(self, z: Tensor) -> Tensor:
        """The same in place; what is in the processor's cache stays there."""
        low, high = self._reach
        return torch.minimum(torch.maximum(z, low, out=z), high, out=z)

    def start(self, streams: Streams) -> Tensor:
        """Uniform in the ball, then into the box."""
        draw = 2.0 * streams.uniform(*self.images.shape[1:]) - 1.0
        return self.project(self.rows(self.budget) * draw)

    def distance(self, z: Tensor) -> Tensor:
        """The largest absolute pixel; two looks at z are faster than a copy of it."""
        rows = z.flatten(1)
        return rows.amax(1).maximum(-rows.amin(1))

    def steepest(self, slope: Tensor) -> Tensor:
        """The sign of every pixel's slope."""
        return slope.sign()


@final
@dataclass(frozen=True)
class L2Ball(Offsets):
    """Offsets whose Euclidean norm over all pixels and channels is within the budget."""

    def project(self, z: Tensor) -> Tensor:
        """Radially into the ball, then into the box, which only shortens an offset."""
        norm = self.distance(z).clamp_min(1e-20)
        share = self.rows((self.budget / norm).clamp(max=1.0))
        return (z * share).maximum(self.darkest).minimum(self.brightest)

    def start(self, streams: Streams) -> Tensor:
        """Uniform in the ball (a normal direction, radius u^(1/d)), then into the box."""
        shape = self.images.shape[1:]
        direction = streams.fork("direction").normal(*shape)
        radius = streams.fork("radius").uniform(1)[:, 0] ** (1.0 / shape.numel())
        return self.project(
            direction * self.rows(self.budget * radius / self.distance(direction).clamp_min(1e-20))
        )

    def distance(self, z: Tensor) -> Tensor:
        """The Euclidean norm."""
        return z.flatten(1).norm(dim=1)

    def steepest(self, slope: Tensor) -> Tensor:
        """The slope at length 1; scaled first, so that tiny slopes do not underflow."""
        peak = self.rows(slope.flatten(1).abs().amax(1))
        scaled = slope / peak.where(peak > 0, 1.0)
        return scaled / self.rows(scaled.flatten(1).norm(dim=1).clamp_min(1e-20))


@final
class Linf(Threat):
    """Every pixel moves by at most the budget, in units of the pixel range [0, 1].

    At most 1: a budget meant in grey levels is written as a fraction, '8/255'.
    """

    pixels: ClassVar[bool] = True
    default_attack: ClassVar[str] = "curve"

    budgets: Budgets = Field(description="ascending, largest pixel change in [0, 1]; numbers or '8/255'")

    @field_validator("budgets")
    @classmethod
    def _in_range(cls, budgets: tuple[float, ...]) -> tuple[float, ...]:
        if budgets[-1] > 1.0:
            raise ValueError(
                f"pixels lie in [0, 1], so {budgets[-1]:g} is no budget; for grey levels write '8/255'"
            )
        return budgets

    def open(self, batch: Batch, classifier: Classifier, streams: Streams) -> Space:
        """The ball around each image."""
        return LinfBall(batch.images.new_full((len(batch),), self.budgets[-1]), batch.images)


@final
class L2(Threat):
    """The Euclidean norm of the offset is at most the budget, over pixels in [0, 1] and channels."""

    pixels: ClassVar[bool] = True
    default_attack: ClassVar[str] = "curve"

    budgets: Budgets = Field(description="ascending, Euclidean norm over pixels in [0, 1]")

    def open(self, batch: Batch, classifier: Classifier, streams: Streams) -> Space:
        """The ball around each image."""
        return L2Ball(batch.images.new_full((len(batch),), self.budgets[-1]), batch.images)
