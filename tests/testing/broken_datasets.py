"""Data sets that break one promise each, and one that keeps all."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from classrob import Dataset, Samples

from .broken import Breaks, also

_opened = itertools.count()


class HonestSamples(Samples):
    """Sixty grey images."""

    classes = ("a", "b", "c")

    def __init__(self) -> None:
        self.serial = next(_opened)
        self.last = -1

    def __len__(self) -> int:
        return 60

    def id(self, index: int) -> str:
        return f"sample/{index}"

    def label(self, index: int) -> int:
        return index % 3

    def picture(self, index: int):
        return np.random.default_rng(index).random((4, 4), dtype=np.float32)


class SharedIds(HonestSamples):
    def id(self, index):
        return f"sample/{index // 2}"


class FleetingIds(HonestSamples):
    def id(self, index):
        return f"sample/{self.serial}/{index}"


class StrangeLabels(HonestSamples):
    def label(self, index):
        return index % 4


class TwinClasses(HonestSamples):
    classes = ("a", "b", "a")


class GreyLevels(HonestSamples):
    def picture(self, index):
        return 255.0 * super().picture(index)


class Normalising(HonestSamples):
    def read(self, indices, fit):
        batch, broken = super().read(indices, fit)
        if batch is not None:
            batch.images.div_(batch.images.max())
        return batch, broken


class LyingRead(HonestSamples):
    def read(self, indices, fit):
        batch, broken = super().read(indices, fit)
        if batch is not None:
            torch.add(batch.labels, 1, out=batch.labels).remainder_(3)
        return batch, broken


class OneWay(HonestSamples):
    def picture(self, index):
        backwards = 0 < self.last - index < 30
        self.last = index
        return np.zeros((4, 4), np.float32) if backwards else super().picture(index)


class Honest(Dataset):
    """Sixty grey images."""

    def open(self) -> Samples:
        return self.samples()()

    def samples(self) -> type[Samples]:
        return HonestSamples


def _dataset(of: type[Samples]) -> type[Dataset]:
    class Broken(Honest):
        """Sixty grey images, somehow wrong."""

        def samples(self):
            return of

    Broken.__name__ = of.__name__
    return Broken


class Empty(HonestSamples):
    def __len__(self):
        return 0


_READ = also("has_stable_ids", "agrees_with_its_slices", "reads_out_of_order")

BROKEN = {
    "has_unique_ids": [
        Breaks("dataset", _dataset(SharedIds)),
        Breaks("dataset", _dataset(Empty), frozenset({"*"})),
    ],
    "has_stable_ids": [Breaks("dataset", _dataset(FleetingIds), also("reads_out_of_order"))],
    "labels_within_its_classes": [
        Breaks("dataset", _dataset(StrangeLabels)),
        Breaks("dataset", _dataset(TwinClasses)),
    ],
    "shows_images_in_range": [Breaks("dataset", _dataset(GreyLevels), _READ)],
    "agrees_with_its_slices": [
        Breaks("dataset", _dataset(Normalising)),
        Breaks("dataset", _dataset(LyingRead)),
    ],
    "reads_out_of_order": [Breaks("dataset", _dataset(OneWay))],
}
