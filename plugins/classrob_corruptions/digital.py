"""Fewer pixels, and lossy compression."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from io import BytesIO
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
        fewer = images
        for axis, size in ((2, height), (3, width)):
            first, second, share = _boxes(size, max(1, int(size * parameters[0])), images.device)
            view = (1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)
            near = fewer.index_select(axis, first)
            for at, one in zip(second, share, strict=True):
                near = near.add_((fewer.index_select(axis, at) - near) * one.view(view))
            fewer = near
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


@final
class Jpeg(Corruption):
    """Lossy compression, by Pillow on the processor, several images at once; the parameter is the quality."""

    small: ClassVar = ((80.0,), (65.0,), (58.0,), (50.0,), (40.0,))
    large: ClassVar = ((25.0,), (18.0,), (15.0,), (10.0,), (7.0,))

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """Rounded to 8 bits, compressed and read again."""
        quality = round(parameters[0])
        whole = images.mul(255.0).round_().to(torch.uint8).cpu().permute(0, 2, 3, 1).contiguous().numpy()
        groups = np.array_split(whole, min(len(whole), torch.get_num_threads()))
        if len(groups) == 1:
            pictures = _compressed(groups[0], quality)
        else:
            with ThreadPoolExecutor(len(groups)) as pool:
                pictures = [
                    p for part in pool.map(_compressed, groups, [quality] * len(groups)) for p in part
                ]
        back = torch.from_numpy(np.stack(pictures)).to(images.device).view(len(images), *whole.shape[1:])
        return back.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255.0)


def _compressed(pictures: np.ndarray, quality: int) -> Sequence[np.ndarray]:
    """Each of the uint8 images [n, h, w, c] through JPEG; numpy arrays of uint8."""
    found: list[np.ndarray] = []
    for picture in pictures:
        grey = picture.shape[2] == 1
        file = BytesIO()
        Image.fromarray(picture[:, :, 0] if grey else picture).save(file, "JPEG", quality=quality)
        file.seek(0, os.SEEK_SET)
        found.append(np.asarray(Image.open(file)))
    return found
