"""Scores of single classes over whole sweeps, between classes, and of features; this module only declares them."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_probes() -> list[Component]:
    """What is recorded of an image for the metrics of features."""
    return [Component("features", "classrob_classwise.features:Features", "features before the last layer")]


@hookimpl
def classrob_metrics() -> list[Component]:
    """Metrics that read distances, where an attack sends the samples of a class, or the features of images."""
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
        Component(
            "scatter", "classrob_classwise.scatter:Scatter", "variance of features within and between classes"
        ),
        Component(
            "centroid-distance",
            "classrob_classwise.scatter:CentroidDistance",
            "how far classes are apart in the space of features",
        ),
        Component(
            "weight-alignment",
            "classrob_classwise.scatter:WeightAlignment",
            "do the last layer's weights point at the centroids?",
        ),
        Component(
            "silhouette", "classrob_classwise.neighbours:Silhouette", "how clearly a class stands apart"
        ),
        Component(
            "centroid-margin",
            "classrob_classwise.neighbours:CentroidMargin",
            "how much nearer samples are to their own centroid than to another",
        ),
        Component(
            "knn-purity",
            "classrob_classwise.neighbours:NeighbourPurity",
            "share of nearest neighbours that are of the class",
        ),
        Component(
            "drift", "classrob_classwise.drift:Drift", "how far an attack moves features, towards which class"
        ),
    ]
