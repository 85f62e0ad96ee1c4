"""Ready-made corrupted copies of a data set: arrays as in CIFAR-10-C, folders as in ImageNet-C."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import torch
from PIL import Image
from pydantic import Field, field_validator
from torch import Tensor

from classrob.errors import StudyError, one_line
from classrob.fields import Budgets, File
from classrob.images import UNREADABLE, Fit, Picture, tensor_of
from classrob.live import Batch, Classifier
from classrob.parts import Threat
from classrob.space import Keyed, Space
from classrob.streams import Streams
from classrob_corruptions.published import SEVERITIES


@final
class Stored(Threat):
    """A corruption that was computed by others, of the very samples of the data set.

    An .npy file of images beside labels.npy, its severities one after the other (CIFAR-10-C): the sample
    whose id ends in the number i is row (severity − 1) · n + i, and its label must be that row's. Or a
    folder that holds a folder for each severity, and there the samples by their ids, class/file (ImageNet-C).
    """

    nested: ClassVar[bool] = False
    gradients: ClassVar[bool] = False

    budgets: Budgets = Field(default=SEVERITIES, description="severities, whole numbers from 1 to 5")
    path: File = Field(
        description="one corruption: an .npy file beside labels.npy, or a folder of severities"
    )

    @field_validator("budgets")
    @classmethod
    def _severities(cls, budgets: tuple[float, ...]) -> tuple[float, ...]:
        if not set(budgets) <= set(SEVERITIES):
            raise ValueError(f"a severity is a whole number from 1 to 5, not {[*budgets]}")
        return budgets

    def open(self, batch: Batch, classifier: Classifier, streams: Streams) -> Space:
        """The stored images of each sample.

        Raises:
            StudyError: they cannot be read, or are not those of these samples.
        """
        copies: Copies = Files(self.path, batch.ids) if self.path.is_dir() else Rows.of(self.path)
        places = copies.places(batch, tuple(int(one) for one in self.budgets))
        severity = batch.images.new_full((len(batch),), self.budgets[-1])
        rows = torch.tensor(places, dtype=torch.int64, device=batch.images.device)[:, None]
        return Copied(severity, rows, batch.images, copies, classifier.fit)


class Copies(ABC):
    """The corrupted images of a data set at five severities."""

    @abstractmethod
    def places(self, batch: Batch, severities: tuple[int, ...]) -> list[int]:
        """Where each sample is to be found.

        Raises:
            StudyError: one is not there, or is another sample at one of the severities.
        """

    @abstractmethod
    def picture(self, place: int, severity: int) -> Picture:
        """The sample at a place, at a severity; raises one of `images.UNREADABLE` where it is damaged."""

    @abstractmethod
    def name(self, place: int, severity: int) -> str:
        """How a message calls that image."""


@final
@dataclass(frozen=True)
class Rows(Copies):
    """Images uint8 [5 n, h, w, c] and labels [5 n], or [n] for all severities alike."""

    path: Path
    images: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]

    @classmethod
    def of(cls, path: Path) -> Rows:
        """The arrays of a file and of labels.npy beside it, mapped.

        Raises:
            StudyError: one is missing or unusable, or they do not belong together.
        """
        images, labels = (_mapped(one) for one in (path, path.with_name("labels.npy")))
        if images.ndim not in (3, 4) or images.dtype != np.uint8 or len(images) % len(SEVERITIES):
            raise StudyError(
                f"{path}: uint8 images of five severities, one after the other, are wanted, not "
                f"{images.dtype} {list(images.shape)}"
            )
        if (
            labels.ndim != 1
            or labels.dtype.kind not in "iu"
            or len(labels) * 5 not in (len(images), 5 * len(images))
        ):
            raise StudyError(
                f"{path.with_name('labels.npy')}: {labels.dtype} {list(labels.shape)} are no labels of the "
                f"{len(images)} images of {path.name}"
            )
        return cls(path, images, labels)

    def places(self, batch: Batch, severities: tuple[int, ...]) -> list[int]:
        """The numbers in which the ids end."""
        found: list[int] = []
        whole = len(self.images) // len(SEVERITIES)
        for sample, label in zip(batch.ids, batch.labels.tolist(), strict=True):
            number = sample.rpartition("/")[2]
            if not (number.isascii() and number.isdigit()) or int(number) >= whole:
                raise StudyError(
                    f"{self.path} holds {whole} samples by number, and '{sample}' is none of them: the data set "
                    "must be the same images in the same order"
                )
            for severity in severities:
                row = self._row(int(number), severity)
                if (said := int(self.labels[row % len(self.labels)])) != label:
                    raise StudyError(
                        f"{self.path}: row {row} has the label {said}, but sample '{sample}' has {label}: the data "
                        "set must be the same images in the same order"
                    )
            found.append(int(number))
        return found

    def picture(self, place: int, severity: int) -> Picture:
        """uint8 [h, w] or [h, w, c]."""
        return np.array(self.images[self._row(place, severity)])

    def name(self, place: int, severity: int) -> str:
        """The file and the row."""
        return f"{self.path}, row {self._row(place, severity)}"

    def _row(self, place: int, severity: int) -> int:
        return (severity - 1) * (len(self.images) // len(SEVERITIES)) + place


@final
@dataclass(frozen=True)
class Files(Copies):
    """Image files `root`/severity/id."""

    root: Path
    ids: tuple[str, ...]

    def places(self, batch: Batch, severities: tuple[int, ...]) -> list[int]:
        """The samples' positions; all their files are there."""
        for severity in severities:
            for place, sample in enumerate(batch.ids):
                if not self._file(place, severity).is_file():
                    raise StudyError(
                        f"{self.root} has no '{severity}/{sample}': it takes a folder a severity, with the data "
                        "set's own files in its class folders"
                    )
        return list(range(len(batch)))

    def picture(self, place: int, severity: int) -> Picture:
        """The decoded image."""
        with Image.open(self._file(place, severity)) as image:
            image.load()  # a truncated file shows only here
            return image

    def name(self, place: int, severity: int) -> str:
        """The file."""
        return str(self._file(place, severity))

    def _file(self, place: int, severity: int) -> Path:
        return self.root / str(severity) / self.ids[place]


def _mapped(path: Path) -> np.ndarray[Any, Any]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise StudyError(f"{path} is not a usable .npy file: {one_line(error)}") from error


@final
@dataclass(frozen=True)
class Copied(Keyed):
    """One image a sample and severity; the key is the sample's place, and there is no other."""

    images: Tensor
    copies: Copies
    fit: Fit

    def start(self, streams: Streams) -> Tensor:
        """The sample's place."""
        return self.key

    def project(self, z: Tensor) -> Tensor:
        """A sample has no image but its own."""
        return self.key

    def render(self, z: Tensor) -> Tensor:
        """The stored images as the model takes them; a severity is rounded to one that exists."""
        severity = self.budget.round().clamp(1, 5)
        pairs = zip(z[:, 0].tolist(), severity.int().tolist(), strict=True)
        found = [self._read(place, level) for place, level in pairs]
        return torch.stack(found).to(self.images.device) if found else self.images

    def _read(self, place: int, severity: int) -> Tensor:
        try:
            image = tensor_of(self.copies.picture(place, severity), self.fit)
        except UNREADABLE as error:
            raise StudyError(f"{self.copies.name(place, severity)}: {one_line(error)}") from error
        if image.shape != self.images.shape[1:]:
            raise StudyError(
                f"{self.copies.name(place, severity)} is {list(image.shape)}, but the sample is "
                f"{list(self.images.shape[1:])}"
            )
        return image
