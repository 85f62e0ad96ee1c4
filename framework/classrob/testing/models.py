"""What a model promises: to be a function of each image alone, differentiable, and unchanged by its use."""

from __future__ import annotations

import itertools
from contextlib import suppress

import torch
from torch import Tensor

from classrob.errors import StudyError
from classrob.live import Classifier
from classrob.streams import Streams
from classrob.testing.fault import Fault, failing
from classrob.testing.subject import Subject
from classrob.testing.trace import Trace
from classrob.testing.verdict import Broken, ensure

#: How many images are shown, and the sides that are tried where the model names none.
COUNT, SIDES = 5, (8, 16, 28, 32, 64, 96, 224)

#: How far logits may lie apart that differ by rounding only, relative to the largest.
ROUNDING = 1e-4


def gives_logits(subject: Subject) -> None:
    """Images float32 [n, c, h, w] in [0, 1] in, finite logits float32 [n, k] out, for two classes or more."""
    classifier, images = _loaded(subject)
    logits = _logits(classifier, images)
    ensure(logits.shape[1] >= 2, f"it gives {logits.shape[1]} logit an image: two classes need two")
    ensure(bool(logits.isfinite().all()), "its logits are not finite")


def evaluates_in_eval_mode(subject: Subject) -> None:
    """Inside `classifier.frozen()` no module is left in train mode."""
    classifier, _ = _loaded(subject)
    with classifier.frozen():
        awake = [name or type(m).__name__ for name, m in classifier.module.named_modules() if m.training]
    ensure(not awake, f"module '{awake[0] if awake else ''}' stays in train mode: does it override `train`?")


def repeats_itself(subject: Subject) -> None:
    """The same images twice give the same logits."""
    classifier, images = _loaded(subject)
    first, second = _logits(classifier, images), _logits(classifier, images)
    ensure(
        _close(first, second), f"the same images give logits {float((first - second).abs().max()):.3g} apart"
    )


def lets_the_gradient_through(subject: Subject) -> None:
    """The logits have a finite gradient in the image that is not zero everywhere."""
    classifier, images = _loaded(subject)
    images = images.clone().requires_grad_()
    with classifier.frozen():
        logits = classifier(images)
        ensure(logits.requires_grad, "its logits are cut off from the image: detached, or made without torch")
        weight = torch.linspace(-1.0, 1.0, logits.shape[1])
        (slope,) = torch.autograd.grad((logits * weight).sum(), images, allow_unused=True)
    slope = torch.zeros_like(images) if slope is None else slope
    ensure(bool(slope.isfinite().all()), "the gradient in the image is not finite")
    ensure(bool((slope != 0).any()), "the gradient in the image is zero everywhere")


def treats_each_image_alone(subject: Subject) -> None:
    """An image's logits depend neither on the other images of the batch nor on their order."""
    classifier, images = _loaded(subject)
    whole = _logits(classifier, images)
    ensure(
        _close(whole, _logits(classifier, images.flip(0)).flip(0)),
        "logits change with the order of the batch",
    )
    alone = torch.cat([_logits(classifier, image[None]) for image in images])
    ensure(
        _close(whole, alone),
        "an image's logits depend on its neighbours: batch norm without running statistics?",
    )


def is_unchanged_by_use(subject: Subject) -> None:
    """Weights, buffers, mode, requires_grad and .grad are after use as they were before."""
    classifier, images = _loaded(subject)
    trace = Trace.of(classifier.module)
    _use(classifier, images)
    trace.ensure_unchanged("use changes")


def is_unchanged_by_a_failure(subject: Subject) -> None:
    """They are as they were, too, after an exception in the middle of a forward pass."""
    classifier, images = _loaded(subject)
    for leaf in [m for m in classifier.module.modules() if not list(m.children())][-3:]:
        trace = Trace.of(classifier.module)
        with failing(leaf, at=1), suppress(Fault):
            _use(classifier, images)
        trace.ensure_unchanged("an exception in its middle leaves changed")


def _loaded(subject: Subject) -> tuple[Classifier, Tensor]:
    """A fresh classifier, and images that it takes: those of its `fit`, or the first of usual ones.

    Raises:
        Broken: it takes none of those that are tried.
    """
    classifier: Classifier = subject.part.load("cpu")
    fit = classifier.fit
    streams = Streams.keyed(0, "kit", [f"kit/{i}" for i in range(COUNT)], "images")
    if fit.size and fit.channels:
        return classifier, streams.uniform(fit.channels, *fit.size)
    sizes = [fit.size] if fit.size else [(side, side) for side in SIDES]
    reason: StudyError | None = None
    for (height, width), channels in itertools.product(sizes, [fit.channels] if fit.channels else [3, 1]):
        images = streams.uniform(channels, height, width)
        try:
            _logits(classifier, images[:1])
        except StudyError as error:
            reason = reason or error
            continue
        return subject.part.load("cpu"), images  # afresh: trying is use
    raise Broken(
        f"it takes no images of the sizes and channels that were tried, so name them in `fit`: {reason}"
    )


def _logits(classifier: Classifier, images: Tensor) -> Tensor:
    with classifier.frozen(), torch.no_grad():
        return classifier(images)


def _use(classifier: Classifier, images: Tensor) -> None:
    images = images.clone().requires_grad_()
    with classifier.frozen():
        logits = classifier(images)
        if logits.requires_grad:
            logits.sum().backward()


def _close(one: Tensor, other: Tensor) -> bool:
    scale = ROUNDING * (1.0 + float(one.abs().max()))
    return one.shape == other.shape and float((one - other).abs().max()) <= scale


CHECKS = (
    gives_logits,
    evaluates_in_eval_mode,
    repeats_itself,
    lets_the_gradient_through,
    treats_each_image_alone,
    is_unchanged_by_use,
    is_unchanged_by_a_failure,
)
