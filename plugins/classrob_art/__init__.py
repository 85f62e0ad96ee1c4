"""The evasion attacks of the Adversarial Robustness Toolbox, as one family; this module only declares it."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_attacks() -> list[Component]:
    """Every attack of ART on a PyTorch classifier, `art/projected-gradient-descent`, `art/deep-fool`."""
    return [Component("*", "classrob_art.attack:ArtAttack", "an attack of ART", field="algorithm")]
