"""Brightness, contrast and saturation; brightness and saturation are those of the HSV colours."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor

from classrob.streams import Streams
from classrob_corruptions.corruption import Corruption


@final
class Brightness(Corruption):
    """A brighter image; the parameter is added to the value of each pixel's HSV colour."""

    small: ClassVar = ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,))
    large: ClassVar = ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,))

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """Hue and saturation stay, so all channels grow by the same factor; black becomes grey."""
        value = images.amax(1, keepdim=True)
        brighter = (value + parameters[0]).clamp_(max=1.0)
        factor = brighter / value
        return torch.where(value > 0, images * factor, brighter)


@final
class Contrast(Corruption):
    """Less contrast; the parameter is the share that is left of every pixel's distance from the mean."""

    small: ClassVar = ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,))
    large: ClassVar = ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,))

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """Drawn towards the mean of each channel."""
        return torch.lerp(images.mean((2, 3), keepdim=True), images, parameters[0])


@final
class Saturate(Corruption):
    """Less colour, or more; the parameters are a factor, and what is added to the saturation after it.

    A grey pixel has no hue, which counts as red. A grey image has no saturation: nothing happens to it.
    """

    small: ClassVar = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))
    large: ClassVar = ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """Hue and value stay, so all channels move away from the largest, or towards it, by one factor."""
        if images.shape[1] == 1:
            return images.clone()
        factor, more = parameters
        value = images.amax(1, keepdim=True)
        spread = value - images.amin(1, keepdim=True)
        wanted = (spread * factor).add_(value, alpha=more).minimum(value)  # saturation times value
        stretched = torch.lerp(value, images, wanted / spread)
        red = value - wanted * images.new_tensor([0.0, 1.0, 1.0]).view(1, 3, 1, 1)
        return torch.where(spread > 0, stretched, red)
