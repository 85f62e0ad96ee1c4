"""What a recipe promises: to train, the same way every time, and to leave the program's randomness alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from classrob.live import Classifier
from classrob.testing.subject import Subject
from classrob.testing.tiny import CLASSES, Quarters
from classrob.testing.verdict import ensure


def trains(subject: Subject) -> None:
    """On four easy classes it ends better than chance, with one finite logit a class."""
    classifier = _trained(subject)
    batch, _ = Quarters().open().read(range(len(Quarters().open())), classifier.fit)
    assert batch is not None
    with classifier.frozen(), torch.no_grad():
        logits = classifier(batch.images)
    ensure(logits.shape[1] == len(CLASSES), f"it gives {logits.shape[1]} logits for {len(CLASSES)} classes")
    ensure(bool(logits.isfinite().all()), "its logits are not finite")
    right = float((logits.argmax(1) == batch.labels).float().mean())
    ensure(right >= 0.4, f"after training {right:.0%} of the training samples are right, and chance is 25%")


def repeats_itself(subject: Subject) -> None:
    """The same fields give the same weights, whatever the state of torch's and NumPy's own generators."""
    with _generators(1234):
        first = _weights(_trained(subject))
    with _generators(4321):
        second = _weights(_trained(subject))
    ensure(first.keys() == second.keys(), "trained twice, the networks differ in their layers")
    apart = [name for name, weight in first.items() if not torch.equal(weight, second[name])]
    ensure(not apart, f"trained twice, weight '{apart[0] if apart else ''}' and others differ")


def leaves_the_generators_alone(subject: Subject) -> None:
    """The global generators of torch, NumPy and Python are afterwards as they were."""
    with _generators(1234):
        before = _states()
        _trained(subject)
        moved = [name for name, state in _states().items() if state != before[name]]
    ensure(not moved, f"it moves the global generator of {', '.join(moved)}: take one of its own, or fork it")


@contextmanager
def _generators(seed: int) -> Iterator[None]:
    """The global generators at a seed that nobody else would choose, and afterwards as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _states() -> dict[str, str]:
    return {
        "torch": str(torch.get_rng_state().tolist()),
        "NumPy": str(
            [part if np.isscalar(part) else np.asarray(part).tolist() for part in np.random.get_state()]
        ),
        "Python": str(random.getstate()),
    }


def _trained(subject: Subject) -> Classifier:
    return subject.part.train(Quarters(), "cpu")


def _weights(classifier: Classifier) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in classifier.module.state_dict().items()}


CHECKS = (trains, repeats_itself, leaves_the_generators_alone)
