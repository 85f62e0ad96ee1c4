"""The recipes `standard` and `pgd-adversarial`: a small CNN, trained plainly or on adversarial images."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from classrob.live import Classifier
from classrob.parts import Dataset, Recipe
from classrob_zoo.loop import Schedule, trained


@final
class StandardTraining(Recipe):
    """Plain training of a small CNN with cross-entropy and AdamW."""

    epochs: int = Field(default=20, ge=1, description="passes over the data")
    lr: float = Field(default=0.004, gt=0, description="the highest learning rate of the one cycle")
    batch: int = Field(default=64, ge=1, description="images a step")
    weight_decay: float = Field(default=0.0005, ge=0, description="AdamW's decay of the weights")
    seed: int = Field(default=0, ge=0, description="of the first weights and of the order of the images")

    def ingredients(self) -> Mapping[str, str]:
        """PyTorch's version, whose kernels decide the last bits."""
        return {"torch": version("torch")}

    def train(self, dataset: Dataset, device: str) -> Classifier:
        """Train on the images as they are."""
        schedule = Schedule(self.epochs, self.lr, self.batch, self.weight_decay, self.seed)
        return trained(dataset, device, schedule, "standard training", lambda module, x, y, draws: x)


@final
class PGDAdversarialTraining(Recipe):
    """Training of a small CNN on the images that PGD finds in an ℓ∞ ball (Madry et al., ICLR 2018)."""

    epochs: int = Field(default=20, ge=1, description="passes over the data")
    lr: float = Field(default=0.004, gt=0, description="the highest learning rate of the one cycle")
    batch: int = Field(default=64, ge=1, description="images a step")
    weight_decay: float = Field(default=0.0005, ge=0, description="AdamW's decay of the weights")
    seed: int = Field(default=0, ge=0, description="of the first weights, the order, and the random starts")
    budget: float = Field(
        default=0.15, gt=0, le=1, description="radius of the ℓ∞ ball, in the scale of [0, 1]"
    )
    steps: int = Field(default=3, ge=1, description="of PGD for every batch, each 2.5 · budget / steps long")

    def ingredients(self) -> Mapping[str, str]:
        """PyTorch's version, whose kernels decide the last bits."""
        return {"torch": version("torch")}

    def train(self, dataset: Dataset, device: str) -> Classifier:
        """Train on what PGD makes of every batch, from a random start."""
        schedule = Schedule(self.epochs, self.lr, self.batch, self.weight_decay, self.seed)
        return trained(dataset, device, schedule, "adversarial training", self._perturb)

    def _perturb(self, module: nn.Module, x: Tensor, y: Tensor, draws: torch.Generator) -> Tensor:
        start = torch.rand(x.shape, generator=draws) * 2.0 - 1.0  # drawn on the CPU: the same on any device
        z = (x + self.budget * start.to(x.device)).clamp(0.0, 1.0)
        low, high = (x - self.budget).clamp_min(0.0), (x + self.budget).clamp_max(1.0)
        for _ in range(self.steps):
            z.requires_grad_(True)
            (slope,) = torch.autograd.grad(cross_entropy(module(z), y), z)
            z = (z.detach() + 2.5 * self.budget / self.steps * slope.sign()).clamp(low, high)
        return z
