"""ℓp threats, and the gradient attacks that search in any space."""

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_threats() -> list[Component]:
    """The balls around an image, cut to the box [0, 1]."""
    return [
        Component("linf", "classrob_lp.balls:Linf", "every pixel moves by at most the budget"),
        Component("l2", "classrob_lp.balls:L2", "the Euclidean norm of the offset is at most the budget"),
    ]


@hookimpl
def classrob_attacks() -> list[Component]:
    """Searches that need nothing but gradients."""
    return [Component("pgd", "classrob_lp.pgd:PGD", "projected gradient descent, with restarts and momentum")]
