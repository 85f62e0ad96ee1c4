"""Per-sample random streams: counter-based, so a sample's draws do not depend on its neighbours.

A stream's key is a hash of (seed, data set, sample id, condition). A draw is the SplitMix64 finaliser
(Steele, Lea and Flood, OOPSLA 2014) applied to key + counter · γ, so any row of any batch can be drawn
alone, in any order, on any device, with the same bits.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

_GAMMA = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed integer
_MIX = (-4658895280553007687, -7723592293110705685)  # 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical (not arithmetic) right shift of signed 64-bit integers."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix(x: Tensor) -> Tensor:
    """The SplitMix64 finaliser: int64 in, int64 out, a bijection that avalanches."""
    x = (x ^ _shift(x, 30)) * _MIX[0]
    x = (x ^ _shift(x, 27)) * _MIX[1]
    return x ^ _shift(x, 31)


def key_of(*parts: object) -> int:
    """A signed 64-bit key for any printable parts; equal parts give equal keys on every machine."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


@dataclass(frozen=True)
class Streams:
    """One random stream a sample; `keys` is int64 [n].

    A draw is a pure function of key and shape. Two draws that must differ come from two forks:
    `streams.fork(restart)`, `streams.fork("direction")`.
    """

    keys: Tensor

    @classmethod
    def keyed(cls, seed: int, dataset: str, samples: Iterable[str], condition: str) -> Streams:
        """Streams for the given sample ids of a data set under a condition."""
        return cls(torch.tensor([key_of(seed, dataset, s, condition) for s in samples], dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.keys)

    def select(self, index: Tensor) -> Streams:
        """The streams of some rows; `index` is int64 or bool."""
        return Streams(self.keys[index.to(self.keys.device)])

    def to(self, device: torch.device | str) -> Streams:
        """The same streams on another device."""
        return Streams(self.keys.to(device))

    def fork(self, label: int | str | Tensor) -> Streams:
        """Independent streams for one use; `label` is one for all rows, or int64 [n]."""
        if isinstance(label, Tensor):
            return Streams(mix(self.keys + (label.to(self.keys) + 1) * _GAMMA))
        return Streams(mix(self.keys ^ key_of(label)))

    def bits(self, *shape: int) -> Tensor:
        """int64 [n, *shape], uniform over all 64-bit integers."""
        count = torch.arange(1, math.prod(shape) + 1, device=self.keys.device, dtype=torch.int64)
        return mix(self.keys[:, None] + count * _GAMMA).reshape(len(self.keys), *shape)

    def uniform(self, *shape: int) -> Tensor:
        """float32 [n, *shape], uniform in [0, 1), from the top 24 bits."""
        return _shift(self.bits(*shape), 40).to(torch.float32) * 2.0**-24

    def normal(self, *shape: int) -> Tensor:
        """float32 [n, *shape], standard normal by Box and Muller."""
        size = math.prod(shape)
        u = self.uniform(2, size)
        radius = torch.sqrt(-2.0 * torch.log1p(-u[:, 0]))
        return (radius * torch.cos(2.0 * math.pi * u[:, 1])).reshape(len(self.keys), *shape)

    def integers(self, high: int, *shape: int) -> Tensor:
        """int64 [n, *shape], uniform in 0 … high − 1 (bias below high · 2⁻³²)."""
        return _shift(_shift(self.bits(*shape), 32) * high, 32)
