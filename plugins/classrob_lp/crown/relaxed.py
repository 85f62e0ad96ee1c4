"""A ReLU between a line below and one above: what its backward carries is the bound of a whole network.

Zhang, Weng, Chen, Hsieh and Daniel (2018), "Efficient neural network robustness certification with
general activation functions".
"""

from __future__ import annotations

from typing import Any, cast, final

import torch
from torch import Tensor

from classrob_lp.crown.carried import BySign, Carried


@final
class Lines:
    """One ReLU of n images: the bounds of its inputs, and the lines that follow from them.

    Attributes:
        here: [n, …], the inputs at the images.
        low, high: [n, …], their bounds over the balls. unstable: bool [n, …], where these leave the sign open.
        slope: what a coefficient is multiplied by, that of the lower line if it is positive, of the upper one
            if it is negative. lost, closed: what it is multiplied by to tell what it loses at the images
            themselves, not positive then; through the lines, and where the ReLU is closed.
    """

    def __init__(self, here: Tensor, low: Tensor, high: Tensor) -> None:
        self.here, self.low, self.high = here, low, high
        post = here.clamp_min(0)
        self.unstable = unstable = undecided(low, high)
        active = (low >= 0).to(low.dtype)
        chord = torch.where(unstable, high / (high - low).clamp_min(1e-30), active)
        flat = torch.where(unstable, (high > -low).to(low.dtype), active)
        self.slope = BySign.of(flat, chord)
        self.lost = BySign.of(
            torch.where(unstable, flat * here - post, 0.0),
            torch.where(unstable, chord * (here - low) - post, 0.0),
        )
        self.closed = BySign.of(low.clamp_min(0) - post, high.clamp_min(0) - post)


def undecided(low: Tensor, high: Tensor) -> Tensor:
    """Where bounds leave a sign open; bounds that are no numbers do."""
    return ~((low >= 0) | (high <= 0))


class Passing:
    """What is on its way back just now."""

    carried: Carried


class _Relaxed(torch.autograd.Function):
    """A ReLU whose backward carries the coefficients of a lower bound, and takes what the relaxation costs."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, lines: Lines, passing: Passing, index: int) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.lines, ctx.passing, ctx.index = lines, passing, index
        return pre.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        slope = grad_outputs[0]
        if slope is None:  # nothing comes here but through ReLUs that are closed
            return (None,) * 4
        lines: Lines = ctx.lines
        carried: Carried = ctx.passing.carried
        size, closed = slope.abs(), ctx.index < carried.cut
        carried.take(carried.products(slope, size, lines.closed if closed else lines.lost, ctx.index))
        return None if closed else carried.times(slope, size, lines.slope), None, None, None


def relaxed(pre: Tensor, lines: Lines, passing: Passing, index: int) -> Tensor:
    """The ReLU of a trace, `index` of them being before it."""
    return cast(Tensor, _Relaxed.apply(pre, lines, passing, index))
