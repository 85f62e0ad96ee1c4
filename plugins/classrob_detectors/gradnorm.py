"""The detector `gradnorm`: how strongly the last layer would have to change for a prediction to become uniform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from classrob.live import Classifier
from classrob.parts import Detector
from classrob.scorer import Reference, Scorer
from classrob_detectors.layers import Cut


@final
class GradNorm(Detector):
    """Minus the L1 norm of the gradient of KL(uniform ‖ prediction) in the last layer's weights.

    It is a product: the L1 norm of the features and that of probabilities minus 1/K, so that no gradient has to
    be computed. (Huang, Geng and Li, "On the Importance of Gradients for Detecting Distributional Shifts in the
    Wild", NeurIPS 2021.)
    """

    def fit(self, classifier: Classifier, reference: Reference) -> Scorer:
        """Nothing to fit but where the model is cut."""
        return _GradNorm(Cut.of(classifier, reference.batch.images))


@final
@dataclass(frozen=True)
class _GradNorm(Scorer):
    cut: Cut

    def score(self, images: Tensor) -> Tensor:
        """Minus the norm [n]."""
        features = self.cut.features(images)
        probabilities = self.cut.logits(features).softmax(1)
        away = (probabilities - 1.0 / probabilities.shape[1]).abs().sum(1)
        return -features.abs().sum(1) * away
