"""Small reference models and what trains them; this module only declares them."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_recipes() -> list[Component]:
    """Ways to train the small reference network."""
    return [
        Component("standard", "classrob_zoo.recipes:StandardTraining", "plain training of a small CNN"),
        Component(
            "pgd-adversarial", "classrob_zoo.recipes:PGDAdversarialTraining", "training on PGD's images"
        ),
    ]


@hookimpl
def classrob_models() -> list[Component]:
    """What the recipes leave in a file."""
    return [
        Component("cnn", "classrob_zoo.model:TrainedCNN", "the small CNN of a recipe, from its saved weights")
    ]
