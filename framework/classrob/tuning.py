"""How a model runs fastest here: how many rows a pass takes, and on how many threads.

Small networks run no faster on several threads, and far slower when the processor has other work, since
the threads wait for each other. Small batches stay in the processor's cache, large ones share the cost of
calling an operation. So a gradient is timed, once a model and process. Neither choice changes a row.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from classrob.convolutions import LeanConvolutions
from classrob.errors import StudyError
from classrob.heap import keep_freed_memory
from classrob.live import REST, ROWS, Classifier

#: Several threads must take at most this share of the time of one, a larger batch of that of a smaller.
WORTH, LARGER = 0.75, 0.94

#: Seconds of a step of a search that are its own, however many rows it has; a larger batch takes fewer steps.
STEP = 2e-3

#: Batch sizes that are tried, on a processor and on an accelerator.
SIZES = {"cpu": (16, 32, 64, 128, 256), "other": (64, 128, 256, 512, 1024)}

#: The channels go innermost where a convolution's result has so many positions; smaller maps gain nothing.
POSITIONS = 512

#: Two gradients that differ by this share, or less, differ by rounding.
SAME = 1e-3

#: How often each is tried.
ROUNDS = 3

#: No batch larger than what took so many seconds is tried, nor one with more numbers in its images.
PATIENCE, NUMBERS = 0.5, 2**25


@dataclass(frozen=True)
class Tuning:
    """What was found, and how a search lays its images out; the store keeps it with each shard.

    `rest` is how many rows more go along in one call, where nobody has named the size. `microseconds` is what a
    gradient of one image took, at this batch size and on these threads.
    """

    batch_size: int
    rest: int
    threads: int
    channels_last: bool
    lean: bool
    microseconds: float

    def as_dict(self) -> dict[str, int | bool | float]:
        """As plain data."""
        return asdict(self)

    def halved(self) -> Tuning:
        """With half the rows a call, and no rest."""
        return replace(self, batch_size=max(ROWS, self.batch_size // 2), rest=0)

    def onto(self, classifier: Classifier) -> None:
        """Let a classifier run so."""
        classifier.batch_size, classifier.rest = self.batch_size, self.rest
        classifier.channels_last, classifier.lean = self.channels_last, self.lean


def tuned(classifier: Classifier, images: Tensor, batch_size: int | None) -> Tuning:
    """Time gradients of a frozen classifier at some images [n, c, h, w]; a given batch size is kept."""
    keep_freed_memory()
    classifier = replace(classifier, channels_last=_innermost(classifier, images))
    classifier.lean = _lean(classifier, images)
    kind = "cpu" if images.device.type == "cpu" else "other"
    sizes = SIZES[kind] if batch_size is None else (batch_size,)
    largest = max(sizes[0], NUMBERS // max(1, images[0].numel()))
    fastest: dict[int, float] = {}
    for _ in range(ROUNDS):  # in turn, so that a moment in which the processor is busy hits all sizes alike
        for size in (size for size in sizes if size <= largest):
            try:
                seconds = _seconds(classifier, images, size)
            except torch.OutOfMemoryError:
                if size == sizes[0] and size > ROWS:
                    return tuned(classifier, images, max(ROWS, size // 2))
                largest = size - 1
                break
            fastest[size] = min(seconds / size, fastest.get(size, torch.inf))
            if seconds > PATIENCE:
                largest = size
                break
    best = sizes[0]
    for size, seconds in fastest.items():
        if seconds + STEP / size <= LARGER * (fastest[best] + STEP / best):
            best = size
    each = fastest[best]
    threads = most = torch.get_num_threads()
    if most > 1 and kind == "cpu":
        with limited(1):
            alone = min(_seconds(classifier, images, best) for _ in range(ROUNDS)) / best
        if each > WORTH * alone:
            threads, each = 1, alone
    rest = 0 if batch_size is not None else int(REST * best)
    return Tuning(best, rest, threads, classifier.channels_last, classifier.lean, round(1e6 * each, 2))


def _innermost(classifier: Classifier, images: Tensor) -> bool:
    """Do the channels go innermost? Where that pays, and the model takes it.

    By a rule and not a probe, since a sum in another order rounds otherwise and rows must repeat.
    """
    if images.device.type != "cpu":
        return False
    try:
        with torch.no_grad(), _Convolutions() as seen:
            classifier(images[:1])
        if pays := seen.positions >= POSITIONS:
            with torch.no_grad():
                replace(classifier, channels_last=True, _twins={}).twin()(images[:1])
    except StudyError:
        return False  # it views an activation as rows of numbers; or its own form fails too, and says so next
    return pays


def _lean(classifier: Classifier, images: Tensor) -> bool:
    """Do convolutions go faster ways? Where it has such, and what comes out is the same."""
    some, found = images[:1].clone().requires_grad_(), list[tuple[Tensor, Tensor]]()
    lean = LeanConvolutions()

    def told(model: Classifier) -> bool:
        logits = model(some)
        if logits.requires_grad:
            found.append((logits.detach(), torch.autograd.grad(logits.amax(1).sum(), some)[0]))
        return logits.requires_grad

    try:
        if not told(classifier):
            return False
        with lean:
            told(classifier)
        if not lean.seen or not told(replace(classifier, lean=True).twin()):
            return False
    except (StudyError, RuntimeError):  # a way that knows no such call; or it has no gradient at all
        return False
    plain, *others = found
    return all(
        bool((one - here).norm() <= SAME * one.norm())
        for other in others
        for one, here in zip(plain, other, strict=True)
    )


class _Convolutions(TorchFunctionMode):
    """Watches how many positions the largest result of a convolution has.

    A mode of functions, since one of dispatch would import torch's compiler, for a second of every run.
    """

    positions = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (F.conv1d, F.conv2d, F.conv3d):
            self.positions = max(self.positions, result.shape[2:].numel())
        return result


def _seconds(classifier: Classifier, images: Tensor, size: int) -> float:
    """The second of two gradients of a batch; the first is a warm-up."""
    batch = images.repeat(-(-size // len(images)), 1, 1, 1)[:size]
    search = replace(classifier.twin(), batch_size=size)
    seconds = 0.0
    for _ in range(2):
        begin = time.perf_counter()
        x = batch.clone().requires_grad_()
        if (logits := search(x)).requires_grad:  # a model that lets no gradient through is timed forwards
            torch.autograd.grad(logits.sum(), x)
        if x.device.type == "cuda":
            torch.cuda.synchronize(x.device)
        seconds = time.perf_counter() - begin
    return seconds


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """That many threads inside, as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
