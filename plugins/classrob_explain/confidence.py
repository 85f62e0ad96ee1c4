"""The probe `confidence`: the probability that the model gives to the true class of a judged image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor

from classrob.live import Batch, Classifier
from classrob.parts import Probe


@final
class Confidence(Probe):
    """Softmax probability of the true class in the judged image; column `confidence` [n]."""

    def observe(self, classifier: Classifier, batch: Batch, rendered: Tensor) -> Mapping[str, Tensor]:
        """One forward pass."""
        chances = classifier(rendered).softmax(1)
        return {"confidence": chances.gather(1, batch.labels[:, None])[:, 0]}
