"""Detectors that break one promise each, and one that keeps all."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from classrob import Classifier, Detector, Reference, Scorer

from .broken import Breaks


class Plain(Scorer):
    """How far the logits of an image lie from their mean over the reference, changed as its detector says."""

    def __init__(self, detector: Honest, classifier: Classifier, reference: Reference) -> None:
        self.detector, self.classifier = detector, classifier
        self.mean = classifier(reference.batch.images).mean(0)

    def score(self, images: Tensor) -> Tensor:
        score = (self.classifier(images) - self.mean).norm(dim=1)
        return self.detector.changed(score, self.classifier, images)


class Honest(Detector):
    """The distance of logits from their mean."""

    def fit(self, classifier: Classifier, reference: Reference) -> Scorer:
        return Plain(self, classifier, reference)

    def changed(self, score: Tensor, classifier: Classifier, images: Tensor) -> Tensor:
        return score


class NoScorer(Honest):
    """Returns a function."""

    def fit(self, classifier, reference):
        return Plain(self, classifier, reference).score


class OneForAll(Honest):
    """One number for all images."""

    def changed(self, score, classifier, images):
        return score.mean()[None]


class NotFinite(Honest):
    """The logarithm of 0 for a black image."""

    def changed(self, score, classifier, images):
        return score + images.flatten(1).sum(1).log()


class Draws(Honest):
    """Fits with torch's own generator."""

    def fit(self, classifier, reference):
        scorer = Plain(self, classifier, reference)
        scorer.mean = scorer.mean + torch.randn(scorer.mean.shape)
        return scorer


class Counts(Honest):
    """Counts how often it was asked."""

    asked: ClassVar[list[int]] = []

    def changed(self, score, classifier, images):
        self.asked.append(1)
        return score + len(self.asked) % 7


class Herd(Honest):
    """Takes the images' mean off."""

    def changed(self, score, classifier, images):
        return score - score.mean()


class Tinkers(Honest):
    """Leaves a weight changed."""

    def changed(self, score, classifier, images):
        with torch.no_grad():
            next(classifier.module.parameters()).add_(1e-3)
        return score


class Paints(Honest):
    """Changes the reference that it was handed."""

    def fit(self, classifier, reference):
        reference.batch.images.mul_(0.5)
        return Plain(self, classifier, reference)


BROKEN = {
    "scores_every_image": [
        Breaks("detector", NoScorer, frozenset("*")),
        Breaks("detector", OneForAll, frozenset("*")),
        Breaks("detector", NotFinite),
    ],
    "fits_the_same_twice": [Breaks("detector", Draws)],
    "repeats_itself": [
        Breaks("detector", Counts, frozenset({"fits_the_same_twice", "treats_each_image_alone"}))
    ],
    "treats_each_image_alone": [Breaks("detector", Herd)],
    "leaves_no_trace": [
        Breaks("detector", Tinkers, frozenset("*")),
        Breaks("detector", Paints, frozenset("*")),
    ],
}
