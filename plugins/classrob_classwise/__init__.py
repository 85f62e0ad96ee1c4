"""Scores of single classes over whole sweeps, and between classes; this module only declares them."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_metrics() -> list[Component]:
    """Metrics that read distances, or where an attack sends the samples of a class."""
    return [
        Component(
            "ara", "classrob_classwise.area:AccuracyRobustnessArea", "area between the curve and a guess"
        ),
        Component(
            "distance-quantiles",
            "classrob_classwise.distances:DistanceQuantiles",
            "median and quantiles of the smallest distance",
        ),
        Component("flow", "classrob_classwise.flow:Flow", "where an attack sends the samples of a class"),
        Component(
            "targeted-flow", "classrob_classwise.flow:TargetedFlow", "which class can be turned into which"
        ),
    ]
