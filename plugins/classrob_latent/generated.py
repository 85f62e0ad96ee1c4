"""The data set `generated`: images that a generator makes, of classes that are known because they were asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from classrob.errors import StudyError
from classrob.images import Picture
from classrob.live import Samples
from classrob.nested import Nested
from classrob.parts import Dataset, Generator
from classrob_latent.codes import drawn, id_of
from classrob_latent.loaded import Loaded, loaded

#: So many images are made when one of them is asked for.
_AT_ONCE = 256


@final
class Generated(Dataset):
    """Images of codes drawn from a generator's prior, in the order 0, 1, 2, … of the classes, over and over.

    The threat `latent` with the same generator finds their codes by their ids, so that it is centred on the
    codes that the images were made of.
    """

    generator: Annotated[Generator, Nested("generator")] = Field(description="what makes the images")
    count: int = Field(default=1000, ge=1, description="how many")
    seed: int = Field(default=0, ge=0, description="of the codes")
    shares: tuple[float, ...] | None = Field(
        default=None, description="of the classes, in label order; None: all alike"
    )

    def open(self) -> Samples:
        """The images, made when they are read.

        Raises:
            StudyError: the generator has no prior, knows no classes and `classes` names none, or `shares` are no
                shares of its classes.
        """
        made = loaded(self.generator, "cpu")
        classes = made.decoder.classes
        if classes is None or not made.decoder.prior:
            raise StudyError(
                "data set 'generated' needs a generator that makes images of classes from a prior"
            )
        shares = np.array(self.shares if self.shares is not None else (1.0,) * classes)
        if len(shares) != classes or (shares < 0).any() or shares.sum() <= 0:
            raise StudyError(f"`shares` must be {classes} numbers from 0 up, one a class, not {self.shares}")
        return GeneratedSamples(made, self.seed, _labels(shares / shares.sum(), self.count))


def _labels(shares: np.ndarray, count: int) -> np.ndarray:
    """int64 [count]: at every place the class that lags most behind its share, so that any part is balanced."""
    given, labels = np.zeros(len(shares)), np.empty(count, np.int64)
    for i in range(count):
        labels[i] = int(np.argmax((i + 1) * shares - given))
        given[labels[i]] += 1
    return labels


@final
@dataclass
class GeneratedSamples(Samples):
    """Images made a block at a time; the last block is remembered."""

    generator: Loaded
    seed: int
    labels: np.ndarray
    _block: tuple[int, Tensor] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.classes = tuple(map(str, range(self.generator.decoder.classes or 0)))

    def __len__(self) -> int:
        return len(self.labels)

    def id(self, index: int) -> str:
        """`generated/`, what made it, the seed, and the number."""
        return id_of(self.generator.key, self.seed, index)

    def label(self, index: int) -> int:
        """The class that was asked for."""
        return int(self.labels[index])

    def picture(self, index: int) -> Picture:
        """float32 [h, w, c] in [0, 1]."""
        block, at = divmod(index, _AT_ONCE)
        if self._block is None or self._block[0] != block:
            numbers = range(block * _AT_ONCE, min((block + 1) * _AT_ONCE, len(self)))
            codes = drawn(self.generator.decoder, [self.id(i) for i in numbers])
            labels = torch.from_numpy(self.labels[list(numbers)])
            with torch.no_grad():
                self._block = block, self.generator.decoder(codes, labels)
        return self._block[1][at].movedim(0, 2).numpy()
