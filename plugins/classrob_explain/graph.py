"""Slopes of a class's logit in the image, attached to a graph where the caller wants one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from classrob.live import Classifier


def wanted(classifier: Classifier, images: Tensor) -> bool:
    """Does the caller want a map that can be differentiated: in the images, or in weights that are not frozen?"""
    if not torch.is_grad_enabled():
        return False
    return images.requires_grad or any(weight.requires_grad for weight in classifier.module.parameters())


def tracked(images: Tensor) -> Tensor:
    """The images as something that slopes can be taken in."""
    return images if images.requires_grad else images.detach().requires_grad_()


def slope(value: Callable[[Tensor], Tensor], images: Tensor, graph: bool) -> Tensor:
    """Gradient of a number an image [n] in the images [n, c, h, w]; zeros where it does not depend on them."""
    with torch.enable_grad():
        x = tracked(images)
        (found,) = torch.autograd.grad(value(x).sum(), x, create_graph=graph, materialize_grads=True)
    return found


def logit_of(classifier: Classifier, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """images [n, c, h, w] → the logit [n] of each one's class."""
    return lambda images: classifier(images).gather(1, labels[:, None])[:, 0]
