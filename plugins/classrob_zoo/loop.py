"""The training loop that the recipes share: a small CNN from scratch, the same weights for the same seed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import click
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from classrob.errors import StudyError
from classrob.images import Fit
from classrob.live import Classifier
from classrob.parts import Dataset
from classrob.subset import opened
from classrob_zoo.nets import SmallCNN

#: What a batch becomes before the step: (network, images, labels, generator) to images.
Perturb = Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]
#: Images read at once.
_READ = 256


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: AdamW, its rate rising to `lr` and falling to 0 on one cycle."""

    epochs: int
    lr: float
    batch: int
    weight_decay: float
    seed: int


def trained(dataset: Dataset, device: str, schedule: Schedule, label: str, perturb: Perturb) -> Classifier:
    """A new network trained on all samples, which are held in memory, with cross-entropy.

    The caller's random state is left alone. One thread of the processor works. The bar goes to standard
    error, if that is a terminal.

    Raises:
        StudyError: an image cannot be read, or the images have several shapes.
    """
    images, labels, classes = _read(dataset)
    draws = torch.Generator().manual_seed(schedule.seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(schedule.seed)
        module = SmallCNN.of_shape((images.shape[1], images.shape[2], images.shape[3]), classes).to(device)
    optimizer = torch.optim.AdamW(module.parameters(), schedule.lr, weight_decay=schedule.weight_decay)
    steps = schedule.epochs * -(-len(images) // schedule.batch)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, schedule.lr, total_steps=steps)
    shown = sys.stderr.isatty()
    bar = click.progressbar(length=steps, label=label, file=sys.stderr) if shown else nullcontext()
    with bar as ticking, torch.enable_grad(), _one_thread():
        for rows in _batches(len(images), schedule, draws):
            x, y = images[rows].to(device), labels[rows].to(device)
            loss = cross_entropy(module(perturb(module, x, y, draws)), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            rate.step()
            if ticking is not None:
                ticking.update(1)
    shape = (images.shape[2], images.shape[3])
    return Classifier(module.eval(), fit=Fit(size=shape, channels=images.shape[1]), device=device)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread of the processor: the same sums on any machine, and for small networks no slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batches(count: int, schedule: Schedule, draws: torch.Generator) -> Iterator[Tensor]:
    for _ in range(schedule.epochs):
        yield from torch.randperm(count, generator=draws).split(schedule.batch)


def _read(dataset: Dataset) -> tuple[Tensor, Tensor, int]:
    """All images float32 [n, c, h, w], all labels int64 [n], and the number of classes."""
    name = type(dataset).__name__
    samples = opened(dataset, name)
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for first in range(0, len(samples), _READ):
        batch, broken = samples.read(range(first, min(first + _READ, len(samples))), Fit())
        for sample, reason in broken.items():
            raise StudyError(
                f"training needs every image, but '{sample}' of '{name}' cannot be read: {reason}"
            )
        if batch is not None:
            images.append(batch.images)
            labels.append(batch.labels)
    if len(shapes := {tuple(part.shape[1:]) for part in images}) > 1:
        raise StudyError(f"training needs images of one shape, but '{name}' has {sorted(shapes)[:2]}")
    return torch.cat(images), torch.cat(labels), len(samples.classes)
