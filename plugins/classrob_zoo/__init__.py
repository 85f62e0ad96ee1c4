"""A small reference model, and ways to train any model; this module only declares them."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_recipes() -> list[Component]:
    """Ways to train a network on any data."""
    return [
        Component("standard", "classrob_zoo.standard:StandardTraining", "plain training with cross-entropy"),
        Component(
            "pgd-adversarial",
            "classrob_zoo.adversarial:PGDAdversarialTraining",
            "training on the images that PGD finds in a ball",
        ),
        Component(
            "trades", "classrob_zoo.adversarial:Trades", "clean accuracy traded for a stable prediction"
        ),
        Component(
            "ae-regularised",
            "classrob_zoo.explanations:AERegularised",
            "a penalty on the slope of logits that grows until it binds",
        ),
        Component(
            "interpretability-aware",
            "classrob_zoo.interpretability:InterpretabilityAware",
            "class activation maps that an attack cannot change",
        ),
        Component("ig-norm", "classrob_zoo.gradients:IGNorm", "small integrated gradients towards an attack"),
    ]


@hookimpl
def classrob_models() -> list[Component]:
    """What a recipe trains where nothing else is named."""
    return [Component("cnn", "classrob_zoo.model:CNN", "a small CNN for any small images, to be trained")]
