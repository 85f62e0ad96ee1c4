"""Adversarial explanations: the change of an image by which a class gains most."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from classrob.live import Classifier
from classrob.parts import Explainer
from classrob_explain.descent import length, towards
from classrob_explain.graph import slope, wanted


@final
class AdversarialExplanation(Explainer):
    """Adversarial explanation (Woods, Chen and Teuscher, Nature Machine Intelligence 1, 2019), [n, c, h, w].

    The map is the change itself, to be shown added to the image: the class's cross-entropy is descended while
    the root mean square of the change is below `radius`, and the way leads back where it is not. It is neither
    projected nor clipped, so it ends near the radius.
    """

    changes_images: ClassVar[bool] = True

    radius: float = Field(default=0.1, gt=0, description="root mean square of the change, pixels in [0, 1]")
    overshoot: float = Field(default=5.0, gt=0, description="length of the whole way, in radii")
    steps: int = Field(default=35, ge=1, description="of the way, one gradient each")

    def explain(self, classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """One forward and one backward pass a step."""
        graph = wanted(classifier, images)
        offset = torch.zeros_like(images)
        for step in range(self.steps):
            fall = -slope(
                lambda x: cross_entropy(classifier(x), labels, reduction="none"), images + offset, graph
            )
            inside = offset.detach().square().flatten(1).mean(1) < self.radius**2
            direction = towards(inside, fall, offset)
            offset = offset + length(self.radius * self.overshoot, self.steps, step) * direction
        return offset
