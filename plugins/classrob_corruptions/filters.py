"""Linear filters of images: borders, bell-shaped blurs as one matrix a direction, and disks by running sums."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

#: What lies beyond the border: the last pixel again and again; the image mirrored with its last pixel
#: repeated; or mirrored without.
Border = Literal["nearest", "symmetric", "reflect"]


#: So many lines of a filter at a time: a multiple of what a processor multiplies at once, and few beside an image.
LINES = 64


def inside(index: Tensor, size: int, border: Border) -> Tensor:
    """The pixels of a line of `size` that stand for positions beyond its ends; any distance beyond."""
    if border == "nearest" or size == 1:
        return index.clamp(0, size - 1)
    period = 2 * size if border == "symmetric" else 2 * size - 2
    index = index % period
    return torch.where(index < size, index, period - index - int(border == "symmetric"))


def padded(images: Tensor, pixels: int, border: Border) -> Tensor:
    """The images [n, c, h, w] with so many more pixels at each side."""
    for axis in (2, 3):
        size = images.shape[axis]
        index = torch.arange(-pixels, size + pixels, device=images.device)
        images = images.index_select(axis, inside(index, size, border))
    return images


def bell(sigma: float, radius: int) -> Tensor:
    """The weights of a Gaussian, float64 [2 radius + 1], that sum to 1; a single 1 where sigma is 0."""
    at = torch.arange(-radius, radius + 1, dtype=torch.float64)
    if sigma <= 0.0:
        return (at == 0).double()
    weights = torch.exp(-0.5 * (at / sigma) ** 2)
    return weights / weights.sum()


class Band(NamedTuple):
    """Some lines of a filter's matrix, and those that enter them: result[lines] = weights @ image[near]."""

    lines: slice
    near: slice
    weights: Tensor


@lru_cache(maxsize=64)
def line_filter(
    size: int, sigma: float, truncate: float, border: Border, device: torch.device
) -> tuple[Band, ...]:
    """The Gaussian along a line of pixels, border included, cut at `truncate` · sigma.

    As a matrix [size, size], of which only a band beside the diagonal is not 0: so it comes in blocks of lines.
    """
    radius = int(truncate * sigma + 0.5)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    here = torch.arange(size)
    for step, weight in zip(range(-radius, radius + 1), bell(sigma, radius).tolist(), strict=True):
        matrix[here, inside(here + step, size, border)] += weight
    bands = list[Band]()
    for first in range(0, size, LINES):
        lines = slice(first, min(first + LINES, size))
        enters = matrix[lines].any(0).nonzero()[:, 0]
        near = slice(int(enters[0]), int(enters[-1]) + 1)
        bands.append(Band(lines, near, matrix[lines, near].to(device, torch.float32)))
    return tuple(bands)


def blurred(images: Tensor, sigma: float, truncate: float = 4.0, border: Border = "nearest") -> Tensor:
    """The images [n, c, h, w] under a Gaussian of `sigma` pixels, as scikit-image's `gaussian` has it."""
    height, width = images.shape[2:]
    down = line_filter(height, sigma, truncate, border, images.device)
    across = line_filter(width, sigma, truncate, border, images.device)
    images = torch.cat([images[..., band.near] @ band.weights.T for band in across], 3)
    return torch.cat([band.weights @ images[:, :, band.near] for band in down], 2)


def disk(images: Tensor, radius: float) -> Tensor:
    """The mean over a disk of a radius around each pixel; the border shrinks by `int(radius)` pixels.

    Each line of the disk is a run of pixels, the difference of two running sums.
    """
    reach = int(radius)
    halves = [int(math.sqrt(radius**2 - y**2)) for y in range(-reach, reach + 1)]
    sums = torch.nn.functional.pad(images.cumsum(3), (1, 0))
    height, width = images.shape[2] - 2 * reach, images.shape[3] - 2 * reach
    runs = {
        half: sums[..., reach + half + 1 : reach + half + 1 + width]
        - sums[..., reach - half : reach - half + width]
        for half in set(halves)
    }
    total = torch.zeros(*images.shape[:2], height, width, dtype=images.dtype, device=images.device)
    for line, half in enumerate(halves):
        total += runs[half][:, :, line : line + height]
    return total.div_(sum(2 * half + 1 for half in halves))
