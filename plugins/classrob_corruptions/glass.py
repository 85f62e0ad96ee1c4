"""Frosted glass: pixels that take the place of near ones, one after another, between two blurs."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor

from classrob.streams import Streams
from classrob_corruptions import draws
from classrob_corruptions.corruption import Corruption
from classrob_corruptions.filters import blurred


@final
class GlassBlur(Corruption):
    """Frosted glass; the parameters are a blur in pixels, how far a pixel is taken from, and how often."""

    small: ClassVar = ((0.05, 1.0, 1.0), (0.25, 1.0, 1.0), (0.4, 1.0, 1.0), (0.25, 1.0, 2.0), (0.4, 1.0, 2.0))
    large: ClassVar = ((0.7, 1.0, 2.0), (0.9, 2.0, 1.0), (1.0, 2.0, 3.0), (1.1, 3.0, 2.0), (1.5, 4.0, 2.0))

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """Blurred, cut to 8 bits, shuffled, blurred."""
        sigma, far, times = parameters[0], round(parameters[1]), round(parameters[2])
        image = blurred(images, sigma).mul_(255.0).floor_().div_(255.0).flatten(2)
        height, width = images.shape[2:]
        for time in range(times):
            source = sources(streams.fork(time), height, width, far)
            image = image.gather(2, source[:, None].expand(image.shape))
        return blurred(image.view(images.shape), sigma)


def sources(streams: Streams, height: int, width: int, far: int) -> Tensor:
    """Where each pixel's value comes from after one pass, int64 [n, height · width].

    The pass goes from the last pixel to the first, borders of `far` pixels left out (one more at the
    start). Each pixel takes the present value of one up to `far` pixels before it or `far` − 1 after it,
    in each direction. A pixel that was reached earlier has itself taken another's value, so a value's
    origin is the end of a chain, which is followed for all pixels at once by doubling. (The published
    programs mean to swap the two pixels. What they run copies, since it assigns views of one array.)
    """
    pixels = torch.arange(height * width, device=streams.keys.device)
    y, x = pixels // width, pixels % width
    moves = (y > far) & (y <= height - far) & (x > far) & (x <= width - far)
    moves &= (y < height) & (x < width)
    draw = draws.uniform(streams, 2, height * width).mul_(2 * far).long().clamp_(max=2 * far - 1) - far
    down, right = draw.unbind(1)
    beyond = (y + down).clamp_(0, height - 1) * width + (x + right).clamp_(0, width - 1)
    origin = torch.where(moves, beyond, pixels)
    follows = moves & moves[origin] & (origin > pixels)  # taken from a pixel that was reached before
    end = torch.where(follows, origin, pixels)
    while not torch.equal(further := end.gather(1, end), end):
        end = further
    return origin.gather(1, end)
