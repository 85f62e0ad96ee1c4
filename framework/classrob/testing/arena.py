"""Where attacks are tried and spaces opened: a small fixed network, twelve images, every space there is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor, nn

from classrob.catalog import Catalog
from classrob.errors import ClassrobError, StudyError
from classrob.images import Fit
from classrob.judge import admitted
from classrob.live import Batch, Classifier
from classrob.parts import Attack, Threat
from classrob.scorer import Scorer
from classrob.space import Space
from classrob.streams import Streams
from classrob.testing.fair import abridged, refused
from classrob.testing.subject import Subject

#: Images, channels, side and classes of everything that is tried here.
COUNT, CHANNELS, SIDE, CLASSES = 12, 3, 8, 4
IDS = tuple(f"kit/{i}" for i in range(COUNT))


@final
@dataclass(frozen=True)
class Tint(Space):
    """Contrast and brightness: a space of two numbers an image, which no pixel attack can search."""

    untinted: Tensor

    def centre(self) -> Tensor:
        """Contrast and brightness as they are."""
        return self.untinted.new_zeros(len(self.untinted), 2)

    def start(self, streams: Streams) -> Tensor:
        """Random in the disc."""
        return self.project(self.budget[:, None] * (2.0 * streams.uniform(2) - 1.0))

    def project(self, z: Tensor) -> Tensor:
        """Radially into the disc."""
        return z * (self.budget / self.distance(z).clamp_min(1e-20)).clamp(max=1.0)[:, None]

    def render(self, z: Tensor) -> Tensor:
        """The image at another contrast and brightness, cut to the box."""
        contrast, brightness = z[:, :, None, None, None].unbind(1)
        return (self.untinted * (1.0 + contrast) + brightness).clamp(0.0, 1.0)

    def distance(self, z: Tensor) -> Tensor:
        """The Euclidean norm of the two numbers."""
        return z.norm(dim=1)

    def steepest(self, slope: Tensor) -> Tensor:
        """The slope at length 1."""
        return slope / slope.norm(dim=1, keepdim=True).clamp_min(1e-20)


@final
@dataclass(frozen=True)
class Doubt(Scorer):
    """The kit's own detector, for attacks that evade one: minus the largest probability."""

    classifier: Classifier

    def score(self, images: Tensor) -> Tensor:
        """Minus the largest probability [n]."""
        return -self.classifier(images).softmax(1).amax(1)


def images() -> Tensor:
    """The twelve images, float32 [n, c, h, w] in [0, 1], black and white pixels among them."""
    draw = Streams.keyed(0, "kit", IDS, "images").uniform(CHANNELS, SIDE, SIDE)
    return (1.4 * draw - 0.2).clamp(0.0, 1.0)


def network() -> nn.Module:
    """A small network that has all that can be disturbed: weights, buffers, and layers with two modes."""
    layers = nn.Sequential(
        nn.Conv2d(CHANNELS, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.GELU(),
        nn.Conv2d(8, 8, 3, stride=2),
        nn.Tanh(),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(72, CLASSES),
    )
    return _drawn(layers, "network")


def pooling() -> nn.Module:
    """A convolutional network whose logits are a linear layer on the mean of features over all places."""
    layers = nn.Sequential(
        nn.Conv2d(CHANNELS, 8, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(8, 12, 3, stride=2),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, CLASSES),
    )
    return _drawn(layers, "pooling")


def linear() -> nn.Module:
    """A linear network, in which the steepest step is the best one."""
    return _drawn(nn.Sequential(nn.Flatten(), nn.Linear(CHANNELS * SIDE * SIDE, 2)), "linear")


def _drawn(module: nn.Module, key: str) -> nn.Module:
    """The module with fixed weights; torch's own generator stays as it is."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            draw = Streams.keyed(0, "kit", [name], key).normal(*weight.shape)[0]
            weight.copy_(draw if weight.ndim == 1 else 2.0 * draw / weight[0].numel() ** 0.5)
    return module


@dataclass(frozen=True)
class Arena:
    """Images, a model and the space around each image, as the host hands them to an attack."""

    name: str
    classifier: Classifier
    batch: Batch
    space: Space
    streams: Streams

    def search(self, attack: Attack, start: Tensor | None = None, batch_size: int = 64) -> Tensor:
        """What the attack proposes, asked for as the host asks, but for the frozen classifier.

        The members of an ensemble walk a few steps only.

        Raises:
            PluginError: it is no tensor of the space's shape.
        """
        self.classifier.batch_size = batch_size
        self.classifier.scorer = Doubt(self.classifier) if "detector" in attack.needs else None
        attack = abridged(attack)
        size = len(self.batch) if attack.batches_itself else batch_size
        found: list[Tensor] = []
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # as a worker does before each shard
            for rows in torch.arange(len(self.batch)).split(size):
                whole = len(rows) == len(self.batch)
                part = self if whole else self.select(rows)
                begin = start if start is None or whole else start[rows]
                z = attack.search(part.classifier, part.space, part.batch, part.streams, begin)
                found.append(admitted(z, part.space, self.name))
        return torch.cat(found)

    def select(self, rows: Tensor) -> Arena:
        """Some of the images."""
        return replace(
            self,
            batch=self.batch.select(rows),
            space=self.space.select(rows),
            streams=self.streams.select(rows),
        )


def arena(threat: Threat | None, name: str, module: nn.Module) -> Arena:
    """The arena of a threat (the kit's own `Tint` for None); ten of the twelve images are predicted right.

    Raises:
        ClassrobError: the threat does not take the kit's images.
    """
    classifier = Classifier(module, "the kit's network", Fit((SIDE, SIDE), CHANNELS))
    pictures = images()
    with classifier.frozen(), torch.no_grad():
        logits = classifier(pictures)
    labels = logits.argmax(1)
    labels[:2] = (labels[:2] + 1) % logits.shape[1]
    batch = Batch(IDS, pictures, labels)
    streams = Streams.keyed(0, "kit", IDS, name)
    if threat is None:
        return Arena(name, classifier, batch, Tint(torch.full((COUNT,), 0.3), pictures.clone()), streams)
    return Arena(name, classifier, batch, threat.open(batch, classifier, streams.fork("threat")), streams)


def arenas(attack: Attack, catalog: Catalog) -> Iterator[Arena]:
    """The kit's own space, then one of every kind that a threat opens and the attack can search.

    Raises:
        StudyError: the attack refuses every space.
    """
    if "pixels" not in attack.needs:
        yield arena(None, "tint", network())
    seen: set[type[Space]] = set()
    refusal: StudyError | None = None
    accepted = "pixels" not in attack.needs
    for name, threat in threats(catalog):
        if "pixels" in attack.needs and not threat.pixels:
            continue
        try:
            found = arena(threat, name, network())
        except ClassrobError:  # the threat does not suit the kit's images, which says nothing of the attack
            continue
        suits = "gradients" not in attack.needs or _differentiable(found.space)
        if suits and type(found.space) not in seen:
            seen.add(type(found.space))
            if error := refused(attack, found):
                refusal = error
                continue
            accepted = True
            yield arena(threat, name, network())  # a fresh one, in which nothing has been tried
    if refusal is not None and not accepted:
        raise refusal


def threats(catalog: Catalog) -> Iterator[tuple[str, Threat]]:
    """Every installed threat that needs no more than budgets, and has some."""
    for offer in catalog.list("threat"):
        if offer.component.name == "*":
            continue
        try:
            cls, _ = catalog.part_class("threat", offer.name)
        except ClassrobError:  # a broken plugin, which its own checks report
            continue
        if {name for name, field in cls.model_fields.items() if field.is_required()} <= {"budgets"}:
            threat: Threat = Subject.of("threat", offer.name, cls, catalog).part
            if threat.budgets:
                yield offer.name, threat


def _differentiable(space: Space) -> bool:
    z = space.centre()
    return z.is_floating_point() and space.render(z.requires_grad_()).requires_grad
