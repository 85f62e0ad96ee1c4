"""The data set `arrays`: images and labels in NumPy files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from pydantic import Field

from classrob.errors import StudyError, nearest, one_line
from classrob.fields import File
from classrob.images import Picture
from classrob.live import Samples
from classrob.parts import Dataset
from classrob_base.npz import Npz, array_of

_IMAGES = ("x", "images", "data", "image", "X")
_LABELS = ("y", "labels", "targets", "label", "Y")


@final
class Arrays(Dataset):
    """NumPy arrays: an .npz file, or .npy files as in CIFAR-10-C.

    Images are [n, h, w], [n, h, w, c] or [n, c, h, w], uint8 or floats in [0, 1]; labels are integers
    [n]. An .npz holds them as `x`, `images` or `data` and `y`, `labels` or `targets`, with the split's
    name before or behind where it has one, and may hold class names as `classes`. A folder holds
    `labels.npy` and one .npy a corruption (Hendrycks and Dietterich, 2019). Files are mapped, not read,
    but for a compressed .npz, which has to be held in memory. An id is the row's number.
    """

    path: File = Field(description="an .npz file, or a folder with labels.npy and other .npy files")
    split: str | None = Field(default=None, description="in an .npz: the arrays `x_<split>` or `<split>_x`")
    array: str | None = Field(default=None, description="the array of images; the corruption")

    def open(self) -> Samples:
        """All rows.

        Raises:
            StudyError: an array is missing, holds Python objects, or is of a wrong type or shape.
        """
        images, labels, names = self._folder() if self.path.is_dir() else self._npz()
        images, labels = _images(images, self.path), _labels(labels, self.path)
        if len(images) != len(labels):
            raise StudyError(f"{self.path}: {len(images)} images, but {len(labels)} labels")
        classes = names or tuple(str(k) for k in range(int(labels.max(initial=-1)) + 1))
        if len(labels) and labels.max() >= len(classes):
            raise StudyError(f"{self.path}: label {labels.max()}, but `classes` names {len(classes)}")
        return ArraySamples(images, labels, classes)

    def _folder(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], None]:
        if self.split is not None:
            raise StudyError(f"{self.path} is a folder, which has no `split`: choose by `array`")
        names = sorted(p.stem for p in self.path.glob("*.npy") if not p.name.startswith("."))
        if "labels" not in names:
            raise StudyError(f"{self.path} holds no labels.npy")
        names.remove("labels")
        array = names[0] if self.array is None and len(names) == 1 else self.array
        if array not in names:
            what = "set `array` to one" if array is None else f"no '{array}.npy'{nearest(array, names)}"
            raise StudyError(f"{self.path}: {what} (it holds {', '.join(names) or 'nothing but labels'})")
        return _mapped(self.path / f"{array}.npy"), _mapped(self.path / "labels.npy"), None

    def _npz(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], tuple[str, ...] | None]:
        npz = Npz.open(self.path)
        images = self.array or _find(npz, _IMAGES, self.split, "images")
        names = npz.read("classes") if "classes" in npz.names else None
        labels = npz.read(_find(npz, _LABELS, self.split, "labels"))
        return npz.read(images), labels, tuple(map(str, names.tolist())) if names is not None else None


def _find(npz: Npz, names: tuple[str, ...], split: str | None, what: str) -> str:
    wanted = names if split is None else [one for n in names for one in (f"{n}_{split}", f"{split}_{n}")]
    for name in wanted:
        if name in npz.names:
            return name
    raise StudyError(
        f"{npz.path} has no array of {what} called {', '.join(wanted[:6])}; it holds {', '.join(npz.names)}: "
        "choose by `split` or `array`, or rename"
    )


def _mapped(path: Path) -> np.ndarray[Any, Any]:
    try:
        return array_of(path)
    except (ValueError, OSError) as error:
        raise StudyError(f"{path} is not a usable .npy file: {one_line(error)}") from error


def _images(array: np.ndarray[Any, Any], path: Path) -> np.ndarray[Any, Any]:
    """The array as [n, h, w] or [n, h, w, c]; a view."""
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise StudyError(f"{path}: images are {array.dtype}, but must be uint8 or floats in [0, 1]")
    if array.ndim == 4 and array.shape[3] not in (1, 3) and array.shape[1] in (1, 3):
        array = array.transpose(0, 2, 3, 1)
    if array.ndim != 3 and not (array.ndim == 4 and array.shape[3] in (1, 3)):
        raise StudyError(
            f"{path}: images are {list(array.shape)}, not [n, h, w], [n, h, w, c] or [n, c, h, w]"
        )
    return array


def _labels(array: np.ndarray[Any, Any], path: Path) -> np.ndarray[Any, Any]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise StudyError(f"{path}: labels are {array.dtype} {list(array.shape)}, but must be integers [n]")
    if len(array) and array.min() < 0:
        raise StudyError(f"{path}: label {array.min()} is below 0")
    return np.asarray(array, dtype=np.int64)


@final
@dataclass
class ArraySamples(Samples):
    """Rows of arrays: `images` [n, h, w] or [n, h, w, c], `labels` int64 [n]."""

    images: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]
    classes: Sequence[str]

    def __len__(self) -> int:
        return len(self.labels)

    def id(self, index: int) -> str:
        """The row's number."""
        return str(range(len(self))[index])

    def label(self, index: int) -> int:
        """The row's label."""
        return int(self.labels[index])

    def picture(self, index: int) -> Picture:
        """uint8 or float32 [h, w] or [h, w, c]; a copy, since a mapped file cannot be written."""
        row = self.images[index]
        return np.array(row, dtype=np.uint8 if row.dtype == np.uint8 else np.float32)
