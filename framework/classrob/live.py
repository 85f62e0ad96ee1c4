"""What holds memory while a shard is computed: a classifier, samples, a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from classrob.convolutions import LeanConvolutions
from classrob.errors import StudyError, one_line
from classrob.images import UNREADABLE, Fit, Picture, tensor_of
from classrob.twin import Twin

if TYPE_CHECKING:
    from classrob.scorer import Scorer

#: The network is always called on a multiple of this many rows. Below it the kernels of a CPU change
#: with the number of rows, and a sample's floating-point result with its neighbours; at it and above
#: the rows of today's kernels do not see each other (tests/host/test_laws.py measures that).
ROWS = 16

#: A rest of images that is at most this share of a batch goes along with the last one.
REST = 1 / 4


@dataclass(frozen=True)
class Batch:
    """Some samples: `ids` n strings, `images` float32 [n, c, h, w] in [0, 1], `labels` int64 [n]."""

    ids: tuple[str, ...]
    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, index: Tensor) -> Batch:
        """Some rows; `index` is int64 (rows may repeat) or bool."""
        rows = index.nonzero()[:, 0] if index.dtype == torch.bool else index
        return Batch(tuple(self.ids[i] for i in rows.tolist()), self.images[rows], self.labels[rows])

    def to(self, device: torch.device | str) -> Batch:
        """The same samples on another device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


class Samples(ABC):
    """An opened data set: a sequence that is read by slices, one image at a time.

    Attributes:
        classes: the class names, in label order.
    """

    classes: Sequence[str]

    @abstractmethod
    def __len__(self) -> int:
        """How many samples there are."""

    @abstractmethod
    def id(self, index: int) -> str:
        """The sample's id: stable over runs, unique in the data set."""

    @abstractmethod
    def label(self, index: int) -> int:
        """The sample's class, an index into `classes`."""

    @abstractmethod
    def picture(self, index: int) -> Picture:
        """The sample's image: a PIL image, uint8 or float [0, 1] array [h, w] or [h, w, c].

        Raises:
            OSError, ValueError: (or another of `images.UNREADABLE`) the image cannot be read; the sample
                becomes a failure, the run goes on.
        """

    def read(self, indices: Sequence[int], fit: Fit) -> tuple[Batch | None, dict[str, str]]:
        """The samples at some indices, as the model wants them, and why others could not be read.

        Returns:
            The batch (None when no image could be read) and {sample id: reason}.

        Raises:
            StudyError: the images are of several shapes, and the model names no input size.
        """
        good: list[tuple[str, Tensor, int]] = []
        broken: dict[str, str] = {}
        for index in indices:
            try:
                good.append((self.id(index), tensor_of(self.picture(index), fit), self.label(index)))
            except UNREADABLE as error:
                broken[self.id(index)] = " ".join(str(error).split())
        if not good:
            return None, broken
        ids, images, labels = zip(*good, strict=True)
        shapes = sorted({tuple(image.shape) for image in images})
        if len(shapes) > 1:
            raise StudyError(
                f"images of different shapes ({shapes[0]}, {shapes[1]}, …) and a model that names no input size: "
                "give the model a `size`"
            )
        return Batch(ids, torch.stack(images), torch.tensor(labels)), broken


@dataclass
class Meter:
    """Counts what each row of a search has cost: forward passes, and backward passes through them.

    `rows` are at work, None all of them; `width` says among how many the model's images are shared out,
    where finished rows still ride along: those are charged nothing.
    """

    forwards: Tensor
    backwards: Tensor
    rows: Tensor | None = None
    width: int | None = None

    @classmethod
    def of(cls, n: int) -> Meter:
        """A meter at zero for n rows."""
        return cls(torch.zeros(n, dtype=torch.int64), torch.zeros(n, dtype=torch.int64))

    def charge(self, counter: Tensor, passes: int) -> None:
        """Charge `passes` images to the rows at work; a search over copies is charged evenly."""
        rows = torch.arange(len(counter)) if self.rows is None else self.rows
        if len(rows):
            each = -(-passes // (len(rows) if self.width is None else self.width))
            counter.index_add_(0, rows, torch.full_like(rows, each))  # a row may be at work several times


class Around(nn.Module):
    """A module without weights of its own that calls another, such as a normalisation."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def bare(module: nn.Module) -> nn.Module:
    """What is inside, once everything around it is taken off: the module whose weights a file holds."""
    while isinstance(module, Around):
        module = module.module
    return module


@contextmanager
def constant(module: nn.Module) -> Iterator[None]:
    """Eval mode and constant weights inside; mode and `requires_grad` as before afterwards."""
    modes = [(one, one.training) for one in module.modules()]
    grads = [(weight, weight.requires_grad) for weight in module.parameters()]
    try:
        module.eval()
        for weight, _ in grads:
            weight.requires_grad_(False)
        yield
    finally:
        for one, training in modes:
            one.training = training
        for weight, required in grads:
            weight.requires_grad_(required)


@dataclass
class Classifier:
    """A model in memory: images float32 [n, c, h, w] in [0, 1] in, logits float32 [n, k] out.

    Normalisation lives inside `module`. Use it inside `with classifier.frozen():`, which evaluates in
    eval mode with constant weights and puts everything back, also after an exception.

    Attributes:
        fit: what images the module takes.
        batch_size: the rows that one call of the module sees.
        rest: so many more go along, rather than have a call of their own.
        channels_last: does a search run faster with the channels innermost?
        lean: do gradients of its convolutions go faster ways?
        meter: where passes are counted, when somebody counts.
        scorer: the detector that an attack is to evade, when it is to evade one.
    """

    module: nn.Module
    name: str = "model"
    fit: Fit = field(default_factory=Fit)
    device: str = "cpu"
    batch_size: int = 64
    rest: int = 0
    channels_last: bool = False
    lean: bool = False
    meter: Meter | None = None
    scorer: Scorer | None = None
    _twins: dict[tuple[str, bool, bool], nn.Module] = field(default_factory=dict, repr=False)

    def twin(self, precision: str = "float32") -> Classifier:
        """The same model in the form that a search runs through fastest; itself where that is its own form.

        A twin differs from the model by rounding, a lot of it in bfloat16. So whatever it says is a
        proposal. It counts on the same meter.
        """
        if precision == "float32" and not self.channels_last and not self.lean:
            return self
        form = precision, self.channels_last, self.lean
        if form not in self._twins:
            self._twins[form] = Twin(self.module, *form)
        return replace(self, module=self._twins[form], lean=False, _twins={})

    @property
    def most(self) -> int:
        """The most rows that one call of the module sees."""
        return self.batch_size + self.rest

    def __call__(self, images: Tensor) -> Tensor:
        """Logits float32 [n, k]; differentiable when gradients are on.

        Raises:
            StudyError: the model raises, or does not return [n, k].
        """
        if len(images) <= self.most:  # splitting, even into one part, would copy the gradient
            logits = self._logits(images)
        else:
            alike = -(-len(images) // -(-len(images) // self.most))
            logits = torch.cat(
                [self._logits(part) for part in images.split(min(self.most, alike + -alike % ROWS))]
            )
        if (meter := self.meter) is not None:
            meter.charge(meter.forwards, len(images))
            if logits.requires_grad:
                logits.register_hook(lambda _: meter.charge(meter.backwards, len(images)))
        return logits

    def _logits(self, images: Tensor) -> Tensor:
        n = len(images)
        if short := -n % ROWS:
            images = torch.cat([images, images[:1].detach().expand(short, *images.shape[1:])])
        try:
            with LeanConvolutions() if self.lean and images.requires_grad else nullcontext():
                logits = self.module(images)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
            raise StudyError(
                f"model '{self.name}' cannot take images of shape {tuple(images.shape[1:])}: {one_line(error)[:200]}"
            ) from error
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
            shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise StudyError(f"model '{self.name}' must return logits [n, classes] for n images, not {shape}")
        return (logits[:n] if short else logits).float()

    @contextmanager
    def facing(self, scorer: Scorer | None) -> Iterator[Self]:
        """With a detector for an attack to evade inside; without one afterwards."""
        try:
            self.scorer = scorer
            yield self
        finally:
            self.scorer = None

    @contextmanager
    def frozen(self) -> Iterator[Self]:
        """Eval mode and constant weights inside; mode and `requires_grad` as before afterwards."""
        with constant(self.module):
            yield self

    def to(self, device: str) -> Classifier:
        """The same model on another device."""
        return replace(self, module=self.module.to(device), device=device, _twins={})

    @contextmanager
    def learning(self) -> Iterator[nn.Module]:
        """The module to train, inside; in eval mode afterwards."""
        try:
            yield self.module
        finally:
            self.module.eval()
