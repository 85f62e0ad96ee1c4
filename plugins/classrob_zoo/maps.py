"""Class activation maps for training: differentiable in the image and in the weights, on any convolutional net."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from classrob.errors import StudyError


@dataclass
class Maps:
    """Logits [n, k] and a map [n, k, positions] a class; the mean over a map is the class's logit, but for a bias.

    A map is the last spatial features times the slope of the class's logit in them, summed over channels, times
    the number of positions. Behind a mean over positions and a linear layer that is the class activation map
    (Zhou et al., CVPR 2016), and is computed as one product; otherwise it takes a backward pass a class through
    what follows the features.

    Attributes:
        layer: the module whose output are the last features with more than one position.
        linear: the last linear layer, where the features' mean is all that it sees.
    """

    module: nn.Module
    layer: nn.Module
    linear: nn.Linear | None = None
    _seen: list[Tensor] = field(default_factory=list, repr=False)

    @classmethod
    def of(cls, module: nn.Module, images: Tensor) -> Maps:
        """Maps of a network, found by one pass of some images [n, c, h, w] in eval mode.

        Raises:
            StudyError: it has no features of more than one position.
        """
        spatial: list[tuple[nn.Module, Tensor]] = []
        linears: list[tuple[nn.Linear, Tensor]] = []

        def saw(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
                spatial.append((layer, output))
            if isinstance(layer, nn.Linear):
                linears.append((layer, inputs[0]))

        hooks = [layer.register_forward_hook(saw) for layer in module.modules()]
        training = module.training
        try:
            with torch.no_grad():
                module.eval()(images)
        finally:
            module.train(training)
            for hook in hooks:
                hook.remove()
        if not spatial:
            raise StudyError(
                "the recipe needs a convolutional network, whose features [n, c, h, w] have more than one position"
            )
        layer, features = spatial[-1]
        for linear, seen in linears[-1:]:
            if seen.shape == features.shape[:2] and torch.allclose(
                seen, features.mean((2, 3)), rtol=1e-3, atol=1e-4
            ):
                return cls(module, layer, linear)
        return cls(module, layer)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [n, k] and maps [n, k, positions]."""
        with self._watching():
            logits = self.module(images)
            features = self._seen[-1]
        if self.linear is not None:
            return logits, torch.einsum("ncp,kc->nkp", features.flatten(2), self.linear.weight)
        slopes = [
            torch.autograd.grad(one.sum(), features, create_graph=True, retain_graph=True)[0]
            for one in logits.unbind(1)
        ]
        maps = [(slope * features).sum(1).flatten(1) for slope in slopes]
        return logits, torch.stack(maps, 1) * features[0, 0].numel()

    @contextmanager
    def _watching(self) -> Iterator[None]:
        def saw(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            self._seen.append(output)

        hook = self.layer.register_forward_hook(saw)
        try:
            yield
        finally:
            hook.remove()
            self._seen.clear()
