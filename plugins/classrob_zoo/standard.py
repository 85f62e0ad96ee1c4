"""The recipe `standard`: cross-entropy on the images as they are."""

from __future__ import annotations

from typing import final

from torch import Tensor
from torch.nn.functional import cross_entropy

from classrob.training.gradient import GradientRecipe, Step


@final
class StandardTraining(GradientRecipe):
    """Plain training with cross-entropy."""

    def loss(self, step: Step) -> Tensor:
        """The cross-entropy of the images."""
        return cross_entropy(step.module(step.images), step.labels)
