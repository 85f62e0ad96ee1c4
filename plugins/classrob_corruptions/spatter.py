"""Drops on the lens: water, which shines at its edges, and mud."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor

from classrob.streams import Streams
from classrob_corruptions import draws
from classrob_corruptions.corruption import Corruption
from classrob_corruptions.drops import shine
from classrob_corruptions.filters import blurred
from classrob_corruptions.weather import light

#: The colours of water and of mud: red, green, blue.
WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)


@final
class Spatter(Corruption):
    """Drops on the lens.

    The parameters are mean and deviation of the drops' noise, its blur in pixels, from which value on it is
    a drop, the strength of water or the blur of mud, and whether it is mud (severities 4 and 5).
    """

    small: ClassVar = (
        (0.62, 0.1, 0.7, 0.7, 0.5, 0.0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0.0),
        (0.65, 0.3, 1.0, 0.69, 0.5, 0.0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1.0),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1.0),
    )
    large: ClassVar = (
        (0.65, 0.3, 4.0, 0.69, 0.6, 0.0),
        (0.65, 0.3, 3.0, 0.68, 0.6, 0.0),
        (0.65, 0.3, 2.0, 0.68, 0.5, 0.0),
        (0.65, 0.3, 1.0, 0.65, 1.5, 1.0),
        (0.67, 0.4, 1.0, 0.65, 1.5, 1.0),
    )

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """Water is added to the image, mud covers it."""
        mean, deviation, blur, least, strength, mud = parameters
        noise = draws.normal(streams, 1, *images.shape[2:]).mul_(deviation).add_(mean)
        drops = blurred(noise, blur)
        colour = images.new_tensor(MUD if mud else WATER).view(1, 3, 1, 1)
        colour = colour if images.shape[1] == 3 else light(colour)
        if mud:
            cover = blurred((drops > least).to(images.dtype), strength)
            cover = torch.where(cover < 0.8, 0.0, cover)
            return images * (1.0 - cover) + cover * colour
        water = torch.where(drops < least, 0.0, drops).mul_(255.0).floor_()
        water *= shine(water)
        return images + (strength * colour) * (water / water.amax((2, 3), keepdim=True).clamp_min(1e-20))
