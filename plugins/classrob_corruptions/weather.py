"""Snow, frost and fog."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor

from classrob.streams import Streams
from classrob_corruptions import draws
from classrob_corruptions.blur import enlarged
from classrob_corruptions.corruption import LARGE, SMALL, Corruption
from classrob_corruptions.ice import COUNT, WIDTH, ice
from classrob_corruptions.motion import smeared

#: The shares of red, green and blue in the light of a pixel (ITU-R BT.601).
LIGHT = (0.299, 0.587, 0.114)


def light(images: Tensor) -> Tensor:
    """How light each pixel is, [n, 1, h, w]."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, 1)
    return red * LIGHT[0] + green * LIGHT[1] + blue * LIGHT[2]


@final
class Snow(Corruption):
    """Flakes in the wind over a whitened image.

    The parameters are mean and deviation of the flakes' noise, how far it is enlarged, from which value on
    it is a flake, radius and deviation of the wind in pixels, and the share of the image not whitened.
    """

    small: ClassVar = (
        (0.1, 0.2, 1.0, 0.6, 8.0, 3.0, 0.95),
        (0.1, 0.2, 1.0, 0.5, 10.0, 4.0, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10.0, 4.0, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12.0, 6.0, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14.0, 12.0, 0.8),
    )
    large: ClassVar = (
        (0.1, 0.3, 3.0, 0.5, 10.0, 4.0, 0.8),
        (0.2, 0.3, 2.0, 0.5, 12.0, 4.0, 0.7),
        (0.55, 0.3, 4.0, 0.9, 12.0, 8.0, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12.0, 8.0, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12.0, 12.0, 0.55),
    )

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """The whitened image, the flakes, and the flakes turned upside down."""
        mean, deviation, zoom, least, radius, sigma, kept = parameters
        flakes = draws.normal(streams, 1, *images.shape[2:]).mul_(deviation).add_(mean)
        flakes = enlarged(flakes, zoom)
        flakes = torch.where(flakes < least, 0.0, flakes).clamp_(0.0, 1.0)
        angle = 90.0 * streams.fork("wind").uniform(1)[:, 0] - 135.0
        flakes = smeared(flakes, radius, sigma, angle).mul_(255.0).round_().div_(255.0)
        white = torch.maximum(images, light(images) * 1.5 + 0.5)
        return torch.lerp(white, images, kept).add_(flakes).add_(flakes.flip(2, 3))


@final
class Frost(Corruption):
    """Ice on the lens: the parameters are the shares of the image and of the ice.

    The published sets lay crops of five or six photographs over the images. Here the ice is made by
    `ice.py`, with the photographs' mean colours, contrasts and spectra.
    """

    small: ClassVar = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))
    large: ClassVar = ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """A crop of one of the plates of ice, at random, over the image."""
        height, width = images.shape[2:]
        side = min(height, width) if self.side is None else self.side
        plates = ice(_coarseness(side), height, width)
        room = (plates.shape[2] - height, plates.shape[3] - width)
        draw = streams.fork("place").uniform(3)
        which = (draw[:, 0] * COUNT).long().clamp(max=COUNT - 1).tolist()
        tops = (draw[:, 1] * (room[0] + 1)).long().clamp(max=room[0]).tolist()
        lefts = (draw[:, 2] * (room[1] + 1)).long().clamp(max=room[1]).tolist()
        over = torch.stack(
            [plates[k, :, y : y + height, x : x + width] for k, y, x in zip(which, tops, lefts, strict=True)]
        ).to(images.device)
        over = over if images.shape[1] == 3 else light(over)
        return over.mul_(parameters[1]).add_(images, alpha=parameters[0])


def _coarseness(side: int) -> int:
    """The width of the plates in pixels: a fifth of the whole at 32 pixels, the whole at 224."""
    share = min(1.0, max(0.0, (side - SMALL) / (LARGE - SMALL)))
    return round(WIDTH * (0.2 + 0.8 * share))


@final
class Fog(Corruption):
    """A cloudy veil; the parameters are its density, and how much smoother each finer scale is."""

    small: ClassVar = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))
    large: ClassVar = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """The image plus the veil, darkened so that its lightest value stays where it was."""
        density, decay = parameters
        height, width = images.shape[2:]
        lightest = images.amax((1, 2, 3), keepdim=True)
        veil = clouds(streams, max(height, width), decay)[:, None, :height, :width]
        return (images + density * veil).mul_(lightest / (lightest + density))


def clouds(streams: Streams, side: int, decay: float) -> Tensor:
    """Plasma clouds, float32 [n, m, m] in [0, 1]; m is the next power of two.

    The diamond-square midpoint displacement on a torus (Fournier, Fussell and Carpenter, 1982): a midpoint
    is the mean of its four neighbours plus noise, which shrinks by `decay` squared from scale to scale.
    """
    size = 1 << max(1, (side - 1).bit_length())
    cloud = torch.zeros(len(streams), size, size, device=streams.keys.device)
    noise = draws.uniform(streams, size, size).mul_(2.0).sub_(1.0)
    step, strength = size, 1.0
    while step >= 2:
        half = step // 2
        corners = cloud[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        middles = (pairs + pairs.roll(-1, 2)).mul_(0.25)
        middles.add_(noise[:, half::step, half::step], alpha=strength)
        cloud[:, half::step, half::step] = middles
        beside = (middles + middles.roll(1, 1)).add_(corners + corners.roll(-1, 2)).mul_(0.25)
        cloud[:, ::step, half::step] = beside.add_(noise[:, ::step, half::step], alpha=strength)
        below = (middles + middles.roll(1, 2)).add_(corners + corners.roll(-1, 1)).mul_(0.25)
        cloud[:, half::step, ::step] = below.add_(noise[:, half::step, ::step], alpha=strength)
        step, strength = half, strength / decay**2
    low, high = cloud.amin((1, 2), keepdim=True), cloud.amax((1, 2), keepdim=True)
    return (cloud - low).div_((high - low).clamp_min(1e-20))
