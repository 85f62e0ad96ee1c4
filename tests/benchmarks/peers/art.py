"""The Adversarial Robustness Toolbox: an estimator around the model, arrays in, arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from classrob_art.seclusion import imported
from peers.task import STEP, Task, stands

evasion, classification = imported("art.attacks.evasion"), imported("art.estimators.classification")


def pgd(module: nn.Module, images: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Its ProjectedGradientDescent, which takes the variant for PyTorch."""
    step = STEP * task.budget / task.steps
    return _judged("ProjectedGradientDescent", {"eps_step": step}, module, images, labels, task)


def apgd_ce(module: nn.Module, images: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Its AutoProjectedGradientDescent; the first step is twice the budget, as in the paper."""
    fields = {"eps_step": 2 * task.budget, "nb_random_init": 1, "loss_type": "cross_entropy"}
    return _judged("AutoProjectedGradientDescent", fields, module, images, labels, task)


def _judged(
    name: str, fields: dict[str, Any], module: nn.Module, images: Tensor, labels: Tensor, task: Task
) -> Tensor:
    with torch.no_grad():
        classes = module(images[:1]).shape[1]
    estimator = classification.PyTorchClassifier(
        model=module,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="cpu" if images.device.type == "cpu" else "gpu",
    )
    fields = {"norm": np.inf, "eps": task.budget, "max_iter": task.steps, "verbose": False, **fields}
    attack = getattr(evasion, name)(estimator, batch_size=task.batch, **fields)

    def predict(images: Tensor) -> Tensor:
        return torch.from_numpy(estimator.predict(images.numpy(), batch_size=task.batch).argmax(1))

    def breaks(images: Tensor, labels: Tensor) -> Tensor:
        return predict(torch.from_numpy(attack.generate(x=images.numpy(), y=labels.numpy()))) != labels

    return stands(predict, breaks, images, labels, task)


ATTACKS = {"pgd": pgd, "apgd-ce": apgd_ce}
