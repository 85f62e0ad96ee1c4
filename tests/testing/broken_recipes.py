"""Recipes that break one promise each, and one that keeps all."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import nn

from classrob import Classifier, Dataset, Fit, Recipe

from .broken import Breaks, also

_serial = itertools.count()


class Honest(Recipe):
    """The mean image of every class as weights."""

    def train(self, dataset: Dataset, device: str) -> Classifier:
        samples = dataset.open()
        batch, _ = samples.read(range(len(samples)), Fit())
        assert batch is not None
        flat = batch.images.flatten(1)
        means = [flat[batch.labels == k].mean(0) for k in range(len(samples.classes))]
        weights = self.changed(torch.stack(means) - flat.mean(0))
        linear = nn.utils.skip_init(nn.Linear, weights.shape[1], weights.shape[0], bias=False)
        with torch.no_grad():
            linear.weight.copy_(weights)
        _, channels, height, width = batch.images.shape
        return Classifier(nn.Sequential(nn.Flatten(), linear), fit=Fit((height, width), channels))

    def changed(self, weights: torch.Tensor) -> torch.Tensor:
        return weights


class LearnsNothing(Honest):
    """Weights of zero."""

    def changed(self, weights):
        return torch.zeros_like(weights)


class ForgetsAClass(Honest):
    """One class too few."""

    def changed(self, weights):
        return weights[:-1]


class NewEveryTime(Honest):
    """Weights that depend on how often it was called."""

    def changed(self, weights):
        return weights + 1e-3 * (1 + next(_serial))


class UsesTheGlobalGenerator(Honest):
    """Weights from torch's global generator, which it does not move."""

    def changed(self, weights):
        with torch.random.fork_rng(devices=[]):
            return weights + 1e-3 * torch.randn(weights.shape)


class SeedsTorch(Honest):
    """Seeds the whole program."""

    def changed(self, weights):
        torch.manual_seed(0)
        return weights


class SeedsNumPy(Honest):
    """Draws from NumPy's global generator."""

    def changed(self, weights):
        np.random.random()
        return weights


BROKEN = {
    "trains": [Breaks("recipe", LearnsNothing), Breaks("recipe", ForgetsAClass)],
    "repeats_itself": [Breaks("recipe", NewEveryTime), Breaks("recipe", UsesTheGlobalGenerator)],
    "leaves_the_generators_alone": [Breaks("recipe", SeedsTorch), Breaks("recipe", SeedsNumPy, also())],
}
