"""Explainers that break one promise each, and one that keeps all."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from classrob import Classifier, Explainer

from .broken import Breaks


class Honest(Explainer):
    """Slopes of the logit in the pixels."""

    def explain(self, classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        graph = torch.is_grad_enabled()
        with torch.enable_grad():
            x = images if images.requires_grad else images.detach().requires_grad_()
            logit = self.asked(classifier(x), labels)
            (slope,) = torch.autograd.grad(logit.sum(), x, create_graph=graph)
        return self.changed(slope, classifier, images)

    def asked(self, logits: Tensor, labels: Tensor) -> Tensor:
        return logits.gather(1, labels[:, None])[:, 0]

    def changed(self, map_: Tensor, classifier: Classifier, images: Tensor) -> Tensor:
        return map_


class Flat(Honest):
    """A row of numbers, and no map."""

    def changed(self, map_, classifier, images):
        return map_.flatten(1)


class Doubles(Honest):
    """float64."""

    def changed(self, map_, classifier, images):
        return map_.double()


class NotFinite(Honest):
    """Infinite where it is positive."""

    def changed(self, map_, classifier, images):
        return torch.where(map_ > 0, torch.inf, map_)


class OnlyWithoutGradients(Honest):
    """Another map where gradients are on."""

    def changed(self, map_, classifier, images):
        return 2.0 * map_ if torch.is_grad_enabled() else map_


class Deaf(Honest):
    """One map, whatever class is asked about."""

    def asked(self, logits, labels):
        return logits[:, 0]


class Counts(Honest):
    """A little more every time."""

    asks: ClassVar[list[int]] = []

    def changed(self, map_, classifier, images):
        self.asks.append(1)
        return map_ * (1 + len(self.asks) % 7 / 100)


class Herd(Honest):
    """Takes the images' mean map off."""

    def changed(self, map_, classifier, images):
        return map_ - map_.mean(0)


class AddsUpToNothing(Honest):
    """Says that its maps sum to the logit."""

    adds_up: ClassVar[Literal["mean", "sum"] | None] = "sum"


class Detached(Honest):
    """A map off its graph."""

    def changed(self, map_, classifier, images):
        return map_.detach()


class WrongSlope(Honest):
    """A map whose slope in the images is not its rate of change."""

    def changed(self, map_, classifier, images):
        return map_ + 10.0 * (images - images.detach())


class Tinkers(Honest):
    """Leaves a weight changed."""

    def changed(self, map_, classifier, images):
        with torch.no_grad():
            next(classifier.module.parameters()).add_(1e-6)
        return map_


BROKEN = {
    "maps_every_image": [
        Breaks("explainer", Flat),
        Breaks("explainer", Doubles),
        Breaks("explainer", NotFinite, frozenset("*")),
        Breaks("explainer", OnlyWithoutGradients, frozenset("*")),
    ],
    "explains_the_class_asked_for": [Breaks("explainer", Deaf)],
    "repeats_itself": [Breaks("explainer", Counts, frozenset("*"))],
    "treats_each_image_alone": [Breaks("explainer", Herd, frozenset({"maps_every_image"}))],
    "adds_up_as_it_says": [Breaks("explainer", AddsUpToNothing)],
    "can_be_differentiated": [Breaks("explainer", Detached), Breaks("explainer", WrongSlope)],
    "leaves_no_trace": [Breaks("explainer", Tinkers, frozenset("*"))],
}
