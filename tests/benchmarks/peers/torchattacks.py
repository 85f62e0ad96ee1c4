"""torchattacks: an attack is made once and called with a batch."""

from __future__ import annotations

import torch
import torchattacks
from torch import Tensor, nn

from peers.task import STEP, Task, predicted, stands


def pgd(module: nn.Module, images: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Its PGD."""
    step = STEP * task.budget / task.steps
    attack = torchattacks.PGD(module, eps=task.budget, alpha=step, steps=task.steps, random_start=False)
    return _judged(attack, module, images, labels, task)


def apgd_ce(module: nn.Module, images: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Its Auto-PGD."""
    attack = torchattacks.APGD(module, norm="Linf", eps=task.budget, steps=task.steps, loss="ce")
    return _judged(attack, module, images, labels, task)


def _judged(
    attack: torchattacks.attack.Attack, module: nn.Module, images: Tensor, labels: Tensor, task: Task
) -> Tensor:
    def breaks(images: Tensor, labels: Tensor) -> Tensor:
        pairs = zip(images.split(task.batch), labels.split(task.batch), strict=True)
        return predicted(module, torch.cat([attack(*pair) for pair in pairs]), task.batch) != labels

    return stands(lambda x: predicted(module, x, task.batch), breaks, images, labels, task)


ATTACKS = {"pgd": pgd, "apgd-ce": apgd_ce}
