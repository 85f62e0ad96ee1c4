"""Detectors that look what becomes of a prediction when the image is changed a little: ODIN, feature squeezing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from classrob.live import Classifier
from classrob.parts import Detector
from classrob.scorer import Reference, Scorer


@final
class Odin(Detector):
    """ODIN: minus the largest probability at a high temperature, after a small step towards being more certain.

    The step is one sign of the gradient, in pixels of [0, 1]; the image is not cut afterwards, as published. The
    published step and temperature were chosen on outliers; these defaults are not. (Liang, Li and Srikant,
    "Enhancing The Reliability of Out-of-distribution Image Detection in Neural Networks", ICLR 2018.)
    """

    temperature: float = Field(default=1000.0, gt=0.0, description="what logits are divided by")
    step: float = Field(default=0.0014, ge=0.0, description="of every pixel")

    def fit(self, classifier: Classifier, reference: Reference) -> Scorer:
        """Nothing to fit."""
        return _Odin(classifier, self.temperature, self.step)


@final
class FeatureSqueezing(Detector):
    """How much the probabilities change, in L1, when the image has fewer grey levels or is smoothed: the largest.

    (Xu, Evans and Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", NDSS 2018.)
    """

    bits: int = Field(default=4, ge=1, le=7, description="of the grey levels")
    window: int = Field(default=2, ge=2, le=7, description="of the median, in pixels")

    def fit(self, classifier: Classifier, reference: Reference) -> Scorer:
        """Nothing to fit."""
        return _FeatureSqueezing(classifier, self.bits, self.window)


@final
@dataclass(frozen=True)
class _Odin(Scorer):
    classifier: Classifier
    temperature: float
    step: float

    def score(self, images: Tensor) -> Tensor:
        """Minus the largest probability [n]; its slope leaves out that of the step, which is a sign."""
        if self.step:
            with torch.enable_grad():
                x = images.detach().requires_grad_()
                surest = F.log_softmax(self.classifier(x) / self.temperature, 1).amax(1).sum()
                (slope,) = torch.autograd.grad(surest, x)
            images = images + self.step * slope.sign()
        return -(self.classifier(images) / self.temperature).softmax(1).amax(1)


@final
@dataclass(frozen=True)
class _FeatureSqueezing(Scorer):
    classifier: Classifier
    bits: int
    window: int

    def score(self, images: Tensor) -> Tensor:
        """The largest change [n] in L1, 0 to 2; differentiable as if rounding to grey levels were not there."""
        levels = 2.0**self.bits - 1.0
        coarse = images + ((images * levels).round() / levels - images).detach()
        plain = self.classifier(images).softmax(1)
        changes = [
            (self.classifier(x).softmax(1) - plain).abs().sum(1) for x in (coarse, self._smooth(images))
        ]
        return torch.stack(changes, 1).amax(1)

    def _smooth(self, images: Tensor) -> Tensor:
        """The median of the pixels from each on, to the right and down; beyond the edge the edge's own."""
        w = self.window
        padded = F.pad(images, (0, w - 1, 0, w - 1), mode="replicate")
        windows = padded.unfold(2, w, 1).unfold(3, w, 1).flatten(4)
        return windows.median(4).values
