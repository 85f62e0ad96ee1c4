"""The last features of a network that still have places, and how its logits come of them; found by watching.

As for the probe `features`, no layer is looked up by name: what is seen is every operation while the
network runs. So it works for torch, timm and ONNX alike, and what is found is attached to their graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor  # pyright: ignore[reportMissingImports]
from torch.overrides import TorchFunctionMode

from classrob.errors import NotExplainable
from classrob.live import Classifier
from classrob_classwise.features import PRODUCTS, ROUNDING, factors

#: So many of the latest reductions to one number a channel are remembered.
REMEMBERED = 4
#: How far numbers lie apart that differ by the rounding of a search in lower precision.
LOW_ROUNDING = 0.1


@dataclass(frozen=True)
class Places:
    """What was seen of one batch of n images.

    Attributes:
        logits: [n, k].
        last: [n or more, d, h, w], the last features that have places, as they lie on the way to the logits, with
            rows that fill up the batch; None where there are none.
        pooled: the latest of them that were averaged over all places, the latest last.
        product: input [n, d] and weights [k, d] of the last product with a matrix, where they are such.
    """

    logits: Tensor
    last: Tensor | None
    pooled: tuple[Tensor, ...]
    product: tuple[Tensor, Tensor] | None


class _Watch(TorchFunctionMode):
    """Remembers what enters operations that leave no places, and the last product with a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Tensor | None = None
        self.pooled: list[Tensor] = []
        self.product: tuple[Tensor, Tensor] | None = None
        self.sequence = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, and look at it."""
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        if func in PRODUCTS:
            x, weight = factors(func, args, kwargs)
            self.sequence |= x.ndim == 3
            if weight.ndim in (2, 4) and weight.shape[2:] in ((), (1, 1)):
                self.product = x, weight
        x = args[0] if args else kwargs.get("input")
        if isinstance(found, Tensor) and isinstance(x, Tensor) and x.ndim == 4 and found is not x:
            self._look(x, found)
        return found

    def _look(self, x: Tensor, found: Tensor) -> None:
        if x.shape[2] * x.shape[3] <= 1 or not x.is_floating_point() or found.shape[:1] != x.shape[:1]:
            return
        self.last = x
        if found.numel() == x.shape[0] * x.shape[1]:
            self.pooled = [*self.pooled, x][-REMEMBERED:]
        elif found.ndim == 4 and found.shape[2] * found.shape[3] > 1:
            self.last = found


def seen(classifier: Classifier, images: Tensor) -> Iterator[tuple[slice, Places]]:
    """What is seen of the images, a batch of the classifier at a time.

    Raises:
        NotExplainable: the model hides what is in between.
    """
    for start in range(0, len(images), classifier.batch_size):
        rows = slice(start, start + classifier.batch_size)
        yield rows, _seen(classifier, images[rows])


def _seen(classifier: Classifier, images: Tensor) -> Places:
    with _Watch() as watch:
        logits = classifier(images)
    n = len(images)
    for one in (watch.last, *watch.pooled):
        if one is not None and is_functorch_wrapped_tensor(one):
            raise NotExplainable("the model is mapped over its images one by one, which hides its features")
    if watch.sequence:
        raise NotExplainable(
            "the model looks at an image as a sequence of patches, which has no features by place: take "
            "'input-gradient' or 'integrated-gradients'"
        )
    last = None if watch.last is None or len(watch.last) < n else watch.last
    pooled = tuple(one[:n] for one in watch.pooled if len(one) >= n)
    return Places(logits, last, pooled, _rows(watch.product, n, logits))


def _rows(product: tuple[Tensor, Tensor] | None, n: int, logits: Tensor) -> tuple[Tensor, Tensor] | None:
    """A product as one row of features an image and one row of weights a class, where it is such."""
    if product is None:
        return None
    x, weight = product[0].flatten(1)[:n], product[1].flatten(1)
    fits = x.shape == (n, weight.shape[1]) and weight.shape[0] == logits.shape[1]
    return (x, weight) if fits else None


def same(one: Tensor, other: Tensor, scale: Tensor) -> bool:
    """Do numbers [n, d] differ by rounding only, or by something that is the same for every row?"""
    rest = (one - other).detach().float()
    allowed = ROUNDING if scale.dtype == torch.float32 else LOW_ROUNDING
    return float((rest - rest.mean(0)).abs().max()) <= allowed * (1.0 + float(scale.detach().abs().max()))


def activations(places: Places) -> tuple[Tensor, Tensor | None]:
    """Features [n, d, h, w] and weights [k, d]: their product, averaged over places, is the logits but for a constant.

    Without weights the features are the classes' maps themselves.

    Raises:
        NotExplainable: there are no such features.
    """
    logits = places.logits
    for features in reversed(places.pooled):
        if features.shape[1] == logits.shape[1] and same(features.mean((2, 3)), logits, logits):
            return features, None
    if places.product is not None:
        x, weight = places.product
        if same(x @ weight.T, logits, logits):
            for features in reversed(places.pooled):
                mean = features.mean((2, 3))
                if mean.shape == x.shape and float((mean - x).detach().abs().max()) <= ROUNDING * (
                    1.0 + float(x.detach().abs().max())
                ):
                    return features, weight
    raise NotExplainable(
        "its logits are no linear function of features averaged over all places, which a class activation map "
        "is made of: take 'grad-cam', or 'input-gradient'"
    )
