"""What in an image speaks for a class, how attacks change it, and how much room they need; this module only declares."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_explainers() -> list[Component]:
    """Maps over an image, differentiable in it and in the weights."""
    return [
        Component("cam", "classrob_explain.cam:Cam", "class activation map: what every place adds to a logit"),
        Component("cam++", "classrob_explain.cam:CamPlusPlus", "the same without what speaks against the class"),
        Component("grad-cam", "classrob_explain.cam:GradCam", "the last spatial features, weighted by their slopes"),
        Component("input-gradient", "classrob_explain.gradients:InputGradient", "slope of a logit in the pixels"),
        Component("smoothgrad", "classrob_explain.gradients:SmoothGrad", "the mean slope around an image"),
        Component(
            "integrated-gradients",
            "classrob_explain.gradients:IntegratedGradients",
            "slopes on the way from black, times the pixels",
        ),
        Component(
            "adversarial-explanation",
            "classrob_explain.adversarial:AdversarialExplanation",
            "what a class gains most by, within a root mean square",
        ),
    ]
