"""Confounding labels: targets that are no ordinary class, and the loss of a model's logits against them.

A confounding label has n ones among its k places, for any n but 1. (Lee, Prabhushankar and AlRegib,
"Gradient-Based Adversarial and Out-of-Distribution Detection", 2022; Lee and AlRegib, "Open-Set Recognition with
Gradient-Based Representations", ICIP 2021.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from classrob.errors import StudyError
from classrob.streams import Streams

#: How the ones of a confounding label are chosen.
Kind = Literal["ones", "zeros", "halves", "random"]

#: What the label is compared with: each logit's own sigmoid, or the softmax of all.
Variant = Literal["sigmoid", "softmax"]


def confounding(kind: Kind, classes: int, ones: int, seed: int) -> Tensor:
    """float32 [classes]: all ones, all zeros, ones in the first half, or `ones` of them at random.

    Raises:
        StudyError: it would have a single one, which is an ordinary label, or more than there are classes.
    """
    count = {"ones": classes, "zeros": 0, "halves": classes // 2, "random": ones}[kind]
    if count == 1 or count > classes:
        raise StudyError(
            f"a confounding label of {classes} classes has any number of ones but 1, not {count}: "
            "take another `label` or `ones`"
        )
    order = torch.arange(classes)
    if kind == "random":
        order = Streams.keyed(seed, "confounding", ["label"], "").uniform(classes)[0].argsort(stable=True)
    return torch.zeros(classes).scatter(0, order[:count], 1.0)


def loss_of(label: Tensor, variant: Variant) -> Callable[[Tensor], Tensor]:
    """The loss [n] of logits [n, k] against one label [k].

    `sigmoid`: binary cross-entropy of the logits, the mean over classes. `softmax`: cross-entropy of the softmax
    with the label as it is, the sum over classes; its slope for all ones is k·p − 1, so that it is 0 where the
    prediction is uniform, the other way round than with `sigmoid`.
    """

    def sigmoid(logits: Tensor) -> Tensor:
        target = label.to(logits).expand_as(logits)
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1)

    def softmax(logits: Tensor) -> Tensor:
        return -(F.log_softmax(logits, 1) * label.to(logits)).sum(1)

    return sigmoid if variant == "sigmoid" else softmax
