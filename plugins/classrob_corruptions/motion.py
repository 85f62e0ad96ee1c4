"""Motion in one direction: every pixel smeared along a line of its own image's angle."""

from __future__ import annotations

import math
from typing import ClassVar, final

import torch
from torch import Tensor

from classrob.streams import Streams
from classrob_corruptions.corruption import Corruption
from classrob_corruptions.filters import padded


def smeared(images: Tensor, radius: float, sigma: float, angles: Tensor) -> Tensor:
    """The images [n, c, h, w] moved along lines at angles [n] in degrees, 0 to the left, 90 upwards.

    The weights fall like one half of a Gaussian of `sigma` pixels over 2 · radius + 1 of them. Shifts are
    whole pixels; beyond the border is its last pixel. A motion that leaves the image altogether ends
    there, and the image darkens by what is missing.
    """
    taps = 2 * round(radius) + 1
    height, width = images.shape[2:]
    weights = torch.exp(-0.5 * (torch.arange(taps, dtype=torch.float64) / sigma) ** 2)
    falling = (weights / weights.sum()).tolist()
    reach = min(taps - 1, max(height, width) - 1)
    around = padded(images, reach, "nearest")
    moved = torch.zeros_like(images)
    for angle, source, target in zip(torch.deg2rad(angles.double()).tolist(), around, moved, strict=True):
        for step, weight in enumerate(falling):
            down = math.ceil(step * math.sin(angle) - 0.5)
            right = math.ceil(step * math.cos(angle) - 0.5)
            if abs(down) >= height or abs(right) >= width:
                break
            part = source[:, reach + down : reach + down + height, reach + right : reach + right + width]
            target.add_(part, alpha=weight)
    return moved


@final
class MotionBlur(Corruption):
    """A camera that moves, up to 45° from the horizontal; the parameters are radius and deviation in pixels."""

    small: ClassVar = ((6.0, 1.0), (6.0, 1.5), (6.0, 2.0), (8.0, 2.0), (9.0, 2.5))
    large: ClassVar = ((10.0, 3.0), (15.0, 5.0), (15.0, 8.0), (15.0, 12.0), (20.0, 15.0))

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """The image smeared at a random angle."""
        radius, sigma = parameters
        return smeared(images, radius, sigma, 90.0 * streams.fork("angle").uniform(1)[:, 0] - 45.0)
