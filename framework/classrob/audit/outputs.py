"""Signs of the model alone: gradients that are not there, and outputs that are not repeated."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from classrob.audit.subject import Subject
from classrob.audit.tally import NoGradient, NotChecked, Tally
from classrob.live import ROWS

#: Logits differ where they are apart by more than this share of the image's largest: rounding is far below.
ROUNDING = 1e-4
#: So many passes over the same images are compared.
PASSES = 10


def zero_gradients(subject: Subject) -> list[Tally]:
    """Images at which the gradient of the cross-entropy is all zero, or not finite."""
    try:
        slope = subject.slope.flatten(1)
    except NoGradient as reason:
        everything = np.ones(len(subject.batch), bool)
        return [subject.tally(f"The model has no gradient at {{hits}} of {{n}} images: {reason}", everything)]
    gone = (slope.abs().amax(1) == 0) | ~slope.isfinite().all(1)
    says = "The gradient of the cross-entropy is zero or not finite at {hits} of {n} images"
    return [subject.tally(says, gone.cpu().numpy())]


@torch.no_grad()
def not_deterministic(subject: Subject) -> list[Tally]:
    """Images whose logits differ between passes over the same batch."""
    says = f"{PASSES} passes over the same images gave different logits for {{hits}} of {{n}}"
    return [subject.tally(says, _unstable(subject).cpu().numpy())]


@torch.no_grad()
def batch_dependent(subject: Subject) -> list[Tally]:
    """Images whose logits depend on how many others stand beside them, or on which."""
    random = NotChecked(
        "the same batch gives different logits each time, so nothing can be said of batch sizes: see "
        "'not-deterministic'"
    )
    if _unstable(subject).any():
        raise random
    classifier, images = subject.classifier, subject.batch.images
    before, n = classifier.batch_size, len(images)
    differ = torch.zeros(n, dtype=torch.bool, device=images.device)
    try:
        classifier.batch_size = n + -n % ROWS
        whole = classifier(images)
        differ |= _apart(classifier(images.flip(0)).flip(0), whole)
        classifier.batch_size = ROWS
        differ |= _apart(classifier(images), whole)
        differ |= _apart(torch.cat([classifier(one) for one in images.split(1)]), whole)
    finally:
        classifier.batch_size = before
    if differ.any() and _unstable(subject).any():  # a rare draw, and no matter of the batch
        raise random
    says = (
        f"Batches of 1, {ROWS} and {n} images, or another order, gave different logits for {{hits}} of {{n}}"
    )
    return [subject.tally(says, differ.cpu().numpy())]


def _unstable(subject: Subject) -> Tensor:
    """bool [n]: do the logits differ between passes?"""
    classifier, images = subject.classifier, subject.batch.images
    first = classifier(images)
    differ = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    for _ in range(PASSES - 1):
        differ |= _apart(classifier(images), first)
    return differ


def _apart(logits: Tensor, others: Tensor) -> Tensor:
    """bool [n]: are two sets of logits [n, k] further apart than rounding takes them?"""
    return (logits - others).abs().amax(1) > ROUNDING * (1.0 + others.abs().amax(1))
