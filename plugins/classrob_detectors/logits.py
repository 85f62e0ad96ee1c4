"""Detectors that look at nothing but logits: the largest probability, the largest logit, energy, KL-matching."""

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
class MaximumSoftmax(Detector):
    """Minus the largest probability: a prediction that the model is not sure of is suspicious.

    (Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural
    Networks", ICLR 2017.)
    """

    def fit(self, classifier: Classifier, reference: Reference) -> Scorer:
        """Nothing to fit."""
        return _MaximumSoftmax(classifier)


@final
class MaximumLogit(Detector):
    """Minus the largest logit.

    (Hendrycks et al., "Scaling Out-of-Distribution Detection for Real-World Settings", ICML 2022.)
    """

    def fit(self, classifier: Classifier, reference: Reference) -> Scorer:
        """Nothing to fit."""
        return _MaximumLogit(classifier)


@final
class Energy(Detector):
    """Free energy: −T log Σ exp(logit / T).

    (Liu et al., "Energy-based Out-of-distribution Detection", NeurIPS 2020.)
    """

    temperature: float = Field(default=1.0, gt=0.0, description="T")

    def fit(self, classifier: Classifier, reference: Reference) -> Scorer:
        """Nothing to fit."""
        return _Energy(classifier, self.temperature)


@final
class KLMatching(Detector):
    """The smallest Kullback–Leibler divergence of an image's probabilities from a class's mean probabilities.

    The means are those of the reference images that the model gives to each class; a class that it gives none
    has none. (Hendrycks et al., ICML 2022, as above; their class is the true one there, and the predicted one
    here, as in their code.)
    """

    def fit(self, classifier: Classifier, reference: Reference) -> Scorer:
        """Mean probabilities by predicted class."""
        probabilities = classifier(reference.batch.images).softmax(1)
        said = probabilities.argmax(1)
        means = [probabilities[said == k].mean(0) for k in said.unique(sorted=True)]
        return _KLMatching(classifier, torch.stack(means))


@final
@dataclass(frozen=True)
class _MaximumSoftmax(Scorer):
    classifier: Classifier

    def score(self, images: Tensor) -> Tensor:
        """Minus the largest probability [n]."""
        return -self.classifier(images).softmax(1).amax(1)


@final
@dataclass(frozen=True)
class _MaximumLogit(Scorer):
    classifier: Classifier

    def score(self, images: Tensor) -> Tensor:
        """Minus the largest logit [n]."""
        return -self.classifier(images).amax(1)


@final
@dataclass(frozen=True)
class _Energy(Scorer):
    classifier: Classifier
    temperature: float

    def score(self, images: Tensor) -> Tensor:
        """Free energy [n]."""
        return -self.temperature * (self.classifier(images) / self.temperature).logsumexp(1)


@final
@dataclass(frozen=True)
class _KLMatching(Scorer):
    classifier: Classifier
    means: Tensor

    def score(self, images: Tensor) -> Tensor:
        """The smallest divergence [n]."""
        logs = F.log_softmax(self.classifier(images), 1)
        entropy = (logs.exp() * logs).sum(1, keepdim=True)
        return (entropy - logs.exp() @ self.means.clamp_min(1e-12).log().T).amin(1)
