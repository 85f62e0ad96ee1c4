"""What an attack promises: to propose honestly, for each sample alone, and to leave no trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch

from classrob.judge import judge
from classrob.testing.arena import Arena, arena, arenas, linear, threats
from classrob.testing.fair import abridged, refused, within_reach
from classrob.testing.fault import Fault, failing
from classrob.testing.subject import Subject
from classrob.testing.trace import Trace, tensors_of
from classrob.testing.veil import VeiledBatch, VeiledModule
from classrob.testing.verdict import Skipped, ensure

#: How far apart two results may lie that differ by rounding only, in budgets.
ROUNDING = 1e-3


def _arenas(subject: Subject) -> Iterator[Arena]:
    found = list(arenas(subject.part, subject.catalog))
    if not found:
        raise Skipped("no threat is installed whose space it can search")
    yield from found


def proposes_points_of_the_space(subject: Subject) -> None:
    """It returns a tensor of the space's shape and type, from any starting point, also for one sample."""
    for where in _arenas(subject):
        centre = where.space.centre()
        with where.classifier.frozen():
            for begin in (None, where.space.start(where.streams.fork("start"))):
                where.search(subject.part, begin)
            one = where.select(torch.tensor([3]))
            raw: Any = abridged(subject.part).search(one.classifier, one.space, one.batch, one.streams, None)
        ensure(
            raw.dtype == centre.dtype,
            f"in {where.name} it returns {raw.dtype}, but the space has {centre.dtype}",
        )


def proposes_finite_points(subject: Subject) -> None:
    """Every number that it proposes is finite, so that the proposal is judged and not the centre."""
    for where in _arenas(subject):
        with where.classifier.frozen():
            z = where.search(subject.part)
        bad = int((~z.flatten(1).isfinite().all(1)).sum())
        ensure(not bad, f"in {where.name} {bad} of {len(z)} proposals are not finite")


def respects_the_budget(subject: Subject) -> None:
    """After the judge, every proposal is within the budget that the sample was given, to 1e-6."""
    for where in _arenas(subject):
        budget = where.space.budget.clone()
        with where.classifier.frozen():
            verdict = judge(where.classifier, where.space, where.batch, where.search(subject.part))
        over = float((verdict.distance - budget).max())
        ensure(over <= 1e-6, f"in {where.name} a judged proposal exceeds its budget by {over:.3g}")


def repeats_itself(subject: Subject) -> None:
    """The same streams give the same proposals."""
    for where in _arenas(subject):
        with where.classifier.frozen():
            first, second = where.search(subject.part), where.search(subject.part)
        same = torch.equal(first.nan_to_num(), second.nan_to_num())
        ensure(same, f"in {where.name} two searches with the same streams differ")


def treats_each_sample_alone(subject: Subject) -> None:
    """A sample's result depends neither on batch size nor on order nor on the other samples."""
    for where in _arenas(subject):
        order = torch.arange(len(where.batch)).flip(0)
        with where.classifier.frozen():
            whole = where.search(subject.part)
            others = {f"batch size {size}": where.search(subject.part, batch_size=size) for size in (1, 5)}
            others["the reverse order"] = where.select(order).search(subject.part, batch_size=5)[order]
            single = [where.select(row[None]).search(subject.part) for row in torch.arange(len(where.batch))]
            others["each sample alone"] = torch.cat(single)
        for what, z in others.items():
            apart = (z - whole).abs().flatten(1).sum(1) > ROUNDING * where.space.budget.clamp_min(1e-6)
            ensure(
                not apart.any(),
                f"in {where.name}, {what} changes the results of {int(apart.sum())} of {len(whole)} samples",
            )


def leaves_no_trace(subject: Subject) -> None:
    """Inputs, weights, buffers, mode, requires_grad and .grad are afterwards as they were."""
    for where in _arenas(subject):
        begin = where.space.start(where.streams.fork("start"))
        with where.classifier.frozen():
            trace = _trace(where, begin)
            where.search(subject.part, begin)
            trace.ensure_unchanged(f"in {where.name} it changes")


def leaves_no_trace_when_the_model_fails(subject: Subject) -> None:
    """When the model raises in the middle of a search, everything is left as it was too."""
    for where in _arenas(subject):
        begin = where.space.start(where.streams.fork("start"))
        with where.classifier.frozen():
            with failing(where.classifier.module, at=0) as calls:
                where.search(subject.part, begin)
            if not calls:
                raise Skipped("it never calls the model")
            trace = _trace(where, begin)
            with failing(where.classifier.module, at=max(1, len(calls) // 2)), suppress(Fault):
                where.search(subject.part, begin)
            trace.ensure_unchanged(f"after a failure of the model in {where.name} it leaves changed")


def reads_only_what_it_declares(subject: Subject) -> None:
    """It reads labels, logits, gradients and pixels only where `needs` says so."""
    needs = frozenset(subject.part.needs)
    for where in _arenas(subject):
        veiled = replace(
            where,
            batch=VeiledBatch.over(where.batch, needs),
            classifier=replace(where.classifier, module=VeiledModule(where.classifier.module, needs)),
        )
        with veiled.classifier.frozen():
            veiled.search(subject.part)


def finds_what_random_search_finds(subject: Subject) -> None:
    """With a large budget it breaks half of a linear model's samples or more, and no fewer than chance."""
    if not subject.part.needs:
        raise Skipped("it looks at nothing, so it need not find anything")
    if not subject.part.seeks_errors:
        raise Skipped("it looks for something else than errors")
    pixels = [(name, threat) for name, threat in threats(subject.catalog) if threat.pixels]
    if not pixels:
        raise Skipped("no threat of pixels is installed")
    for name, threat in pixels:
        where = arena(threat, name, linear())
        if refused(subject.part, where):
            continue
        where = within_reach(where)
        with where.classifier.frozen():
            found = judge(where.classifier, where.space, where.batch, where.search(subject.part)).broken
            chance = judge(
                where.classifier, where.space, where.batch, where.space.start(where.streams)
            ).broken
        hits, lucky, n = int(found.sum()), int(chance.sum()), len(found)
        ensure(
            2 * hits >= n, f"in {name} it breaks {hits} of {n} samples of a linear model with a large budget"
        )
        ensure(
            hits >= lucky,
            f"in {name} it breaks {hits} of {n} samples, and one random point each breaks {lucky}",
        )


def _trace(where: Arena, begin: torch.Tensor) -> Trace:
    handed = tensors_of(batch=where.batch, space=where.space, streams=where.streams, start=begin)
    return Trace.of(where.classifier.module, handed)


CHECKS = (
    proposes_points_of_the_space,
    proposes_finite_points,
    respects_the_budget,
    repeats_itself,
    treats_each_sample_alone,
    leaves_no_trace,
    leaves_no_trace_when_the_model_fails,
    reads_only_what_it_declares,
    finds_what_random_search_finds,
)
