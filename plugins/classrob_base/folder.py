"""The data set `folder`: image files, one folder a class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from PIL import Image
from pydantic import Field

from classrob.errors import StudyError, nearest
from classrob.fields import File
from classrob.images import Picture
from classrob.live import Samples
from classrob.parts import Dataset
from classrob_base.decode import decoded


@final
class Folder(Dataset):
    """Image files, one folder a class.

    The classes are the folders' names, sorted; a class may have folders of its own. An id is the path
    below the data set's folder. Hidden files and files whose ending Pillow does not know are left out.
    """

    path: File = Field(description="the folder of the class folders")
    split: str | None = Field(default=None, description="the folder in `path` that holds the class folders")

    def open(self) -> Samples:
        """All image files, sorted by class and then by path.

        Raises:
            StudyError: there is no such folder, no class folder, or no image.
        """
        if not self.path.is_dir():
            raise StudyError(f"{self.path} is no folder")
        root = self.path if self.split is None else self.path / self.split
        if not root.is_dir():
            hint = nearest(root.name, _folders(self.path))
            raise StudyError(f"{self.path} has no folder '{self.split}'{hint}")
        classes = _folders(root)
        if not classes:
            raise StudyError(f"{root} holds no folder: it takes one folder a class")
        endings = _endings()
        files = [(path, label) for label, one in enumerate(classes) for path in _images(root / one, endings)]
        if not files:
            raise StudyError(f"{root}: no image in its {len(classes)} class folders")
        names = [path.relative_to(root).as_posix() for path, _ in files]
        return FolderSamples(root, names, np.array([label for _, label in files], np.int32), classes)


def _folders(root: Path) -> tuple[str, ...]:
    return tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")))


def _endings() -> frozenset[str]:
    """The file endings, in lower case, of the formats that Pillow can open."""
    return frozenset(end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN)


def _images(folder: Path, endings: frozenset[str]) -> Iterator[Path]:
    for path in sorted(folder.rglob("*"), key=lambda p: p.relative_to(folder).as_posix()):
        hidden = any(step.startswith(".") for step in path.relative_to(folder).parts)
        if path.suffix.lower() in endings and not hidden and path.is_file():
            yield path


@final
@dataclass
class FolderSamples(Samples):
    """Image files below `root`; `names` are posix paths, `labels` is int32 [n]."""

    root: Path
    names: Sequence[str]
    labels: np.ndarray[Any, Any]
    classes: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def id(self, index: int) -> str:
        """The path below the root; a byte that is no UTF-8 is written out, so that an id is always text."""
        return self.names[index].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    def label(self, index: int) -> int:
        """The position of the class folder among the sorted ones."""
        return int(self.labels[index])

    def picture(self, index: int) -> Picture:
        """The decoded image."""
        return decoded(self.root / self.names[index])
