"""Uniform, normal and Poisson numbers from per-sample streams, at half a word a number.

`Streams.normal` spends two words of 64 bits on a number. An image is full of them, so here a word gives
two; a sample's numbers still depend on nothing but its key and the shape.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from scipy.stats import poisson
from torch import Tensor

from classrob.streams import Streams

#: The grey levels that a rate is tabulated for.
LEVELS = 256


def _halves(streams: Streams, size: int) -> Tensor:
    """int32 [n, size], uniform over all 32-bit integers."""
    return streams.bits(-(-size // 2)).view(torch.int32)[:, :size]


def uniform(streams: Streams, *shape: int) -> Tensor:
    """float32 [n, *shape], uniform in [0, 1]."""
    halves = _halves(streams, math.prod(shape)).to(torch.float32)
    return halves.mul_(2.0**-32).add_(0.5).reshape(-1, *shape)


def normal(streams: Streams, *shape: int) -> Tensor:
    """float32 [n, *shape], standard normal by Box and Muller: two numbers a pair of uniform ones."""
    size = math.prod(shape)
    halves = _halves(streams, size + size % 2).to(torch.float32)
    pairs = halves.shape[1] // 2
    angle = halves[:, :pairs] * (math.pi * 2.0**-31)
    radius = halves[:, pairs:].mul(2.0**-32).add_(0.5).clamp_min_(2.0**-26).log_().mul_(-2.0).sqrt_()
    drawn = torch.cat([radius * angle.cos(), radius * angle.sin()], 1)
    return drawn[:, :size].reshape(-1, *shape)


def counts(streams: Streams, images: Tensor, rate: float) -> Tensor:
    """Poisson numbers of mean `rate` · image, float32 like `images` in [0, 1], taken at 8 bits.

    Exact, by a table of aliases (Walker, 1977): a column at random, then it or its alias.
    """
    first, chance, alias = (table.to(images.device) for table in _aliases(rate))
    columns = chance.shape[1]
    bits = columns.bit_length() - 1
    draw = _halves(streams, images[0].numel()).reshape(images.shape)
    level = (images * (LEVELS - 1)).round_().to(torch.int32)
    column = (draw >> (32 - bits)) & (columns - 1)
    share = (draw & ((1 << (32 - bits)) - 1)).to(torch.float32).mul_(2.0 ** (bits - 32))
    cell = level.mul(columns).add_(column).view(-1)
    other = alias.view(-1).index_select(0, cell).view(images.shape)
    stay = share < chance.view(-1).index_select(0, cell).view(images.shape)
    found = torch.where(stay, column.to(torch.float32), other)
    return found + first.index_select(0, level.view(-1)).view(images.shape)


@lru_cache(maxsize=16)
def _aliases(rate: float) -> tuple[Tensor, Tensor, Tensor]:
    """For every grey level: the first count that its columns stand for, their chances and their aliases.

    The columns are a power of two that covers all but some 1e-12 of the probability.
    """
    mean = rate * np.arange(LEVELS) / (LEVELS - 1)
    reach = np.ceil(8.0 * np.sqrt(mean) + 16.0)
    first = np.maximum(0, np.floor(mean - reach))
    columns = 1 << int(np.ceil(np.log2((mean + reach - first).max() + 1)))
    left = poisson.pmf(first[:, None] + np.arange(columns), mean[:, None])
    left *= columns / left.sum(1, keepdims=True)
    chance, alias = np.ones_like(left), np.tile(np.arange(columns, dtype=np.float32), (LEVELS, 1))
    rows = np.arange(LEVELS)
    waiting = left.copy()  # what a column still holds; infinite or not at all once it is settled
    for _ in range(columns - 1):
        low, high = np.where(waiting < 0, np.inf, waiting).argmin(1), waiting.argmax(1)
        chance[rows, low], alias[rows, low] = waiting[rows, low], high
        waiting[rows, high] -= 1.0 - waiting[rows, low]
        waiting[rows, low] = -np.inf
    tables = (first, np.clip(chance, 0.0, 1.0), alias)
    return tuple(torch.from_numpy(np.ascontiguousarray(t, dtype=np.float32)) for t in tables)  # type: ignore[return-value]
