"""A ReLU between a line below and one above: what its backward carries is the bound of a whole network.

Zhang, Weng, Chen, Hsieh and Daniel (2018), "Efficient neural network robustness certification with
general activation functions".
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple, cast, final

import torch
from torch import Tensor

#: Rows that the network runs on; each carries one bound of one image back at a time.
ROWS = 128


@final
class Carried:
    """What the rows carry just now.

    Attributes:
        owner: int64 [ROWS], the image that each row belongs to.
        runs: an image, and the rows next to each other that are its.
        cut: the ReLUs before this one are closed: they give no more than the box of their values.
    """

    def __init__(self, owner: Tensor) -> None:
        self.cut = 0
        self.give(owner)

    def give(self, images: Tensor) -> None:
        """Give the first rows to some images, [r]; the others idle along with the last of them."""
        self.owner = torch.cat([images, images[-1:].expand(ROWS - len(images))])
        whose, lengths = self.owner.unique_consecutive(return_counts=True)
        ends = lengths.cumsum(0).tolist()
        self.runs = [(i, slice(*rows)) for i, rows in zip(whose.tolist(), pairwise([0, *ends]), strict=True)]

    def dot(self, rows: Tensor, values: Tensor) -> Tensor:
        """The inner product of every row with what belongs to its image, [ROWS]; `values` is [n, …]."""
        rows, values = rows.flatten(1), values.flatten(1)
        return torch.cat([rows[run] @ values[image] for image, run in self.runs])


class BySign(NamedTuple):
    """A factor that depends on a coefficient's sign: c · mean + |c| · lean."""

    mean: Tensor
    lean: Tensor

    @classmethod
    def of(cls, positive: Tensor, negative: Tensor) -> BySign:
        """The factors of positive coefficients and of negative ones."""
        return cls((positive + negative) / 2, (positive - negative) / 2)


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


class _Relaxed(torch.autograd.Function):
    """A ReLU whose backward carries the coefficients of a lower bound.

    `ticket` holds a number a row that enters nothing; its gradient is what the relaxation takes away.
    """

    @staticmethod
    def forward(ctx: Any, pre: Tensor, ticket: Tensor, lines: Lines, carried: Carried, index: int) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.lines, ctx.carried, ctx.index = lines, carried, index
        return pre.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        slope = grad_outputs[0]
        if slope is None:  # nothing comes here but through ReLUs that are closed
            return (None,) * 5
        lines: Lines = ctx.lines
        carried: Carried = ctx.carried
        closed, size = ctx.index < carried.cut, slope.abs()
        losses = lines.closed if closed else lines.lost
        lost = carried.dot(slope, losses.mean) + carried.dot(size, losses.lean)
        if closed:
            return None, lost, None, None, None
        passed = torch.empty_like(slope)
        for image, run in carried.runs:
            torch.mul(slope[run], lines.slope.mean[image], out=passed[run])
            passed[run].addcmul_(size[run], lines.slope.lean[image])
        return passed, lost, None, None, None


def relaxed(pre: Tensor, ticket: Tensor, lines: Lines, carried: Carried, index: int) -> Tensor:
    """The ReLU of a trace, `index` of them being before it."""
    return cast(Tensor, _Relaxed.apply(pre, ticket, lines, carried, index))
