"""Which pixels decide a neuron: two that see none in common can share one way back through the network."""

from __future__ import annotations

from typing import Any, cast, final

import torch
from torch import Tensor, nn

from classrob_lp.crown.traced import Box, Trace

#: Rows that a network runs on.
ROWS = 128
#: Pixels are told apart by tiles, of which there are so many along a side at most.
TILES = 16
#: A radius beside which no bias is lost to rounding.
WIDE = 1e6
#: Neurons of one ReLU see at most so many different sets of tiles, or none shares; nor where there are more of them.
KINDS, NEURONS = 1024, 2**17


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
        seen: for every ReLU bool [neurons, tiles], where a tile reaches it; None where there are too many neurons, or
            its inputs have no intervals.
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
        layers = zip(*found, strict=True) if known else ()
        self.seen = [None if parts[0] is None else torch.cat(parts, 1) for parts in layers]
        self._shares: dict[int, Shares | None] = {}

    def _reached(self, module: nn.Module, image: Tensor, tiles: Tensor) -> list[Tensor | None]:
        """What each of at most `ROWS` tiles reaches, like `seen`."""
        found = list[Tensor | None]()

        def widened(pre: Tensor, box: Box | None) -> tuple[Tensor, Box | None]:
            if box is None:
                found.append(None)
            else:
                reached = box.radius > 0
                found.append(reached[: len(tiles)].flatten(1).T if pre[0].numel() <= NEURONS else None)
                box = Box(box.middle, WIDE * reached.to(pre.dtype))
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
            known = [one for one in self.seen[: level + 1] if one is not None]
            whole = len(known) == level + 1
            self._shares[level] = Shares.among(known, self.tile) if whole else None
        return self._shares[level]


@final
class Shares:
    """Which inputs of one ReLU share a way.

    Attributes:
        kind: int64 [neurons], alike where they see the same tiles.
        sees: float32 [kinds, tiles], 1 for the tiles that a kind sees.
        colour: int64 [kinds]; those of one colour have no tile in common.
    """

    def __init__(self, seen: list[Tensor], tile: Tensor) -> None:
        """`seen` of this ReLU and of all before it; `tile` of every pixel."""
        self.seen, self.tile = seen, tile
        sees, kind = seen[-1].unique(dim=0, return_inverse=True)
        neurons = torch.arange(len(kind), device=kind.device)
        first = torch.full_like(neurons[: len(sees)], len(kind)).scatter_reduce_(0, kind, neurons, "amin")
        order = first.argsort()  # row by row of the map: colours that are given in turn are fewest so
        self.sees, self.kind = sees[order].float(), order.argsort()[kind]
        self.colour = torch.full((len(sees),), -1, device=sees.device)
        self._inside: dict[int | None, Tensor] = {}

    @classmethod
    def among(cls, seen: list[Tensor], tile: Tensor) -> Shares | None:
        """Those of a ReLU; None where they would save less than a third of the ways."""
        made = cls(seen, tile)
        if len(made.sees) > KINDS:
            return None
        meets = made.sees @ made.sees.T > 0
        for i in range(len(meets)):
            free = torch.ones(i + 1, dtype=torch.bool, device=meets.device)
            free[made.colour[:i][meets[i, :i]]] = False
            made.colour[i] = free.nonzero()[0, 0]
        return made if 3 * (int(made.colour.amax()) + 1) <= 2 * len(meets) else None

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
                found = self.sees.T[self.tile]
            else:
                seen = self.seen[level].float()
                beyond = seen @ (1 - self.sees).T
                found = ((beyond == 0) & (seen.sum(1, keepdim=True) > 0)).float()
            self._inside[level] = found
        return self._inside[level]
