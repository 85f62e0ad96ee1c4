"""What a recipe promises: to train, the same way every time, and to leave the program's randomness alone."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from classrob.decoder import Decoder
from classrob.live import Classifier, bare
from classrob.parts import Dataset, Recipe
from classrob.testing.pupil import Halves, Pupil
from classrob.testing.subject import Subject
from classrob.testing.tiny import Quarters
from classrob.testing.verdict import ensure
from classrob.training.course import Course, Mark, Trained


def trains(subject: Subject) -> None:
    """On four easy classes it ends better than chance, with one finite logit a class, or makes images of the class."""
    network = _trained(subject).network
    if isinstance(network, Decoder):
        off, spread = _made(network, Quarters())
        ensure(
            off < 0.9 * spread,
            f"after training its images are {off:.2g} off, and the mean image {spread:.2g}",
        )
        return
    logits, labels = _judged(network, Quarters())
    right = float((logits.argmax(1) == labels).float().mean())
    ensure(right >= 0.4, f"after training {right:.0%} of the training samples are right, and chance is 25%")


def takes_other_images(subject: Subject) -> None:
    """It trains on colour images that are not square, in two classes, too."""
    network = _trained(subject, data=Halves()).network
    _made(network, Halves()) if isinstance(network, Decoder) else _judged(network, Halves())


def repeats_itself(subject: Subject) -> None:
    """The same fields give the same weights, whatever the state of torch's and NumPy's own generators."""
    with _generators(1234):
        first = _weights(_trained(subject))
    with _generators(4321):
        second = _weights(_trained(subject))
    _same(first, second, "trained twice")


def resumes(subject: Subject) -> None:
    """Stopped after an epoch and called again in the same folder, it ends with the weights of one training."""
    with _generators(1234):
        whole = _weights(_trained(subject))
    with tempfile.TemporaryDirectory() as folder:
        with _generators(1234), suppress(_Stopped):
            _trained(subject, Course(folder=Path(folder), marked=_stop))
        with _generators(1234):
            resumed = _weights(_trained(subject, Course(folder=Path(folder))))
    _same(whole, resumed, "stopped and resumed")


def can_be_loaded(subject: Subject) -> None:
    """The part that it returns gives the trained network's logits or images, once it has the file of its weights."""
    trained = _trained(subject)
    state = bare(trained.network.module).state_dict()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.safetensors"
        save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, file)
        again = trained.model.model_copy(update={str(trained.model.weights_in): file}).load("cpu")
    apart = float((_answers(again) - _answers(trained.network)).abs().max())
    ensure(
        apart <= 1e-4, f"loaded again, its answers are {apart:.3g} apart: is its network more than its model?"
    )


def leaves_the_generators_alone(subject: Subject) -> None:
    """The global generators of torch, NumPy and Python are afterwards as they were."""
    with _generators(1234):
        before = _states()
        _trained(subject)
        moved = [name for name, state in _states().items() if state != before[name]]
    ensure(not moved, f"it moves the global generator of {', '.join(moved)}: take one of its own, or fork it")


class _Stopped(Exception):
    """What the kit stops a training with."""


def _stop(mark: Mark) -> None:
    raise _Stopped


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


def _trained(subject: Subject, course: Course | None = None, data: Dataset | None = None) -> Trained:
    recipe: Recipe = subject.part
    pupil = Pupil() if recipe.trains == "model" else subject.catalog.make(recipe.trains, recipe.usual, {})
    return recipe.train(pupil, data or Quarters(), course or Course())


def _made(decoder: Decoder, data: Dataset) -> tuple[float, float]:
    """How far a generator's images of codes that are all 0 are off the samples of their class, and the mean image."""
    samples = data.open()
    batch, _ = samples.read(range(len(samples)), decoder.fit)
    assert batch is not None
    with torch.no_grad():
        images = decoder(torch.zeros(len(batch), *decoder.code), batch.labels)
    ensure(images.shape == batch.images.shape, f"it makes images {list(images.shape[1:])}")
    ensure(bool(images.isfinite().all()), "its images are not finite")
    off, spread = ((batch.images - x).square().mean().sqrt() for x in (images, batch.images.mean(0)))
    return float(off), float(spread)


def _answers(network: Classifier | Decoder) -> Tensor:
    """Logits of eight images, or eight images of one code."""
    batch, _ = Quarters().open().read(range(8), network.fit)
    assert batch is not None
    with network.frozen(), torch.no_grad():
        if isinstance(network, Decoder):
            return network(torch.ones(len(batch), *network.code), batch.labels)
        return network(batch.images)


def _judged(classifier: Classifier, data: Dataset) -> tuple[Tensor, Tensor]:
    """Logits and labels of all samples; there is a finite logit a class."""
    samples = data.open()
    batch, _ = samples.read(range(len(samples)), classifier.fit)
    assert batch is not None
    with classifier.frozen(), torch.no_grad():
        logits = classifier(batch.images)
    classes = len(samples.classes)
    ensure(logits.shape[1] == classes, f"it gives {logits.shape[1]} logits for {classes} classes")
    ensure(bool(logits.isfinite().all()), "its logits are not finite")
    return logits, batch.labels


def _weights(trained: Trained) -> dict[str, Tensor]:
    state = trained.network.module.state_dict()
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def _same(first: dict[str, Tensor], second: dict[str, Tensor], how: str) -> None:
    ensure(first.keys() == second.keys(), f"{how}, the networks differ in their layers")
    apart = [name for name, weight in first.items() if not torch.equal(weight, second[name])]
    ensure(not apart, f"{how}, weight '{apart[0] if apart else ''}' and others differ")


CHECKS = (
    trains,
    takes_other_images,
    repeats_itself,
    resumes,
    can_be_loaded,
    leaves_the_generators_alone,
)
