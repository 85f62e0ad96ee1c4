"""Probes that break one promise each, and one that keeps all."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from classrob import Batch, Classifier, Probe

from .broken import Breaks


class Honest(Probe):
    """The logits of the judged image, and the mean weight of the last layer."""

    constant: ClassVar = frozenset({"weight"})

    def observe(self, classifier: Classifier, batch: Batch, rendered: Tensor) -> dict[str, Tensor]:
        weight = next(reversed(list(classifier.module.parameters())))
        return self.changed(
            {"logits": classifier(rendered), "weight": weight.detach().clone()}, classifier, rendered
        )

    def changed(
        self, columns: dict[str, Tensor], classifier: Classifier, rendered: Tensor
    ) -> dict[str, Tensor]:
        return columns


class Nothing(Honest):
    """Records only what is of the model, and not that either."""

    def changed(self, columns, classifier, rendered):
        return {}


class OneForAll(Honest):
    """One row for all images."""

    def changed(self, columns, classifier, rendered):
        return columns | {"logits": columns["logits"].mean(0, keepdim=True)}


class NotFinite(Honest):
    """The logarithm of 0 where nothing was perturbed."""

    def changed(self, columns, classifier, rendered):
        return columns | {"logits": columns["logits"] * torch.inf}


class Doubles(Honest):
    """float64, of which a store would need twice as much."""

    def changed(self, columns, classifier, rendered):
        return columns | {"logits": columns["logits"].double()}


class ByTheBatch(Honest):
    """As many numbers an image as there are images."""

    def changed(self, columns, classifier, rendered):
        return columns | {"logits": columns["logits"][:, :1].expand(-1, len(rendered)).contiguous()}


class NotConstant(Honest):
    """Calls constant what is of the images."""

    def changed(self, columns, classifier, rendered):
        return columns | {"weight": columns["logits"].mean(0)}


class Counts(Honest):
    """Counts how often it was asked."""

    asked: ClassVar[list[int]] = []

    def changed(self, columns, classifier, rendered):
        self.asked.append(1)
        return columns | {"logits": columns["logits"] + len(self.asked) % 7}


class Herd(Honest):
    """Takes the images' mean off."""

    def changed(self, columns, classifier, rendered):
        return columns | {"logits": columns["logits"] - columns["logits"].mean(0)}


class Tinkers(Honest):
    """Leaves a weight changed."""

    def changed(self, columns, classifier, rendered):
        with torch.no_grad():
            next(classifier.module.parameters()).add_(1e-3)
        return columns


class Paints(Honest):
    """Changes the images that it was handed."""

    def changed(self, columns, classifier, rendered):
        rendered.mul_(0.5)
        return columns


BROKEN = {
    "records_numbers_of_every_image": [
        Breaks("probe", Nothing),
        Breaks("probe", OneForAll, frozenset("*")),
        Breaks("probe", NotFinite, frozenset("*")),
        Breaks("probe", Doubles, frozenset("*")),
    ],
    "keeps_its_columns": [
        Breaks("probe", ByTheBatch, frozenset({"treats_each_image_alone"})),
        Breaks("probe", NotConstant),
    ],
    "repeats_itself": [Breaks("probe", Counts, frozenset({"treats_each_image_alone"}))],
    "treats_each_image_alone": [Breaks("probe", Herd)],
    "leaves_no_trace": [
        Breaks("probe", Tinkers, frozenset("*")),
        Breaks("probe", Paints, frozenset("*")),
    ],
}
