"""The recipe `ig-norm`: training for attributions of the loss that stay small along the way to an attack."""

from __future__ import annotations

from typing import Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from classrob.training.gradient import Step
from classrob_zoo.ball import BallRecipe, evaluating


@final
class IGNorm(BallRecipe):
    """Robust attribution regularisation: the ℓ1 norm of integrated gradients (Chen et al., NeurIPS 2019).

    The loss is CE(x) + weight · ‖IG(x → x')‖₁, with integrated gradients of the image's cross-entropy from x to
    x' in a few steps; x' in the ℓ∞ ball is searched to make the whole large. The form `sum` takes CE(x') instead.
    """

    form: Literal["norm", "sum"] = Field(default="norm", description="the first term: CE(x), or CE(x')")
    weight: float = Field(
        default=0.02, ge=0, description="of the norm; 1/50 is what Boopathy et al. (2020) had on MNIST"
    )
    points: int = Field(default=5, ge=1, description="of the path from x to x' at which slopes are taken")

    def loss(self, step: Step) -> Tensor:
        """The sum of both terms, at an image in the ball that is searched first."""
        x, y, module = step.images, step.labels, step.module
        if not (radius := self.radius(step)):
            return cross_entropy(module(x), y)

        def whole(z: Tensor) -> Tensor:
            at = x if self.form == "norm" else z
            norm = self._attributions(module, x, z, y).abs().sum((1, 2, 3))
            return cross_entropy(module(at), y, reduction="sum") + self.weight * norm.sum()

        with evaluating(module):
            z = self.climbed(whole, x, radius, step.draws)
        return whole(z) / len(x)

    def _attributions(self, module: nn.Module, x: Tensor, z: Tensor, labels: Tensor) -> Tensor:
        """Integrated gradients [n, c, h, w] of each image's cross-entropy from x to z."""
        total = torch.zeros_like(x)
        for k in range(1, self.points + 1):
            at = x + (z - x) * (k / self.points)
            at = at if at.requires_grad else at.requires_grad_(True)
            loss = cross_entropy(module(at), labels, reduction="sum")
            total = total + torch.autograd.grad(loss, at, create_graph=True)[0]
        return (z - x) * total / self.points
