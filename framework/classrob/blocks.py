"""The gradient of a convolution in images of few channels, in blocks of pixels.

A processor computes a convolution's result for many channels at once. The gradient in an image has one
channel or three, so most of that width lies idle, and the first layer's gradient takes many times as long
as the layer. Here a block of neighbouring pixels becomes the channels: the gradient of all
of them is one convolution of the coefficients that come back, with the weights put in another order, and
its result is shuffled into pixels (the way back of Shi et al., CVPR 2016, "sub-pixel convolution").
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional as F

#: Pixels along one side of a block: of an image of one channel, and of more.
SIDE_OF_ONE, SIDE = 4, 2

#: More channels than these are no colours; they lie as those of the coefficients do.
FEW = 4

#: So many pixels of a block are written one after the other, more at once; either is the faster way there.
PLANES = 4


#: Weights in the order of a gradient, by what they are put in order for.
Kernels = dict[tuple[Any, ...], Tensor]


def image_slope(
    slope: Tensor,
    weight: Tensor,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dtype: torch.dtype,
    kernels: Kernels | None = None,
) -> Tensor:
    """The gradient in images [n, c, h, w] of a size, of a convolution whose result has the gradient `slope`.

    Args:
        slope: [n, o, …]. weight: [o, c, …]. stride, padding: along the height and the width.
        dtype: of the images. More channels than `FEW` lie as those of `slope` do.
        kernels: what is kept of earlier calls with the same weights.
    """
    channels = weight.shape[1]
    down, across = (
        _axis(*one, SIDE_OF_ONE if channels == 1 else SIDE)
        for one in zip(weight.shape[2:], stride, padding, size, slope.shape[2:], strict=True)
    )
    within = slope.stride(1) == 1 and channels > FEW
    key = within, slope.dtype, down, across
    kernel = None if kernels is None else kernels.get(key)
    if kernel is None:
        kernel = _kernel(weight.to(slope.dtype), down, across, within)
        if kernels is not None:
            kernels[key] = kernel
    spare = (*across.spare, *down.spare)
    margin = (down.spare[0], across.spare[0])
    if spare != (margin[1], margin[1], margin[0], margin[0]) or min(margin) < 0:
        slope, margin = F.pad(slope, spare), (0, 0)
    blocks = F.conv2d(slope, kernel, None, (down.step, across.step), margin)
    lay = _within if within else _pairs if slope.stride(1) == 1 and across.side == 2 else _planes
    return lay(blocks, channels, down.side, across.side, dtype)[:, :, : size[0], : size[1]]


def _kernel(weight: Tensor, down: _Axis, across: _Axis, within: bool) -> Tensor:
    """The weights [o, c, …] of a convolution, in the order of its gradient's; `within` a block, channels come last."""
    # Taps that no weight belongs to read the zero that is put behind the last row and column.
    padded = F.pad(weight, (0, 1, 0, 1))
    kernel = padded[:, :, down.taps.to(weight.device)][..., across.taps.to(weight.device)]
    return kernel.permute(*((2, 4, 1) if within else (1, 2, 4)), 0, 3, 5).flatten(0, 2)


def _planes(blocks: Tensor, channels: int, down: int, across: int, dtype: torch.dtype) -> Tensor:
    """Blocks [n, channels · down · across, rows, columns] as images."""
    n, _, rows, columns = blocks.shape
    pixels = blocks.view(n, channels, down, across, rows, columns)
    shape = (n, channels, rows * down, columns * across)
    if down * across > PLANES:
        return pixels.permute(0, 1, 4, 2, 5, 3).reshape(shape).to(dtype)
    images = blocks.new_empty(shape, dtype=dtype)
    for y, x in product(range(down), range(across)):
        images[:, :, y::down, x::across] = pixels[:, :, y, x]
    return images


def _pairs(blocks: Tensor, channels: int, down: int, across: int, dtype: torch.dtype) -> Tensor:
    """The same where the channels are innermost: two pixels side by side, moved as if they were a complex number."""
    n, _, rows, columns = blocks.shape
    pixels = blocks.permute(0, 2, 3, 1).reshape(n, rows, columns, channels, down, across)
    pixels = pixels.to(
        dtype if dtype in (torch.float32, torch.float64) else torch.float32
    )  # the complex ones
    images = torch.view_as_complex(pixels.contiguous()).permute(0, 3, 1, 4, 2).contiguous()
    return torch.view_as_real(images).reshape(n, channels, rows * down, columns * across).to(dtype)


def _within(blocks: Tensor, channels: int, down: int, across: int, dtype: torch.dtype) -> Tensor:
    """Blocks [n, down · across · channels, rows, columns] as images, the channels innermost in both."""
    n, _, rows, columns = blocks.shape
    pixels = blocks.permute(0, 2, 3, 1).reshape(n, rows, columns, down, across, channels)
    pixels = pixels.transpose(2, 3).reshape(n, rows * down, columns * across, channels)
    return pixels.permute(0, 3, 1, 2).to(dtype)


@final
class _Axis:
    """Height or width: the gradient of pixel side · q + r comes from positions step · q − j.

    The weight between them is that of tap r + padding + stride · j.

    Attributes:
        side: pixels of a block along it. step: positions from one block to the next.
        taps: int64 [side, j], the tap of each pixel at each position of the kernel; the kernel's length where there
            is none.
        spare: how many positions of zeros the blocks need before the first and after the last; negative where
            positions are left out.
    """

    def __init__(self, length: int, stride: int, padding: int, size: int, positions: int, side: int) -> None:
        self.step = max(1, round(side / stride))
        self.side = self.step * stride
        first, last = -((self.side - 1 + padding) // stride), (length - 1 - padding) // stride
        j = torch.arange(last, first - 1, -1)
        taps = torch.arange(self.side)[:, None] + padding + stride * j
        self.taps = torch.where((taps >= 0) & (taps < length), taps, length)
        blocks = -(-size // self.side)
        self.spare = (last, self.step * (blocks - 1) + len(j) - last - positions)


_axis = lru_cache(maxsize=256)(_Axis)
