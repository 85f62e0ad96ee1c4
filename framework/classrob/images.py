"""From whatever a data set holds to the tensor that a model takes, without guessing."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

#: What reading a broken image raises; Pillow raises SyntaxError for a bad PNG.
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

#: What a data set may hold: a PIL image, or a uint8 or float array [h, w] or [h, w, c].
Picture = Image.Image | np.ndarray[Any, Any]


@dataclass(frozen=True)
class Fit:
    """What images a model takes; the default takes them as they are.

    Attributes:
        size: (height, width) in pixels; images of another size are resized to it.
        channels: 1 or 3; grey images become colour for a model of three channels, never the reverse.
        crop: the share of the resized image's side that the centre crop keeps, as timm defines it.
        interpolation: one of Pillow's filters, in lower case.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    crop: float = 1.0
    interpolation: str = "bicubic"


def tensor_of(picture: Picture, fit: Fit) -> Tensor:
    """The picture as float32 [c, h, w] in [0, 1], resized and cropped to the fit.

    Raises:
        ValueError: values outside [0, 1] or not finite, or channels that do not suit the model.
    """
    if isinstance(picture, np.ndarray):
        height, width = picture.shape[:2]
        if fit.size in (None, (height, width)):
            return _channels(_from_array(picture), fit)
        picture = _to_image(picture)
    return _channels(_from_array(np.array(_resized(_plain(picture), fit))), fit)


def _plain(picture: Image.Image) -> Image.Image:
    """Palettes, transparency and deep greys become grey or RGB; nothing is clipped on the way.

    Raises:
        ValueError: the values have no known range.
    """
    if picture.mode in ("L", "RGB"):
        return picture
    if picture.mode.startswith("I;16"):
        return Image.fromarray(np.rint(np.array(picture) / 257.0).astype(np.uint8))  # 65535 / 255
    if picture.mode in ("I", "F"):
        raise ValueError(
            f"an image of mode '{picture.mode}' has no known range of values; save it with 8 or 16 bits"
        )
    return picture.convert("L" if picture.mode in ("1", "LA") else "RGB")


def _resized(picture: Image.Image, fit: Fit) -> Image.Image:
    if fit.size is None or (picture.height, picture.width) == fit.size:
        return picture
    height, width = fit.size
    scale = max(height / fit.crop / picture.height, width / fit.crop / picture.width)
    tall, wide = max(height, round(picture.height * scale)), max(width, round(picture.width * scale))
    grown = picture.resize((wide, tall), Image.Resampling[fit.interpolation.upper()])
    top, left = (tall - height) // 2, (wide - width) // 2
    return grown.crop((left, top, left + width, top + height))


def _to_image(array: np.ndarray[Any, Any]) -> Image.Image:
    unit = array if array.dtype == np.uint8 else np.rint(_from_array(array).numpy() * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        unit = unit.transpose(1, 2, 0)
    return Image.fromarray(unit.squeeze(-1) if unit.ndim == 3 and unit.shape[-1] == 1 else unit)


def _from_array(array: np.ndarray[Any, Any]) -> Tensor:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3):
        raise ValueError(f"an image must be [h, w], [h, w, 1] or [h, w, 3], not {list(array.shape)}")
    tensor = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))
    if array.dtype == np.uint8:
        return tensor.to(torch.float32).div_(255.0)
    tensor = tensor.to(torch.float32)
    low, high = float(tensor.min()), float(tensor.max())
    if not (low >= 0.0 and high <= 1.0):  # also true for NaN
        raise ValueError(
            f"values from {low:.3g} to {high:.3g}, but images are floats in [0, 1] or uint8: "
            "undo the normalisation, and put it into the model (`mean`, `std`)"
        )
    return tensor


def _channels(image: Tensor, fit: Fit) -> Tensor:
    have = image.shape[0]
    if fit.channels in (None, have):
        return image
    if have == 1:
        return image.expand(fit.channels, -1, -1).contiguous()
    raise ValueError(f"the image has {have} channels, the model takes {fit.channels}")
