"""Images and labels as people have them in a notebook, made the arrays that a data set opens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from classrob.errors import StudyError

_WANTED = "data must be a pair (images, labels), a torch Dataset or a DataLoader of such pairs"


def arrays_of(data: object) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Images [n, h, w] or [n, h, w, c], uint8 or float32 in [0, 1], and labels int64 [n].

    Args:
        data: a pair (images, labels) of tensors or arrays, images [n, c, h, w], [n, h, w, c] or [n, h, w];
            or a Dataset, or a DataLoader, of an image and a label each. All of it is held in memory.

    Raises:
        StudyError: it is none of that, or its values are no images.
    """
    if isinstance(data, tuple | list) and len(data) == 2:
        images, labels = _array(data[0], "images"), _array(data[1], "labels")
    elif isinstance(data, DataLoader):
        batches = [_pair(batch) for batch in data]
        if not batches:
            raise StudyError("data is empty")
        images = np.concatenate([_array(one, "images") for one, _ in batches])
        labels = np.concatenate([np.atleast_1d(_array(one, "labels")) for _, one in batches])
    elif isinstance(data, Dataset):
        pairs = list(_items(data))
        if not pairs:
            raise StudyError("data is empty")
        shapes = sorted({image.shape for image, _ in pairs})
        if len(shapes) > 1:
            raise StudyError(f"data holds images of shapes {shapes[0]} and {shapes[-1]}: resize them to one")
        images, labels = np.stack([image for image, _ in pairs]), np.array([label for _, label in pairs])
    else:
        raise StudyError(f"{_WANTED}, not {type(data).__name__}")
    return _checked(images, labels)


def _items(data: Dataset[Any]) -> Iterator[tuple[np.ndarray[Any, Any], int]]:
    """A map-style or an iterable data set's images and labels, one by one."""
    items = (data[i] for i in range(len(data))) if isinstance(data, Sized) else data
    for item in items:  # pyright: ignore[reportGeneralTypeIssues]  # an IterableDataset, if it has no length
        image, label = _pair(item)
        yield _array(image, "images"), int(_array(label, "labels"))


def _pair(item: Any) -> Sequence[Any]:
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise StudyError(f"{_WANTED}; an item is a {type(item).__name__}")
    return item


def _array(value: Any, what: str) -> np.ndarray[Any, Any]:
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, Image.Image):
        return np.array(value if value.mode in ("L", "RGB") else value.convert("RGB"))
    try:
        return np.asarray(value)
    except ValueError:
        raise StudyError(f"{what} are of different shapes") from None


def _checked(
    images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    if images.ndim == 4 and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        shape = list(images.shape)
        raise StudyError(
            f"images are {shape}, not [n, c, h, w], [n, h, w, c] or [n, h, w] with 1 or 3 channels"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise StudyError(f"labels are {labels.dtype} {list(labels.shape)}, but must be integers [n]")
    if len(images) != len(labels):
        raise StudyError(f"there are {len(images)} images, but {len(labels)} labels")
    if not len(images):
        raise StudyError("data is empty")
    if labels.min() < 0:
        raise StudyError(f"label {labels.min()} is below 0")
    if images.dtype != np.uint8:
        if images.dtype.kind != "f":
            raise StudyError(f"images are {images.dtype}, but must be uint8 or floats in [0, 1]")
        low, high = float(images.min()), float(images.max())
        if not (low >= 0.0 and high <= 1.0):  # also true for NaN
            raise StudyError(
                f"images have values from {low:.3g} to {high:.3g}, but must be floats in [0, 1] or uint8: undo the "
                "normalisation, and put it into the model (torch.nn.Sequential(normalise, model))"
            )
        images = images.astype(np.float32)
    return images, labels.astype(np.int64)
