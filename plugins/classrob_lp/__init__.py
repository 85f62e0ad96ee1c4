"""ℓp threats, and the gradient attacks that search in any space."""

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_threats() -> list[Component]:
    """The balls around an image, cut to the box [0, 1]."""
    return [
        Component("linf", "classrob_lp.balls:Linf", "every pixel moves by at most the budget"),
        Component("l2", "classrob_lp.balls:L2", "the Euclidean norm of the offset is at most the budget"),
        Component("l1", "classrob_lp.l1:L1", "the absolute changes of all pixels sum to at most the budget"),
    ]


@hookimpl
def classrob_attacks() -> list[Component]:
    """Searches that need nothing but gradients, one that needs none, and ensembles of them."""
    return [
        Component("apgd-ce", "classrob_lp.apgd:ApgdCE", "Auto-PGD on the cross-entropy"),
        Component("apgd-dlr", "classrob_lp.apgd:ApgdDLR", "Auto-PGD on the difference of logits ratio"),
        Component(
            "apgd-targeted", "classrob_lp.apgd:ApgdTargeted", "Auto-PGD aimed at the likeliest classes"
        ),
        Component("autoattack", "classrob_lp.autoattack:AutoAttack", "the ensemble standard, plus or rand"),
        Component(
            "autoattack-bfloat16",
            "classrob_lp.autoattack:AutoAttackBfloat16",
            "the same attacks, searching in bfloat16",
        ),
        Component("curve", "classrob_lp.curve:Curve", "minimum-norm, then AutoAttack: for many budgets"),
        Component("fab", "classrob_lp.fab:FAB", "the fast adaptive boundary attack, for smallest changes"),
        Component(
            "minimum-norm", "classrob_lp.minimum_norm:MinimumNorm", "the smallest distance of every image"
        ),
        Component("pgd", "classrob_lp.pgd:PGD", "projected gradient descent, with restarts and momentum"),
        Component("targeted-flow", "classrob_lp.flow:TargetedFlow", "every class aimed at from every image"),
        Component("square", "classrob_lp.square:Square", "random search by windows of pixels; no gradients"),
    ]


@hookimpl
def classrob_certifiers() -> list[Component]:
    """Proofs that no attack can succeed."""
    return [
        Component(
            "crown",
            "classrob_lp.crown.certifier:Crown",
            "linear bounds of networks of affine operations and ReLUs",
        )
    ]
