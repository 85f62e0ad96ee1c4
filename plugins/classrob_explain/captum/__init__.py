"""Captum's attribution methods as explainers; this module only declares them."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_explainers() -> list[Component]:
    """One family: `captum/saliency`, `captum/deep-lift` and so on."""
    return [
        Component(
            "*",
            "classrob_explain.captum.attribution:CaptumExplainer",
            "an attribution method of Captum",
            "method",
        )
    ]
