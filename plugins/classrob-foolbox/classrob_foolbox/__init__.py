"""The attacks of Foolbox, as one family; this module only declares it."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_attacks() -> list[Component]:
    """Every attack of Foolbox within a norm, `foolbox/LinfPGD`, `foolbox/L2FMNAttack`."""
    target = "classrob_foolbox.attack:FoolboxAttack"
    return [Component("*", target, "an attack of Foolbox", field="attack")]
