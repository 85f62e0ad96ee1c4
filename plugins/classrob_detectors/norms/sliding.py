"""Products of windows with windows, from products of pixels with pixels: what two windows share is a short sum.

A window's values are those of the pixels under it. So the product of two windows, of every value with its like, is
the sum of products of pixels, one for each place in the window; and each product of two pixels serves many pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

#: Multiplications and additions of a product of matrices that take as long as one element of a sum of tensors.
ELEMENT = 24


@dataclass(frozen=True)
class Sliding:
    """A kernel that slides over `size` pixels and stops at `out` places; everything one number a dimension."""

    size: tuple[int, ...]
    out: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    def elements(self, images: int) -> int:
        """Elements that `windows` goes through for a sample of so many images."""
        found, left = 0, images * math.prod(self.size)
        for size, out, kernel in zip(self.size, self.out, self.kernel, strict=True):
            left = left // size * out
            found += (kernel + 1) * left**2
        return found

    def windows(self, pixels: Tensor) -> Tensor:
        """Products [m, images, *out, images, *out] of windows, for those of pixels [m, images, *size, images, *size].

        One dimension after another: the sum over a kernel is a sum over its sides.
        """
        apart = 1 + len(self.size)
        for dim in range(len(self.size)):
            first, second = 2 + dim, 2 + dim + apart
            shape = list(pixels.shape)
            shape[first] = shape[second] = self.out[dim]
            sums = pixels.new_zeros(shape)
            for place in range(self.kernel[dim]):
                where = self._meet(dim, place)
                if where is not None:
                    stops, under = where
                    _both(sums, first, second, stops).add_(_both(pixels, first, second, under))
            pixels = sums
        return pixels

    def _meet(self, dim: int, place: int) -> tuple[slice, slice] | None:
        """The stops at which this place of the kernel lies on a pixel rather than on padding, and the pixels."""
        stride, ahead = self.stride[dim], place * self.dilation[dim] - self.padding[dim]
        first = max(0, -(ahead // stride))
        last = min(self.out[dim] - 1, (self.size[dim] - 1 - ahead) // stride)
        if last < first:
            return None
        under = slice(first * stride + ahead, last * stride + ahead + 1, stride)
        return slice(first, last + 1), under


def _both(x: Tensor, first: int, second: int, part: slice) -> Tensor:
    """The same part of two dimensions."""
    chosen: list[slice] = [slice(None)] * x.ndim
    chosen[first] = chosen[second] = part
    return x[tuple(chosen)]
