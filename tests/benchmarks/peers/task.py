"""What every tool is asked: the same attack, budget and steps on the same images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

#: Images [n, …] → int64 [n]; images and labels → bool [n].
Predict = Callable[[Tensor], Tensor]
Breaks = Callable[[Tensor, Tensor], Tensor]

#: PGD's fixed step, in budgets, over the number of steps; all peers take it.
STEP = 2.5


@dataclass(frozen=True)
class Task:
    """`budget` in ℓ∞; `batch` images at a time; `only_correct`: leave alone what is misclassified anyway."""

    budget: float
    steps: int
    batch: int = 128
    only_correct: bool = False


def stands(predict: Predict, breaks: Breaks, images: Tensor, labels: Tensor, task: Task) -> Tensor:
    """bool [n]: classified rightly, and still so after the attack."""
    right = predict(images) == labels
    rows = right.nonzero()[:, 0] if task.only_correct else torch.arange(len(images))
    right[rows] &= ~breaks(images[rows], labels[rows])
    return right


@torch.no_grad()
def predicted(module: nn.Module, images: Tensor, batch: int) -> Tensor:
    """int64 [n], the classes that a module says."""
    return torch.cat([module(part).argmax(1) for part in images.split(batch)])
