"""The attacks of torchattacks, as one family; this module only declares it."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_attacks() -> list[Component]:
    """Every attack of torchattacks within a norm, `torchattacks/PGD`, `torchattacks/FAB`."""
    target = "classrob_torchattacks.attack:TorchattacksAttack"
    return [Component("*", target, "an attack of torchattacks", field="attack")]
