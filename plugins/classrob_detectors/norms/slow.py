"""Squared gradient norms of parameters that no rule covers: by vmap, and image by image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from classrob_detectors.norms.term import norms_of

Loss = Callable[[Any], Tensor]

#: Elements of single images' gradients that are held at once.
HELD = 1 << 22


def by_vmap(module: nn.Module, images: Tensor, loss: Loss, parameters: Mapping[str, Tensor]) -> Tensor:
    """Squared norms [n, parameters] from gradients of every image, some images at a time."""

    def one(chosen: dict[str, Tensor], image: Tensor) -> Tensor:
        return loss(functional_call(module, chosen, (image[None],))).sum()

    chosen = {name: p.detach() for name, p in parameters.items()}
    each = vmap(grad(one), in_dims=(None, 0), randomness="different")
    many = max(1, HELD // sum(p.numel() for p in chosen.values()))
    found = []
    with torch.no_grad():  # but those within `grad`
        for part in images.split(many):
            gradients = each(chosen, part)
            found.append(torch.stack([norms_of(gradients[name]) for name in chosen], 1))
    return torch.cat(found)


def by_image(module: nn.Module, images: Tensor, loss: Loss, parameters: Sequence[Tensor]) -> Tensor:
    """Squared norms [n, parameters] from one backward pass for every image; differentiable where they are."""
    rows = []
    slope = images.requires_grad
    for image in images.split(1):
        gradients: Sequence[Tensor | None] = [None] * len(parameters)
        losses = loss(module(image))
        if losses.requires_grad:
            gradients = _gradients(losses.sum(), parameters, slope)
        norms = [
            p.new_zeros(()) if g is None else g.square().sum()
            for p, g in zip(parameters, gradients, strict=True)
        ]
        rows.append(torch.stack([norm.to(losses.dtype) for norm in norms]))
    return torch.stack(rows)


def _gradients(loss: Tensor, parameters: Sequence[Tensor], slope: bool) -> list[Tensor | None]:
    """The gradient of a loss, None for parameters that it does not depend on."""
    able = [p for p in parameters if p.requires_grad]
    found = iter(torch.autograd.grad(loss, able, allow_unused=True, create_graph=slope))
    return [next(found) if p.requires_grad else None for p in parameters]
