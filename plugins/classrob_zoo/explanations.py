"""The recipe `ae-regularised`: a penalty on the slope of logits, on adversarial images as near as can be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from classrob.errors import StudyError
from classrob.parts import Trainable
from classrob.training.gradient import GradientRecipe, Step

#: ψ changes by this factor's exponent a unit of the integral; what the integral moves by a step lies in between.
K, LEAST, MOST = 0.02, -0.01, 1.0


@final
class AERegularised(GradientRecipe):
    """A Lipschitz-inspired penalty that grows until it binds (Woods et al., Nature Machine Intelligence 2019).

    The loss is CE + ψ · mean |∂o/∂x|² over images, channels and pixels. For every image o is a logit drawn at
    random, or with probability `tandem` the true logit minus the largest other one. ψ rises while the batch's
    CE is below `target`, and falls slowly above. A share of each batch is moved by a few steps of length-1
    slopes, and every ReLU is half-Huber. Sizes are RMSE: √(mean δ²).
    """

    psi: float = Field(default=220.0, ge=0, description="the penalty's first, and smallest, weight")
    target: float = Field(
        default=1.5, gt=0, description="the cross-entropy at which the weight stays; 1.5 is for CIFAR-10"
    )
    tandem: float = Field(
        default=0.2, ge=0, le=1, description="probability of the tandem logits (the paper's ζ)"
    )
    half_huber: bool = Field(default=True, description="give the model half-Huber rectifiers for its ReLUs")
    adversarial: Literal["l2-min", "l2", "none"] = Field(
        default="l2-min",
        description="the nearest misclassified image on the way, the last within `reach`, none",
    )
    share: float = Field(default=0.5, ge=0, le=1, description="of the images that are moved")
    reach: float = Field(
        default=0.1,
        gt=0,
        description="RMSE that the steps add up to; of `l2` the radius too (0.01 in the paper)",
    )
    steps: int = Field(default=7, ge=1, description="of the search for every batch")

    def threats(self, shape: tuple[int, int, int]) -> Sequence[Mapping[str, Any]]:
        """ℓ2 balls of 0.005 to 0.16 RMSE."""
        side = math.sqrt(math.prod(shape))
        return [{"use": "l2", "budgets": [round(0.005 * 2**i * side, 6) for i in range(6)]}]

    def adapt(self, model: Trainable) -> Trainable:
        """With half-Huber rectifiers, unless a field says otherwise.

        Raises:
            StudyError: the model has no such field.
        """
        if not self.half_huber or "rectifier" in model.model_fields_set:
            return model
        if "rectifier" not in type(model).model_fields:
            raise StudyError(
                "the recipe wants half-Huber rectifiers, but the model has no field `rectifier`: take 'torch', "
                "'timm/…' or 'cnn', or set half_huber=false"
            )
        return model.model_copy(update={"rectifier": "half-huber"})

    def loss(self, step: Step) -> Tensor:
        """CE + ψ · penalty, both at the same images."""
        x, y, memory = self._moved(step).requires_grad_(True), step.labels, step.memory
        logits = step.module(x)
        loss = cross_entropy(logits, y)
        value = max(float(loss.detach()), 1e-12)
        moved = min(max(-math.log(value / self.target), LEAST), MOST)
        memory["integral"] = max(0.0, memory.get("integral", 0.0) + moved)
        memory["psi"] = psi_of(memory["integral"], self.psi)
        chosen = self._chosen(logits, y, step.draws)
        (slope,) = torch.autograd.grad(chosen.sum(), x, create_graph=True)
        return loss + memory["psi"] * slope.square().mean()

    def _chosen(self, logits: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
        """One scalar an image [n]: a random logit, or the tandem."""
        n, k = logits.shape
        column = torch.randint(k, (n,), generator=draws).to(logits.device)
        tandem = (torch.rand(n, generator=draws) < self.tandem).to(logits.device)
        own = logits.gather(1, labels[:, None])[:, 0]
        rival = logits.scatter(1, labels[:, None], float("-inf")).amax(1)
        return torch.where(tandem, own - rival, logits.gather(1, column[:, None])[:, 0])

    def _moved(self, step: Step) -> Tensor:
        """The batch, a share of it moved; the network stays in train mode, as in the authors' code."""
        x = step.images.detach()
        if self.adversarial == "none" or not self.share:
            return x.clone()
        drawn = (torch.rand(len(x), generator=step.draws) < self.share).to(x.device)
        least = self.adversarial == "l2-min"
        offset = descended(step.module, x, step.labels, self.reach, self.steps, least)
        return x + offset * drawn[:, None, None, None]


def psi_of(integral: float, first: float = 220.0) -> float:
    """The penalty's weight: `first` · exp(0.02 · integral)."""
    return first * math.exp(K * integral)


def descended(module: nn.Module, x: Tensor, y: Tensor, reach: float, steps: int, least: bool) -> Tensor:
    """An offset of each image [n, c, h, w], not cut to [0, 1]: up the loss, and back where that is enough.

    Steps shrink evenly and add up to `reach`. It is enough, with `least`, where the image is misclassified:
    then the smallest such offset that was met comes back, or 0 if there was none; otherwise, where the RMSE
    is `reach`: then the last offset comes back.
    """
    offset, best = torch.zeros_like(x), torch.zeros_like(x)
    smallest = x.new_full((len(x),), float("inf"))
    for s in range(steps + least):  # with `least` one more look, without a step
        z = (x + offset).requires_grad_(True)
        logits = module(z)
        size = offset.square().mean((1, 2, 3))
        follow = logits.argmax(1) == y if least else size < reach**2
        if least:
            found = ~follow & (size < smallest)
            smallest, best = torch.where(found, size, smallest), torch.where(_wide(found), offset, best)
        if s == steps:
            break
        (slope,) = torch.autograd.grad(cross_entropy(logits, y, reduction="sum"), z)
        way = torch.where(_wide(follow), slope, -offset)
        way = way / (1e-8 + _wide(way.square().mean((1, 2, 3)).sqrt()))
        offset = offset + reach * (steps - s) / (steps * (steps + 1) / 2) * way
    return best if least else offset


def _wide(values: Tensor) -> Tensor:
    """[n] as [n, 1, 1, 1]."""
    return values[:, None, None, None]
