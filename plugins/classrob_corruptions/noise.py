"""The four noises: normal, shot, impulse and speckle."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor

from classrob.streams import Streams
from classrob_corruptions import draws
from classrob_corruptions.corruption import Corruption


@final
class GaussianNoise(Corruption):
    """Normal noise, as of a sensor in bad light; the parameter is its standard deviation."""

    small: ClassVar = ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,))
    large: ClassVar = ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,))

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """The image plus the noise."""
        return draws.normal(streams, *images.shape[1:]).mul_(parameters[0]).add_(images)


@final
class ShotNoise(Corruption):
    """Poisson noise of the light itself; the parameter is how many photons a white pixel counts."""

    small: ClassVar = ((500.0,), (250.0,), (100.0,), (75.0,), (50.0,))
    large: ClassVar = ((60.0,), (25.0,), (12.0,), (5.0,), (3.0,))

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """The photons counted, as a share of those of a white pixel."""
        return draws.counts(streams, images, parameters[0]).div_(parameters[0])


@final
class ImpulseNoise(Corruption):
    """Salt and pepper; the parameter is the share of values that are replaced, half by 1 and half by 0."""

    small: ClassVar = ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,))
    large: ClassVar = ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,))

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """Each channel of each pixel kept or replaced on its own."""
        draw = draws.uniform(streams, *images.shape[1:])
        salted = torch.where(draw < parameters[0] / 2, 1.0, images)
        return torch.where(draw > 1.0 - parameters[0] / 2, 0.0, salted)


@final
class SpeckleNoise(Corruption):
    """Normal noise that grows with the light; the parameter is its standard deviation at a white pixel."""

    small: ClassVar = ((0.06,), (0.1,), (0.12,), (0.16,), (0.2,))
    large: ClassVar = ((0.15,), (0.2,), (0.35,), (0.45,), (0.6,))

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """The image plus the noise times the image."""
        return draws.normal(streams, *images.shape[1:]).mul_(parameters[0]).add_(1.0).mul_(images)
