"""What a data set promises: the same samples under the same ids, in whatever order they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from classrob.images import Fit, tensor_of
from classrob.live import Batch, Samples
from classrob.testing.subject import Subject
from classrob.testing.verdict import Broken, ensure

#: How many samples are looked at, spread over the data set.
COUNT = 12

#: What every image is brought to, so that images of several shapes make a batch.
FIT = Fit(size=(16, 16), channels=3)


def has_unique_ids(subject: Subject) -> None:
    """No two samples share an id, and every id is printable text."""
    samples = _opened(subject)
    ids = Counter(samples.id(i) for i in range(len(samples)))
    twice = [sample for sample, n in ids.items() if n > 1]
    ensure(not twice, f"{len(twice)} ids are there more than once, such as {twice[:1]!r}")
    odd = next((i for i in ids if not isinstance(i, str) or not i or not i.isprintable()), None)
    ensure(odd is None, f"id {odd!r} is no printable text")


def has_stable_ids(subject: Subject) -> None:
    """Opened twice, it has the same ids and labels in the same order, and the same images."""
    one, other = _opened(subject), _opened(subject)
    ensure(len(one) == len(other), f"opened twice it holds {len(one)} and {len(other)} samples")
    moved = [i for i in range(len(one)) if (one.id(i), one.label(i)) != (other.id(i), other.label(i))]
    ensure(not moved, f"opened twice, {len(moved)} positions hold another id or label")
    rows = _spread(one)
    ensure(
        _equal(_read(one, rows), _read(other, rows)), "opened twice, it shows other images under the same ids"
    )


def labels_within_its_classes(subject: Subject) -> None:
    """It has two classes or more with different names, and every label is an index into them."""
    samples = _opened(subject)
    names = list(samples.classes)
    ensure(len(names) >= 2, f"it has {len(names)} class")
    ensure(len(set(names)) == len(names), "two of its classes share a name")
    wrong = [i for i in range(len(samples)) if not 0 <= samples.label(i) < len(names)]
    ensure(
        not wrong, f"{len(wrong)} labels are no index into the {len(names)} classes, the first at {wrong[:1]}"
    )


def shows_images_in_range(subject: Subject) -> None:
    """Every picture is a PIL image, or an array [h, w] or [h, w, c] of uint8 or of floats in [0, 1]."""
    samples = _opened(subject)
    for index in _spread(samples):
        try:
            image = tensor_of(samples.picture(index), Fit())
        except (OSError, ValueError, SyntaxError) as error:
            raise Broken(f"sample '{samples.id(index)}': {error}") from error
        ensure(
            image.numel() > 0 and bool(image.isfinite().all()),
            f"sample '{samples.id(index)}' has no finite pixels",
        )


def agrees_with_its_slices(subject: Subject) -> None:
    """A sample is the same read alone or in a slice with others, and is what `id` and `label` say."""
    samples = _opened(subject)
    rows = _spread(samples)
    whole = _read(samples, rows)
    for size in (1, 5):
        for at in range(0, len(rows), size):
            part = _read(samples, rows[at : at + size])
            mine = whole.select(torch.arange(at, at + len(part)))
            ensure(
                _equal(part, mine), f"read {size} at a time, sample '{part.ids[0]}' or a neighbour differs"
            )
    told = [(samples.id(i), samples.label(i)) for i in rows]
    ensure(
        list(zip(whole.ids, whole.labels.tolist(), strict=True)) == told,
        "`read` disagrees with `id` and `label`",
    )


def reads_out_of_order(subject: Subject) -> None:
    """Backwards, and twice, it reads the same as forwards."""
    samples = _opened(subject)
    rows = _spread(samples)
    forwards = _read(samples, rows)
    backwards = _read(_opened(subject), rows[::-1]).select(torch.arange(len(rows)).flip(0))
    ensure(_equal(forwards, backwards), "read backwards, it shows other samples")
    ensure(_equal(forwards, _read(samples, rows)), "read again, it shows other samples")


def _opened(subject: Subject) -> Samples:
    samples: Samples = subject.part.open()
    ensure(len(samples) > 0, "it holds no samples")
    return samples


def _spread(samples: Samples) -> list[int]:
    """Positions at the beginning, and spread over the rest."""
    n = len(samples)
    return sorted({*range(min(n, COUNT // 2)), *(n * i // COUNT for i in range(COUNT)), n - 1})


def _read(samples: Samples, rows: Sequence[int]) -> Batch:
    batch, broken = samples.read(rows, FIT)
    if batch is None or broken:
        sample, reason = next(iter(broken.items()))
        raise Broken(f"sample '{sample}' cannot be read: {reason}")
    return batch


def _equal(one: Batch, other: Batch) -> bool:
    return (
        one.ids == other.ids
        and torch.equal(one.labels, other.labels)
        and torch.equal(one.images, other.images)
    )


CHECKS = (
    has_unique_ids,
    has_stable_ids,
    labels_within_its_classes,
    shows_images_in_range,
    agrees_with_its_slices,
    reads_out_of_order,
)
