"""The models `digits/standard` and `digits/adversarial`, trained in seconds when first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast, final

from classrob.identity import identity
from classrob.live import Classifier
from classrob.parts import Model, Recipe
from classrob.training.kept import kept
from classrob_base.digits import Digits
from classrob_zoo.adversarial import PGDAdversarialTraining
from classrob_zoo.model import CNN
from classrob_zoo.standard import StandardTraining

_DATA = Digits(split="train")
_MODEL = CNN()
_STANDARD = StandardTraining()
_ADVERSARIAL = PGDAdversarialTraining()


@final
class StandardDigits(Model):
    """A small CNN trained plainly on the digits' train split; its training takes seconds, once."""

    def ingredients(self) -> Mapping[str, str]:
        """What it was trained by, and on."""
        return _made_of(_STANDARD)

    def load(self, device: str) -> Classifier:
        """The network, in eval mode."""
        return _kept("digits-standard", _STANDARD, device)


@final
class AdversarialDigits(Model):
    """A small CNN trained on PGD's images of the digits' train split; its training takes seconds, once."""

    def ingredients(self) -> Mapping[str, str]:
        """What it was trained by, and on."""
        return _made_of(_ADVERSARIAL)

    def load(self, device: str) -> Classifier:
        """The network, in eval mode."""
        return _kept("digits-adversarial", _ADVERSARIAL, device)


def _kept(name: str, recipe: Recipe, device: str) -> Classifier:
    return cast(Classifier, kept(name, recipe, _MODEL, _DATA, device))


def _made_of(recipe: Recipe) -> Mapping[str, str]:
    """The identities (fields, source, PyTorch's version) of the recipe, of the network and of the data."""
    return {"recipe": identity(recipe), "network": identity(_MODEL), "dataset": identity(_DATA)}
