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
        Component("msp", "classrob_detectors.logits:MaximumSoftmax", "the largest probability"),
        Component("max-logit", "classrob_detectors.logits:MaximumLogit", "the largest logit"),
        Component(
            "energy", "classrob_detectors.logits:Energy", "the logarithm of the sum of all exponentials"
        ),
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
