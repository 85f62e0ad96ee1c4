"""Certifiers that break one promise each, and one that keeps all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from classrob import Batch, Certifier, Classifier, NotCertifiable, Space

from .broken import Breaks


class Honest(Certifier):
    """A margin of a linear model falls by at most the budget times the sum of its weights."""

    def certify(self, classifier: Classifier, space: Space, batch: Batch) -> Tensor:
        layers = [layer for layer in classifier.module.modules() if isinstance(layer, nn.Linear)]
        if len(layers) != 1 or space.centre().shape != batch.images.shape:
            raise NotCertifiable("this is no linear model, or no threat of pixels")
        with torch.no_grad():
            logits, own = classifier(batch.images), batch.labels[:, None]
        reach = (layers[0].weight[batch.labels][:, None] - layers[0].weight).abs().sum(2).detach()
        margin = logits.gather(1, own) - logits
        sure = (margin > space.budget[:, None] * reach).scatter(1, own, True).all(1)
        return self.changed(sure, classifier, batch)

    def changed(self, sure: Tensor, classifier: Classifier, batch: Batch) -> Tensor:
        return sure


class ReturnsNumbers(Honest):
    """Returns 0 and 1."""

    def changed(self, sure, classifier, batch):
        return sure.float()


class OneForAll(Honest):
    """Returns a single answer."""

    def changed(self, sure, classifier, batch):
        return sure.all()[None]


class Optimist(Honest):
    """Certifies whatever is classified well."""

    def changed(self, sure, classifier, batch):
        with torch.no_grad():
            return classifier(batch.images).argmax(1) == batch.labels


class Generous(Honest):
    """Certifies everything."""

    def changed(self, sure, classifier, batch):
        return torch.ones_like(sure)


class Pessimist(Honest):
    """Certifies nothing."""

    def changed(self, sure, classifier, batch):
        return torch.zeros_like(sure)


class Herd(Honest):
    """Lets the first sample speak for itself only where the last can."""

    def changed(self, sure, classifier, batch):
        return torch.cat([sure[:1] & sure[-1:], sure[1:]])


class Tinkers(Honest):
    """Adds to a weight."""

    def changed(self, sure, classifier, batch):
        weight = next(classifier.module.parameters())
        with torch.no_grad():
            weight += 1e-3
        return sure


class Unfreezes(Honest):
    """Leaves gradients on."""

    def changed(self, sure, classifier, batch):
        next(classifier.module.parameters()).requires_grad_(True)
        return sure


BROKEN = {
    "answers_for_every_sample": [
        Breaks("certifier", ReturnsNumbers, frozenset("*")),
        Breaks("certifier", OneForAll, frozenset("*")),
    ],
    "certifies_nothing_that_breaks": [Breaks("certifier", Optimist), Breaks("certifier", Generous)],
    "certifies_something": [Breaks("certifier", Pessimist)],
    "treats_each_sample_alone": [Breaks("certifier", Herd)],
    "leaves_no_trace": [Breaks("certifier", Tinkers, frozenset("*")), Breaks("certifier", Unfreezes)],
}
