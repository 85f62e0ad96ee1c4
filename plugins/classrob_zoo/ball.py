"""What recipes share that train in an ℓ∞ ball: its radius over time, and the search in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from classrob.training.gradient import GradientRecipe, Step

BUDGET = "radius of the ℓ∞ ball, in the scale of [0, 1]"
#: What a search climbs: perturbed images to one loss a batch.
Objective = Callable[[Tensor], Tensor]


class BallRecipe(GradientRecipe):
    """A recipe that searches an ℓ∞ ball around every image by steps along the sign of the slope."""

    budget: float = Field(default=0.15, gt=0, le=1, description=BUDGET)
    steps: int = Field(default=3, ge=1, description="of the search for every batch")
    stride: float | None = Field(
        default=None, gt=0, description="the length of a step; none: 2.5 · budget / steps"
    )
    still: float = Field(default=0.0, ge=0, description="epochs before there is any ball")
    rise: float = Field(default=0.0, ge=0, description="epochs in which its radius then grows to the budget")

    def threats(self, shape: tuple[int, int, int]) -> Sequence[Mapping[str, Any]]:
        """The ball, and those of half and twice its radius."""
        around = (self.budget / 2, self.budget, min(1.0, 2 * self.budget))
        return [{"use": "linf", "budgets": sorted({round(budget, 6) for budget in around})}]

    def radius(self, step: Step) -> float:
        """The ball's radius at this step; it is remembered as `budget`."""
        passed = step.epoch - self.still
        share = 0.0 if passed < 0 else 1.0 if self.rise == 0 else min(1.0, passed / self.rise)
        step.memory["budget"] = share * self.budget
        return share * self.budget

    def climbed(self, objective: Objective, x: Tensor, radius: float, draws: torch.Generator) -> Tensor:
        """Images in the ball around x and in [0, 1] at which the objective is high, from a random start."""
        start = torch.rand(x.shape, generator=draws) * 2.0 - 1.0  # drawn on the CPU: the same on any device
        z = (x + radius * start.to(x.device)).clamp(0.0, 1.0)
        low, high = (x - radius).clamp_min(0.0), (x + radius).clamp_max(1.0)
        stride = 2.5 * radius / self.steps if self.stride is None else self.stride
        for _ in range(self.steps):
            z.requires_grad_(True)
            (slope,) = torch.autograd.grad(objective(z), z)
            z = (z.detach() + stride * slope.sign()).clamp(low, high)
        return z


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in eval mode, and afterwards in train mode again: a search leaves its statistics alone."""
    module.eval()
    try:
        yield
    finally:
        module.train()
