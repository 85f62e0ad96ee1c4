"""The detector `confounding-gradient`: how a model would have to change for an image to be no single class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch
from pydantic import Field
from torch import Tensor

from classrob.errors import StudyError
from classrob.live import ROWS, Classifier
from classrob.parts import Detector
from classrob.scorer import Reference, Scorer
from classrob_detectors.labels import Kind, Variant, confounding, loss_of
from classrob_detectors.learned import TwoLayers
from classrob_detectors.norms import GradientNorms
from classrob_detectors.proxies import proxies

#: What is made of the squared norms: the learned detector, or one of three sums with a sign.
Reading = Literal["learned", "sum", "minus-first-half", "minus-second-half"]


@final
class ConfoundingGradient(Detector):
    """Squared norms of the gradient towards a confounding label, one a parameter tensor, read by a small network.

    The network has two layers (`hidden` wide; the width, the logarithm and the standardisation before it are our
    choice, as no source states them) and learns to tell reference from outliers: those that the study lets it
    know, else proxies, which are noise, corrupted and mixed up images of the reference.

    `read` other than `learned` are ablations without a network: `sum` of all squared norms; minus the mean over
    the first half of the parameter tensors, and minus that over the second half. Their direction depends on the
    data, so none of them is the method. (Lee, Prabhushankar and AlRegib, "Gradient-Based Adversarial and
    Out-of-Distribution Detection", 2022; "Probing the Purview of Neural Networks via Gradient Analysis", IEEE
    Access 11, 2023.)
    """

    label: Kind = Field(default="ones", description="the confounding label")
    ones: int = Field(default=2, ge=0, description="how many ones a `random` label has; not 1")
    variant: Variant = Field(default="sigmoid", description="what the label is compared with")
    read: Reading = Field(default="learned", description="what is made of the squared norms")
    hidden: int = Field(default=32, ge=1, description="width of the network")
    seed: int = Field(default=0, ge=0, description="of a random label and of the network's first weights")

    def fit(self, classifier: Classifier, reference: Reference) -> Scorer:
        """Norms of the reference and of outliers, and the network between them.

        Raises:
            StudyError: the label would be an ordinary one.
        """
        images = reference.batch.images
        classes = classifier(images[:1]).shape[1]
        norms = Norms(classifier, confounding(self.label, classes, self.ones, self.seed), self.variant)
        if self.read != "learned":
            return _Summed(norms, self.read)
        outliers = reference.outliers or proxies(reference)
        if len(images) < 2:
            raise StudyError("confounding-gradient needs a reference of 2 images or more")
        outside = torch.cat([norms(batch.images) for batch in outliers.values()])
        return _Learned(norms, TwoLayers.fitted(norms(images), outside, self.hidden, self.seed))


@final
class Norms:
    """Squared gradient norms float32 [n, p] of images against a confounding label."""

    def __init__(self, classifier: Classifier, label: Tensor, variant: Variant) -> None:
        self.classifier = classifier
        self.compute = GradientNorms(classifier.module, loss_of(label, variant))

    def __call__(self, images: Tensor) -> Tensor:
        """A batch at a time, of a multiple of rows, so that an image's numbers do not depend on its neighbours."""
        found: list[Tensor] = []
        with torch.enable_grad():
            for part in images.detach().split(self.classifier.batch_size):
                n = len(part)
                if short := -n % ROWS:
                    part = torch.cat([part, part[:1].expand(short, *part.shape[1:])])
                found.append(self.compute(part)[:n].float())
        return torch.cat(found)


@final
@dataclass(frozen=True)
class _Learned(Scorer):
    norms: Norms
    network: TwoLayers

    def score(self, images: Tensor) -> Tensor:
        """The logit [n] of being an outlier; without slope."""
        return self.network(self.norms(images))


@final
@dataclass(frozen=True)
class _Summed(Scorer):
    norms: Norms
    read: Reading

    def score(self, images: Tensor) -> Tensor:
        """The sum, or minus a mean [n]; without slope."""
        squares = self.norms(images)
        if self.read == "sum":
            return squares.sum(1)
        last = (
            squares.shape[1] - 1
        )  # halves as published: with an odd last place the middle belongs to neither
        half = squares[:, : last // 2] if self.read == "minus-first-half" else squares[:, -(-last // 2) :]
        return -half.mean(1) if half.shape[1] else squares.new_zeros(len(squares))
