"""Outliers made of the reference itself, for a detector that knows no others: noise, blur, contrast, inversion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from classrob.live import Batch
from classrob.scorer import Reference


def proxies(reference: Reference) -> Mapping[str, Batch]:
    """For every reference image one of each kind, under the same id: no image is on two sides of a split.

    Uniform noise; the image with Gaussian noise of a standard deviation between 0.05 and 0.4; inverted; with its
    contrast reduced; smoothed; and cut into quarters that change places.
    """
    images, streams = reference.batch.images, reference.streams
    shape = images.shape[1:]
    strength = streams.fork("strength").uniform(1, 1, 1)
    noisy = images + (0.05 + 0.35 * strength) * streams.fork("noise").normal(*shape)
    found: dict[str, Tensor] = {
        "uniform": streams.fork("uniform").uniform(*shape),
        "noisy": noisy.clamp(0.0, 1.0),
        "inverted": 1.0 - images,
        "pale": 0.5 + (0.1 + 0.3 * strength) * (images - 0.5),
        "smooth": _smooth(images),
        "quarters": torch.roll(images, (shape[1] // 2, shape[2] // 2), (2, 3)),
    }
    return {name: replace(reference.batch, images=one) for name, one in found.items()}


def _smooth(images: Tensor) -> Tensor:
    """The mean of three by three pixels, twice."""
    for _ in range(2):
        images = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return images
