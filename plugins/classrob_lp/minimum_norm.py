"""The smallest distance of every image: a fast-minimum-norm search in any space, tightened by bisection."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from classrob.rows import Live
from classrob.search import State, StepwiseAttack
from classrob.space import Space
from classrob_lp.losses import margin, targeted_margin

#: The first radius, in distances to the border of the linearised model: near ones end in near dead ends.
AHEAD = 3.0
#: Where the border seems to be beyond the budget, the first point off the faces is at most so many budgets away.
BEYOND = 3.0
#: Before there is a radius, the steepest direction is that of the ball with this share of the budget.
MODEST = 0.1
#: In a ball of this share of the budget, directions show whether they are sparse; a share as small is rounding.
NARROW = 1e-3
#: While nothing is found: by how much the radius grows at least, and by how much at most.
GROWTH, LEAP = 1.6, 3.0
#: By what share the radius shrinks and grows around the border, at first and at last.
BREATH = (0.3, 0.002)
#: A step's length in radii, at first and at last; and where directions are sparse (ℓ1), which needs several
#: of them to come by all the coordinates that matter.
STRIDE, SPARSE_STRIDE = (1.0, 0.01), (0.2, 0.02)
#: The last evaluations, which bisect the ray, and how much nearer than the nearest point the first one is.
RAYS, NEARER = 4, 0.005
#: The radius stays this much below the nearest distance, so that rounding cannot make them equal.
BELOW = 1.0 - 1e-4
#: Other classes count in the climb by how far, in shares of the margin, they are behind the likeliest one.
RIVALRY = 0.5


@final
class MinimumNorm(StepwiseAttack):
    """The nearest misclassified point, by a projected search whose radius follows the border.

    After Pintor et al. (2021), "Fast Minimum-norm Adversarial Attacks": a row's radius shrinks while it is
    misclassified and grows while it is not, by less and less, as do its steps. The last evaluations bisect
    the ray from the centre to the nearest point found. The space's budget is the largest radius.

    Different from there: steps are in units of the radius, along the space's own steepest direction; the
    first radius overshoots the linear estimate; schedules begin when something is found; the margin
    that is climbed mixes other classes while they are about as near as the nearest; and, but in ℓ1, the
    first step leaves the faces of the box, where slopes may be blind to most pixels
    (docs/explanation/performance.md has what each is worth).
    """

    persists: ClassVar[bool] = True

    steps: int = Field(default=30, ge=1, description="evaluations of one restart, the last few on the ray")
    momentum: float = Field(
        default=0.8,
        ge=0,
        lt=1,
        description="share of the earlier slopes that is kept, where the steepest direction is the slope's own",
    )

    def begin(self, live: Live) -> State:
        """At the origin; later restarts at a random point as far away as the nearest found."""
        z, nothing = live.origin, torch.zeros_like(live.space.budget)
        if (again := live.restart > 0).any():
            drawn = live.space.at(live.nearest.minimum(live.space.budget)).start(live.streams)
            z = torch.where(_rows(again, z), drawn, z)
        radius, since = torch.full_like(nothing, torch.inf), torch.full_like(nothing, -1.0)
        state = {"z": z, "slope": torch.zeros_like(z), "radius": radius, "since": since}
        return {**state, "stands": nothing, "sparse": _sparse(live.space)}

    def step(self, live: Live, state: State) -> State:
        """One look at the model, then a step uphill or, at the end, the next point of the ray."""
        z, before, walk = state["z"], live.nearest, self.steps - min(RAYS, self.steps // 5)
        if (live.done | before.isfinite() & (live.age >= walk)).all():
            live.logits(z)
            state = {**state}
        else:
            state = self._uphill(live, state, before, walk)
        if (wrong := live.nearest == 0).any():
            live.leave(wrong)
        ray = live.nearest.isfinite() & (live.age + 1 >= walk)
        if ray.any():
            stood = (live.age >= walk) & (live.nearest == before)
            state["stands"] = torch.where(stood, live.space.distance(z), state["stands"])
            fresh = live.nearest * (1.0 - NEARER * 2.0 ** (live.age + 1 - walk))
            aim = torch.where(state["stands"] > 0, 0.5 * (state["stands"] + live.nearest), fresh)
            share = (aim / live.nearest.clamp_min(torch.finfo(aim.dtype).tiny)).nan_to_num(0.0)
            state["z"] = torch.where(_rows(ray, z), live.space.shrink(live.proof, share), state["z"])
        return state

    def _uphill(self, live: Live, state: State, before: Tensor, walk: int) -> State:
        """The slope, the new radius, and the step: each row by what it alone has seen."""
        space, z, old, since = live.space, state["z"], state["radius"], state["since"]
        slope, _ = live.slope(z, _Rivals(live.target))
        gap = -_Rivals(live.target).plain(live.last_logits, live.labels)
        found, hit = live.nearest.isfinite(), live.nearest < before
        steepest = space.at(old.minimum(MODEST * space.budget)).steepest(slope)
        dual = (slope * steepest).flatten(1).sum(1).clamp_min(torch.finfo(slope.dtype).tiny)
        border = space.distance(z) + gap / dual
        settled = found | (old >= space.budget)
        since = torch.where(settled & ((since < 0) | before.isinf() & found), live.age.to(since), since)
        share = (live.age - since) / (walk - 1 - since).clamp_min(1.0)
        share = torch.where(settled, share, 0.0).clamp(max=1.0)
        breath = _falling(BREATH, share)
        hunting = torch.where(old.isinf(), AHEAD * border, border.minimum(LEAP * old).maximum(GROWTH * old))
        wider = (old * (1.0 + breath)).minimum(BELOW * live.nearest)
        around = torch.where(hit, live.nearest * (1.0 - breath), wider)
        radius = torch.where(found, around, hunting).nan_to_num(0.0).minimum(space.budget)
        slope = slope / _rows(dual, z)
        slope = torch.where(_rows(_own(steepest, slope), z), self.momentum * state["slope"], 0.0) + slope
        length = torch.where(state["sparse"], _falling(SPARSE_STRIDE, share), _falling(STRIDE, share))
        fresh = old.isinf() & live.fresh_start & (live.restart == 0) & ~state["sparse"]
        z, alone = _off_the_faces(space, z, fresh, hunting)
        z = torch.where(_rows(alone, z), z, space.at(radius).move(z, slope, length))
        return {**state, "z": z, "slope": slope, "radius": radius, "since": since}


@dataclass(frozen=True)
class _Rivals:
    """What is climbed: the margin to the target or, without one, to other classes by how near they are."""

    target: Tensor

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The likeliest other classes' mean logit minus the true one; the weights are held constant."""
        others = logits.detach().scatter(1, labels[:, None], -torch.inf)
        behind = others - others.amax(1, keepdim=True)
        scale = RIVALRY * margin(logits.detach(), labels).abs().clamp_min(torch.finfo(logits.dtype).tiny)
        weights = torch.softmax(behind / scale[:, None], 1)
        true = logits.gather(1, labels[:, None])[:, 0]
        return self._aimed(logits, labels, (weights * logits).sum(1) - true)

    def plain(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The margin itself."""
        return self._aimed(logits, labels, margin(logits, labels))

    def _aimed(self, logits: Tensor, labels: Tensor, untargeted: Tensor) -> Tensor:
        targeted = targeted_margin(logits, labels, self.target.clamp_min(0))
        return torch.where(self.target >= 0, targeted, untargeted)


def _falling(ends: tuple[float, float], share: Tensor) -> Tensor:
    """From the first to the last along half a cosine."""
    first, last = ends
    return last + (first - last) * 0.5 * (1.0 + torch.cos(math.pi * share))


def _own(direction: Tensor, slope: Tensor) -> Tensor:
    """bool [n], is the direction the slope's own?"""
    inner = (direction * slope).flatten(1).sum(1)
    return inner > 0.999 * direction.flatten(1).norm(dim=1) * slope.flatten(1).norm(dim=1)


def _sparse(space: Space) -> Tensor:
    """bool [n], does the steepest direction leave most coordinates at rest, even where all have a slope?"""
    centre = space.centre()
    ramp = torch.linspace(1.0, 2.0, centre[0].numel(), device=centre.device).view_as(centre[0])
    direction = space.at(NARROW * space.budget).steepest(ramp.expand_as(centre).contiguous()).flatten(1)
    return 2 * direction.count_nonzero(1) < direction.shape[1]


def _off_the_faces(space: Space, z: Tensor, fresh: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
    """z with the `fresh` rows off the faces by `ahead` [n], the border's distance as it seems; bool [n], look there?

    So it is where the border seems to be beyond the budget, and most of the way to it is open; the others take
    their step from there. Where nothing lies at a face, z stays.
    """
    if not fresh.any():
        return z, fresh
    far = ahead.nan_to_num(0.0).clamp_min(0.0).minimum(BEYOND * space.budget)
    off = _inward(space.at(far))
    gone = space.distance(off)
    alone = fresh & (far > space.budget) & (gone > 0.5 * far)
    return torch.where(_rows(fresh & (gone > NARROW * far), z), off, z), alone


def _inward(space: Space) -> Tensor:
    """The centre, but for the coordinates that can only go one way: they have gone it, as in a step of the budget.

    Of pixels black ones are lighter, then, and white ones darker, and the units of a network that had no slope
    for lack of an input have one.
    """
    centre = space.centre()
    ones = torch.ones_like(centre)
    return space.move(centre, ones, 1.0) + (space.move(centre, -ones, 1.0) - centre)


def _rows(values: Tensor, z: Tensor) -> Tensor:
    """Per-row numbers [n] in a shape that broadcasts over z."""
    return values.reshape(-1, *[1] * (z.ndim - 1))
