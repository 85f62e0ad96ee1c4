"""Plates of ice for the corruption `frost`, made of noise and copied from nowhere.

Six plates with about the mean colours, contrasts and spectra of the photographs that the published sets
use: facts about them, not their pixels.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from classrob.streams import Streams
from classrob_corruptions.filters import blurred

#: How many plates there are, and their whole size in pixels.
COUNT, HEIGHT, WIDTH = 6, 384, 576

#: How soft the plates are, as photographs are: the deviation of a blur in pixels.
SOFT = 0.55

#: Of each plate: mean red, green, blue; deviation of each; what power falls with frequency; how much all
#: channels have in common; the share of the texture that is crystals, which are ridges of noise.
PLATES = (
    ((0.31, 0.58, 0.65), (0.106, 0.065, 0.060), 2.2, 0.75, 0.5),
    ((0.79, 0.80, 0.84), (0.084, 0.087, 0.089), 1.4, 0.99, 0.3),
    ((0.79, 0.80, 0.84), (0.084, 0.087, 0.089), 1.4, 0.99, 0.4),
    ((0.54, 0.60, 0.65), (0.112, 0.112, 0.117), 1.2, 0.99, 0.5),
    ((0.44, 0.48, 0.53), (0.174, 0.170, 0.163), 1.8, 0.99, 0.4),
    ((0.28, 0.37, 0.41), (0.138, 0.168, 0.186), 1.9, 0.97, 0.5),
)


def ice(width: int, least_height: int, least_width: int) -> Tensor:
    """The plates, float32 [6, 3, h, w] in [0, 1]: so wide, or wider where an image needs it."""
    scale = max(width / WIDTH, least_height / HEIGHT, least_width / WIDTH)
    return _scaled(math.ceil(scale * HEIGHT), math.ceil(scale * WIDTH))


@lru_cache(maxsize=8)
def _scaled(height: int, width: int) -> Tensor:
    size = (height, width)
    return interpolate(_plates(), size=size, mode="bilinear", antialias=True).clamp_(0.0, 1.0)


@lru_cache(maxsize=1)
def _plates() -> Tensor:
    return blurred(torch.stack([_plate(number, *numbers) for number, numbers in enumerate(PLATES)]), SOFT)


def _plate(
    number: int,
    mean: tuple[float, ...],
    deviation: tuple[float, ...],
    falling: float,
    common: float,
    crystals: float,
) -> Tensor:
    fields = _fields(number, falling)
    shared = _standard((1.0 - crystals) * fields[:1] - crystals * _standard(fields[1:2].abs()))
    own = math.sqrt(common) * shared + math.sqrt(1.0 - common) * fields[2:]
    colour = torch.tensor([mean, deviation])[:, :, None, None]
    return (colour[0] + colour[1] * _standard(own)).clamp(0.0, 1.0)


def _fields(number: int, falling: float) -> Tensor:
    """Five normal fields [5, h, w] whose power falls with that power of the frequency."""
    noise = Streams.keyed(0, "ice", [f"{number}/{k}" for k in range(5)], "plate").normal(HEIGHT, WIDTH)
    down = torch.fft.fftfreq(HEIGHT)[:, None] * HEIGHT
    across = torch.fft.rfftfreq(WIDTH)[None] * WIDTH
    frequency = torch.sqrt(down**2 + across**2).clamp_min(2.0)
    return _standard(
        torch.fft.irfft2(torch.fft.rfft2(noise) * frequency ** (-falling / 2), s=noise.shape[1:])
    )


def _standard(fields: Tensor) -> Tensor:
    """Each field with mean 0 and deviation 1."""
    fields = fields - fields.mean((1, 2), keepdim=True)
    return fields / fields.std((1, 2), keepdim=True)
