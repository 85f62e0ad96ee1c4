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
            "cfps-agreement",
            "classrob_classwise.rankings:CfpsAgreement",
            "are weak classes those that errors land in?",
        ),
        Component(
            "class-spread",
            "classrob_classwise.fairness:ClassSpread",
            "standard deviation and Gini coefficient over classes",
        ),
        Component(
            "distance-quantiles",
            "classrob_classwise.distances:DistanceQuantiles",
            "median and quantiles of the smallest distance",
        ),
        Component("flow", "classrob_classwise.flow:Flow", "where an attack sends the samples of a class"),
        Component("groups", "classrob_classwise.fairness:Groups", "accuracy of groups of classes"),
        Component(
            "rank-persistence",
            "classrob_classwise.rankings:RankPersistence",
            "do the classes rank alike under every threat?",
        ),
        Component(
            "robustness-bias",
            "classrob_classwise.differences:RobustnessBias",
            "how much better one class withstands a threat than another",
        ),
        Component(
            "targeted-flow", "classrob_classwise.flow:TargetedFlow", "which class can be turned into which"
        ),
        Component(
            "weak-classes",
            "classrob_classwise.differences:WeakClasses",
            "classes that differ from the others by more than chance",
        ),
    ]
