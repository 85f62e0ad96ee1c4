"""Threats made of threats: one after the other, or the worst of several; this module only declares them."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_threats() -> list[Component]:
    """What combines other threats."""
    return [
        Component(
            "chain", "classrob_compose.chain:Chain", "one threat after the other, all searched at once"
        ),
        Component("union", "classrob_compose.union:Union", "whichever of several threats is the worst"),
    ]
