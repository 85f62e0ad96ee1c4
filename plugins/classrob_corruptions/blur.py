"""Blurs without chance: out of focus, towards the camera, bell-shaped."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from classrob.streams import Streams
from classrob_corruptions.corruption import Corruption
from classrob_corruptions.filters import bell, blurred, disk, padded


@final
class DefocusBlur(Corruption):
    """A disk, as of a lens out of focus; the parameters are its radius and the blur of its edge, in pixels."""

    small: ClassVar = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))
    large: ClassVar = ((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5))

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """The mean over the disk, whose edge is softened by a Gaussian of 3 pixels, or 5 from radius 8 on."""
        radius, soft = parameters
        edge = 1 if radius <= 8 else 2
        weights = bell(soft, edge).tolist()
        image = padded(images, int(radius) + edge, "reflect")
        for axis in (2, 3):
            size = image.shape[axis] - 2 * edge
            softened = image.narrow(axis, 0, size) * weights[0]
            for at in range(1, len(weights)):
                softened.add_(image.narrow(axis, at, size), alpha=weights[at])
            image = softened
        return disk(image, radius).mul_(_dimming(radius, soft, edge))


@lru_cache(maxsize=32)
def _dimming(radius: float, soft: float, edge: int) -> float:
    """What the published kernel of a disk sums to.

    Its array is 17 pixels wide up to radius 8 and ends at the disk from there on, where the softened edge
    is mirrored instead of kept; so it dims the image by about 1 %.
    """
    reach = 8 if radius <= 8 else int(radius)
    at = torch.arange(-reach, reach + 1)
    kernel = ((at[:, None] ** 2 + at**2) <= radius**2).double()[None, None]
    weights = bell(soft, edge)
    softened = torch.nn.functional.conv2d(
        padded(kernel, edge, "reflect"), torch.outer(weights, weights)[None, None]
    )
    return float(softened.sum() / kernel.sum())


@final
class ZoomBlur(Corruption):
    """A camera that moves forward; the parameters are the largest zoom, not reached, and the steps towards it."""

    small: ClassVar = ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01))
    large: ClassVar = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """The mean of the image and its enlargements."""
        (n, channels, height, width), device = images.shape, images.device
        zooms = tuple(np.arange(1.0, *parameters).tolist())
        down, across = _enlarging(height, zooms, device), _enlarging(width, zooms, device)
        layers = (down.view(-1, height) @ images).view(n, channels, len(zooms), height, width)
        beside = layers.transpose(2, 3).reshape(n, channels, height, -1)
        total = beside @ across.transpose(1, 2).reshape(-1, width)
        return total.add_(images).div_(len(zooms) + 1)


@lru_cache(maxsize=32)
def _enlarging(size: int, zooms: tuple[float, ...], device: torch.device) -> Tensor:
    """What enlarges the middle of a line of pixels to the whole line, linearly: a matrix a zoom, [k, size, size].

    The middle is ceil(size / zoom) pixels, its ends stay its ends, and what is too much is cut at the end.
    """
    matrices = torch.zeros(len(zooms), size, size, dtype=torch.float64)
    for matrix, zoom in zip(matrices, zooms, strict=True):
        pixels = math.ceil(size / zoom)
        whole = max(size, round(pixels * zoom))
        at = torch.arange(size, dtype=torch.float64) * (pixels - 1) / max(1, whole - 1)
        left = at.floor().clamp(max=max(0, pixels - 2)).long()
        share, first, rows = at - left, (size - pixels) // 2, torch.arange(size)
        matrix[rows, first + left] += 1.0 - share
        matrix[rows, (first + left + 1).clamp(max=size - 1)] += share
    return matrices.to(device, torch.float32)


def enlarged(images: Tensor, zoom: float) -> Tensor:
    """The middle of the images [n, c, h, w], enlarged linearly to their whole size."""
    height, width = images.shape[2:]
    down, across = (_enlarging(size, (zoom,), images.device)[0] for size in (height, width))
    return down @ (images @ across.T)


@final
class GaussianBlur(Corruption):
    """A bell-shaped blur; the parameter is its standard deviation in pixels."""

    small: ClassVar = ((0.4,), (0.6,), (0.7,), (0.8,), (1.0,))
    large: ClassVar = ((1.0,), (2.0,), (3.0,), (4.0,), (6.0,))

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """The image under the Gaussian."""
        return blurred(images, parameters[0])
