"""Which pixels decide a neuron: two that see none in common can share one way back through the network."""

from __future__ import annotations

from typing import Any, cast, final

import torch
from torch import Tensor, nn

from classrob_lp.traced import Box, Trace

#: Rows that a network runs on.
ROWS = 128
#: Pixels are told apart by tiles, of which there are so many along a side at most.
TILES = 16
#: A radius beside which no bias is lost to rounding.
WIDE = 1e6
#: Neurons of one ReLU see at most so many different sets of tiles, or none shares.
KINDS = 1024


def straight(pre: Tensor) -> Tensor:
    """The positive part, with a gradient that passes as if it were the identity: no dead ReLU hides a way."""
    return cast(Tensor, _Straight.apply(pre))


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor) -> Tensor:
        return pre.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0]


@final
class Supports:
    """What every ReLU's inputs see of an image [1, c, h, w], by the network's structure alone.

    Found by letting one tile move at a time: what it reaches is where its interval is no point.

    Attributes:
        seen: for every ReLU float32 [neurons, tiles], 1 where a tile reaches it; empty where intervals end.
    """

    def __init__(self, module: nn.Module, image: Tensor) -> None:
        height, width = image.shape[2:]
        side = -(-max(height, width) // TILES)
        across = -(-width // side)
        down, right = (torch.arange(length, device=image.device) // side for length in (height, width))
        self.tile = (down[:, None] * across + right).expand(image.shape[1:]).flatten()
        count = int(self.tile.amax()) + 1
        found = [self._reached(module, image, tiles) for tiles in torch.arange(count).split(ROWS)]
        known = all(len(one) == len(found[0]) for one in found)
        self.seen = [torch.cat(parts, 1) for parts in zip(*found, strict=True)] if known else []
        self._shares: dict[int, Shares | None] = {}

    def _reached(self, module: nn.Module, image: Tensor, tiles: Tensor) -> list[Tensor]:
        """What each of at most `ROWS` tiles reaches, [neurons, tiles] for every ReLU."""
        found = list[Tensor]()

        def widened(pre: Tensor, box: Box | None) -> tuple[Tensor, Box | None]:
            if box is not None:
                reached = (box.radius > 0).to(pre.dtype)
                found.append(reached[: len(tiles)].flatten(1).T)
                box = Box(box.middle, WIDE * reached)
            return straight(pre), box

        rows = image.detach().repeat(ROWS, 1, 1, 1).requires_grad_()
        moving = self.tile == tiles.to(image.device)[torch.arange(ROWS) % len(tiles), None]
        with torch.enable_grad():
            copy = rows.clone()
            with Trace(widened, copy, Box(rows.detach(), WIDE * moving.to(rows.dtype).view_as(rows))):
                module(copy)
        return found

    def of(self, level: int) -> Shares | None:
        """How inputs of the ReLU that `level` others are before share ways back; None where it does not pay."""
        if level not in self._shares:
            self._shares[level] = Shares.among(self, level) if level < len(self.seen) else None
        return self._shares[level]


@final
class Shares:
    """Which neurons of one ReLU share a way.

    Attributes:
        kind: int64 [neurons], alike where they see the same tiles.
        colour: int64 [kinds]; those of one colour have no tile in common.
    """

    def __init__(self, supports: Supports, kind: Tensor, sees: Tensor, colour: Tensor) -> None:
        self.supports, self.kind, self.sees, self.colour = supports, kind, sees, colour
        self._inside: dict[int | None, Tensor] = {}

    @classmethod
    def among(cls, supports: Supports, level: int) -> Shares | None:
        """Those of a level; None where they would save less than half of the ways."""
        sees, kind = supports.seen[level].unique(dim=0, return_inverse=True)
        if len(sees) > KINDS:
            return None
        neurons = torch.arange(len(kind), device=kind.device)
        first = torch.full_like(neurons[: len(sees)], len(kind)).scatter_reduce_(0, kind, neurons, "amin")
        order = first.argsort()  # row by row of the map: colours that are given in turn are fewest so
        sees, kind = sees[order], order.argsort()[kind]
        meets = sees @ sees.T > 0
        colour = torch.full((len(sees),), -1, device=sees.device)
        for i in range(len(sees)):
            taken = colour[:i][meets[i, :i]]
            free = torch.ones(i + 1, dtype=torch.bool, device=sees.device)
            free[taken] = False
            colour[i] = free.nonzero()[0, 0]
        return cls(supports, kind, sees, colour) if 2 * (int(colour.amax()) + 1) <= len(sees) else None

    def rows(self, images: Tensor, neurons: Tensor) -> Tensor:
        """int64 [r], in which row each neuron of an image goes; ascending with the image."""
        kind = self.kind[neurons]
        group = images * len(self.colour) + kind
        order = group.argsort(stable=True)
        lengths = group[order].unique_consecutive(return_counts=True)[1]
        begin = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device) - begin
        colours, ranks = int(self.colour.amax()) + 1, int(rank.amax()) + 1
        return ((images * colours + self.colour[kind]) * ranks + rank).unique(return_inverse=True)[1]

    def inside(self, level: int | None) -> Tensor:
        """float32 [neurons of another ReLU, or of pixels, kinds]: 1 where all that decides it is seen by a kind.

        Of neurons that share a row, only the one that reaches back to it sees all that decides it.
        """
        if level not in self._inside:
            if level is None:
                found = self.sees.T[self.supports.tile]
            else:
                seen = self.supports.seen[level]
                found = ((seen @ (1 - self.sees).T == 0) & (seen.sum(1, keepdim=True) > 0)).to(seen.dtype)
            self._inside[level] = found
        return self._inside[level]
