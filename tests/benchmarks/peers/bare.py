"""The floor: as many forward and backward passes as the attack takes, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from peers.task import Task


def passes(module: nn.Module, images: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Gradients in the images, one a step, thrown away."""
    for images_, labels_ in zip(images.split(task.batch), labels.split(task.batch), strict=True):
        for _ in range(task.steps):
            gradient(module, images_, labels_)
    return torch.zeros_like(labels, dtype=torch.bool)


def gradient(module: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """The gradient of the cross-entropy in the images."""
    x = images.detach().requires_grad_()
    loss = torch.nn.functional.cross_entropy(module(x), labels, reduction="sum")
    return torch.autograd.grad(loss, x)[0]


ATTACKS = {"pgd": passes, "apgd-ce": passes}
