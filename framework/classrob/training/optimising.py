"""Optimiser and learning rate from a recipe's fields, and the changes it makes to a batch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

if TYPE_CHECKING:
    from classrob.training.gradient import GradientRecipe

#: `crop` moves an image by up to this share of its side.
_MOVED = 8


def optimizer_of(recipe: GradientRecipe, module: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of all weights."""
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            module.parameters(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
    return torch.optim.AdamW(module.parameters(), recipe.lr, weight_decay=recipe.weight_decay)


def rate_of(recipe: GradientRecipe, optimizer: torch.optim.Optimizer, steps: int) -> LambdaLR | OneCycleLR:
    """The learning rate's course over `steps` steps an epoch; it is a pure function of the step's number."""
    total = recipe.epochs * steps

    def share(step: int) -> float:
        match recipe.schedule:
            case "cosine":
                return 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / total))
            case "drops":
                return 0.1 ** sum(step >= drop * steps for drop in recipe.drops)
            case _:
                return 1.0

    if recipe.schedule == "one-cycle":
        moves = recipe.optimizer == "adamw" or recipe.momentum > 0
        return OneCycleLR(optimizer, recipe.lr, total_steps=total, cycle_momentum=moves)
    return LambdaLR(optimizer, share)


def augmented(recipe: GradientRecipe, images: Tensor, draws: torch.Generator) -> Tensor:
    """The images [n, c, h, w], each changed by draws of its own where the recipe asks for it."""
    n, _, height, width = images.shape
    if "flip" in recipe.augment:
        turned = (torch.rand(n, generator=draws) < 0.5).to(images.device)
        images = torch.where(turned[:, None, None, None], images.flip(3), images)
    if "crop" in recipe.augment:
        pads = -(-height // _MOVED), -(-width // _MOVED)
        grown = nn.functional.pad(images, (pads[1], pads[1], pads[0], pads[0]), mode="replicate")
        top, left = (torch.randint(2 * pad + 1, (n,), generator=draws).to(images.device) for pad in pads)
        down = top[:, None] + torch.arange(height, device=images.device)
        right = left[:, None] + torch.arange(width, device=images.device)
        each = torch.arange(n, device=images.device)[:, None, None]
        images = grown[each, :, down[:, :, None], right[:, None, :]].movedim(3, 1).contiguous()
    return images
