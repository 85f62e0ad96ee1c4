"""Recipes that break one promise each, and one that keeps all."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor, nn

from classrob import Course, Dataset, Mark, Recipe, Trainable, Trained
from classrob.errors import StudyError
from classrob.training.shelf import Shelf, shape_of

from .broken import Breaks, also

_serial = itertools.count()


class Honest(Recipe):
    """Sixty steps of gradient descent on all images."""

    def train(self, model: Trainable, dataset: Dataset, course: Course) -> Trained:
        samples = dataset.open()
        shape = shape_of(samples)
        self.look(shape)
        model = model.suited(shape, len(samples.classes), 0)
        classifier = model.load(course.device)
        images, labels = Shelf.of(samples, range(len(samples)), classifier.fit).batch(
            torch.arange(len(samples))
        )
        optimizer = torch.optim.Adam(classifier.module.parameters(), 0.01)
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.cross_entropy(classifier.module(images), labels).backward()
            optimizer.step()
        with torch.no_grad():
            last = list(classifier.module.parameters())[-1]
            last.copy_(self.changed(last, course))
        course.marked(Mark(1, 0.0, {}))
        classifier.module = self.wrapped(classifier.module)
        return Trained(model, classifier)

    def look(self, shape: tuple[int, int, int]) -> None: ...

    def changed(self, bias: Tensor, course: Course) -> Tensor:
        return bias

    def wrapped(self, module: nn.Module) -> nn.Module:
        return module


class LearnsNothing(Honest):
    """One class for everything."""

    def changed(self, bias, course):
        return bias + 1e3 * torch.eye(len(bias))[0]


class ForgetsAClass(Honest):
    """One class too few."""

    def wrapped(self, module):
        module[-1].bias = nn.Parameter(module[-1].bias[:-1].detach())
        module[-1].weight = nn.Parameter(module[-1].weight[:-1].detach())
        return module


class OnlyGrey(Honest):
    """Refuses colour."""

    def look(self, shape):
        if shape[0] != 1:
            raise StudyError("no colours, please")


class NewEveryTime(Honest):
    """Weights that depend on how often it was called."""

    def changed(self, bias, course):
        return bias + 1e-3 * (1 + next(_serial))


class UsesTheGlobalGenerator(Honest):
    """Weights from torch's global generator, which it does not move."""

    def changed(self, bias, course):
        with torch.random.fork_rng(devices=[]):
            return bias + 1e-3 * torch.randn(bias.shape)


class GoesOnFromElsewhere(Honest):
    """Begins anew where it was stopped, but not as it began before."""

    def changed(self, bias, course):
        if course.folder is None:
            return bias
        before = list(course.folder.iterdir())
        (course.folder / str(len(before))).touch()
        return bias + 1e-3 * len(before)


class MoreThanItsModel(Honest):
    """Its network is sharper than the one that its model gives."""

    def wrapped(self, module):
        return nn.Sequential(*module, nn.Hardtanh(-0.5, 0.5))


class SeedsTorch(Honest):
    """Seeds the whole program."""

    def changed(self, bias, course):
        torch.manual_seed(0)
        return bias


class SeedsNumPy(Honest):
    """Draws from NumPy's global generator."""

    def changed(self, bias, course):
        np.random.random()
        return bias


BROKEN = {
    "trains": [Breaks("recipe", LearnsNothing)],
    "takes_other_images": [
        Breaks("recipe", OnlyGrey),
        Breaks("recipe", ForgetsAClass, also("trains", "can_be_loaded")),
    ],
    "repeats_itself": [
        Breaks("recipe", NewEveryTime, also("resumes")),
        Breaks("recipe", UsesTheGlobalGenerator),
    ],
    "resumes": [Breaks("recipe", GoesOnFromElsewhere)],
    "can_be_loaded": [Breaks("recipe", MoreThanItsModel)],
    "leaves_the_generators_alone": [Breaks("recipe", SeedsTorch), Breaks("recipe", SeedsNumPy)],
}
