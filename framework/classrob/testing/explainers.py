"""What an explainer promises: a finite map of every image and class, each image's alone, to be differentiated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from classrob.errors import ClassrobError, NotExplainable
from classrob.images import Fit
from classrob.live import Classifier
from classrob.streams import Streams
from classrob.testing.arena import CHANNELS, CLASSES, SIDE, linear, network, pooling
from classrob.testing.subject import Subject
from classrob.testing.trace import Trace, tensors_of
from classrob.testing.verdict import Skipped, ensure

#: How many images are explained, and how far maps may lie apart that differ by rounding, to the largest.
COUNT, ROUNDING = 6, 2e-3
#: How far a map's mean or sum may be off from the logit, to the largest change of a logit.
ADDING = 0.02
#: A step that a slope is compared over, and how far they may be apart, to the larger.
STEP, SLOPE = 1e-3, 0.1

#: A network of the kit by its name, images of it, and a class for each.
Scene = tuple[str, Classifier, Tensor, Tensor]


def maps_every_image(subject: Subject) -> None:
    """A map is float32 [n, c', h', w'] and finite, with gradients on and off, also of one image alone."""
    for name, classifier, images, labels in _scenes(subject):
        whole = _map(subject, classifier, images, labels)
        for rows, what in ((slice(None), f"{len(images)} images"), (slice(2, 3), "one image")):
            map_ = _map(subject, classifier, images[rows], labels[rows])
            lead = f"of the kit's {name} network and {what} the map"
            ensure(isinstance(map_, Tensor), f"{lead} is {type(map_).__name__}, no tensor")
            ensure(map_.dtype == torch.float32, f"{lead} is {map_.dtype}, not float32")
            ensure(
                map_.ndim == 4 and map_.shape == (len(images[rows]), *whole.shape[1:]),
                f"{lead} has the shape {list(map_.shape)}",
            )
            ensure(bool(map_.isfinite().all()), f"{lead} is not finite")
        with classifier.frozen(), torch.enable_grad():
            tracked = subject.part.explain(classifier, images, labels)
        ensure(_close(tracked.detach(), whole), f"of the kit's {name} network it differs with gradients on")


def explains_the_class_asked_for(subject: Subject) -> None:
    """Asked about another class it gives another map."""
    for name, classifier, images, labels in _scenes(subject):
        others = (labels + 1) % (2 if name == "linear" else CLASSES)
        one, other = (_map(subject, classifier, images, asked) for asked in (labels, others))
        ensure(not torch.equal(one, other), f"of the kit's {name} network it has one map for all classes")


def repeats_itself(subject: Subject) -> None:
    """The same images and classes give the same maps."""
    for name, classifier, images, labels in _scenes(subject):
        one, other = (_map(subject, classifier, images, labels) for _ in range(2))
        ensure(torch.equal(one, other), f"of the kit's {name} network the map differs the second time")


def treats_each_image_alone(subject: Subject) -> None:
    """An image's map depends neither on the other images nor on their order."""
    for name, classifier, images, labels in _scenes(subject):
        whole = _map(subject, classifier, images, labels)
        for order in (torch.arange(COUNT).flip(0), torch.tensor([4])):
            some = _map(subject, classifier, images[order], labels[order])
            ensure(
                _close(some, whole[order]),
                f"of the kit's {name} network an image's map changes with the images beside it",
            )


def adds_up_as_it_says(subject: Subject) -> None:
    """Where it says that maps add up to the logit, they change as the logit does from one image to another."""
    how = subject.part.adds_up
    if how is None:
        raise Skipped("it does not say that its maps add up to the logit")
    for name, classifier, images, labels in _scenes(subject):
        labels = labels[:1].expand(len(images))
        map_ = _map(subject, classifier, images, labels).flatten(1)
        added = map_.mean(1) if how == "mean" else map_.sum(1)
        with classifier.frozen(), torch.no_grad():
            logit = classifier(images).gather(1, labels[:, None])[:, 0]
        off = ((added - added[0]) - (logit - logit[0])).abs().max()
        ensure(
            float(off) <= ADDING * float((logit - logit[0]).abs().max()),
            f"of the kit's {name} network the {how} of its map is off from the logit's change by {float(off):.3g}",
        )


def can_be_differentiated(subject: Subject) -> None:
    """Where it says so, the map's slope in the images is its rate of change, and one in the weights is there."""
    if not subject.part.differentiable:
        raise Skipped("it does not say that its map can be differentiated")
    for name, classifier, images, labels in _scenes(subject):
        if name == "linear":  # whose map is most often the same for every image
            continue
        lead = f"of the kit's {name} network the map"
        weights = list(classifier.module.parameters())
        x = images.clone().requires_grad_()
        with torch.enable_grad(), _trained(classifier):
            map_ = subject.part.explain(classifier, x, labels)
            ensure(map_.requires_grad, f"{lead} is attached to no graph")
            ways = Streams.keyed(0, "kit", [name], "map").normal(*map_.shape)[0]
            slopes = torch.autograd.grad((ways * map_).sum(), [x, *weights], allow_unused=True)
        in_images, *in_weights = slopes
        ensure(
            in_images is not None and bool(in_images.isfinite().all()), f"{lead} has no finite slope in it"
        )
        ensure(
            any(one is not None and bool(one.any()) for one in in_weights), f"{lead} has no slope in a weight"
        )
        assert in_images is not None
        step = STEP * in_images / in_images.norm().clamp_min(1e-20)
        ends = [(ways * _map(subject, classifier, images + sign * step, labels)).sum() for sign in (1, -1)]
        rate, said = float(ends[0] - ends[1]) / 2, float((in_images * step).sum())
        ensure(
            abs(rate - said) <= SLOPE * max(abs(rate), abs(said)),
            f"{lead} changes by {rate:.4g} where its slope says {said:.4g}",
        )


def leaves_no_trace(subject: Subject) -> None:
    """Inputs, weights, buffers, mode, requires_grad and .grad are afterwards as they were."""
    for name, classifier, images, labels in _scenes(subject):
        with classifier.frozen():
            trace = Trace.of(classifier.module, tensors_of(images=images, labels=labels))
            with torch.no_grad():
                subject.part.explain(classifier, images, labels)
            trace.ensure_unchanged(f"of the kit's {name} network it changes")


@contextmanager
def _trained(classifier: Classifier) -> Iterator[None]:
    """Eval mode with weights that have slopes: as where a map is trained."""
    with classifier.frozen():
        for weight in classifier.module.parameters():
            weight.requires_grad_(True)
        yield


def _map(subject: Subject, classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    with classifier.frozen(), torch.no_grad():
        return subject.part.explain(classifier, images, labels)


def _close(one: Tensor, other: Tensor) -> bool:
    return float((one - other).abs().max()) <= ROUNDING * float(other.abs().max().clamp_min(1e-20))


def _scenes(subject: Subject) -> Iterator[Scene]:
    """The kit's networks of which the explainer has a map."""
    reason, explained = "", False
    for name, make in (("small", network), ("pooling", pooling), ("linear", linear)):
        scene = _scene(name, make())
        try:
            _map(subject, *scene[1:])
        except NotExplainable as error:
            reason = str(error)
            continue
        except ClassrobError:  # one that the checks are to find
            pass
        explained = True
        yield scene
    if not explained:
        raise Skipped(f"it has no map of the kit's networks: {reason}")


def _scene(name: str, module: torch.nn.Module) -> Scene:
    ids = [f"kit/{i}" for i in range(COUNT)]
    images = Streams.keyed(0, "kit", ids, "explained").uniform(CHANNELS, SIDE, SIDE)
    labels = torch.arange(COUNT) % (2 if name == "linear" else CLASSES)
    classifier = Classifier(module, f"the kit's {name} network", Fit((SIDE, SIDE), CHANNELS))
    return name, classifier, images, labels


CHECKS = (
    maps_every_image,
    explains_the_class_asked_for,
    repeats_itself,
    treats_each_image_alone,
    adds_up_as_it_says,
    can_be_differentiated,
    leaves_no_trace,
)
