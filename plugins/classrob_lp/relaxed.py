"""A ReLU between a line below and one above: what its backward carries is the bound of a whole network.

Zhang, Weng, Chen, Hsieh and Daniel (2018), "Efficient neural network robustness certification with
general activation functions".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast, final

import torch
from torch import Tensor

#: Rows that the network runs on; each carries one bound of one image back at a time.
ROWS = 128


@dataclass
class Carried:
    """What the rows carry just now.

    Attributes:
        owner: int64 [ROWS], the image that each row belongs to; a slice where all belong to one.
        cut: the ReLUs before this one are closed: they give no more than the box of their values.
    """

    owner: Tensor | slice
    cut: int = 0

    def give(self, images: Tensor) -> None:
        """Give the first rows to some images, [r]; the others idle along with the first of them."""
        first = int(images[0])
        if bool((images == first).all()):
            self.owner = slice(first, first + 1)
        else:
            self.owner = torch.cat([images, images[:1].expand(ROWS - len(images))])

    def mine(self, values: Tensor) -> Tensor:
        """What belongs to each row's image, [ROWS, …], or [1, …] where all belong to one; `values` is [n, …]."""
        one = self.owner
        return values[one] if isinstance(one, slice) else values.index_select(0, one)


@final
class Lines:
    """One ReLU of n images: the bounds of its inputs, and the lines that follow from them.

    Attributes:
        here: [n, …], the inputs at the images.
        low, high: [n, …], their bounds over the balls. unstable: bool [n, …], where these leave the sign open.
        flat, chord: [n, …], slopes of the lower and the upper line.
        lost_above, lost_below: [n, …], what a positive and a negative coefficient lose at the images
            themselves; not positive after multiplication. Likewise `floor` and `ceiling`, where the ReLU
            is closed.
    """

    def __init__(self, here: Tensor, low: Tensor, high: Tensor) -> None:
        self.here, self.low, self.high = here, low, high
        post = here.clamp_min(0)
        self.unstable = unstable = undecided(low, high)
        active = (low >= 0).to(low.dtype)
        self.chord = torch.where(unstable, high / (high - low).clamp_min(1e-30), active)
        self.flat = torch.where(unstable, (high > -low).to(low.dtype), active)
        self.lost_above = torch.where(unstable, self.flat * here - post, 0.0)
        self.lost_below = torch.where(unstable, self.chord * (here - low) - post, 0.0)
        self.floor, self.ceiling = low.clamp_min(0) - post, high.clamp_min(0) - post


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
        mine, closed = ctx.carried.mine, ctx.index < ctx.carried.cut
        above, below = slope.clamp_min(0), slope.clamp_max(0)
        losses = (lines.floor, lines.ceiling) if closed else (lines.lost_above, lines.lost_below)
        lost = dot(above, mine(losses[0])) + dot(below, mine(losses[1]))
        if closed:
            return None, lost, None, None, None
        return above.mul_(mine(lines.flat)).addcmul_(below, mine(lines.chord)), lost, None, None, None


def relaxed(pre: Tensor, ticket: Tensor, lines: Lines, carried: Carried, index: int) -> Tensor:
    """The ReLU of a trace, `index` of them being before it."""
    return cast(Tensor, _Relaxed.apply(pre, ticket, lines, carried, index))


def dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of every row with one row, or with its own, [r]."""
    a, b = a.flatten(1), b.flatten(1)
    return a @ b[0] if len(b) == 1 else (a * b).sum(1)
