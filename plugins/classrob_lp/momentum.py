"""The step of Auto-PGD where a step may go along every coordinate: momentum, and a length that halves."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from classrob.search import State
from classrob.space import Space, settle

#: Share of the move that is new; the rest repeats the last one. The first step has nothing to repeat.
NEW = 0.75

#: Fewer rises of the loss than this share of a window, and the walk oscillates.
RISES = 0.75


@cache
def windows(steps: int) -> Tensor:
    """int64 [steps + 1]: the length of the window that ends at a step, 0 where none ends (their section 3.2).

    The first takes 22 % of the steps, each further one 3 % less, none less than 6 %.
    """
    found = torch.zeros(steps + 1, dtype=torch.int64)
    length, least, less = (max(1, int(share * steps)) for share in (0.22, 0.06, 0.03))
    at = length
    while at <= steps:
        found[at] = length
        length = max(length - less, least)
        at += length
    return found


def begin(z: Tensor) -> State:
    """The state of rows that start at z, [n, …]."""
    one = z.new_ones(len(z))
    return {
        "z": z,
        "old": z,
        "peak": z.clone(),
        "peak_slope": torch.zeros_like(z),
        "loss_peak": -torch.inf * one,
        "loss_last": torch.inf * one,
        "loss_then": -torch.inf * one,
        "rises": one.to(torch.int64) * 0,
        "cut": one > 0,
        "length": 2.0 * one,
    }


@torch.no_grad()
def step(space: Space, age: Tensor, steps: int, state: State, slope: Tensor, values: Tensor) -> State:
    """The next state, after the loss at z was `values` [n] and its gradient `slope`."""
    z, peak, peak_slope, length = state["z"], state["peak"], state["peak_slope"], state["length"]
    shape = (-1, *[1] * (z.ndim - 1))
    rows = (values > state["loss_peak"]).nonzero()[:, 0]
    peak.index_copy_(0, rows, z.index_select(0, rows))
    peak_slope.index_copy_(0, rows, slope.index_select(0, rows))
    loss_peak = torch.maximum(values, state["loss_peak"])
    rises = state["rises"] + (values > state["loss_last"])
    cut, loss_then = state["cut"], state["loss_then"]
    window = windows(steps).to(age.device)[age.clamp(max=steps)]
    if (due := window > 0).any():
        oscillates = rises <= RISES * window
        idle = ~cut & (loss_then >= loss_peak)
        cut_now = due & (oscillates | idle)
        cut, loss_then = torch.where(due, cut_now, cut), torch.where(due, loss_peak, loss_then)
        rises, length = torch.where(due, 0, rises), torch.where(cut_now, length / 2, length)
        back = cut_now.nonzero()[:, 0]
        z.index_copy_(0, back, peak.index_select(0, back))
        slope.index_copy_(0, back, peak_slope.index_select(0, back))
    first = (age == 0).reshape(shape)  # nothing to repeat yet
    old, some, moved = state["old"], bool(first.any()), torch.empty_like(z)
    for rows, part in space.parts():
        here, place, plain = z[rows], moved[rows], None
        step = part.move(here, slope[rows], length[rows], out=place)
        if some:
            plain = step.clone()
        # new · step + (1 − new) · z + (1 − new) · (z − old), in place
        step.mul_(NEW).add_(here, alpha=2 * (1 - NEW)).sub_(old[rows], alpha=1 - NEW)
        repeated = part.project_(step)
        settle(place, repeated if plain is None else torch.where(first[rows], plain, repeated))
    return {
        "z": moved,
        "old": z,
        "peak": peak,
        "peak_slope": peak_slope,
        "loss_peak": loss_peak,
        "loss_last": values,
        "loss_then": loss_then,
        "rises": rises,
        "cut": cut,
        "length": length,
    }
