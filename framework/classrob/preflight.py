"""What is checked before a run touches its store: every model on the first images of every data set.

A wrong model is cheap to notice and expensive to measure. Each fault is one line that names the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from classrob.condition import Condition
from classrob.errors import NotCertifiable, NotExplainable, NotObservable, StudyError, one_line
from classrob.live import Batch, Classifier, Samples
from classrob.scorer import Reference
from classrob.streams import Streams
from classrob.worker import Worker

#: How many images are tried.
TRIED = 8
#: Passes over the same images that have to agree before a difference is put down to the batch.
PASSES = 20


@dataclass(frozen=True)
class Note:
    """A line that people should see, and the indices of the conditions it is about."""

    text: str
    about: frozenset[int]


def preflight(worker: Worker, wanted: set[int]) -> Iterator[Note]:
    """Check the conditions with the given indices; yields notes, each about all conditions that it is true of.

    Raises:
        StudyError: a model or a data set cannot be measured.
    """
    seen: set[tuple[str, str]] = set()
    every = worker.conditions()

    def noted(lines: Iterator[str], *about: int) -> Iterator[Note]:
        return (Note(line, frozenset(about)) for line in lines)

    for index, condition in enumerate(every):
        if index not in wanted:
            continue
        yield from noted(_certifiable(worker, condition), index)
        pair = (condition.model.name, condition.dataset.name)
        if pair in seen:
            continue
        seen.add(pair)
        classifier = worker.classifier(condition.model)
        of_model = [i for i, c in enumerate(every) if c.model.name == pair[0]]
        of_pair = [i for i in of_model if every[i].dataset.name == pair[1]]
        if not any(model == pair[0] for model, _ in seen - {pair}):
            _finite(classifier)
            yield from noted(_mode(classifier), *of_model)
        samples = worker.samples(condition)
        yield from noted(_predicts(classifier, condition, samples), *of_pair)
        yield from noted(_observable(classifier, condition, samples), *of_pair)
        yield from noted(_detectable(classifier, condition, samples), *of_pair)
        yield from noted(_explainable(classifier, condition, samples), *of_pair)


def _finite(classifier: Classifier) -> None:
    for name, tensor in classifier.module.state_dict().items():
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and not tensor.isfinite().all():
            raise StudyError(f"model '{classifier.name}': weight '{name}' holds values that are not finite")


def _mode(classifier: Classifier) -> Iterator[str]:
    """A note when the module was left in train mode and that would have mattered."""
    for name, module in classifier.module.named_modules():
        forward = getattr(type(module).forward, "__code__", None)
        if module.training and forward is not None and "training" in forward.co_names:
            kind = type(module).__name__
            yield (
                f"model '{classifier.name}' is in train mode ({kind} '{name}'): it is measured in eval mode, "
                "and put back afterwards"
            )
            return


def _predicts(classifier: Classifier, condition: Condition, samples: Samples) -> Iterator[str]:
    batch = _first(classifier, condition, samples)
    name = classifier.name
    before = state_digest(classifier.module)
    with classifier.frozen(), torch.no_grad():
        logits = classifier(batch.images)
        scale = 1e-3 * (1.0 + float(logits.abs().max()))
        turned = classifier(batch.images.flip(0)).flip(0)
        alone = classifier(batch.images[:1])
        mixed = max(float((logits - turned).abs().max()), float((logits[:1] - alone).abs().max())) > scale
        passes = PASSES if mixed else 1  # what differs by a rare draw may well be the same twice
        drawn = any(float((classifier(batch.images) - logits).abs().max()) > scale for _ in range(passes))
    if not logits.isfinite().all():
        raise StudyError(
            f"model '{name}' gives logits that are not finite on data set '{condition.dataset.name}'"
        )
    if (classes := len(samples.classes)) != logits.shape[1]:
        raise StudyError(
            f"model '{name}' has {logits.shape[1]} outputs, but data set '{condition.dataset.name}' has "
            f"{classes} classes"
        )
    if state_digest(classifier.module) != before:
        raise StudyError(
            f"model '{name}' changes its own weights or buffers while it predicts, even in eval mode"
        )
    if drawn:
        yield (
            f"model '{name}' is not deterministic: the same images give different logits, so every verdict is "
            "a single draw"
        )
    elif mixed:
        raise StudyError(
            f"model '{name}': an image's logits depend on the other images of the batch (batch norm without "
            "running statistics?), so no sample has a result of its own; use instance norm, or one that is fixed"
        )


def _certifiable(worker: Worker, condition: Condition) -> Iterator[str]:
    """A note when the certifier can prove nothing about the model: then it certifies nothing."""
    if condition.certifier is None:
        return
    classifier, threat = worker.classifier(condition.model), condition.threat.part
    batch = _first(classifier, condition, worker.samples(condition)).select(torch.arange(1))
    streams = Streams.keyed(worker.study.seed, "preflight", batch.ids, "").to(classifier.device)
    with classifier.frozen():
        with torch.no_grad():
            said = classifier(batch.images).argmax(1)
        batch = replace(batch, labels=said)  # nobody tries to prove what is wrong already
        space = threat.open(batch, classifier, streams)
        try:
            condition.certifier.part.certify(classifier, space.at(0.0 * space.budget), batch)
        except NotCertifiable as error:
            yield f"{condition.title}: nothing is certified: {one_line(error)}"


def _observable(classifier: Classifier, condition: Condition, samples: Samples) -> Iterator[str]:
    """A note for every probe that can see nothing in the model: then it records nothing."""
    if not condition.watches:
        return
    batch = _first(classifier, condition, samples)
    for watch in condition.watches:
        try:
            with classifier.frozen(), torch.no_grad():
                watch.probe.part.observe(classifier, batch, batch.images)
        except NotObservable as error:
            yield (
                f"model '{classifier.name}' on '{condition.dataset.name}': probe '{watch.probe.name}' records "
                f"nothing: {one_line(error)}"
            )


def _detectable(classifier: Classifier, condition: Condition, samples: Samples) -> Iterator[str]:
    """A note for every detector that finds nothing to work with in the model: then it judges nothing."""
    batch = _first(classifier, condition, samples) if condition.detections else None
    for one in {one.detector.name: one for one in condition.detections}.values():
        assert batch is not None, "detectors without images"
        streams = Streams.keyed(0, "preflight", batch.ids, "").to(classifier.device)
        try:
            with classifier.frozen(), torch.no_grad():
                one.detector.part.fit(classifier, Reference(batch, {}, streams))
        except NotObservable as error:
            yield f"detector '{one.detector.name}' does not suit model '{classifier.name}': {one_line(error)}"
        except StudyError:
            continue  # these few images may be too few where the whole reference is not: its shard says so


def _explainable(classifier: Classifier, condition: Condition, samples: Samples) -> Iterator[str]:
    """A note for every explainer that has no map of the model: then its pictures are left out."""
    if not condition.explainers:
        return
    batch = _first(classifier, condition, samples)
    for one in condition.explainers:
        try:
            with classifier.frozen(), torch.no_grad():
                one.part.explain(classifier, batch.images, batch.labels)
        except NotExplainable as error:
            yield f"model '{classifier.name}': explainer '{one.name}' draws nothing: {one_line(error)}"


def _first(classifier: Classifier, condition: Condition, samples: Samples) -> Batch:
    """The first images that can be read."""
    batch, broken = samples.read(range(min(TRIED, len(samples))), classifier.fit)
    if batch is None:
        sample, reason = next(iter(broken.items()))
        raise StudyError(
            f"data set '{condition.dataset.name}': none of the first {len(broken)} images can be read; "
            f"sample '{sample}': {reason}"
        )
    return batch.to(classifier.device)


def state_digest(module: nn.Module) -> str:
    """A digest of weights, buffers and modes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8) if tensor.numel() else tensor
            digest.update(name.encode() + raw.numpy().tobytes())
    digest.update(bytes(child.training for child in module.modules()))
    return digest.hexdigest()
