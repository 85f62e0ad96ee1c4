"""Two small models of the digits, a standard and a robust one; this module only declares them."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_models() -> list[Component]:
    """Models of the data set `digits`, trained on first use."""
    return [
        Component("standard", "classrob_zoo.digits.models:StandardDigits", "a small CNN, trained plainly"),
        Component(
            "adversarial", "classrob_zoo.digits.models:AdversarialDigits", "a small CNN, trained with PGD"
        ),
    ]
