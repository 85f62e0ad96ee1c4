"""The shortest way from a point of the box [0, 1] to a hyperplane without leaving the box, in each norm.

A coordinate helps by moving where its weight points, and only as far as the box lets it: its room. What
all coordinates together contribute is a concave, piecewise linear function of one number, how hard they
are driven, and Newton's method from below meets what is needed in a few passes. In ℓ1 coordinates go one
after the other, and the few of the largest weight do. Nothing is sorted. Where the box ends before the
plane is met, the answer is the box's point nearest to the plane.

Offsets are [n, d] for points [n, d] in the box, normals [n, d] of any length (where a normal is 0, so is
the offset) and gaps [n] of either sign: what is missing to the plane, b − normal · point.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: More Newton steps than any row has been seen to need (a dozen); each passes one breakpoint or more.
STEPS = 64
#: A step by at most this share is the last. What it leaves is less by another such factor, save where many
#: limits lie within it.
REST = 1e-5
#: So many coordinates of the largest weight are tried first; rows that need more get eight times as many.
FEW = 32


def linf(points: Tensor, normal: Tensor, gap: Tensor) -> Tensor:
    """The offset of smallest ℓ∞ norm: all coordinates move equally far, or to the box's face."""
    drive, room, need = _driven(points, normal, gap)
    weight = drive.abs()
    reach = _multiplier(weight, weight * room, need)
    return torch.minimum(room, reach[:, None], out=room).mul_(drive.sign_())


def l2(points: Tensor, normal: Tensor, gap: Tensor) -> Tensor:
    """The offset of smallest ℓ2 norm: coordinates move by their weight's share, or to the box's face."""
    drive, room, need = _driven(points, normal, gap)
    weight = drive.abs()
    reach = _multiplier(weight.square(), weight * room, need)
    return torch.minimum(room, weight.mul_(reach[:, None]), out=room).mul_(drive.sign_())


def l1(points: Tensor, normal: Tensor, gap: Tensor) -> Tensor:
    """The offset of smallest ℓ1 norm: coordinates of the largest weight move first, to the box's face."""
    return _one_by_one(points, normal * gap[:, None].sign(), gap.abs(), weighed=True)


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


def _driven(points: Tensor, normal: Tensor, gap: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of size 1 at most that point where the gap closes; the room there; what is needed, [n]."""
    peak = normal.abs().amax(1)
    peak = torch.where(peak > 0, peak, 1.0)  # scaled, since the squares of tiny slopes underflow
    drive = normal / torch.where(gap < 0, -peak, peak)[:, None]
    room = torch.gt(drive, 0.0, out=torch.empty_like(drive)).sub_(points).abs_()
    return drive, room, gap.abs() / peak


def _multiplier(rate: Tensor, limit: Tensor, need: Tensor) -> Tensor:
    """The smallest m ≥ 0 [n] at which Σ min(m · rate, limit) is `need`; the largest float where none is.

    From below, Newton's step on a concave function never passes the solution, and lands on it once the
    right coordinates are at their limits. Masks are floats here: on a CPU several times faster than bool.
    """
    most = torch.finfo(rate.dtype).max
    m = (need / rate.sum(1).clamp_min(torch.finfo(rate.dtype).tiny)).clamp(max=most)
    moving = torch.ones_like(m, dtype=torch.bool)
    driven, free = torch.empty_like(rate), torch.empty_like(rate)
    for _ in range(STEPS):
        torch.mul(rate, m[:, None], out=driven)
        torch.gt(limit, driven, out=free)
        short = need - torch.minimum(driven, limit, out=driven).sum(1)
        ahead = torch.fmax(m, torch.addcdiv(m, short, torch.linalg.vecdot(rate, free)))
        ahead = torch.where(moving, ahead.clamp_(max=most), m)
        moving = ahead > m * (1.0 + REST)
        m = ahead
        if not moving.any():
            break
    return m
