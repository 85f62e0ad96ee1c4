"""The abstract parts: what a plugin can bring to a study, each with one verb.

A part is a frozen value. Its fields are its configuration, its schema and its documentation; with a
digest of its source they are its identity. A class is abstract or final: fields and verb live in one
class, and no method with a body is overridden.
"""

from __future__ import annotations

import collections.abc
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from classrob.fields import Budgets

if TYPE_CHECKING:
    from torch import Tensor

    from classrob.decoder import Decoder
    from classrob.live import Batch, Classifier, Samples
    from classrob.records import Outcome, Shard
    from classrob.scorer import Reference, Scorer
    from classrob.space import Space
    from classrob.streams import Streams
    from classrob.table import Score, Table
    from classrob.training.course import Course, Trained
    from classrob.worker import Worker

#: What an attack may look at.
Need = Literal["labels", "logits", "gradients", "pixels", "detector"]


class Part(BaseModel, ABC):
    """A frozen value with one verb; the docstring's first line is its summary."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    #: Fields that choose what is computed but change no result, so they are no part of the identity.
    passive: ClassVar[frozenset[str]] = frozenset()

    def ingredients(self) -> Mapping[str, str]:
        """What else the result depends on beside fields, files and source, such as a version."""
        return {}

    @classmethod
    def members(cls) -> Iterable[str]:
        """The names of a family (a component called `*`), for `classrob list`."""
        return ()

    @classmethod
    def member(cls, name: str) -> type[Part]:
        """The class of a family's member, for families whose members have fields of their own.

        Raises:
            StudyError: the family has no such member.
        """
        return cls


class Trainable(Part):
    """A part with a network that a recipe can train: a model, or a generator."""

    #: The field that names the file of its weights; a part without one cannot be trained.
    weights_in: ClassVar[str | None] = None

    def suited(self, shape: tuple[int, int, int], classes: int, seed: int) -> Self:
        """The same architecture for images [channels, height, width] and so many classes, to be trained.

        Fields that were given stay; first weights are drawn from the seed. The default changes nothing."""
        return self

    @abstractmethod
    def load(self, device: str) -> Classifier | Decoder:
        """The network in memory, on a device."""


class Model(Trainable):
    """A classifier that can be brought into memory."""

    @abstractmethod
    def load(self, device: str) -> Classifier:
        """The classifier on a device, its module as its maker left it (mode included).

        Raises:
            StudyError: a file is missing, holds code, or does not suit the architecture.
        """


class Dataset(Part):
    """Labelled images.

    `classes` lists the classes in label order where the data brings no names of its own; where it
    does, a list of some of its names keeps only those.
    """

    passive = frozenset({"limit", "stratify", "shuffle", "classes"})

    limit: int | None = Field(default=None, ge=1, description="only the first so many samples")
    stratify: bool = Field(default=False, description="with `limit`: the same number of every class")
    shuffle: int | None = Field(
        default=None, ge=0, lt=2**32, description="with `limit`: a random choice by this seed, not the first"
    )
    classes: tuple[str, ...] | None = Field(default=None, description="class names, or the classes to keep")

    @abstractmethod
    def open(self) -> Samples:
        """All samples, before `limit`, `stratify`, `shuffle` and `classes`; must not hold the images in memory."""


class Threat(Part):
    """A parametrised set of images around an image, at one budget or several."""

    #: Does a smaller budget's set lie inside a larger one's? Only then does a sweep carry verdicts over.
    nested: ClassVar[bool] = True
    #: Is `render` the identity plus an offset, so that an attack that needs pixels can work here?
    pixels: ClassVar[bool] = False
    #: Is `render` differentiable in z, so that an attack that needs gradients can work here?
    gradients: ClassVar[bool] = True
    #: The attack where the study names none.
    default_attack: ClassVar[str] = "none"

    budgets: Budgets = Field(
        description="ascending, in the threat's unit; numbers or fractions such as '8/255'"
    )

    @abstractmethod
    def open(self, batch: Batch, classifier: Classifier, streams: Streams) -> Space:
        """The search space around each image, at the largest budget."""

    def searched_by(self, attack: Attack) -> Attack:
        """The attack as it searches this threat; the default is the attack itself.

        Raises:
            StudyError: it cannot.
        """
        return attack


class Attack(Part):
    """A search for a misclassified image in a space. It proposes; the judge decides."""

    #: What the search looks at, `pixels` for `batch.images`; it is offered only where that exists, and held to it
    #: by the kit. `detector`: it searches once against each detector of the study, which is `classifier.scorer`.
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "logits", "gradients"})
    #: Does `search` take any number of rows and batch them itself? Else it gets a batch at a time.
    batches_itself: ClassVar[bool] = False
    #: Does it look for misclassified images? Where it looks for something else, every budget is searched alone.
    seeks_errors: ClassVar[bool] = True

    @abstractmethod
    def search(
        self, classifier: Classifier, space: Space, batch: Batch, streams: Streams, start: Tensor | None
    ) -> Tensor:
        """One proposal z a sample, [n, …]; it need not be inside the budget.

        `space.budget` [n] holds each sample's budget. `start` is where an earlier search of the same samples ended,
        at a larger budget and now drawn inside this one; None, or the centre, at the first.
        """


class Certifier(Part):
    """A proof, for some samples, that no attack can break them within a budget."""

    @abstractmethod
    def certify(self, classifier: Classifier, space: Space, batch: Batch) -> Tensor:
        """bool [n]: True where no image of the space within its budget is misclassified.

        False says nothing. `space.budget` [n] holds each sample's budget.

        Raises:
            NotCertifiable: it can prove nothing about such a model, or in such a space.
        """


class Probe(Part):
    """What to record of an image beyond its verdict, such as the features that the model sees in it."""

    #: Columns that are of the model and not of an image: a row a class, the same for whatever images.
    constant: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def observe(self, classifier: Classifier, batch: Batch, rendered: Tensor) -> Mapping[str, Tensor]:
        """Columns by name, float32 or float16, [n] or [n, d]; those of `constant` [k] or [k, d].

        `rendered` float32 [n, c, h, w] are the judged images; they are `batch.images` where nothing was
        perturbed. The names and widths are the same for whatever images of a model. A float16 column is
        kept at that precision.

        Raises:
            NotObservable: it finds nothing to record in such a model.
        """


class Detector(Part):
    """A way to tell images that a model's prediction should not be trusted on."""

    @abstractmethod
    def fit(self, classifier: Classifier, reference: Reference) -> Scorer:
        """What scores images, fitted on reference images and, where there are any, on outliers.

        The same reference gives the same scores; random draws come from `reference.streams`.

        Raises:
            NotObservable: it finds nothing to work with in such a model; the text says why.
            StudyError: the reference does not suffice, or a field does not suit the model.
        """


class Explainer(Part):
    """What in an image speaks for a class, as a map over the image."""

    #: Can a map be differentiated in the images and in the weights? Only then can it be trained or attacked.
    differentiable: ClassVar[bool] = True
    #: What a map of a class adds up to its logit by, up to a constant of the class: the mean or the sum over it.
    adds_up: ClassVar[Literal["mean", "sum"] | None] = None
    #: Is a map a change of the image, so that a picture shows it added to the image?
    changes_images: ClassVar[bool] = False

    @abstractmethod
    def explain(self, classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """Maps float32 [n, c', h', w'] of images float32 [n, c, h, w] in [0, 1], one for each class of `labels`.

        `labels` is int64 [n]; an image may be there several times, once for each class that is asked about.
        Works without gradients too; the map is attached to a graph where gradients are on and the images,
        or weights of the model, ask for one.

        Raises:
            NotExplainable: it has no map of such a model.
        """


class Metric(Part):
    """Rows of scores from rows of records."""

    #: `budget`: computed at each budget alone. `sweep`: computed once from all budgets. `model`: computed once
    #: from all conditions of a model on a data set; the table then has the columns threat and attack.
    #: `detector`: computed at each budget for each detector that judged it; both tables then have the column
    #: suspicion, and a table of images of another data set has the label −1.
    scope: ClassVar[Literal["budget", "sweep", "model", "detector"]] = "budget"
    #: The columns it reads; where one is not there, as without the probe that records it, nothing is computed.
    columns: ClassVar[frozenset[str]] = frozenset({"label", "predicted"})

    def check(self, classes: Sequence[str]) -> None:
        """Called when a run is planned, with the names of a data set's classes; the default takes any.

        Raises:
            StudyError: the fields do not suit these classes.
        """

    @abstractmethod
    def compute(self, table: Table, clean: Table) -> Iterable[Score]:
        """Scores of what the scope says, many best as a `Columnar`; `clean` is the same without a threat."""


class Generator(Trainable):
    """A generative model of images, which makes an image of a code and a class."""

    @abstractmethod
    def load(self, device: str) -> Decoder:
        """The generator on a device; the same fields give the same images.

        Raises:
            StudyError: a file is missing, holds code, or does not suit the architecture; a library is missing.
        """


class Recipe(Part):
    """A way to train a network, from fresh weights or from those that it has."""

    #: The kind of part that it trains.
    trains: ClassVar[Literal["model", "generator"]] = "model"
    #: The part that `classrob train` takes where none is named.
    usual: ClassVar[str] = "cnn"

    def threats(self, shape: tuple[int, int, int]) -> Sequence[Mapping[str, Any]]:
        """The threats it trains against, as tables of a study, for images [channels, height, width]."""
        return ()

    @abstractmethod
    def train(self, model: Trainable, dataset: Dataset, course: Course) -> Trained:
        """Train the part's network, `suited` to the data, on all samples; the same fields give the same weights.

        Raises:
            StudyError: an image cannot be read, or model and data do not suit each other.
        """


class Executor(Part):
    """Where shards are computed."""

    @abstractmethod
    def run(self, worker: Worker, shards: Iterable[Shard]) -> collections.abc.Generator[Outcome, None, None]:
        """The outcome of every shard, in any order, as they finish.

        A shard that fails is an outcome too (`worker.work` never raises for one). Closing the iterator
        stops the work. Only shards, outcomes and the worker's own plain data cross a process boundary.
        """
