"""What a certifier promises: to prove only what is true, something at all, and to leave no trace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from classrob.errors import NotCertifiable
from classrob.judge import judge
from classrob.testing.arena import Arena, arena, linear, threats
from classrob.testing.subject import Subject
from classrob.testing.trace import Trace, tensors_of
from classrob.testing.verdict import Skipped, ensure

#: Budgets that are tried, as shares of the threat's largest.
SHARES = (1.0, 0.3, 0.03, 0.001)


def _arenas(subject: Subject) -> Iterator[Arena]:
    """A linear model in every nested threat of pixels about which the certifier can prove something."""
    found = False
    for name, threat in threats(subject.catalog):
        if not threat.nested or not threat.pixels:
            continue
        where = arena(threat, name, linear())
        with where.classifier.frozen():
            try:
                subject.part.certify(where.classifier, where.space, where.batch)
            except NotCertifiable:
                continue
        found = True
        yield where
    if not found:
        raise Skipped("it can prove nothing about a linear model in any installed threat of pixels")


def _certified(subject: Subject, where: Arena, share: float = 1.0) -> Tensor:
    space = where.space.at(where.space.budget * share)
    with where.classifier.frozen():
        return subject.part.certify(where.classifier, space, where.batch)


def answers_for_every_sample(subject: Subject) -> None:
    """It returns one bool a sample, also for one sample alone."""
    for where in _arenas(subject):
        for part in (where, where.select(torch.tensor([3]))):
            answer = _certified(subject, part)
            ensure(
                isinstance(answer, Tensor), f"in {where.name} it returns {type(answer).__name__}, no tensor"
            )
            ensure(
                answer.dtype == torch.bool and answer.shape == (len(part.batch),),
                f"in {where.name} it returns {answer.dtype} {list(answer.shape)} for {len(part.batch)} samples",
            )


def certifies_nothing_that_breaks(subject: Subject) -> None:
    """No sample that it certifies is misclassified, nor broken by the steepest step or a random point."""
    for where in _arenas(subject):
        for share in SHARES:
            sure = _certified(subject, where, share)
            space = where.space.at(where.space.budget * share)
            with where.classifier.frozen():
                points = [space.centre(), space.start(where.streams), _steepest(replace(where, space=space))]
                broken = [judge(where.classifier, space, where.batch, z).broken for z in points]
            wrong = int((sure.cpu() & torch.stack(broken).any(0)).sum())
            ensure(not wrong, f"in {where.name} it certifies {wrong} samples of a linear model that break")


def certifies_something(subject: Subject) -> None:
    """At a tiny budget it certifies half of a linear model's well classified samples, or more."""
    for where in _arenas(subject):
        sure, n = int(_certified(subject, where, SHARES[-1]).sum()), len(where.batch)
        ensure(2 * sure >= n, f"in {where.name} it certifies {sure} of {n} samples at a tiny budget")


def treats_each_sample_alone(subject: Subject) -> None:
    """A sample's certificate does not depend on the other samples or their order."""
    for where in _arenas(subject):
        order = torch.arange(len(where.batch)).flip(0)
        for share in SHARES:
            whole = _certified(subject, where, share)
            turned = _certified(subject, where.select(order), share)[order]
            alone = [_certified(subject, where.select(row[None]), share) for row in torch.arange(len(order))]
            apart = int(((turned != whole) | (torch.cat(alone) != whole)).sum())
            ensure(
                not apart, f"in {where.name} {apart} of {len(whole)} answers change with the other samples"
            )


def leaves_no_trace(subject: Subject) -> None:
    """Inputs, weights, buffers, mode, requires_grad and .grad are afterwards as they were."""
    for where in _arenas(subject):
        with where.classifier.frozen():
            handed = tensors_of(batch=where.batch, space=where.space)
            trace = Trace.of(where.classifier.module, handed)
            subject.part.certify(where.classifier, where.space, where.batch)
            trace.ensure_unchanged(f"in {where.name} it changes")


def _steepest(where: Arena) -> Tensor:
    """The point at which a linear model of two classes is worst, up to the box."""
    z = where.space.centre().requires_grad_()
    logits = where.classifier(where.space.render(z))
    loss = -logits.gather(1, where.batch.labels[:, None]).sum() + logits.sum() / 2
    (slope,) = torch.autograd.grad(loss, z)
    return where.space.move(z.detach(), slope, 1.0)


CHECKS = (
    answers_for_every_sample,
    certifies_nothing_that_breaks,
    certifies_something,
    treats_each_sample_alone,
    leaves_no_trace,
)
