"""Points of an opened space to try, and how far things lie apart in it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from classrob.space import Space
from classrob.testing.arena import Arena, arena, network
from classrob.testing.subject import Subject

#: What rounding in float32 may do to a distance or to a point.
ROUNDING = 1e-6


def opened(subject: Subject) -> Arena:
    """The threat's space around the kit's images."""
    with torch.no_grad():
        return arena(subject.part, subject.name, network())


def anywhere(where: Arena) -> list[Tensor]:
    """Points outside and inside; random ones where z is no number that can be shifted."""
    centre = where.space.centre()
    if not centre.is_floating_point():
        return [where.space.start(where.streams.fork(k)) for k in range(3)]
    draw = where.streams.fork("anywhere").normal(*centre.shape[1:])
    return [centre + scale * draw for scale in (100.0, 1.0, 0.05)]


def verbs(space: Space, z: Tensor, other: Space, y: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """What a space does with points, beside what another does with other points."""
    p, q = space.project(z), other.project(y)
    yield "centre", space.centre(), other.centre()
    yield "project", p, q
    yield "distance", space.distance(p), other.distance(q)
    yield "render", space.render(p), other.render(q)
    if z.is_floating_point():
        yield "steepest", space.steepest(z), other.steepest(y)


def excess(where: Arena, z: Tensor) -> float:
    """How far the worst point lies outside its budget, rounding forgiven; not above 0 when all are inside."""
    limit = where.space.budget + ROUNDING * where.space.budget.clamp_min(1.0)
    return float((where.space.distance(z) - limit).max())


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference; infinite for different shapes."""
    if one.shape != other.shape:
        return float("inf")
    return float((one - other).abs().max()) if one.numel() else 0.0


def size(z: Tensor) -> float:
    """The largest absolute number."""
    return float(z.abs().max()) if z.numel() else 0.0
