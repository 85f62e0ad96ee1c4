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
    (Zhou et al., CVPR 2016), and is computed as one product; a convolution that gives the features is folded
    into it, which takes a tenth of the work where it has a hundred channels for ten classes. Otherwise it takes
    a backward pass a class through what follows the features.

    Attributes:
        layer: the module whose output are the last features with more than one position.
        linear: the last linear layer, where the features' mean is all that it sees, and its output the logits.
        folds: is the layer a convolution after which nothing is drawn at random?
    """

    module: nn.Module
    layer: nn.Module
    linear: nn.Linear | None = None
    folds: bool = False
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
                logits = module.eval()(images)
        finally:
            module.train(training)
            for hook in hooks:
                hook.remove()
        if not spatial:
            raise StudyError(
                "the recipe needs a convolutional network, whose features [n, c, h, w] have more than one position"
            )
        layer, features = spatial[-1]
        draws = any(isinstance(one, nn.Dropout) and one.p > 0 for one in module.modules())
        plain = isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros"
        for linear, seen in linears[-1:]:
            if (
                seen.shape == features.shape[:2]
                and _near(seen, features.mean((2, 3)))
                and _near(logits, nn.functional.linear(seen, linear.weight, linear.bias))
            ):
                return cls(module, layer, linear, plain and not draws)
        return cls(module, layer)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [n, k] and maps [n, k, positions]."""
        if self.folds:
            return self._folded(images)
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

    def _folded(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The same, from what reaches the last convolution: the pass ends there."""
        conv, linear = self.layer, self.linear
        assert isinstance(conv, nn.Conv2d)
        assert linear is not None

        def enough(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
            raise _Reached(inputs[0])

        hook = conv.register_forward_pre_hook(enough)
        try:
            self.module(images)
        except _Reached as reached:
            before = reached.features
        else:
            raise AssertionError("the last convolution was not called")
        finally:
            hook.remove()
        weight = torch.einsum("kc,cihw->kihw", linear.weight, conv.weight)
        bias = None if conv.bias is None else linear.weight @ conv.bias
        maps = nn.functional.conv2d(before, weight, bias, conv.stride, conv.padding, conv.dilation).flatten(2)
        logits = maps.mean(2)
        return logits if linear.bias is None else logits + linear.bias, maps

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


class _Reached(Exception):
    """Ends a pass of a network, with what has come out so far."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features


def _near(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4)
