"""The step of Auto-PGD in the ℓ1 ball: as sparse as the best point, in balls that shrink to the budget.

Croce and Hein (2021), "Mind the box": few coordinates move at a time, how many follows the number that
the best point has changed, and the walk begins in a ball three times too large.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from classrob.search import State
from classrob.streams import Streams
from classrob_lp.l1 import L1Ball

#: The balls' sizes in budgets, and the shares of the steps that the first ones get.
SIZES, SHARES = (3.0, 2.0, 1.0), (0.3, 0.3)

#: Evaluations that lead to no step: the last ones in the larger balls.
ENTRIES = len(SIZES) - 1

#: A check every so large a share of a ball's steps.
CHECK = 0.04

#: Sparser than this share of before counts as progress; else the step shrinks by this, down to that.
SPARSER, SHRINK, LEAST = 0.95, 1.5, 0.1

#: The best point's number of changed coordinates over the number that moves.
DENSER = 1.5


def start(space: L1Ball, streams: Streams) -> Tensor:
    """A random point of the largest ball, [n, c, h, w], most of whose coordinates are 0."""
    draw = streams.normal(*space.images.shape[1:])
    return space.at(SIZES[0] * space.budget).project(draw)


def begin(z: Tensor) -> State:
    """The state of rows that start at z, [n, c, h, w]."""
    one = z.new_ones(len(z))
    return {
        "z": z,
        "peak": z.clone(),
        "peak_slope": torch.zeros_like(z),
        "loss_peak": -torch.inf * one,
        "changed": _changed(z),
        "length": one.clone(),
    }


@torch.no_grad()
def step(space: L1Ball, age: Tensor, steps: int, state: State, slope: Tensor, values: Tensor) -> State:
    """The next state, after the loss at z was `values` [n] and its gradient `slope`."""
    ball, since, window, enters = _stage(age, steps)
    inner = space.at(ball * space.budget)
    z, peak, peak_slope, loss_peak = state["z"], state["peak"], state["peak_slope"], state["loss_peak"]
    rows = (values > loss_peak).nonzero()[:, 0]
    peak[rows], peak_slope[rows] = z[rows], slope[rows]
    loss_peak = torch.maximum(values, loss_peak)
    changed, length = state["changed"], state["length"]
    if (due := (since > 0) & (since % window == 0) & ~enters).any():
        now = _changed(peak)
        sparser = now < SPARSER * changed
        length = torch.where(due, torch.where(sparser, 1.0, (length / SHRINK).clamp_min(LEAST)), length)
        changed = torch.where(due, now, changed)
        back = (due & sparser).reshape(-1, 1, 1, 1)
        z, slope = torch.where(back, peak, z), torch.where(back, peak_slope, slope)
    count = (changed / DENSER).clamp(1, z[0].numel()).to(torch.int64)
    move = z + space.rows(length * inner.budget) * inner.sparse_steepest(slope, count)
    if enters.any():  # a row goes on from its best point, whose loss in the smaller ball is not known yet
        move = torch.where(enters.reshape(-1, 1, 1, 1), peak, move)
    move = inner.project(move)
    if enters.any():
        peak = torch.where(enters.reshape(-1, 1, 1, 1), move, peak)
        changed = torch.where(enters, _changed(move), changed)
        length = torch.where(enters, 1.0, length)
        loss_peak = torch.where(enters, -torch.inf, loss_peak)
    return {
        "z": move,
        "peak": peak,
        "peak_slope": peak_slope,
        "loss_peak": loss_peak,
        "changed": changed,
        "length": length,
    }


def _stage(age: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """At an age [n]: the size in budgets of the ball that the move ends in, the steps taken in that ball,
    those between checks, and whether the move is the entry into it.
    """
    moves = max(1, steps - ENTRIES)
    lengths = [math.ceil(share * moves) for share in SHARES]
    lengths.append(max(1, moves - sum(lengths)))
    entered = torch.tensor([-1, lengths[0], lengths[0] + 1 + lengths[1]], device=age.device)
    stage = (age[:, None] >= entered).sum(1) - 1
    window = (CHECK * torch.tensor(lengths, device=age.device)).to(torch.int64).clamp_min(1)[stage]
    sizes = torch.tensor(SIZES, device=age.device, dtype=torch.float32)
    since = age - entered[stage] - 1
    return sizes[stage], since, window, since < 0


def _changed(z: Tensor) -> Tensor:
    """How many coordinates of an offset are not 0, [n]."""
    return (z != 0).flatten(1).sum(1).to(z.dtype)
