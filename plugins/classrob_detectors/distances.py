"""Detectors that look how far an image's features lie from those of the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from classrob.errors import StudyError
from classrob.live import Classifier
from classrob.parts import Detector
from classrob.scorer import Reference, Scorer
from classrob_detectors.layers import Cloud, Cut, at_least, covariance, precision

#: Directions with less than this share of the largest variance are those of rounding.
RANK = 1e-10


@final
class Mahalanobis(Detector):
    """The smallest Mahalanobis distance, squared, of the features to the mean of a class.

    One covariance for all classes, of the features before the last layer; neither an ensemble of layers nor a
    step of the input. (Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and
    Adversarial Attacks", NeurIPS 2018.) `relative` takes off the distance to the mean of all features under their
    own covariance. (Ren et al., "A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection", 2021.)
    """

    relative: bool = Field(default=False, description="take off the distance to the mean of all")

    def fit(self, classifier: Classifier, reference: Reference) -> Scorer:
        """Means and covariances."""
        cut = Cut.of(classifier, reference.batch.images)
        cloud = Cloud.of(cut, reference)
        middle = cloud.features.mean(0)
        whole = precision(covariance(cloud.features - middle)) if self.relative else None
        return _Mahalanobis(cut, cloud.means(), precision(cloud.within()), middle, whole)


@final
class NearestNeighbour(Detector):
    """The distance to the k-th nearest neighbour among the reference's features, all at length 1.

    (Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022.)
    """

    k: int = Field(default=10, ge=1, description="which neighbour")

    def fit(self, classifier: Classifier, reference: Reference) -> Scorer:
        """The reference's features."""
        at_least(self.k, reference, "knn")
        cut = Cut.of(classifier, reference.batch.images)
        return _NearestNeighbour(cut, F.normalize(cut.features(reference.batch.images)), self.k)


@final
class LocalDimension(Detector):
    """Local intrinsic dimension: how fast neighbours become more around an image's features.

    The maximum-likelihood estimate from the distances to the k nearest features of the reference. The published
    detector trains a logistic regression on the estimates of all layers; this is the plain estimate at the last.
    (Ma et al., "Characterizing Adversarial Subspaces Using Local Intrinsic Dimensionality", ICLR 2018.)
    """

    k: int = Field(default=20, ge=2, description="how many neighbours")

    def fit(self, classifier: Classifier, reference: Reference) -> Scorer:
        """The reference's features."""
        at_least(self.k, reference, "lid")
        cut = Cut.of(classifier, reference.batch.images)
        return _LocalDimension(cut, cut.features(reference.batch.images), self.k)


@final
class VirtualLogit(Detector):
    """ViM: the part of the features that the reference does not span, as one more class.

    Its logit is the length of that part, scaled to the mean of the largest logits, and the score is its logit
    minus the energy of the others. The origin is where the last layer gives 0. `dimensions` 0 takes 1,000 of the
    directions with most variance where there are 2,048 features or more, 512 where there are 768, else half of
    them; and half of those that the reference spans where it spans no more than that, as in a network most of whose
    last units are never active. (Wang et al., "ViM: Out-Of-Distribution with Virtual-logit Matching", CVPR 2022.)
    """

    dimensions: int = Field(
        default=0, ge=0, description="of the space that is not looked at; 0: by the features"
    )

    def fit(self, classifier: Classifier, reference: Reference) -> Scorer:
        """The residual space and the scale.

        Raises:
            StudyError: the reference has nothing outside the space that is not looked at: only rounding is left.
        """
        cut = Cut.of(classifier, reference.batch.images)
        features = cut.features(reference.batch.images).double()
        d = features.shape[1]
        origin = -torch.linalg.pinv(cut.weight.double()) @ cut.bias.double()
        sizes, vectors = torch.linalg.eigh(covariance(features - origin))  # ascending
        rank = int((sizes > RANK * sizes[-1]).sum())
        published = 1000 if d >= 2048 else 512 if d >= 768 else d // 2
        spanned = self.dimensions or (published if published < rank else rank // 2)
        if self.dimensions >= rank:
            raise StudyError(
                f"vim: the reference's {d} features span {rank} dimensions: `dimensions` must be below that, or 0"
            )
        residual = vectors[:, : d - spanned]
        length = ((features - origin) @ residual).norm(dim=1)
        largest = cut.logits(features.float()).amax(1).double()
        return _VirtualLogit(cut, origin, residual, float(largest.mean() / length.mean().clamp_min(1e-12)))


@final
@dataclass(frozen=True)
class _Mahalanobis(Scorer):
    cut: Cut
    means: Tensor
    within: Tensor
    middle: Tensor
    whole: Tensor | None

    def score(self, images: Tensor) -> Tensor:
        """The squared distance [n]."""
        features = self.cut.features(images).double()
        far = torch.stack([_squared(features - mean, self.within) for mean in self.means], 1).amin(1)
        if self.whole is not None:
            far = far - _squared(features - self.middle, self.whole)
        return far.float()


def _squared(away: Tensor, precision: Tensor) -> Tensor:
    return ((away @ precision) * away).sum(1)


@final
@dataclass(frozen=True)
class _NearestNeighbour(Scorer):
    cut: Cut
    bank: Tensor
    k: int

    def score(self, images: Tensor) -> Tensor:
        """The distance [n] to the k-th neighbour."""
        return _near(F.normalize(self.cut.features(images)), self.bank, self.k)[:, -1]


@final
@dataclass(frozen=True)
class _LocalDimension(Scorer):
    cut: Cut
    bank: Tensor
    k: int

    def score(self, images: Tensor) -> Tensor:
        """The estimate [n]: minus the inverse of the mean logarithm of distances to the largest one."""
        near = _near(self.cut.features(images), self.bank, self.k).clamp_min(1e-12)
        return -1.0 / (near / near[:, -1:]).log().mean(1).clamp(max=-1e-12)


def _near(features: Tensor, bank: Tensor, k: int) -> Tensor:
    """The distances [n, k] to the nearest of a bank, ascending; from differences, so that each row is its own."""
    parts = [
        torch.cdist(part, bank, compute_mode="donot_use_mm_for_euclid_dist") for part in features.split(256)
    ]
    return torch.cat(parts).topk(k, largest=False, sorted=True).values


@final
@dataclass(frozen=True)
class _VirtualLogit(Scorer):
    cut: Cut
    origin: Tensor
    residual: Tensor
    scale: float

    def score(self, images: Tensor) -> Tensor:
        """The virtual logit minus the others' energy [n]."""
        features = self.cut.features(images)
        length = ((features.double() - self.origin) @ self.residual).norm(dim=1)
        return self.scale * length.float() - self.cut.logits(features).logsumexp(1)
