"""A model under audit: the images it is looked at on, and how it is brought into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from classrob.audit.tally import NoGradient, Tally
from classrob.condition import Condition
from classrob.errors import StudyError, one_line
from classrob.live import Batch, Classifier, Samples
from classrob.streams import key_of
from classrob.tuning import limited, tuned
from classrob.worker import Worker


def chosen(samples: Samples, most: int, seed: int, source: str) -> list[int]:
    """Positions of at most so many samples, the same number of every class, drawn by the study's seed."""
    by_class: dict[int, list[int]] = {}
    for i in sorted(range(len(samples)), key=lambda i: key_of(seed, source, samples.id(i), "audit")):
        by_class.setdefault(samples.label(i), []).append(i)
    longest = max(map(len, by_class.values()))
    turns = (
        i for turn in range(longest) for _, rows in sorted(by_class.items()) for i in rows[turn : turn + 1]
    )
    return sorted(i for i, _ in zip(turns, range(most), strict=False))


@dataclass
class Subject:
    """One model on the audit's images of one data set; use it inside `at_work`.

    Attributes:
        looks: so many signs share the model's level, 5 % that any of them fires without a cause.
    """

    worker: Worker
    condition: Condition
    batch: Batch
    classes: Sequence[str]
    batch_size: int = 0
    threads: int = 0
    looks: int = 1
    seconds: float = 0.0
    spent: int = 0
    queries: int = 0

    @classmethod
    def of(cls, worker: Worker, condition: Condition, most: int) -> Subject:
        """Bring the model and the images into memory.

        Raises:
            StudyError: the model cannot be loaded, or no image can be read.
        """
        samples = worker.samples(condition)
        picked = chosen(samples, most, worker.study.seed, type(condition.dataset.part).__qualname__)
        batch, broken = samples.read(picked, worker.classifier(condition.model).fit)
        if batch is None:
            raise StudyError(f"no image can be read: {next(iter(broken.values()))}")
        return cls(worker, condition, batch.to(worker.study.device), samples.classes)

    @property
    def classifier(self) -> Classifier:
        """The model in memory, brought back where another one took its place."""
        classifier = self.worker.classifier(self.condition.model)
        if self.batch_size:
            classifier.batch_size = self.batch_size
        return classifier

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """The model frozen, as fast as it runs here, and torch's own generator as before afterwards."""
        device = self.worker.study.device
        drawing = [torch.device(device)] if device.startswith("cuda") else []
        with torch.random.fork_rng(drawing), self.classifier.frozen():
            if not self.batch_size:
                self._tune()
            with limited(min(self.threads, torch.get_num_threads())):
                torch.manual_seed(key_of(self.worker.study.seed, "audit") & 0x7FFFFFFF)
                yield

    def _tune(self) -> None:
        """How it runs fastest is found by timing gradients; a model without any keeps its own batch size."""
        self.batch_size, self.threads = self.classifier.batch_size, torch.get_num_threads()
        try:
            _ = self.slope
        except NoGradient:
            return
        found = tuned(self.classifier, self.batch.images, self.worker.study.batch_size)
        self.batch_size, self.threads = found.batch_size, found.threads

    @cached_property
    def right(self) -> np.ndarray:
        """bool [n], the images that are classified right."""
        with torch.no_grad():
            return (self.classifier(self.batch.images).argmax(1) == self.batch.labels).cpu().numpy()

    @cached_property
    def slope(self) -> Tensor:
        """Gradient of the cross-entropy in the images, like them.

        Raises:
            NoGradient: the model has none.
        """
        images = self.batch.images.clone().requires_grad_()
        try:
            logits = self.classifier(images)
            if not logits.requires_grad:
                raise NoGradient("its logits depend on the images by no graph")
            loss = F.cross_entropy(logits, self.batch.labels, reduction="sum")
            (slope,) = torch.autograd.grad(loss, images, allow_unused=True)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, StudyError) as error:  # an operation without a derivative, or one in NumPy
            raise NoGradient(f"it cannot be differentiated: {one_line(error)[:160]}") from error
        return torch.zeros_like(images) if slope is None else slope

    def tally(
        self, says: str, hits: np.ndarray, rows: np.ndarray | None = None, budget: float | None = None
    ) -> Tally:
        """A comparison on all images, or on the rows that a mask [n] keeps; `hits` is bool [n]."""
        rows = np.ones(len(self.batch), bool) if rows is None else rows
        ids, labels = np.array(self.batch.ids, dtype=object), self.batch.labels.cpu().numpy()
        return Tally(says, ids[rows], labels[rows], hits[rows], budget)
