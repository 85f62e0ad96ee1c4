"""Foolbox: a model is wrapped, an attack is called with a batch and says itself what it broke."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from peers.task import STEP, Task, stands

with warnings.catch_warnings(action="ignore"):  # of names that scipy has moved
    import foolbox


def pgd(module: nn.Module, images: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Its LinfPGD."""
    model = foolbox.PyTorchModel(module, bounds=(0, 1), device=images.device)
    attack = foolbox.attacks.LinfPGD(rel_stepsize=STEP / task.steps, steps=task.steps, random_start=False)

    def predict(images: Tensor) -> Tensor:
        return torch.cat([model(part).argmax(1) for part in images.split(task.batch)])

    def breaks(images: Tensor, labels: Tensor) -> Tensor:
        pairs = zip(images.split(task.batch), labels.split(task.batch), strict=True)
        return torch.cat([attack(model, *pair, epsilons=task.budget)[2] for pair in pairs])

    return stands(predict, breaks, images, labels, task)


ATTACKS = {"pgd": pgd}
