"""Where the samples of a batch lie in a tensor: along one dimension, possibly inside and outside of others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Dimension `dim` holds outer · n · inner slices, and slice j belongs to sample (j // inner) mod n.

    A batch of images is Layout(0, 1, 1); tokens flattened into rows are Layout(0, 1, tokens); tokens first,
    as PyTorch's attention has them, are Layout(0, tokens, 1).
    """

    dim: int
    outer: int
    inner: int

    def fits(self, shape: torch.Size, n: int) -> bool:
        """Can a tensor of this shape hold n samples so?"""
        return self.dim < len(shape) and shape[self.dim] == self.outer * n * self.inner

    def split(self, x: Tensor, n: int) -> Tensor:
        """x as [n, …, outer, inner, …]: samples first, and two dimensions where `dim` was."""
        sizes = (self.outer, n, self.inner)
        return x.unflatten(self.dim, sizes).movedim(self.dim + 1, 0)

    def rows(self, x: Tensor, n: int) -> Tensor:
        """x [rows, d] as [n, rows of a sample, d]; only for samples along dimension 0."""
        return self.split(x, n).flatten(1, 2)


def find(touched: Tensor, n: int, sample: int) -> Layout | None:
    """The one layout in which everything `touched` (a boolean tensor) belongs to sample `sample` of n.

    None where nothing is touched, where samples have mixed, or where more than one layout would do.
    """
    exact: list[Layout] = []
    possible: list[Layout] = []
    for dim, size in enumerate(touched.shape):
        if size % n:
            continue
        others = [d for d in range(touched.ndim) if d != dim]
        line = touched.any(dim=others) if others else touched
        place = torch.arange(size, device=touched.device)
        for inner in _divisors(size // n):
            own = (place // inner) % n == sample
            if bool((line & ~own).any()):
                continue
            layout = Layout(dim, size // n // inner, inner)
            possible.append(layout)
            if torch.equal(line, own):
                exact.append(layout)
    chosen = exact if len(exact) == 1 else possible
    return chosen[0] if len(chosen) == 1 and bool(touched.any()) else None


def _divisors(number: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})
