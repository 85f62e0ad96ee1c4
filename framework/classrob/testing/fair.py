"""What it is fair to ask of an attack: in which spaces, with how many steps, and at what budget."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, final

import torch
from pydantic import Field
from torch.nn.functional import cross_entropy

from classrob.ensemble import Ensemble, Member, members_of
from classrob.errors import StudyError
from classrob.judge import judge
from classrob.parts import Attack
from classrob.space import Space
from classrob.testing.fault import Fault, failing

if TYPE_CHECKING:
    from classrob.testing.arena import Arena

#: An attack that does not refuse a space by its call of the model number so much is taken to search in it.
LOOKS = 4

#: How far the members of an ensemble go where the ensemble is tried: each has to keep its promises itself.
SHORT = {"steps": 8, "restarts": 2, "targets": 2}

#: A plain walk of so many steps, each of that share of the budget, has to break this share of the samples.
STEPS, STRIDE, SHARE = 10, 0.3, 0.75

#: No budget more than 2 to this power times the threat's own is tried.
DOUBLINGS = 12


@final
class Abridged(Ensemble):
    """An ensemble whose members walk a few steps only."""

    whole: Ensemble = Field(description="the ensemble")

    def attacks(self, classes: int, space: Space) -> Sequence[Member]:
        """The ensemble's members, abridged."""
        return [
            member._replace(attack=_short(member.attack)) for member in self.whole.attacks(classes, space)
        ]


def abridged(attack: Attack) -> Attack:
    """The attack as it is tried: an ensemble with short walks, any other as it is."""
    if not isinstance(attack, Ensemble):
        return attack
    return Abridged(whole=attack, individual=attack.individual)


def _short(attack: Attack) -> Attack:
    fields = {name: most for name, most in SHORT.items() if name in type(attack).model_fields}
    return attack.model_copy(update={name: min(getattr(attack, name), most) for name, most in fields.items()})


def refused(attack: Attack, where: Arena) -> StudyError | None:
    """The error with which the attack, or a member of it, says that it is not made for such a space, if it does.

    It searches for one sample, until it has called the model a few times.
    """
    one = where.select(torch.tensor([0]))
    try:
        with one.classifier.frozen():
            for member in members_of(attack, where.name, one.classifier, one.space):
                with failing(one.classifier.module, at=LOOKS), suppress(Fault):
                    one.search(member.attack)
    except StudyError as error:
        return error
    return None


def within_reach(where: Arena) -> Arena:
    """The arena at four times the budget, doubled from the threat's own, at which a plain walk breaks most samples.

    At ten times the threat's own where there is none such.
    """
    own = where.space.budget
    for doubling in range(DOUBLINGS):
        here = replace(where, space=where.space.at(2.0**doubling * own))
        if _walk(here) >= SHARE * len(where.batch):
            return replace(where, space=where.space.at(2.0 ** (doubling + 2) * own))
    return replace(where, space=where.space.at(10.0 * own))


def _walk(where: Arena) -> int:
    """How many samples break when each is moved along the steepest slope of the cross-entropy."""
    z, labels = where.space.centre(), where.batch.labels
    with where.classifier.frozen():
        for _ in range(STEPS):
            z = z.detach().requires_grad_()
            loss = cross_entropy(where.classifier(where.space.render(z)), labels, reduction="sum")
            z = where.space.move(z.detach(), torch.autograd.grad(loss, z)[0], STRIDE)
        return int(judge(where.classifier, where.space, where.batch, z).broken.sum())
