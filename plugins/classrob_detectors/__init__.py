"""Detectors of images that a model should not be trusted on, and how well they do; this module only declares them."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_datasets() -> list[Component]:
    """Images that are no images of anything."""
    return [Component("noise", "classrob_detectors.noise:Noise", "images of noise, of any size")]


@hookimpl
def classrob_detectors() -> list[Component]:
    """Detectors."""
    return [
        Component(
            "confounding-gradient",
            "classrob_detectors.confounding:ConfoundingGradient",
            "gradients towards a label that is no class",
        ),
        Component("msp", "classrob_detectors.logits:MaximumSoftmax", "the largest probability"),
        Component("max-logit", "classrob_detectors.logits:MaximumLogit", "the largest logit"),
        Component("energy", "classrob_detectors.logits:Energy", "the logits' free energy"),
        Component(
            "kl-matching", "classrob_detectors.logits:KLMatching", "far from every class's mean prediction"
        ),
        Component("odin", "classrob_detectors.inputs:Odin", "the largest probability, after a step"),
        Component(
            "feature-squeezing", "classrob_detectors.inputs:FeatureSqueezing", "what fewer grey levels change"
        ),
        Component(
            "mahalanobis", "classrob_detectors.distances:Mahalanobis", "distance to the nearest class mean"
        ),
        Component("knn", "classrob_detectors.distances:NearestNeighbour", "distance to a near neighbour"),
        Component("lid", "classrob_detectors.distances:LocalDimension", "local intrinsic dimension"),
        Component(
            "vim", "classrob_detectors.distances:VirtualLogit", "features outside the usual ones' space"
        ),
        Component("react", "classrob_detectors.shaped:React", "energy, with features cut"),
        Component("ash", "classrob_detectors.shaped:Ash", "energy, with few features left"),
        Component("gradnorm", "classrob_detectors.gradnorm:GradNorm", "the last layer's pull to uniformity"),
    ]


@hookimpl
def classrob_attacks() -> list[Component]:
    """Attacks that see a detector."""
    return [
        Component("evade", "classrob_detectors.evasion:Evade", "wrong, and not suspicious: evades a detector")
    ]


@hookimpl
def classrob_metrics() -> list[Component]:
    """How well detectors do."""
    return [
        Component("auroc", "classrob_detectors.metrics:Auroc", "of a detector: area under its ROC curve"),
        Component(
            "fpr95",
            "classrob_detectors.metrics:FalsePositives",
            "of a detector: false alarms at 95 % found",
        ),
        Component("aupr", "classrob_detectors.metrics:Aupr", "of a detector: average precision"),
        Component(
            "guarded-accuracy",
            "classrob_detectors.metrics:GuardedAccuracy",
            "of a model that rejects what it suspects",
        ),
    ]
