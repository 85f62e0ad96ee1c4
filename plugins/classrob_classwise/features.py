"""The probe `features`: what a model sees in an image just before its last linear layer.

The layer is found by watching, not by name: of all products with a matrix of weights that run while the
model does, the last one, if the logits are that product plus a constant. This holds for linear layers,
1×1 convolutions (before or after pooling), networks of timm and graphs of ONNX files alike, and needs no
hook in any module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from classrob.errors import NotObservable, StudyError
from classrob.live import Batch, Classifier
from classrob.parts import Probe

#: How far logits may lie from product plus constant, relative to the largest: rounding only.
ROUNDING = 1e-3

#: Everything that multiplies by a matrix: the places of the two factors, and whether weights are [d, k] there.
PRODUCTS: Mapping[Any, tuple[int, int, bool]] = {
    F.linear: (0, 1, False),
    F.conv2d: (0, 1, False),
    torch.conv2d: (0, 1, False),
    torch.matmul: (0, 1, True),
    torch.mm: (0, 1, True),
    torch.addmm: (1, 2, True),
    Tensor.matmul: (0, 1, True),
    Tensor.__matmul__: (0, 1, True),
    Tensor.mm: (0, 1, True),
    Tensor.addmm: (1, 2, True),
}


@final
class Features(Probe):
    """The features before the last linear layer, and that layer's weights.

    Columns `features` [d] of an image, and `weights` [k, d] of the model. Spatial features before a 1×1
    convolution are averaged over the places, as the model does with its outcome.
    """

    constant: ClassVar = frozenset({"weights"})

    precision: Literal["float16", "float32"] = Field(
        default="float16", description="of the features in the store; weights are kept in float32"
    )

    def observe(self, classifier: Classifier, batch: Batch, rendered: Tensor) -> Mapping[str, Tensor]:
        """Features [n, d] and weights [k, d].

        Raises:
            NotObservable: the last product of the model does not make its logits; the text says what was seen.
            StudyError: a feature is too large for float16.
        """
        with torch.no_grad():
            found = [penultimate(classifier, part) for part in rendered.split(classifier.batch_size)]
        features, weights = torch.cat([one for one, _ in found]), found[0][1]
        kept = features.to(getattr(torch, self.precision))
        if not kept.isfinite().all() and features.isfinite().all():
            raise StudyError(
                "probe 'features': a feature is too large for float16: set precision = \"float32\""
            )
        return {"features": kept, "weights": weights}


class _Watch(TorchFunctionMode):
    """Remembers the factors of the last product with a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.last: tuple[Tensor, Tensor] | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, and look at it."""
        kwargs = kwargs or {}
        if func in PRODUCTS:
            x, weight = factors(func, args, kwargs)
            if weight.ndim in (2, 4) and weight.shape[2:] in ((), (1, 1)):
                self.last = x, weight
        return func(*args, **kwargs)


def factors(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """What a product of `PRODUCTS` multiplies: the input, and the weights with their outputs first."""
    names = ("input", "mat1", "weight", "mat2", "other")
    given = [*args, *(kwargs[name] for name in names if name in kwargs)]
    first, second, turned = PRODUCTS[func]
    weights = given[second]
    return given[first], weights.mT if turned and weights.ndim > 1 else weights


def penultimate(classifier: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features [n, d] before the last linear layer, and that layer's weights [k, d], of one batch of images.

    Where gradients are on, the features are differentiable in the images.

    Raises:
        NotObservable: the last product of the model does not make its logits; the text says what was seen.
    """
    with _Watch() as watch:
        logits = classifier(images)
    if watch.last is None:
        raise NotObservable(
            "no linear layer was seen at work: the model is compiled, or multiplies by no matrix of weights"
        )
    x, weight = watch.last
    if is_functorch_wrapped_tensor(x):
        raise NotObservable("the model is mapped over its images one by one, which hides what is in between")
    if x.ndim == 4 and weight.ndim == 4:
        x, weight = x.mean((2, 3)), weight[:, :, 0, 0]
    x = x[: len(images)].float()
    weight = weight.float()
    if x.ndim != 2 or weight.ndim != 2 or x.shape != (len(images), weight.shape[1]):
        raise NotObservable(
            f"its last product is of {list(x.shape)} and {list(weight.shape)}, not of one row of features an image"
        )
    if weight.shape[0] != logits.shape[1]:
        raise NotObservable(
            f"its last linear layer gives {weight.shape[0]} numbers, and the model {logits.shape[1]} logits"
        )
    rest = (logits - x @ weight.T).detach()
    if float((rest - rest.mean(0)).abs().max()) > ROUNDING * (1.0 + float(logits.detach().abs().max())):
        raise NotObservable(
            "its logits are not what its last linear layer gives: something changes them after it"
        )
    return x, weight
