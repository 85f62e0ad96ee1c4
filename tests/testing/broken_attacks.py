"""Attacks that break one promise each, and one that keeps all."""

from __future__ import annotations

import random
from typing import ClassVar

import torch
from torch import Tensor

from classrob import Attack, Batch, Classifier, Space, Streams

from .broken import Breaks, also


def slope_of(classifier: Classifier, space: Space, labels: Tensor, z: Tensor) -> Tensor:
    z = z.detach().requires_grad_()
    loss = torch.nn.functional.cross_entropy(classifier(space.render(z)), labels, reduction="sum")
    return torch.autograd.grad(loss, z)[0]


class Honest(Attack):
    """One step along the steepest direction."""

    def search(
        self, classifier: Classifier, space: Space, batch: Batch, streams: Streams, start: Tensor | None
    ) -> Tensor:
        z = space.centre() if start is None else start
        if not z.is_floating_point():  # a space without a slope: nothing to go along
            return self.changed(z, space, batch)
        return self.changed(space.move(z, slope_of(classifier, space, batch.labels, z), 1.0), space, batch)

    def changed(self, z: Tensor, space: Space, batch: Batch) -> Tensor:
        return z


class ReturnsDoubles(Honest):
    """Returns another type than the space's."""

    def changed(self, z, space, batch):
        return z.double()


class ReturnsAnotherShape(Honest):
    """Returns flat rows."""

    def changed(self, z, space, batch):
        return z.flatten(1)[:, :1]


class ReturnsNaN(Honest):
    """Loses one sample's numbers."""

    def changed(self, z, space, batch):
        lost = torch.tensor([sample == "kit/3" for sample in batch.ids])
        return torch.where(lost.reshape(-1, *[1] * (z.ndim - 1)), torch.nan, z)


class WidensTheBudget(Honest):
    """Gives itself ten times the budget that it was given."""

    def changed(self, z, space, batch):
        space.budget.mul_(10.0)
        return z * 10.0


class ThrowsDice(Honest):
    """Draws from Python's global generator."""

    def changed(self, z, space, batch):
        return z * (0.9 + 0.1 * random.random())


class Averages(Honest):
    """One direction for the whole batch."""

    def changed(self, z, space, batch):
        return z.mean(0, keepdim=True).expand_as(z).clone()


class LooksBackwards(Honest):
    """Draws, as it should, but for each batch alone: results change with the batch size."""

    def search(self, classifier, space, batch, streams, start):
        slope_of(classifier, space, batch.labels, space.centre())
        return space.project(space.move(space.centre(), torch.randn_like(space.centre()), 1.0))


class DrainsTheStart(Honest):
    """Overwrites the point that it was given to start from."""

    def search(self, classifier, space, batch, streams, start):
        found = super().search(classifier, space, batch, streams, start)
        if start is not None:
            start.zero_()
        return found


class Trains(Honest):
    """Moves the model's weights."""

    def search(self, classifier, space, batch, streams, start):
        with torch.no_grad():
            next(classifier.module.parameters()).mul_(1.001)
        return super().search(classifier, space, batch, streams, start)


class TrainMode(Honest):
    """Leaves the model in train mode."""

    def search(self, classifier, space, batch, streams, start):
        found = super().search(classifier, space, batch, streams, start)
        classifier.module.train()
        return found


class MovesBuffers(Honest):
    """Moves a buffer of the model."""

    def search(self, classifier, space, batch, streams, start):
        next(classifier.module.buffers(), torch.zeros(1)).add_(0.001)
        return super().search(classifier, space, batch, streams, start)


class LeavesGradients(Honest):
    """Leaves gradients in the model's weights."""

    def search(self, classifier, space, batch, streams, start):
        weight = next(classifier.module.parameters())
        weight.grad = torch.ones_like(weight)
        return super().search(classifier, space, batch, streams, start)


class Thaws(Honest):
    """Makes the weights require gradients for the time of its search, and forgets that a model may fail."""

    def search(self, classifier, space, batch, streams, start):
        weights = list(classifier.module.parameters())
        for weight in weights:
            weight.requires_grad_(True)
        found = super().search(classifier, space, batch, streams, start)
        for weight in weights:
            weight.requires_grad_(False)
        return found


class HidesGradients(Honest):
    """Differentiates the model without saying so."""

    needs: ClassVar = frozenset({"labels", "logits"})


class HidesLabels(Honest):
    """Reads the labels without saying so."""

    needs: ClassVar = frozenset({"logits", "gradients"})


class HidesLogits(Honest):
    """Asks the model without saying so."""

    needs: ClassVar = frozenset({"labels"})


class HidesPixels(Honest):
    """Reads the images without saying so."""

    def changed(self, z, space, batch):
        assert len(batch.images) == len(z)
        return z


class Descends(Honest):
    """Walks downhill, away from every mistake."""

    def search(self, classifier, space, batch, streams, start):
        z = space.centre() if start is None else start
        return space.move(z, -slope_of(classifier, space, batch.labels, z), 1.0)


_STATE = also("leaves_no_trace", "leaves_no_trace_when_the_model_fails")

BROKEN = {
    "proposes_points_of_the_space": [
        Breaks("attack", ReturnsDoubles),
        Breaks("attack", ReturnsAnotherShape, frozenset({"*"})),  # nothing can be said of such proposals
    ],
    "proposes_finite_points": [Breaks("attack", ReturnsNaN)],
    "respects_the_budget": [
        Breaks("attack", WidensTheBudget, _STATE | also("repeats_itself", "treats_each_sample_alone"))
    ],
    "repeats_itself": [Breaks("attack", ThrowsDice, also("treats_each_sample_alone"))],
    "treats_each_sample_alone": [
        Breaks("attack", Averages, also("finds_what_random_search_finds")),
        Breaks("attack", LooksBackwards, also("finds_what_random_search_finds")),
    ],
    "leaves_no_trace": [
        Breaks("attack", DrainsTheStart),
        Breaks("attack", Trains, _STATE | also("repeats_itself", "treats_each_sample_alone")),
        Breaks("attack", TrainMode, also("repeats_itself", "treats_each_sample_alone", *_STATE)),
        Breaks("attack", MovesBuffers, _STATE | also("repeats_itself", "treats_each_sample_alone")),
        Breaks("attack", LeavesGradients, _STATE),
    ],
    "leaves_no_trace_when_the_model_fails": [Breaks("attack", Thaws)],
    "reads_only_what_it_declares": [
        Breaks("attack", one) for one in (HidesGradients, HidesLabels, HidesLogits, HidesPixels)
    ],
    "finds_what_random_search_finds": [Breaks("attack", Descends)],
}
