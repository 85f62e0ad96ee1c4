"""The signs of gradient masking: what each counts, when it fires, what it means and what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from classrob.audit import growth, outputs, searches
from classrob.audit.setting import Setting
from classrob.audit.subject import Subject
from classrob.audit.tally import Tally


@dataclass(frozen=True)
class Sign:
    """One sign.

    Attributes:
        title: how the report calls it.
        threshold: it fires where an interval, of all images or of a class, lies above this share.
        means: what it means where it fires. remedy: what to do then.
    """

    title: str
    threshold: float
    means: str
    remedy: str


@dataclass(frozen=True)
class ModelSign(Sign):
    """A sign of a model alone, whatever the threat."""

    look: Callable[[Subject], list[Tally]]


@dataclass(frozen=True)
class ThreatSign(Sign):
    """A sign of a model under a threat; `late` ones need what other models of the study were broken by."""

    look: Callable[[Setting], list[Tally]]
    late: bool = False


#: An honest model's share of borderline images stays below a twentieth; what noise finds, below a hundredth.
BORDERLINE, HARDLY_ANY, NONE = 0.05, 0.01, 0.0

#: Every sign by its name, in the order of the report.
MODEL: dict[str, ModelSign] = {
    "zero-gradients": ModelSign(
        "Zero or non-finite gradients",
        HARDLY_ANY,
        "There a gradient attack does not know where to go, and what it leaves standing proves nothing.",
        "Attack through a differentiable stand-in for the step that stops the gradient (BPDA), or, where logits "
        "saturate, climb the margin instead of the cross-entropy; and add an attack by queries, such as square.",
        outputs.zero_gradients,
    ),
    "not-deterministic": ModelSign(
        "Different logits for the same images",
        NONE,
        "The model draws at random, so a single gradient is one draw of many and a single verdict is luck.",
        "Average gradients over many draws (attack = { use = 'autoattack', version = 'rand' }), and judge a "
        "version of the model whose draws are fixed or averaged.",
        outputs.not_deterministic,
    ),
    "batch-dependent": ModelSign(
        "Outputs that depend on the batch",
        NONE,
        "An image's result depends on its neighbours, so no image has a result of its own.",
        "Evaluate with fixed statistics (batch norm in eval mode), and take whatever mixes the rows of a batch "
        "out of the model.",
        outputs.batch_dependent,
    ),
}

THREAT: dict[str, ThreatSign] = {
    "black-box-beats-gradients": ThreatSign(
        "Black box beats white box",
        BORDERLINE,
        "Whoever sees less should not find more: the gradients do not lead to what is there.",
        "Count the worst case over both kinds of attack (attack = 'autoattack'), and attack through a "
        "differentiable stand-in for what masks the gradients.",
        searches.black_box,
    ),
    "more-effort-helps": ThreatSign(
        "More steps or restarts keep helping",
        BORDERLINE,
        "The search had not come to its end, so the accuracy it leaves is that of the search, not of the model.",
        "Raise steps and restarts until accuracy no longer falls, or take 'autoattack', and report that figure.",
        searches.more_effort,
    ),
    "random-start-matters": ThreatSign(
        "A random start changes the verdict",
        BORDERLINE,
        "Where a search ends depends on where it begins: the loss is rugged around the images.",
        "Search with several random restarts, or take 'autoattack', and count the worst of them.",
        searches.random_start,
    ),
    "noise-beats-gradients": ThreatSign(
        "Noise finds what gradients did not",
        HARDLY_ANY,
        "Images that random noise can turn have near neighbours of another class, and gradients do not point there.",
        "Do not report what the gradient attack left standing; take an attack by queries, such as square, with it.",
        searches.noise,
    ),
    "large-budget-stands": ThreatSign(
        "Accuracy does not fall to zero",
        BORDERLINE,
        "Misclassified images are within that budget, so the attack fails, not the budget.",
        "Find what stops the search (see the other signs) before believing its result at any smaller budget.",
        growth.growth,
    ),
    "transfer-beats-gradients": ThreatSign(
        "Transfer beats white box",
        BORDERLINE,
        "What was made for another model works better than what is made for this one: its gradients mislead.",
        "Count transferred images in the worst case, and attack this model through a smooth stand-in.",
        searches.transfer,
        late=True,
    ),
}

SIGNS: dict[str, Sign] = {**MODEL, **THREAT}
