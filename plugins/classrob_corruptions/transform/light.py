"""Images in another light, in other colours, or out of focus, by one or two numbers."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from classrob.errors import StudyError
from classrob_corruptions.transform.space import Transformation

#: Red, green and blue as lightness and two colour differences: the YIQ of NTSC television.
YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


@final
class BrightnessContrast(Transformation):
    """An image lighter or darker, and with more contrast or less about the middle grey."""

    numbers: ClassVar[int] = 2

    brightness: float = Field(default=0.3, gt=0, le=1, description="the most that is added, at budget 1")
    contrast: float = Field(default=0.5, gt=0, lt=1, description="the largest share of contrast won or lost")

    def transform(self, images: Tensor, z: Tensor) -> Tensor:
        """The first number is brightness, the second contrast."""
        lighter, harder = z[:, :, None, None, None].unbind(1)
        return (images - 0.5) * (1.0 + self.contrast * harder) + (0.5 + self.brightness * lighter)


@final
class HueSaturation(Transformation):
    """Colours turned about grey, and stronger or weaker; lightness stays (YIQ). For images of three channels."""

    numbers: ClassVar[int] = 2

    degrees: float = Field(default=30.0, gt=0, le=180, description="the largest turn of the hue")
    saturation: float = Field(default=0.5, gt=0, le=1, description="the largest share of colour won or lost")

    def transform(self, images: Tensor, z: Tensor) -> Tensor:
        """The first number is hue, the second saturation.

        Raises:
            StudyError: the images are grey.
        """
        if images.shape[1] != 3:
            raise StudyError("threat 'hue-saturation' needs images of three channels, and these are grey")
        angle, strength = torch.deg2rad(self.degrees * z[:, 0]), 1.0 + self.saturation * z[:, 1]
        cos, sin, zero = strength * angle.cos(), strength * angle.sin(), torch.zeros_like(angle)
        rows = ([torch.ones_like(angle), zero, zero], [zero, cos, -sin], [zero, sin, cos])
        turn = torch.stack([torch.stack(row, 1) for row in rows], 1)
        there = z.new_tensor(YIQ)
        return torch.einsum("nij,njhw->nihw", torch.linalg.inv(there) @ turn @ there, images)


@final
class FreeBlur(Transformation):
    """A bell-shaped blur of free strength, mirrored at the border.

    The kernel is the discrete Gaussian (Lindeberg, 1990), whose slope at no blur at all is not 0, so that a
    search by gradients may begin there.
    """

    numbers: ClassVar[int] = 1
    strength: ClassVar[bool] = True

    deviation: float = Field(default=2.0, gt=0, description="of the blur in pixels, at budget 1")

    def transform(self, images: Tensor, z: Tensor) -> Tensor:
        """Each wave of the cosine transform shrunk; the number is a share of the variance."""
        down, across = (_waves(size, images.device) for size in images.shape[2:])
        variance = self.deviation**2 * z
        shrunk = [torch.exp(variance * slow) for slow in (down[1], across[1])]
        waves = down[0] @ images @ across[0].T
        waves = waves * shrunk[0][:, None, :, None] * shrunk[1][:, None, None, :]
        return down[0].T @ waves @ across[0]


@lru_cache(maxsize=16)
def _waves(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The cosine transform of a line [size, size], orthonormal, and how fast each wave decays, cos θ − 1, [size]."""
    at, wave = torch.arange(size, dtype=torch.float64), torch.arange(size, dtype=torch.float64)
    transform = torch.cos(math.pi / size * wave[:, None] * (at + 0.5)) * math.sqrt(2.0 / size)
    transform[0] /= math.sqrt(2.0)
    slow = torch.cos(math.pi / size * wave) - 1.0
    return transform.to(device, torch.float32), slow.to(device, torch.float32)
