"""Square windows of pixels, each of its own side and in an image of its own, read and written without a loop."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self, final

import torch
from torch import Tensor

#: After these shares of the queries, in ten-thousandths, the windows' area is halved.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def side(share: float, first_area: float, height: int, width: int, smooth: bool) -> int:
    """The windows' side in pixels when a share of the queries is spent. Andriushchenko et al. (2020), 5.1.

    Args:
        share: of the queries, in [0, 1].
        first_area: of the first windows, as a share of the image.
        height: of the image, in pixels; so is `width`.
        smooth: will the windows hold a `bump`? Then they are of odd side, from 3 up.
    """
    area = first_area / 2 ** bisect_left(HALVINGS, int(share * 10000)) * height * width
    pixels = max(round(math.sqrt(area)), 3 if smooth else 1)
    return min(pixels + (smooth and pixels % 2 == 0), height, width)


def bump(pixels: int, power: int) -> Tensor:
    """A peak above a trough, float32 [pixels, pixels], of ℓ1 or ℓ2 norm 1 (`power` 1 or 2); section 4.

    Either half falls in square rings around its middle: its value on ring r is the sum of k^(−4/power) over
    k > r, up to the outermost ring.
    """
    halves: list[Tensor] = []
    for rows, sign in ((pixels // 2, 1.0), (pixels - pixels // 2, -1.0)):
        terms = torch.arange(1, pixels // 2 + 2, dtype=torch.float64) ** (-4.0 / power)
        falling = torch.cat([terms.flip(0).cumsum(0).flip(0), terms.new_zeros(pixels)])
        y, x = torch.arange(rows) - rows // 2, torch.arange(pixels) - pixels // 2
        half = falling[torch.maximum(y.abs()[:, None], x.abs())]
        halves.append(sign * half / half.norm(p=power).clamp_min(1e-300))
    whole = torch.cat(halves)
    return (whole / whole.norm(p=power)).to(torch.float32)


@final
@dataclass(frozen=True)
class Plan:
    """What the windows of every query look like.

    Attributes:
        of_query: int64 [queries, 3]: the side, the number of pixels, the first cell. Query 0 has none.
        offset: int64 [cells], how far each pixel of a window is from its corner, for all sides in turn.
        bumps: float32 [2 cells], the value of the bump there, then of the transposed bump.
    """

    of_query: Tensor
    offset: Tensor
    bumps: Tensor


@lru_cache(maxsize=16)
def plan(queries: int, first_area: float, height: int, width: int, power: int, device: torch.device) -> Plan:
    """The plan of an attack of `queries` queries, the first of which is spent on where it begins.

    `power` is the norm's, 1 or 2 for windows that hold a bump, 0 for windows of one value each.
    """
    last = max(1, queries - 1)
    sides = [side(i / last, first_area, height, width, power > 0) for i in range(queries - 1)]
    first, offsets, bumps = {0: 0}, [torch.zeros(0, dtype=torch.int64)], [torch.zeros(2, 0)]
    for pixels in sorted(set(sides)):
        first[pixels] = sum(map(len, offsets))
        line = torch.arange(pixels)
        offsets.append((line[:, None] * width + line).flatten())
        value = bump(pixels, power) if power else torch.ones(pixels, pixels)
        bumps.append(torch.stack([value, value.T]).flatten(1))
    rows = [(pixels, pixels**2, first[pixels]) for pixels in [0, *sides]]
    values = torch.cat(bumps, 1).flatten()
    return Plan(torch.tensor(rows, device=device), torch.cat(offsets).to(device), values.to(device))


@final
@dataclass(frozen=True)
class Windows:
    """The pixels of n windows.

    Attributes:
        pixels: int64 [n], how many each window has, perhaps none.
        row: int64 [t], the window of each of the t pixels of all.
        cell: int64 [t], the pixel's cell in the plan.
        place: int64 [t, c], where its values are in a contiguous tensor of images [·, c, h, w].
    """

    pixels: Tensor
    row: Tensor
    cell: Tensor
    place: Tensor

    @classmethod
    def at(
        cls, plan: Plan, pixels: Tensor, first: Tensor, corner: Tensor, image: Tensor, shape: torch.Size
    ) -> Self:
        """Windows of so many pixels, their first cells, corners y · width + x, and images, all int64 [n].

        `shape` is that of an image, (c, h, w).
        """
        row = torch.repeat_interleave(pixels)
        skipped = first - pixels.cumsum(0) + pixels
        cell = torch.arange(len(row), device=row.device) + skipped.index_select(0, row)
        begin = corner + image * shape.numel()
        pixel = plan.offset.index_select(0, cell) + begin.index_select(0, row)
        channel = torch.arange(0, shape.numel(), shape[1] * shape[2], device=row.device)
        return cls(pixels, row, cell, pixel[:, None] + channel)

    def moved(self, pixels: Tensor) -> Self:
        """The same windows further on by some numbers, int64 [n]: a line is `width`, an image all its channels."""
        return replace(self, place=self.place + self.spread(pixels)[:, None])

    def read(self, images: Tensor) -> Tensor:
        """The values [t, c] of contiguous images [n, c, h, w]."""
        return images.view(-1).index_select(0, self.place.view(-1)).view(self.place.shape)

    def write(self, images: Tensor, values: Tensor, of: Tensor | None = None) -> None:
        """Put values [t, c] in their places; `of` some of the windows, bool [n], or of all."""
        place = self.place
        if of is not None:
            chosen = self.spread(of)
            place, values = place[chosen], values[chosen]
        images.view(-1).scatter_(0, place.view(-1), values.reshape(-1))

    def spread(self, values: Tensor) -> Tensor:
        """Each window's values [n, …] at its pixels, [t, …]."""
        return values.index_select(0, self.row)

    def total(self, values: Tensor) -> Tensor:
        """Sums [n, c] over each window's pixels of [t, c]; float64, and bit for bit the window's own."""
        if not len(values):
            return values.new_zeros(len(self.pixels), values.shape[1], dtype=torch.float64)
        return torch.segment_reduce(values.double(), "sum", lengths=self.pixels, unsafe=True)
