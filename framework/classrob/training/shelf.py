"""The images of a training: in memory where they fit, otherwise read batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from classrob.errors import StudyError
from classrob.images import Fit
from classrob.live import Samples

#: Images are held in memory up to so many bytes.
HELD = 2 << 30
#: Images read at once.
_READ = 256


@dataclass(frozen=True)
class Shelf:
    """Some samples as a model wants them; `images` is None where they are too many to hold."""

    samples: Samples
    rows: Sequence[int]
    fit: Fit
    images: Tensor | None
    labels: Tensor

    @classmethod
    def of(cls, samples: Samples, rows: Sequence[int], fit: Fit) -> Shelf:
        """The samples of some rows.

        Raises:
            StudyError: an image cannot be read, or they are of several shapes.
        """
        labels = torch.tensor([samples.label(row) for row in rows], dtype=torch.int64)
        lazy = cls(samples, rows, fit, None, labels)
        if len(rows) * lazy._read(rows[:1]).numel() * 4 > HELD:
            return lazy
        parts = [lazy._read(rows[first : first + _READ]) for first in range(0, len(rows), _READ)]
        if len(shapes := sorted({tuple(part.shape[1:]) for part in parts})) > 1:
            raise StudyError(
                f"training needs one shape of images, but there are {shapes[0]}, {shapes[1]}: give the model a `size`"
            )
        return cls(samples, rows, fit, torch.cat(parts), labels)

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images float32 [n, c, h, w] and labels int64 [n] at some places of the shelf."""
        labels = self.labels[index]
        if self.images is not None:
            return self.images[index], labels
        return self._read([self.rows[i] for i in index.tolist()]), labels

    def _read(self, rows: Sequence[int]) -> Tensor:
        batch, broken = self.samples.read(rows, self.fit)
        for sample, reason in broken.items():
            raise StudyError(f"training needs every image, but '{sample}' cannot be read: {reason}")
        assert batch is not None
        return batch.images


def parted(samples: Samples, share: float, seed: int) -> tuple[list[int], list[int]]:
    """The rows to learn from, and a share of every class that is kept apart, drawn by a seed.

    Raises:
        StudyError: the share takes all images of a class, or none at all.
    """
    rows = list(range(len(samples)))
    if not share:
        return rows, []
    draws = torch.Generator().manual_seed(seed)
    by_class: dict[int, list[int]] = {}
    for row in rows:
        by_class.setdefault(samples.label(row), []).append(row)
    kept: set[int] = set()
    for label, own in sorted(by_class.items()):
        count = round(share * len(own))
        if count == len(own):
            raise StudyError(
                f"holding out {share:g} leaves class '{samples.classes[label]}' ({len(own)} images) none to learn from"
            )
        kept.update(own[i] for i in torch.randperm(len(own), generator=draws)[:count].tolist())
    if not kept:
        raise StudyError(f"holding out {share:g} keeps no image apart: there are {len(rows)} in all")
    return [row for row in rows if row not in kept], sorted(kept)


def shape_of(samples: Samples) -> tuple[int, int, int]:
    """The shape [channels, height, width] of the first image that can be read.

    Raises:
        StudyError: there is none.
    """
    reasons: list[str] = []
    for row in range(len(samples)):
        batch, broken = samples.read([row], Fit())
        if batch is not None:
            channels, height, width = batch.images.shape[1:]
            return channels, height, width
        reasons += [f"'{sample}' cannot be read: {reason}" for sample, reason in broken.items()]
    raise StudyError(f"training needs every image, but {reasons[0]}")
