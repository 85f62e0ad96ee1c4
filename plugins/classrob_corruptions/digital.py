"""Fewer pixels, and lossy compression."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from io import BytesIO
from itertools import repeat
from typing import ClassVar, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from classrob.streams import Streams
from classrob_corruptions.corruption import Corruption


@final
class Pixelate(Corruption):
    """Fewer pixels, enlarged again; the parameter is the share of the side that is left."""

    small: ClassVar = ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,))
    large: ClassVar = ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,))

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """The means of boxes of pixels, as Pillow has them, each spread over its place again."""
        height, width = images.shape[2:]
        first, following, shares = _boxes(height, max(1, int(height * parameters[0])), images.device)
        fewer = images.index_select(2, first)
        for row, share in zip(following, shares, strict=True):
            fewer.lerp_(images.index_select(2, row), share[:, None])
        fewer = fewer @ _means(width, max(1, int(width * parameters[0])), images.device)
        return torch.nn.functional.interpolate(fewer, size=(height, width), mode="nearest-exact")


@lru_cache(maxsize=64)
def _boxes(size: int, fewer: int, device: torch.device) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The first pixel of each box along a line, the next ones, and how much each of those moves the mean.

    A box holds the pixels whose middles lie within half its length of its own middle. Where it has no
    further pixel the share is 0.
    """
    scale = size / fewer
    middle = (np.arange(fewer) + 0.5) * scale
    low = np.maximum(0, (middle - 0.5 * scale + 0.5).astype(int))
    high = np.minimum(size, (middle + 0.5 * scale + 0.5).astype(int))
    count = np.maximum(1, high - low)
    steps = range(1, int(count.max()))
    following = [torch.from_numpy(np.minimum(low + k, size - 1)).to(device) for k in steps]
    shares = [torch.from_numpy((k < count) / (k + 1.0)).to(device, torch.float32) for k in steps]
    return torch.from_numpy(low).to(device), following, shares


@lru_cache(maxsize=64)
def _means(size: int, fewer: int, device: torch.device) -> Tensor:
    """The same means along a line as a matrix [size, fewer], which is faster along the last dimension."""
    line = torch.eye(size, device=device)
    first, following, shares = _boxes(size, fewer, device)
    means = line.index_select(1, first)
    for column, share in zip(following, shares, strict=True):
        means.lerp_(line.index_select(1, column), share)
    return means


@final
class Jpeg(Corruption):
    """Lossy compression, by Pillow on the processor, several images at once; the parameter is the quality."""

    small: ClassVar = ((80.0,), (65.0,), (58.0,), (50.0,), (40.0,))
    large: ClassVar = ((25.0,), (18.0,), (15.0,), (10.0,), (7.0,))
    together: ClassVar[int] = 1 << 24

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """Rounded to 8 bits, compressed and read again."""
        quality, corrupted = round(parameters[0]), torch.empty(images.shape)
        # Of a small image most time is Python's own, which threads cannot share.
        threads = min(len(images), torch.get_num_threads()) if images[0].numel() >= 1 << 15 else 1
        parts = images.cpu().tensor_split(threads), corrupted.tensor_split(threads), repeat(quality)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(_compress, *parts))
        return corrupted.to(images.device)


def _compress(images: Tensor, into: Tensor, quality: int) -> None:
    """Put images [n, c, h, w] through JPEG and write what comes back, on the processor.

    By NumPy, one image at a time in the same memory: torch would share each step out over all threads.
    """
    pixels, found = images.numpy(), into.numpy()
    levels = np.empty(pixels.shape[1:], np.float32)
    picture = np.empty((*pixels.shape[2:], pixels.shape[1]), np.uint8)
    for one, target in zip(pixels, found, strict=True):
        np.rint(np.multiply(one, 255.0, out=levels), out=levels)
        for channel, level in enumerate(levels):
            picture[..., channel] = level
        file = BytesIO()
        Image.fromarray(picture if len(levels) > 1 else picture[..., 0]).save(file, "JPEG", quality=quality)
        back = np.asarray(Image.open(file, formats=("JPEG",))).reshape(picture.shape)
        np.multiply(back.transpose(2, 0, 1), np.float32(1.0 / 255.0), out=target)
