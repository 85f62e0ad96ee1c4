"""Fits detectors, and records how suspicious each finds the images that were judged: a column a detector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from classrob.condition import Condition
from classrob.costs import Costs
from classrob.detection import Detection, Outliers, held
from classrob.errors import PluginError, StudyError
from classrob.identity import digest
from classrob.images import Fit, Picture
from classrob.ledger import Ledger
from classrob.live import Batch, Classifier, Samples
from classrob.observing import packed, seen
from classrob.records import Observation, Record
from classrob.scorer import Reference, Scorer
from classrob.streams import Streams
from classrob.subset import opened
from classrob.sweep import Sweep


@final
@dataclass
class Strange(Samples):
    """The images of another data set, grey or in colour as the judged ones are; no class is theirs.

    Grey is the luma of ITU-R BT.601. `channels` None leaves them as they are.
    """

    whole: Samples
    channels: int | None

    def __post_init__(self) -> None:
        self.classes = self.whole.classes

    def __len__(self) -> int:
        return len(self.whole)

    def id(self, index: int) -> str:
        """The id in its own data set."""
        return self.whole.id(index)

    def label(self, index: int) -> int:
        """−1: it is of no class."""
        return -1

    def picture(self, index: int) -> Picture:
        """The image, in grey where the judged images are."""
        picture = self.whole.picture(index)
        if self.channels != 1:
            return picture
        if isinstance(picture, Image.Image):
            return (
                picture
                if picture.mode in ("L", "1") or picture.mode.startswith("I")
                else picture.convert("L")
            )
        if picture.ndim == 2 or picture.shape[2] == 1:
            return picture
        grey = picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        return np.rint(grey).astype(np.uint8) if picture.dtype == np.uint8 else grey.clip(0.0, 1.0)


#: Bytes of images that are kept for the next detector: 1 GiB.
KEPT = 1 << 30


@dataclass
class Sources:
    """Where the images come from that detectors are fitted on, for one model on one data set.

    References and outliers are made once, whichever detectors share them, while those kept take less than `KEPT`.

    Attributes:
        judged: the samples of the data set. classifier: the model.
        seed: the study's.
    """

    judged: Samples
    classifier: Classifier
    seed: int
    _kept: dict[str, Batch] = field(default_factory=dict, repr=False)

    def strangers(self, whole: Samples) -> tuple[Samples, Fit]:
        """Another data set's samples, and the fit that gives them the size and the channels of the judged images."""
        batch, _ = self.judged.read(range(1), self.classifier.fit)
        if batch is None:
            raise StudyError(
                f"the first image, '{self.judged.id(0)}', cannot be read: it says what size others get"
            )
        channels, *size = batch.images.shape[1:]
        fit = replace(self.classifier.fit, channels=channels)
        if fit.size is None:
            fit = replace(fit, size=(size[0], size[1]))
        return Strange(whole, channels), fit

    def fit(self, detection: Detection, name: str) -> Scorer:
        """The detector fitted on its reference; `name` is the judged data set's.

        Raises:
            NotObservable: it finds nothing to work with in such a model.
            PluginError: it returns no scorer.
        """
        where = [name, detection.reference_address()]
        batch = self._once([*where, None], lambda: self._reference(detection, name))
        streams = self._streams(name, batch, "reference")
        outliers = {
            one.name: self._once([*where, one.address()], partial(self._outliers, one, batch, name))
            for one in detection.outliers
        }
        reference = Reference(batch, outliers, streams)
        with torch.no_grad():
            scorer: Any = detection.detector.part.fit(self.classifier, reference)
        if not isinstance(scorer, Scorer):
            raise PluginError(
                f"detector '{detection.detector.name}' must return a Scorer, not {type(scorer).__name__}"
            )
        return scorer

    def _once(self, address: Any, made: Callable[[], Batch]) -> Batch:
        """What is made for this address, kept where there is room."""
        key = digest(address)
        if key in self._kept:
            return self._kept[key]
        batch = made()
        if sum(one.images.nbytes for one in (*self._kept.values(), batch)) < KEPT:
            self._kept[key] = batch
        return batch

    def _reference(self, detection: Detection, name: str) -> Batch:
        if detection.reference is None:
            samples = self.judged
            rows = [i for i in range(len(samples)) if held(samples.id(i))]
        else:
            samples = opened(detection.reference, f"{name}: the reference of {detection.detector.name}")
            rows = list(range(len(samples)))
            if len(samples.classes) != len(self.judged.classes):
                raise StudyError(
                    f"the reference of '{detection.detector.name}' has {len(samples.classes)} classes, data set "
                    f"'{name}' has {len(self.judged.classes)}: they must be the same ones"
                )
        return self._read(samples, rows, self.classifier.fit, f"the reference of '{detection.detector.name}'")

    def _outliers(self, one: Outliers, reference: Batch, name: str) -> Batch:
        if one.dataset is not None:
            samples, fit = self.strangers(opened(one.dataset.part, one.name))
            return self._read(samples, [i for i in range(len(samples)) if held(samples.id(i))], fit, one.name)
        assert one.threat is not None, "outliers of no source"
        assert one.attack is not None, "a threat without an attack"
        threat = one.threat.part
        streams = self._streams(name, reference, f"{one.name}/{one.attack.name}")
        space = threat.open(reference, self.classifier, streams.fork("threat"))
        top = frozenset({0})
        sweep = Sweep(
            self.classifier,
            one.attack.part,
            one.attack.name,
            space,
            reference,
            streams,
            threat.budgets[-1:],
            nested=False,
            watch=top,
        )
        judged = sweep.run().judged[0]
        everyone = torch.arange(len(reference))
        return replace(
            reference,
            images=torch.cat(
                [seen(sweep, rows, judged)[1] for rows in everyone.split(self.classifier.batch_size)]
            ),
        )

    def _read(self, samples: Samples, rows: Sequence[int], fit: Fit, what: str) -> Batch:
        batch, broken = samples.read(rows, fit) if rows else (None, {})
        if batch is None:
            why = f"; sample '{next(iter(broken))}': {next(iter(broken.values()))}" if broken else ""
            raise StudyError(f"{what} holds no image that can be read{why}")
        return batch.to(self.classifier.device)

    def _streams(self, name: str, batch: Batch, use: str) -> Streams:
        return Streams.keyed(self.seed, name, batch.ids, f"detector/{use}").to(self.classifier.device)


def scored(scorer: Scorer, name: str, images: Tensor) -> Tensor:
    """float32 [n] on the CPU: a detector's scores of some images.

    Raises:
        PluginError: they are no number for each image, or not finite.
    """
    score: Any = scorer.score(images)
    if not isinstance(score, Tensor) or score.shape != (len(images),) or not score.is_floating_point():
        got = f"{score.dtype} {list(score.shape)}" if isinstance(score, Tensor) else type(score).__name__
        raise PluginError(f"detector '{name}' must give floats [n], one for each of n images, not {got}")
    if not score.isfinite().all():
        raise PluginError(f"detector '{name}' gives scores that are not finite")
    return score.detach().float().cpu()


@torch.no_grad()
def suspicions(
    sweep: Sweep, ledger: Ledger, detections: Sequence[tuple[Detection, Scorer]], costs: Costs
) -> Iterator[Observation]:
    """How suspicious detectors find the judged images of a swept shard, and what that costs.

    A sample that a detector was fitted on has no score, and none where no image of it was judged. Predictions are
    timed last, and those of one detector's images alone: of a model that draws numbers, scores are as without them.
    """
    for detection, scorer in detections:
        name = detection.detector.name
        for batch, budget, image in _judged(sweep, ledger, detection):
            score = costs.timed(name, len(image), scored, scorer, name, image)
            yield from _packed(batch, budget, detection, score)
    for detection, _ in detections[:1]:
        for _, _, image in _judged(sweep, ledger, detection):
            costs.timed(None, len(image), predicted, sweep.classifier, image)


def _judged(
    sweep: Sweep, ledger: Ledger, detection: Detection
) -> Iterator[tuple[Batch, float | None, Tensor]]:
    """Batches of the samples that a detector judges, with their budget and their judged images."""
    for level in sorted(detection.levels(sweep.budgets)):
        budget = sweep.budgets[level] if sweep.budgets else None
        judged = ledger.judged.get(level, {})
        rows = [i for i in sorted(judged) if not detection.fitted_on(sweep.batch.ids[i], None)]
        for part in torch.tensor(rows, dtype=torch.int64).split(sweep.classifier.batch_size):
            if len(part):
                batch, image = seen(sweep, part, judged)
                yield batch, budget, image


def predicted(classifier: Classifier, images: Tensor) -> list[int]:
    """The classes that a model takes images for."""
    return classifier(images).argmax(1).tolist()


@torch.no_grad()
def strange(
    condition: Condition,
    classifier: Classifier,
    batch: Batch,
    detections: Sequence[tuple[Detection, Scorer]],
    costs: Costs,
) -> tuple[list[Record], list[Observation]]:
    """What the model takes images of another data set for, how suspicious detectors find them, and at what cost."""
    assert condition.stranger is not None, "a condition of the judged data set itself"
    said = costs.timed(None, len(batch), predicted, classifier, batch.images)
    records = [
        Record(sample, -1, None, one, None, None, None, 0, 1, "foreign")
        for sample, one in zip(batch.ids, said, strict=True)
    ]
    found: list[Observation] = []
    for detection, scorer in detections:
        name = detection.detector.name
        fresh = [i for i, s in enumerate(batch.ids) if not detection.fitted_on(s, condition.stranger.name)]
        for part in torch.tensor(fresh, dtype=torch.int64).split(classifier.batch_size):
            if len(part):
                some = batch.select(part.to(batch.labels.device))
                score = costs.timed(name, len(some), scored, scorer, name, some.images)
                found += _packed(some, None, detection, score)
    return records, found


def _packed(batch: Batch, budget: float | None, detection: Detection, score: Tensor) -> Iterator[Observation]:
    for sample, number in zip(batch.ids, score, strict=True):
        yield packed(sample, budget, detection.detector.name, detection.column, number)
