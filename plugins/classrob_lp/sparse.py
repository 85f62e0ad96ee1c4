"""The step of Auto-PGD in the ℓ1 ball: as sparse as the best point, in balls that shrink to the budget.

Croce and Hein (2021), "Mind the box": few coordinates move at a time, how many follows the number that
the best point has changed, and the walk begins in a ball three times too large.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from classrob.search import State
from classrob_lp.l1 import L1Ball

#: The balls' sizes in budgets, and the shares of the steps that the first ones get.
SIZES, SHARES = (3.0, 2.0, 1.0), (0.3, 0.3)

#: A check every so large a share of a ball's steps; the first share of the coordinates that moves.
CHECK, FIRST = 0.04, 0.2

#: Sparser than this share of before counts as progress; else the step shrinks by this, down to that.
SPARSER, SHRINK, LEAST = 0.95, 1.5, 0.1

#: The best point's number of changed coordinates over the number that moves.
DENSER = 1.5


def begin(space: L1Ball, z: Tensor) -> State:
    """The state of rows that start at z, [n, c, h, w], drawn from the ball of one budget."""
    one = z.new_ones(len(z))
    wide = space.at(SIZES[0] * space.budget).project(SIZES[0] * z)
    return {
        "z": wide,
        "best": wide.clone(),
        "best_slope": torch.zeros_like(z),
        "loss_best": -torch.inf * one,
        "share": FIRST * one,
        "changed": z[0].numel() * one,
        "length": one.clone(),
    }


@torch.no_grad()
def step(space: L1Ball, age: Tensor, steps: int, state: State, slope: Tensor, values: Tensor) -> State:
    """The next state, after the loss at z was `values` [n] and its gradient `slope`."""
    ball, since, window = _stage(age, steps)
    inner = space.at(ball * space.budget)
    z, best, best_slope, loss_best = state["z"], state["best"], state["best_slope"], state["loss_best"]
    rows = (values > loss_best).nonzero()[:, 0]
    best[rows], best_slope[rows] = z[rows], slope[rows]
    loss_best = torch.maximum(values, loss_best)
    share, changed, length = state["share"], state["changed"], state["length"]
    due = (since > 0) & (since % window == 0)
    enters = (age > 0) & (since == 0)
    inside = best  # entering a smaller ball, what of it that ball holds
    if (due | enters).any():
        # Entering a smaller ball, a row goes on from its best point, whose loss there is not known yet.
        inside = inner.project(best)
        now = torch.where(enters, _changed(inside), _changed(best))
        sparser = now < SPARSER * changed
        look = due | enters
        length = torch.where(due, torch.where(sparser, 1.0, (length / SHRINK).clamp_min(LEAST)), length)
        length = torch.where(enters, 1.0, length)
        share = torch.where(look, now / z[0].numel() / DENSER, share)
        changed = torch.where(look, now, changed)
        back = (due & sparser).reshape(-1, 1, 1, 1)
        z, slope = torch.where(back, best, z), torch.where(back, best_slope, slope)
    count = (share * z[0].numel()).round().clamp(1, z[0].numel()).to(torch.int64)
    move = z + space.rows(length * inner.budget) * inner.sparse_steepest(slope, count)
    move = inner.project(move)
    if enters.any():
        stay = enters.reshape(-1, 1, 1, 1)
        move, best = torch.where(stay, inside, move), torch.where(stay, inside, best)
        loss_best = torch.where(enters, -torch.inf, loss_best)
    return {
        "z": move,
        "best": best,
        "best_slope": best_slope,
        "loss_best": loss_best,
        "share": share,
        "changed": changed,
        "length": length,
    }


def _stage(age: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """At an age [n]: the ball's size in budgets, the steps since it was entered, and those between checks."""
    ends = [math.ceil(share * steps) for share in SHARES]
    starts = torch.tensor([0, ends[0], ends[0] + ends[1]], device=age.device)
    lengths = torch.tensor([*ends, max(1, steps - sum(ends))], device=age.device)
    stage = (age[:, None] >= starts).sum(1) - 1
    window = (CHECK * lengths).to(torch.int64).clamp_min(1)[stage]
    sizes = torch.tensor(SIZES, device=age.device, dtype=torch.float32)
    return sizes[stage], age - starts[stage], window


def _changed(z: Tensor) -> Tensor:
    """How many coordinates of an offset are not 0, [n]."""
    return (z != 0).flatten(1).sum(1).to(z.dtype)
