"""The data set `digits`: scikit-learn's 1,797 handwritten digits, 8×8 grey, split once and for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from pydantic import Field

from classrob.images import Picture
from classrob.live import Samples
from classrob.parts import Dataset

#: Of every ten samples of a class, in the order of the file, these go to the test split.
_TEST = (2, 5, 8)


@final
class Digits(Dataset):
    """Scikit-learn's handwritten digits, 8×8 grey.

    The test part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998),
    which scikit-learn carries. About 70 % of every class is for training, the rest for testing.
    """

    split: Literal["train", "test"] = Field(
        default="test", description="1,260 samples to train, or 537 to test"
    )

    def open(self) -> Samples:
        """The split; an id is the sample's position in scikit-learn's order, `digits/123`."""
        from sklearn.datasets import load_digits  # takes a second, which `describe` should not pay

        bunch: Any = load_digits()
        labels = np.asarray(bunch.target, dtype=np.int64)
        rows = np.flatnonzero(_is_test(labels) == (self.split == "test"))
        images = (np.asarray(bunch.images)[rows] / 16.0).astype(np.float32)
        return DigitSamples(rows, images, labels[rows])


def _is_test(labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """bool [n]: three of every ten samples of a class, spread evenly: both splits know all writers."""
    turn = np.zeros_like(labels)
    for label in np.unique(labels):
        mine = labels == label
        turn[mine] = np.arange(mine.sum())
    return np.isin(turn % 10, _TEST)


@final
@dataclass
class DigitSamples(Samples):
    """One split: `rows` int64 [n] of the whole set, `images` float32 [n, 8, 8], `labels` int64 [n]."""

    rows: np.ndarray[Any, Any]
    images: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]

    classes = tuple("0123456789")

    def __len__(self) -> int:
        return len(self.rows)

    def id(self, index: int) -> str:
        """`digits/` and the position in scikit-learn's order."""
        return f"digits/{self.rows[index]}"

    def label(self, index: int) -> int:
        """The digit."""
        return int(self.labels[index])

    def picture(self, index: int) -> Picture:
        """float32 [8, 8] in [0, 1]."""
        return self.images[index]
