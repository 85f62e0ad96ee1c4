"""What a detector promises: a finite number for every image, that image's own, and no trace of having looked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from classrob.detecting import scored
from classrob.errors import ClassrobError, NotObservable
from classrob.images import Fit
from classrob.live import Batch, Classifier
from classrob.parts import Detector
from classrob.scorer import Reference, Scorer
from classrob.streams import Streams
from classrob.testing.arena import CHANNELS, SIDE, linear, network
from classrob.testing.subject import Subject
from classrob.testing.trace import Trace, tensors_of
from classrob.testing.verdict import Skipped, ensure

#: Images of the reference, images that are scored, and how far scores may lie apart that differ by rounding, to
#: the largest.
FITTED, COUNT, ROUNDING = 48, 12, 2e-3


@dataclass(frozen=True)
class Scene:
    """A network, what a detector is fitted on, and the images that it scores."""

    name: str
    classifier: Classifier
    reference: Reference
    images: Tensor

    def fitted(self, detector: Detector) -> Scorer:
        """The detector's scorer, made as the host makes it."""
        with torch.no_grad():
            return detector.fit(self.classifier, self.reference)

    def scores(self, scorer: Scorer, images: Tensor) -> Tensor:
        """What it says, held to the host's own tests."""
        with torch.no_grad():
            return scored(scorer, self.name, images)


def scores_every_image(subject: Subject) -> None:
    """Scores are floats [n], finite, for many images and for one, fitted with outliers and without."""
    for scene in _scenes(subject.part):
        with scene.classifier.frozen():
            scorer = scene.fitted(subject.part)
            ensure(isinstance(scorer, Scorer), f"it returns {type(scorer).__name__}, not a Scorer")
            for images in (scene.images, scene.images[3:4], torch.zeros_like(scene.images[:1])):
                scene.scores(scorer, images)


def fits_the_same_twice(subject: Subject) -> None:
    """Fitted again on the same reference it gives the same scores, also where torch has drawn in between."""
    for scene in _scenes(subject.part):
        with scene.classifier.frozen():
            one = scene.scores(scene.fitted(subject.part), scene.images)
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(1)
                other = scene.scores(scene.fitted(subject.part), scene.images)
        ensure(torch.equal(one, other), f"{scene.name}: its scores differ when it is fitted again")


def repeats_itself(subject: Subject) -> None:
    """The same images get the same scores."""
    for scene in _scenes(subject.part):
        with scene.classifier.frozen():
            scorer = scene.fitted(subject.part)
            one, other = (scene.scores(scorer, scene.images) for _ in range(2))
        ensure(torch.equal(one, other), f"{scene.name}: its scores differ the second time")


def treats_each_image_alone(subject: Subject) -> None:
    """An image's score depends neither on the other images nor on their order."""
    for scene in _scenes(subject.part):
        with scene.classifier.frozen():
            scorer = scene.fitted(subject.part)
            whole = scene.scores(scorer, scene.images)
            for order in (torch.arange(COUNT).flip(0), torch.tensor([5])):
                some = scene.scores(scorer, scene.images[order])
                far = float((some - whole[order]).abs().max())
                ensure(
                    far <= ROUNDING * (1e-3 + float(whole.abs().max())),
                    f"{scene.name}: the score of an image changes with the images beside it",
                )


def leaves_no_trace(subject: Subject) -> None:
    """Reference, images, weights, buffers, mode, requires_grad and .grad are afterwards as they were."""
    for scene in _scenes(subject.part):
        outliers = {f"outliers {name}": batch for name, batch in scene.reference.outliers.items()}
        held = tensors_of(reference=scene.reference.batch, images=scene.images, **outliers)
        with scene.classifier.frozen():
            trace = Trace.of(scene.classifier.module, held)
            scorer = scene.fitted(subject.part)
            trace.ensure_unchanged(f"{scene.name}: fitting changes")
            scene.scores(scorer, scene.images)
            trace.ensure_unchanged(f"{scene.name}: scoring changes")


def _scenes(detector: Detector) -> Iterator[Scene]:
    """The kit's networks with which the detector can work, with and without outliers."""
    reason = ""
    for name, module, classes in (("small", network(), 4), ("linear", linear(), 2)):
        ids = [f"kit/{i}" for i in range(FITTED)]
        streams = Streams.keyed(0, "kit", ids, "reference")
        images = streams.uniform(CHANNELS, SIDE, SIDE)
        classifier = Classifier(module, f"the kit's {name} network", Fit((SIDE, SIDE), CHANNELS))
        batch = Batch(tuple(ids), images, torch.arange(FITTED) % classes)
        changed = (images + 0.3 * streams.fork("outliers").normal(CHANNELS, SIDE, SIDE)).clamp(0.0, 1.0)
        fresh = Streams.keyed(0, "kit", [f"kit/fresh/{i}" for i in range(COUNT)], "fresh")
        shown = fresh.uniform(CHANNELS, SIDE, SIDE)
        for what, outliers in (
            ("", {}),
            (", with outliers", {"changed": Batch(batch.ids, changed, batch.labels)}),
        ):
            scene = Scene(
                f"the kit's {name} network{what}", classifier, Reference(batch, outliers, streams), shown
            )
            try:
                with classifier.frozen():
                    scene.fitted(detector)
            except NotObservable as error:
                reason = str(error)
                continue
            except (ClassrobError, RuntimeError):  # which the checks are to find
                pass
            reason = "-"
            yield scene
    if reason not in ("", "-"):
        raise Skipped(f"it finds nothing to work with in the kit's networks: {reason}")


CHECKS = (
    scores_every_image,
    fits_the_same_twice,
    repeats_itself,
    treats_each_image_alone,
    leaves_no_trace,
)
