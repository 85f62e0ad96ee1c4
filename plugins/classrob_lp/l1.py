"""The ℓ1 ball around an image, cut to the box [0, 1]; z is the offset."""

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
from classrob_lp.balls import Offsets
from classrob_lp.hyperplane import farthest

#: An offset this much longer than its budget, as a share of it, is inside but for the sum's rounding.
SLACK = 3e-7
#: A multiplier that has less than this share to go has come to rest, in float32.
REST = 1e-7
#: More Newton steps than a row can need: every second one halves the bracket of a float32.
STEPS = 80


@final
@dataclass(frozen=True)
class L1Ball(Offsets):
    """Offsets whose absolute values sum to at most the budget, over all pixels and channels."""

    @torch.no_grad()
    def project(self, z: Tensor) -> Tensor:
        """The nearest offsets in both ball and box. Croce and Hein (2021), "Mind the box".

        Ball, then box, would give length away: what the box cuts off can be spent on other pixels. No
        gradient passes.
        """
        return _shortened(z.flatten(1), self.images.flatten(1), self.budget).view_as(z)

    def start(self, streams: Streams) -> Tensor:
        """Uniform in the ball (a Laplace draw on its surface, radius u^(1/d)), then into the box."""
        shape = self.images.shape[1:]
        draw = 2.0 * streams.fork("direction").uniform(*shape) - (1.0 - 2.0**-24)  # never −1 or 1
        direction = torch.copysign(torch.log1p(-draw.abs()), draw)
        radius = streams.fork("radius").uniform(1)[:, 0] ** (1.0 / shape.numel())
        return self.project(direction * self.rows(self.budget * radius / self.distance(direction)))

    def distance(self, z: Tensor) -> Tensor:
        """The sum of the absolute values."""
        return z.flatten(1).abs().sum(1)

    @torch.no_grad()
    def steepest(self, slope: Tensor) -> Tensor:
        """Towards the corner of ball and box that lies farthest along the slope, at length 1.

        The pixels of the largest slope go as far as the box lets them. Alone, the largest would be at the
        box's face after a fraction of the budget.
        """
        corner = farthest(self.images.flatten(1), slope.flatten(1), self.budget)
        return (corner / corner.abs().sum(1, keepdim=True).clamp_min(1e-20)).view_as(slope)

    @torch.no_grad()
    def sparse_steepest(self, slope: Tensor, count: Tensor) -> Tensor:
        """The signs of the `count` [n] coordinates with the largest slope (and of equals), at length 1."""
        size = slope.flatten(1).abs()
        largest = size.topk(int(count.max()), dim=1).values if len(size) else size
        least = largest.gather(1, count[:, None] - 1)
        chosen = torch.ge(size, least, out=size).mul_(slope.flatten(1).sign())
        chosen /= chosen.abs().sum(1, keepdim=True).clamp_min(1.0)
        return chosen.view_as(slope)


def _shortened(z: Tensor, image: Tensor, budget: Tensor) -> Tensor:
    """Offsets [n, d] at most `budget` long, each of size min(max(|z| − m, 0), room): one m ≥ 0 a row.

    The length is piecewise linear in m. Newton's method, in a bracket that is halved where a step leaves it
    or gains too little, ends on the exact piece without sorting. Masks are floats: on a CPU faster than bool.
    """
    size = z.abs()
    room = torch.gt(z, 0.0, out=torch.empty_like(z)).sub_(image).abs_()
    roomy = room.sign().sum(1)
    short, mask = torch.empty_like(z), torch.empty_like(z)
    m, low, high = torch.zeros_like(budget), torch.zeros_like(budget), size.amax(1)
    last = torch.full_like(budget, torch.inf)
    moving = torch.ones_like(budget, dtype=torch.bool)
    for _ in range(STEPS):
        torch.sub(size, m[:, None], out=short).clamp_(min=0.0)
        excess = torch.minimum(short, room, out=short).sum(1) - budget
        gap = torch.where((m == 0) & (excess < 0), 0.0, excess.abs())
        free = torch.gt(room, short, out=mask).sum(1) + torch.sign(short, out=mask).sum(1) - roomy
        step = excess / free
        moving = moving & (gap > SLACK * budget) & ~(step.abs() <= REST * m)
        if not moving.any():
            break
        low, high = torch.where(excess > 0, m, low), torch.where(excess > 0, high, m)
        ahead = m + step
        newton = (gap <= 0.5 * last) & (ahead > low) & (ahead < high)
        m = torch.where(moving, torch.where(newton, ahead, 0.5 * (low + high)), m)
        last = gap
    longer = torch.where(m > 0, short.sum(1) / budget, 1.0).clamp(min=1.0)
    return torch.copysign(short.div_(longer[:, None]), z)


@final
class L1(Threat):
    """The absolute changes of all pixels and channels sum to at most the budget, pixels in [0, 1]."""

    pixels: ClassVar[bool] = True
    default_attack: ClassVar[str] = "curve"

    budgets: Budgets = Field(description="ascending, sum of absolute changes over pixels in [0, 1]")

    def open(self, batch: Batch, classifier: Classifier, streams: Streams) -> Space:
        """The ball around each image."""
        return L1Ball(batch.images.new_full((len(batch),), self.budgets[-1]), batch.images)
