"""A model cut before its last linear layer: features, and the logits that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, final

import torch
from torch import Tensor

from classrob.errors import StudyError
from classrob.live import Classifier
from classrob.scorer import Reference
from classrob_classwise.features import penultimate


@final
@dataclass(frozen=True)
class Cut:
    """A classifier, and its last layer: `weight` [k, d], `bias` [k]."""

    classifier: Classifier
    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, classifier: Classifier, images: Tensor) -> Self:
        """Cut a classifier; some images show where.

        Raises:
            NotObservable: its last product does not make its logits.
        """
        some = images[: classifier.batch_size]
        with torch.no_grad():
            features, weight = penultimate(classifier, some)
            bias = (classifier(some) - features @ weight.T).mean(0)
        return cls(classifier, weight.detach().clone(), bias)

    def features(self, images: Tensor) -> Tensor:
        """Features float32 [n, d] of any number of images."""
        parts = images.split(self.classifier.batch_size)
        return torch.cat([penultimate(self.classifier, part)[0] for part in parts])

    def logits(self, features: Tensor) -> Tensor:
        """Logits [n, k]."""
        return features @ self.weight.T + self.bias


@final
@dataclass(frozen=True)
class Cloud:
    """Features float64 [n, d] of the reference and the classes [n] that they are of."""

    features: Tensor
    labels: Tensor

    @classmethod
    def of(cls, cut: Cut, reference: Reference) -> Self:
        """The reference images' features."""
        return cls(cut.features(reference.batch.images).double(), reference.batch.labels)

    def means(self) -> Tensor:
        """The classes' mean features [c, d], in ascending order of the classes that there are."""
        return torch.stack([self.features[self.labels == k].mean(0) for k in self._classes()])

    def within(self) -> Tensor:
        """The features' covariance [d, d] around the means of their classes."""
        place = torch.searchsorted(self._classes(), self.labels)
        return covariance(self.features - self.means()[place])

    def _classes(self) -> Tensor:
        return self.labels.unique(sorted=True)


def covariance(centred: Tensor) -> Tensor:
    """The covariance [d, d] of rows whose mean is 0."""
    return centred.T @ centred / len(centred)


def precision(covariance: Tensor) -> Tensor:
    """The inverse of a covariance, the pseudo-inverse where features are constant or follow from others."""
    return torch.linalg.pinv(covariance, hermitian=True, rtol=1e-8)


def at_least(n: int, reference: Reference, what: str) -> None:
    """Refuse a reference of fewer images.

    Raises:
        StudyError: it is too small.
    """
    if len(reference.batch) < n:
        raise StudyError(f"{what} needs a reference of {n} images or more, not {len(reference.batch)}")
