"""What in an image speaks for a class, what attacks make of it, and how much room they need; declares only."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_explainers() -> list[Component]:
    """Maps over an image, differentiable in it and in the weights."""
    return [
        Component(
            "cam", "classrob_explain.cam:Cam", "class activation map: what every place adds to a logit"
        ),
        Component(
            "cam++", "classrob_explain.cam:CamPlusPlus", "the same without what speaks against the class"
        ),
        Component(
            "grad-cam", "classrob_explain.cam:GradCam", "the last spatial features, weighted by their slopes"
        ),
        Component(
            "input-gradient", "classrob_explain.gradients:InputGradient", "slope of a logit in the pixels"
        ),
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


@hookimpl
def classrob_threats() -> list[Component]:
    """The unit of the Accuracy-Robustness Area."""
    return [
        Component(
            "rmse", "classrob_explain.rmse:Rmse", "the root mean square of the offset is at most the budget"
        )
    ]


@hookimpl
def classrob_attacks() -> list[Component]:
    """Attacks on explanations, and the published search of the Accuracy-Robustness Area."""
    return [
        Component(
            "against-interpretability",
            "classrob_explain.against:AgainstInterpretability",
            "moves an explanation, whatever becomes of the prediction",
        ),
        Component(
            "ara-descent", "classrob_explain.ara:AraDescent", "the published search of the nearest error"
        ),
        Component(
            "ara-descent-to-chance",
            "classrob_explain.ara:AraDescentToChance",
            "the published search of the nearest point no better than chance",
        ),
        Component(
            "ara-search", "classrob_explain.ara:AraSearch", "ara-descent and minimum-norm, the nearer counts"
        ),
        Component(
            "interpretability-sneaking",
            "classrob_explain.sneaking:InterpretabilitySneaking",
            "turns the prediction and hides that from the explanation",
        ),
    ]


@hookimpl
def classrob_probes() -> list[Component]:
    """What is recorded of explanations and of confidence."""
    return [
        Component("confidence", "classrob_explain.confidence:Confidence", "probability of the true class"),
        Component(
            "explanations",
            "classrob_explain.discrepancy:Explanations",
            "how far an attack moves explanations",
        ),
    ]


@hookimpl
def classrob_metrics() -> list[Component]:
    """Scores of explanations, and areas beside `ara`."""
    return [
        Component(
            "ara-btr", "classrob_explain.areas:AreaToChance", "area down to chance instead of an error"
        ),
        Component(
            "ara-by-attack", "classrob_explain.areas:AreaByAttack", "area by each attack of an ensemble"
        ),
        Component(
            "explanation-agreement",
            "classrob_explain.scores:ExplanationAgreement",
            "do explanations put the same places first as before?",
        ),
        Component(
            "interpretation-bound",
            "classrob_explain.scores:InterpretationBound",
            "what a discrepancy cannot be less than, and whether it is",
        ),
        Component(
            "interpretation-discrepancy",
            "classrob_explain.scores:InterpretationDiscrepancy",
            "how far an attack moves explanations",
        ),
    ]
