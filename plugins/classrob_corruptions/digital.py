"""Fewer pixels, and lossy compression."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, final

import numpy as np
import torch
from PIL import Image
from simplejpeg import decode_jpeg
from torch import Tensor

from classrob.streams import Streams
from classrob_corruptions.corruption import Corruption


@final
class Pixelate(Corruption):
    """Fewer pixels, enlarged again; the parameter is the share of the side that is left."""

    small: ClassVar = ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,))
    large: ClassVar = ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,))

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """The means of boxes of pixels, as Pillow has them, each spread over its place again.

        Both work on whole lines, so the columns are lines for a while: a line is copied, a column gathered.
        """
        height, width = images.shape[2:]
        lines = _averaged(images, max(1, int(height * parameters[0])))
        columns = _averaged(lines.mT.contiguous(), max(1, int(width * parameters[0])))
        lines = _enlarged(columns, width).mT.contiguous()
        return _enlarged(lines, height)


def _averaged(images: Tensor, fewer: int) -> Tensor:
    """The means [n, c, fewer, w] of boxes of lines."""
    first, following, shares = _boxes(images.shape[2], fewer, images.device)
    means = images.index_select(2, first)
    for line, share in zip(following, shares, strict=True):
        means.lerp_(images.index_select(2, line), share[:, None])
    return means


def _enlarged(lines: Tensor, size: int) -> Tensor:
    """So many lines, each a copy of the one whose place it lies in, [n, c, size, w]."""
    places = (torch.arange(size, device=lines.device) + 0.5) * (lines.shape[2] / size)
    return lines.index_select(2, places.long())


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


#: So large that a float32's last bits, once this is added, are a level from 0 to 255, rounded to the nearest.
ROUND = np.float32(1 << 23)


@final
class Jpeg(Corruption):
    """Lossy compression, by Pillow and simplejpeg on the processor; the parameter is the quality."""

    small: ClassVar = ((80.0,), (65.0,), (58.0,), (50.0,), (40.0,))
    large: ClassVar = ((25.0,), (18.0,), (15.0,), (10.0,), (7.0,))
    #: It keeps to the cache itself: torch's threads, woken after every image, would take a third of the time.
    together: ClassVar[int] = 1 << 24

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """Rounded to 8 bits, compressed and read again.

        Pixels lie as Pillow keeps them, in words of four bytes, so that packing and unpacking are whole words'
        work: on the way from and to float32 it costs as much as the compression itself, when done by bytes.
        """
        corrupted = np.empty(images.shape, np.float32)
        rows = max(1, Corruption.together // max(1, corrupted[:1].size))
        for i in range(0, len(images), rows):
            _through_jpeg(images[i : i + rows].cpu().numpy(), round(parameters[0]), corrupted[i : i + rows])
        return torch.from_numpy(corrupted).to(images.device)


def _through_jpeg(images: np.ndarray, quality: int, into: np.ndarray) -> None:
    """Put images [n, c, h, w] through JPEG; as many as stay in a processor's cache."""
    channels = images.shape[1]
    levels = np.multiply(images, np.float32(255.0))
    levels += ROUND
    bits = levels.view(np.uint32)
    bits &= 255
    words = bits[:, 0].astype("<u4")
    for channel in range(1, channels):
        words |= np.left_shift(bits[:, channel], 8 * channel, out=bits[:, channel])
    for picture in words:
        _compress(picture, channels, quality)
    level = np.empty_like(words)
    for channel in range(channels):
        np.right_shift(words, 8 * channel, out=level)
        level &= 255
        into[:, channel] = level.view(np.int32)
    into *= np.float32(1.0 / 255.0)


def _compress(picture: np.ndarray, channels: int, quality: int) -> None:
    """Put a picture [h, w] of words, the channels in their lowest bytes, through JPEG.

    By the coders alone, into the same memory. `Image.save` and `Image.open` also write and read headers, which for
    a small image takes longest, and Pillow's decoder takes twice as long as simplejpeg's for the same values.
    """
    if channels == 1:
        whole = Image.fromarray(picture.astype(np.uint8))
    else:
        whole = Image.frombuffer("RGBX", picture.shape[::-1], picture, "raw", "RGBX", 0, 1)
    file = whole.tobytes("jpeg", whole.mode, quality)
    pixels = picture.view(np.uint8).reshape(*picture.shape, 4)
    decode_jpeg(file, "RGBA", fastdct=False, fastupsample=False, buffer=pixels)
