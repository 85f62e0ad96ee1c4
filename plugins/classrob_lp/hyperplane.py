"""The shortest way from a point of the box [0, 1] to a hyperplane without leaving the box, in each norm.

A coordinate helps by moving where its weight points, and only as far as the box lets it: its room. What
all coordinates together contribute is a concave, piecewise linear function of one number, how hard they
are driven, and Newton's method from below meets what is needed in a few passes. In ℓ1 coordinates go one
after the other, and the few of the largest weight do. Nothing is sorted. Where the box ends before the
plane is met, the answer is the box's point nearest to the plane.

Offsets are [n, d] for points [n, d] in the box, normals [n, d] of any length (where a normal is 0, so is
the offset) and gaps [n] of either sign: what is missing to the plane, b − normal · point. What depends on
the normal alone is computed once, for planes through several points. A point is given from the middle of the
box: point − ½ lies as far from either face.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Step(NamedTuple):
    """Offsets [n, d], and their norms [n]."""

    offset: Tensor
    length: Tensor


#: (points from the middle [n, d], gaps [n]) → the steps onto planes of some normals.
Way = Callable[[Tensor, Tensor], Step]

#: More Newton steps than any row has been seen to need (a dozen); each passes one breakpoint or more.
STEPS = 64
#: Short of the plane by this share of the gap is on it, and a step by at most this share is the last.
REST = 1e-5
#: Weights that sum to less, or to more, are scaled: their squares might underflow, or overflow.
LEAST, MOST = 1e-12, 1e12
#: So many coordinates of the largest weight are tried first; rows that need more get eight times as many.
FEW = 32


def linf(normal: Tensor) -> Way:
    """The offsets of smallest ℓ∞ norm: all coordinates move equally far, or to the box's face."""
    return _together(normal, by_weight=False)


def l2(normal: Tensor) -> Way:
    """The offsets of smallest ℓ2 norm: coordinates move by their weight's share, or to the box's face."""
    return _together(normal, by_weight=True)


def l1(normal: Tensor) -> Way:
    """The offsets of smallest ℓ1 norm: coordinates of the largest weight move first, to the box's face."""

    def way(middle: Tensor, gap: Tensor) -> Step:
        offset = _one_by_one(middle + 0.5, normal * gap[:, None].sign(), gap.abs(), weighed=True)
        return Step(offset, offset.abs().sum(1))

    return way


def farthest(points: Tensor, slope: Tensor, budget: Tensor) -> Tensor:
    """The offset that climbs farthest along the slope in box and ℓ1 ball: a corner of the two together."""
    return _one_by_one(points, slope, budget, weighed=False)


def _one_by_one(points: Tensor, drive: Tensor, need: Tensor, weighed: bool) -> Tensor:
    """Offsets whose lengths (`weighed`: times their weights) sum to `need`, the largest weights first."""
    offset = torch.zeros_like(points)
    rows = torch.arange(len(points), device=points.device)
    few = FEW
    while len(rows):
        count = min(few, points.shape[1])
        weight, index = drive[rows].abs().topk(count, dim=1)
        sign = drive[rows].gather(1, index).sign()
        room = ((sign > 0).to(points) - points[rows].gather(1, index)).abs()
        gain = weight * room if weighed else room
        left = need[rows, None] - (gain.cumsum(1) - gain)
        offset[rows] = offset[rows].scatter_(1, index, sign * room * _ratio(left, gain))
        short = gain.sum(1) < need[rows]
        rows, few = rows[short & (count < points.shape[1])], 8 * few
    return offset


def _ratio(left: Tensor, gain: Tensor) -> Tensor:
    """The share of a gain that is still needed; 0 where there is nothing to gain."""
    return (left / gain).clamp_(0.0, 1.0).nan_to_num_(0.0)


def _together(normal: Tensor, *, by_weight: bool) -> Way:
    """All coordinates move at once, at the pace of their weights or at the same one."""
    weight, sign = normal.abs(), normal.sign()
    total, peak = weight.sum(1), normal.new_ones(len(normal))
    if (odd := (total < LEAST) | (total > MOST)).any():
        largest = weight.amax(1)
        peak = torch.where(odd & (largest > 0), largest, peak)
        weight = weight / peak[:, None]
        total = weight.sum(1)
    pace, gain = (weight, weight.square()) if by_weight else (None, weight)
    total = gain.sum(1) if by_weight else total
    half = normal.new_full((), 0.5)

    def way(middle: Tensor, gap: Tensor) -> Step:
        toward = sign * torch.where(gap < 0, -1.0, 1.0)[:, None]
        room = torch.addcmul(half, toward, middle, value=-1.0)  # to the face in the direction of each
        driven, hard = _driven(pace, weight, gain, total, room, gap.abs() / peak)
        if by_weight:
            length = driven.norm(dim=1)
        elif (hard > 1.0).any():  # the box ends before the plane is met
            length = torch.where(hard > 1.0, (driven * (weight > 0)).amax(1), hard)
        else:  # one coordinate at least is not at its limit yet
            length = hard
        return Step(driven.mul_(toward), length)

    return way


def _driven(
    pace: Tensor | None, weight: Tensor, gain: Tensor, total: Tensor, room: Tensor, need: Tensor
) -> tuple[Tensor, Tensor]:
    """min(m · pace, room), and the smallest m ≥ 0 [n] at which its product with the weights is `need`.

    Without `pace` all coordinates have the pace 1. `gain` is weight · pace, `total` [n] its sum. Where the box
    ends too soon, m is the largest float. From below, Newton's step on a concave function never passes the
    solution, and lands on it once the right coordinates are at their limits. Masks are floats here: on a CPU
    several times faster than bool.
    """
    most = torch.finfo(room.dtype).max
    m = (need / total.clamp_min(torch.finfo(room.dtype).tiny)).clamp_(max=most)
    moving = torch.ones_like(m, dtype=torch.bool)
    driven, free = torch.empty_like(room), torch.empty_like(room)
    for _ in range(STEPS):
        pushed = m[:, None] if pace is None else torch.mul(pace, m[:, None], out=free)
        torch.minimum(room, pushed, out=driven)
        short = need - torch.linalg.vecdot(weight, driven)
        moving &= short > REST * need
        if not moving.any():
            break
        torch.gt(room, pushed, out=free)
        ahead = torch.addcdiv(m, short, torch.linalg.vecdot(gain, free)).clamp_(max=most)
        moving &= ahead > m * (1.0 + REST)
        m = torch.where(moving, ahead, m)
    return driven, m
