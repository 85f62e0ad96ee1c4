"""Explanations by the slope of a class's logit in the pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, final

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from classrob.live import Classifier
from classrob.parts import Explainer
from classrob.streams import Streams
from classrob_explain.graph import logit_of, slope, wanted

#: Every form of a rectifier.
_RECTIFIERS = frozenset({F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_})


@final
class InputGradient(Explainer):
    """The slope of the class's logit in every pixel and channel (Simonyan et al., 2014), [n, c, h, w]."""

    times_input: bool = Field(default=False, description="multiplied by the pixels")

    def explain(self, classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """One forward and one backward pass."""
        found = slope(logit_of(classifier, labels), images, wanted(classifier, images))
        return found * images if self.times_input else found


@final
class SmoothGrad(Explainer):
    """The mean slope of the logit over images with Gaussian noise (Smilkov et al., 2017), [n, c, h, w].

    The noise is the same for every image, so that an image's map is its own.
    """

    samples: int = Field(default=16, ge=1, description="how many noisy images a map is the mean of")
    noise: float = Field(default=0.15, gt=0, description="standard deviation of the noise, pixels in [0, 1]")
    seed: int = Field(default=0, ge=0, description="of the noise")

    def explain(self, classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """One forward and one backward pass a sample of noise."""
        graph, logit = wanted(classifier, images), logit_of(classifier, labels)
        streams = Streams.keyed(self.seed, "smoothgrad", ["noise"], "").to(images.device)
        total = torch.zeros_like(images)
        for draw in range(self.samples):
            noise = self.noise * streams.fork(draw).normal(*images.shape[1:])
            total = total + slope(lambda x, noise=noise: logit(x + noise), images, graph)
        return total / self.samples


@final
class IntegratedGradients(Explainer):
    """Integrated gradients (Sundararajan et al., ICML 2017) from a black image, [n, c, h, w].

    A map sums to the change of the logit from the baseline, but for the steps of the sum.
    """

    steps: int = Field(default=100, ge=1, description="points of the way, the image itself the last")
    baseline: float = Field(default=0.0, ge=0, le=1, description="the grey that the way begins at")
    softplus: bool = Field(
        default=False, description="softplus in place of every rectifier, as Boopathy et al. (2020) do"
    )

    def explain(self, classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """One forward and one backward pass a step."""
        graph, logit = wanted(classifier, images), logit_of(classifier, labels)
        away = images - self.baseline
        total = torch.zeros_like(images)
        with _softened() if self.softplus else nullcontext():
            for k in range(1, self.steps + 1):
                total = total + slope(logit, self.baseline + away * (k / self.steps), graph)
        return total / self.steps * away


class _Softplus(TorchFunctionMode):
    """Runs a softplus wherever the network asks for a rectifier."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The operation, or its smooth form."""
        if func in _RECTIFIERS:
            return F.softplus(args[0])
        return func(*args, **(kwargs or {}))


@contextmanager
def _softened() -> Iterator[None]:
    with _Softplus():
        yield
