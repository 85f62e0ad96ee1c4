"""What a probe promises: finite numbers for every image, each of that image alone, and no trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from classrob.catalog import Catalog
from classrob.errors import ClassrobError, NotObservable
from classrob.images import Fit
from classrob.live import Batch, Classifier
from classrob.observing import checked, observed
from classrob.parts import Probe
from classrob.space import Telling
from classrob.streams import Streams
from classrob.testing.arena import CHANNELS, SIDE, linear, network
from classrob.testing.subject import Subject
from classrob.testing.trace import Trace, tensors_of
from classrob.testing.verdict import Skipped, ensure

#: How many images are observed, and how far numbers may lie apart that differ by rounding, to the largest.
COUNT, ROUNDING = 12, 2e-3

#: The images of a subject: their name, the model, the batch, and the judged images.
Scene = tuple[str, Classifier, Batch, Tensor]


def records_numbers_of_every_image(subject: Subject) -> None:
    """Columns are float16 or float32, finite, one row an image; also for one image, and for no change at all."""
    for name, classifier, batch, image in _scenes(subject.part):
        for rows, seen in ((slice(None), image), (slice(3, 4), image), (slice(None), batch.images)):
            part = batch.select(torch.arange(COUNT)[rows])
            columns = _observed(subject.part, name, classifier, part, seen[rows])
            ensure(bool(columns), f"of the kit's {name} network it records no column")
            ensure(
                all(len(value) for value in columns.values()),
                f"of the kit's {name} network it records a column without rows",
            )
            ensure(
                subject.part.constant <= columns.keys(),
                f"`constant` names {', '.join(sorted(subject.part.constant))}, recorded is {', '.join(columns)}",
            )


def keeps_its_columns(subject: Subject) -> None:
    """Names, types and widths are the same for other images of the same model, and constants are the same too."""
    for name, classifier, batch, image in _scenes(subject.part):
        whole = _observed(subject.part, name, classifier, batch, image)
        few = _observed(subject.part, name, classifier, batch.select(torch.arange(2)), batch.images[:2])
        kinds = [{n: (v.dtype, v.shape[1:]) for n, v in columns.items()} for columns in (whole, few)]
        ensure(kinds[0] == kinds[1], f"of the kit's {name} network its columns change with the images")
        for column in subject.part.constant & whole.keys():
            ensure(
                torch.equal(whole[column], few[column]),
                f"column '{column}' is in `constant`, but changes with the images",
            )


def repeats_itself(subject: Subject) -> None:
    """The same images give the same numbers."""
    for name, classifier, batch, image in _scenes(subject.part):
        one, other = (_observed(subject.part, name, classifier, batch, image) for _ in range(2))
        for column in one:
            ensure(torch.equal(one[column], other[column]), f"column '{column}' differs the second time")


def treats_each_image_alone(subject: Subject) -> None:
    """An image's numbers depend neither on the other images nor on their order."""
    for name, classifier, batch, image in _scenes(subject.part):
        whole = _observed(subject.part, name, classifier, batch, image)
        for order in (torch.arange(COUNT).flip(0), torch.tensor([5])):
            some = _observed(subject.part, name, classifier, batch.select(order), image[order])
            for column in whole.keys() - subject.part.constant:
                far = (some[column].float() - whole[column][order].float()).abs().max()
                ensure(
                    float(far) <= ROUNDING * (1 + float(whole[column].float().abs().max())),
                    f"column '{column}' of an image changes with the images beside it",
                )


def leaves_no_trace(subject: Subject) -> None:
    """Inputs, weights, buffers, mode, requires_grad and .grad are afterwards as they were."""
    for name, classifier, batch, image in _scenes(subject.part):
        with classifier.frozen():
            trace = Trace.of(classifier.module, tensors_of(batch=batch, rendered=image))
            with torch.no_grad():
                subject.part.observe(classifier, batch, image)
            trace.ensure_unchanged(f"of the kit's {name} network it changes")


def recorded(catalog: Catalog, ids: Sequence[str]) -> dict[str, tuple[bool, Any, Any]]:
    """What every installed probe and space records of the kit's network: for tables with such columns.

    By column: whether it is of the model, and the numbers of unperturbed and of perturbed images.
    """
    found: dict[str, tuple[bool, Any, Any]] = {}
    _, classifier, batch, image = _scene("small", network, ids)
    for offer in catalog.list("probe"):
        try:
            part: Probe = Subject.of(
                "probe", offer.name, catalog.part_class("probe", offer.name)[0], catalog
            ).part
            clean, moved = (_observed(part, "small", classifier, batch, x) for x in (batch.images, image))
        except (ClassrobError, Skipped):  # which its own checks report
            continue
        for column, value in clean.items():
            found[column] = column in part.constant, value.numpy(), moved[column].numpy()
    return found | _told(catalog, classifier, batch)


def _told(catalog: Catalog, classifier: Classifier, batch: Batch) -> dict[str, tuple[bool, Any, Any]]:
    """What the spaces of installed threats tell of centres, and of random points."""
    found: dict[str, tuple[bool, Any, Any]] = {}
    streams = Streams.keyed(0, "kit", list(batch.ids), "told")
    for offer in catalog.list("threat"):
        if offer.component.name == "*":
            continue
        try:
            cls = catalog.part_class("threat", offer.name)[0]
            space = Subject.of("threat", offer.name, cls, catalog).part.open(batch, classifier, streams)
            if not isinstance(space, Telling):
                continue
            with classifier.frozen():
                points = (space.centre(), space.start(streams.fork("start")))
                still, moved = (checked(space.tell(classifier, z), offer.name, len(batch)) for z in points)
        except (ClassrobError, Skipped):  # which its own checks report
            continue
        found |= {column: (False, still[column].numpy(), moved[column].numpy()) for column in still}
    return found


def _observed(
    probe: Probe, name: str, classifier: Classifier, batch: Batch, image: Tensor
) -> dict[str, Tensor]:
    with classifier.frozen(), torch.no_grad():
        return observed(probe, name, classifier, batch, image)


def _scenes(probe: Probe) -> Iterator[Scene]:
    """The kit's networks of which the probe can record something."""
    reason = ""
    for name, make in (("small", network), ("linear", linear)):
        scene = _scene(name, make, [f"kit/{i}" for i in range(COUNT)])
        try:
            _observed(probe, *scene)
        except NotObservable as error:
            reason = str(error)
            continue
        except ClassrobError:  # one that the checks are to find
            pass
        reason = ""
        yield scene
    if reason:
        raise Skipped(f"it can record nothing of the kit's networks: {reason}")


def _scene(name: str, make: Callable[[], torch.nn.Module], ids: Sequence[str]) -> Scene:
    streams = Streams.keyed(0, "kit", list(ids), "observed")
    images = streams.uniform(CHANNELS, SIDE, SIDE)
    image = (images + 0.1 * streams.fork("moved").normal(CHANNELS, SIDE, SIDE)).clamp(0.0, 1.0)
    classifier = Classifier(make(), f"the kit's {name} network", Fit((SIDE, SIDE), CHANNELS))
    labels = torch.arange(len(ids)) % (4 if name == "small" else 2)
    return name, classifier, Batch(tuple(ids), images, labels), image


CHECKS = (
    records_numbers_of_every_image,
    keeps_its_columns,
    repeats_itself,
    treats_each_image_alone,
    leaves_no_trace,
)
