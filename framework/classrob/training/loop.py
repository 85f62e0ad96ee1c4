"""The loop of training: the same weights for the same fields, whether or not it was stopped on the way."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
import torch
from torch import Tensor, nn

from classrob.decoder import Decoder
from classrob.errors import ClassrobError, StudyError
from classrob.identity import digest, identity
from classrob.live import Classifier
from classrob.subset import opened
from classrob.training.checkpoint import Checkpoint, Progress
from classrob.training.course import Course, Mark, Trained
from classrob.training.optimising import augmented, optimizer_of, rate_of
from classrob.training.shelf import Shelf, parted, shape_of

if TYPE_CHECKING:
    from classrob.parts import Dataset, Trainable
    from classrob.training.gradient import GradientRecipe


def trained(recipe: GradientRecipe, model: Trainable, dataset: Dataset, course: Course) -> Trained:
    """A network that the recipe has trained on all samples, or gone on with from the course's checkpoint.

    The caller's random state is left alone. A bar goes to standard error, if that is a terminal.

    Raises:
        StudyError: an image cannot be read, or model and data do not suit each other.
        StoreError: the checkpoint is damaged, of another training, or cannot be written.
        ClassrobError: the loss is no longer finite.
    """
    samples = opened(dataset, type(dataset).__name__)
    classes = len(samples.classes)
    if classes < 2 and recipe.trains == "model":
        raise StudyError(f"a classifier needs two classes, but the data has {classes}")
    model = recipe.adapt(model).suited(shape_of(samples), classes, recipe.seed)
    network = model.load(course.device)
    learned, kept = parted(samples, course.held_out, recipe.seed)
    shelf, held = (Shelf.of(samples, rows, network.fit) if rows else None for rows in (learned, kept))
    assert shelf is not None
    _suits(network, shelf, classes)
    parts = [identity(one) for one in (recipe, model, dataset)]
    key = digest(*parts, dataset.model_dump(mode="json"), course.device, course.threads, course.held_out)
    checkpoint = None if course.folder is None else Checkpoint(course.folder, key)
    with network.learning() as module, _alone(course, recipe.seed), torch.enable_grad():
        if not any(weight.requires_grad for weight in module.parameters()):
            raise StudyError("the model has no weights to train")
        loop = _Loop(recipe, network, module, shelf, held, course, checkpoint)
        loop.run()
    return Trained(model, network, tuple(loop.progress.history), len(learned), len(kept))


def _suits(network: Classifier | Decoder, shelf: Shelf, classes: int) -> None:
    """Refuse a network that cannot take the images, or the classes."""
    images, _ = shelf.batch(torch.arange(min(len(shelf), 2)))
    if isinstance(network, Decoder):
        if network.classes is not None and network.classes < classes:
            raise StudyError(f"the generator knows {network.classes} classes, but the data has {classes}")
        return
    with network.frozen(), torch.no_grad():
        logits = network(images.to(network.device))
    if logits.shape[1] != classes:
        raise StudyError(
            f"the model gives {logits.shape[1]} logits, but the data has {classes} classes: give it as many outputs"
        )


@contextmanager
def _alone(course: Course, seed: int) -> Iterator[None]:
    """The course's number of threads and generators at a seed; afterwards all as it was."""
    device = torch.device(course.device)
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)  # dropout draws from it
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)
        torch.set_num_threads(course.threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@dataclass
class _Loop:
    recipe: GradientRecipe
    network: Classifier | Decoder
    module: nn.Module
    shelf: Shelf
    held: Shelf | None
    course: Course
    checkpoint: Checkpoint | None
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        recipe, count = self.recipe, len(self.shelf)
        self.draws = torch.Generator().manual_seed(recipe.seed)
        self.steps = max(1, -(-count // recipe.batch) - (count % recipe.batch == 1))
        self.optimizer = optimizer_of(recipe, self.module)
        self.rate = rate_of(recipe, self.optimizer, self.steps)
        self.saved = time.monotonic()

    def run(self) -> None:
        """All epochs that are left."""
        self._resume()
        done = self.progress.epoch * self.steps + self.progress.position
        shown = sys.stderr.isatty()
        total = self.recipe.epochs * self.steps
        bar = click.progressbar(length=total, label="training", file=sys.stderr) if shown else nullcontext()
        with bar as ticking:
            if ticking is not None:
                ticking.update(done)
            while self.progress.epoch < self.recipe.epochs:
                self._epoch(ticking.update if ticking is not None else lambda n: None)

    def _epoch(self, tick: Callable[[int], None]) -> None:
        progress = self.progress
        if not len(progress.order):
            progress.order = torch.randperm(len(self.shelf), generator=self.draws)
        self.module.train()
        # A last batch of one is left out: its statistics, which some layers train on, would be nothing.
        for rows in progress.order.split(self.recipe.batch)[progress.position : self.steps]:
            begin = time.monotonic()
            progress.total += self._step(rows)
            progress.position += 1
            progress.seconds += time.monotonic() - begin
            tick(1)
            if self._due() and progress.position < self.steps:
                self._save()
        mark = self._mark()
        progress.history.append(mark)
        progress.epoch, progress.position, progress.total = progress.epoch + 1, 0, 0.0
        progress.order = progress.order[:0]
        if self.course.each_epoch or self._due():
            self._save()
        self.course.marked(mark)

    def _step(self, rows: Tensor) -> float:
        from classrob.training.gradient import Step

        progress, device = self.progress, self.course.device
        images, labels = (part.to(device) for part in self.shelf.batch(rows))
        epoch = progress.epoch + progress.position / self.steps
        images = augmented(self.recipe, images, self.draws)
        loss = self.recipe.loss(Step(self.module, images, labels, self.draws, epoch, progress.memory))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ClassrobError(
                f"the loss is {value} in epoch {progress.epoch + 1}: start anew with a smaller `lr`"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.rate.step()
        return value

    def _mark(self) -> Mark:
        progress = self.progress
        values = {"loss": progress.total / self.steps, "rate": self.optimizer.param_groups[0]["lr"]}
        if self.held is not None:
            values |= self._measured(self.held)
        return Mark(progress.epoch + 1, progress.seconds, {**values, **progress.memory})

    def _measured(self, held: Shelf) -> dict[str, float]:
        """Means over the images that are kept apart."""
        total: dict[str, float] = {}
        with self.network.frozen(), torch.no_grad():
            for rows in torch.arange(len(held)).split(256):
                images, labels = (part.to(self.course.device) for part in held.batch(rows))
                for name, values in self.recipe.held(self.network, images, labels).items():
                    total[name] = total.get(name, 0.0) + float(values.sum())
        return {f"held-out {name}": value / len(held) for name, value in total.items()}

    def _due(self) -> bool:
        return time.monotonic() - self.saved > self.course.interval

    def _save(self) -> None:
        if self.checkpoint is not None:
            self.checkpoint.save(self.progress, self._states())
        self.saved = time.monotonic()

    def _states(self) -> Mapping[str, Mapping[str, Any]]:
        generators = {"draws": self.draws.get_state(), "torch": torch.get_rng_state()}
        if (device := torch.device(self.course.device)).type == "cuda":
            generators["cuda"] = torch.cuda.get_rng_state(device)
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rate": self.rate.state_dict(),
            "generators": generators,
        }

    def _resume(self) -> None:
        found = None if self.checkpoint is None else self.checkpoint.load()
        if found is None:
            return
        self.progress, states = found
        self.module.load_state_dict(states["module"])
        self.optimizer.load_state_dict(states["optimizer"])
        self.rate.load_state_dict(states["rate"])
        self.draws.set_state(states["generators"]["draws"])
        torch.set_rng_state(states["generators"]["torch"])
        if "cuda" in states["generators"]:
            torch.cuda.set_rng_state(states["generators"]["cuda"], torch.device(self.course.device))
