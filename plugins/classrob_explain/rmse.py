"""The threat `rmse`: the root mean square of the offset over all pixels and channels, in the box or out of it."""

from __future__ import annotations

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
from classrob_explain.descent import rows, unit
from classrob_lp.balls import Offsets


def rms(z: Tensor) -> Tensor:
    """Root mean square of each row, [n]."""
    return z.flatten(1).norm(dim=1) / z.shape[1:].numel() ** 0.5


def _inside(z: Tensor, budget: Tensor) -> Tensor:
    """Radially into the ball."""
    return z * rows((budget / rms(z).clamp_min(1e-20)).clamp(max=1.0), z)


def _steepest(slope: Tensor) -> Tensor:
    """The slope at a root mean square of 1; scaled first, so that tiny slopes do not underflow."""
    peak = slope.flatten(1).abs().amax(1)
    scaled = slope / rows(peak.where(peak > 0, 1.0), slope)
    return scaled / rows(rms(scaled).clamp_min(1e-20), slope)


def _drawn(streams: Streams, budget: Tensor, shape: torch.Size) -> Tensor:
    """Uniform in the ball: a normal direction, radius u^(1/d)."""
    direction = unit(streams.fork("direction").normal(*shape))
    radius = streams.fork("radius").uniform(1)[:, 0] ** (1.0 / shape.numel())
    return rows(budget * radius, direction) * direction


@final
@dataclass(frozen=True)
class RmseBall(Offsets):
    """Offsets whose root mean square is within the budget, cut to the box [0, 1]."""

    def project(self, z: Tensor) -> Tensor:
        """Radially into the ball, then into the box, which only shortens an offset."""
        return _inside(z, self.budget).maximum(self.darkest).minimum(self.brightest)

    def start(self, streams: Streams) -> Tensor:
        """Uniform in the ball, then into the box."""
        return self.project(_drawn(streams, self.budget, self.images.shape[1:]))

    def distance(self, z: Tensor) -> Tensor:
        """The root mean square."""
        return rms(z)

    def steepest(self, slope: Tensor) -> Tensor:
        """The slope at a root mean square of 1."""
        return _steepest(slope)


@final
@dataclass(frozen=True)
class UnclippedBall(Space):
    """Offsets whose root mean square is within the budget, whatever becomes of the pixels."""

    images: Tensor

    box: ClassVar[tuple[float, float]] = (-torch.inf, torch.inf)

    def centre(self) -> Tensor:
        """No offset."""
        return torch.zeros_like(self.images)

    def start(self, streams: Streams) -> Tensor:
        """Uniform in the ball."""
        return self.project(_drawn(streams, self.budget, self.images.shape[1:]))

    def project(self, z: Tensor) -> Tensor:
        """Radially into the ball."""
        return _inside(z, self.budget)

    def render(self, z: Tensor) -> Tensor:
        """The image plus the offset."""
        return self.images + z

    def distance(self, z: Tensor) -> Tensor:
        """The root mean square."""
        return rms(z)

    def steepest(self, slope: Tensor) -> Tensor:
        """The slope at a root mean square of 1."""
        return _steepest(slope)


@final
class Rmse(Threat):
    """The root mean square of the offset is at most the budget: the Euclidean norm by the root of the pixels' number.

    The unit of the Accuracy-Robustness Area (Woods, Chen and Teuscher, 2019), who do not cut perturbed images to
    [0, 1]; `clip = false` is their form.
    """

    pixels: ClassVar[bool] = True
    default_attack: ClassVar[str] = "minimum-norm"

    budgets: Budgets = Field(description="ascending, root mean square over pixels in [0, 1] and channels")
    clip: bool = Field(default=True, description="cut perturbed images to [0, 1]")

    def open(self, batch: Batch, classifier: Classifier, streams: Streams) -> Space:
        """The ball around each image."""
        budget = batch.images.new_full((len(batch),), self.budgets[-1])
        return RmseBall(budget, batch.images) if self.clip else UnclippedBall(budget, batch.images)
