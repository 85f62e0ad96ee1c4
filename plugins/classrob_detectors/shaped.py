"""Detectors that change features before the last layer and look at the energy of the logits: ReAct, ASH."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from pydantic import Field
from torch import Tensor

from classrob.errors import NotObservable
from classrob.live import Classifier
from classrob.parts import Detector
from classrob.scorer import Reference, Scorer
from classrob_detectors.layers import Cut


@final
class React(Detector):
    """ReAct: the energy of the logits where features are cut at a quantile of the reference's.

    (Sun, Guo and Li, "ReAct: Out-of-distribution Detection With Rectified Activations", NeurIPS 2021.)
    """

    quantile: float = Field(default=0.9, gt=0.0, le=1.0, description="of all features of the reference")

    def fit(self, classifier: Classifier, reference: Reference) -> Scorer:
        """The value at which features are cut.

        Raises:
            NotObservable: nothing is left of them, as where most units are never active.
        """
        cut = Cut.of(classifier, reference.batch.images)
        features = cut.features(reference.batch.images)
        ranked = features.flatten().sort().values  # torch.quantile takes 16 million
        threshold = float(ranked[min(len(ranked) - 1, int(self.quantile * len(ranked)))])
        if threshold <= float(ranked[0]):
            silent = float((features == ranked[0]).float().mean())
            raise NotObservable(
                f"react would cut every feature to {threshold:.4g}, which {silent:.0%} of them are: "
                f"raise `quantile` above {silent:.4g}"
            )
        return _React(cut, threshold)


@final
class Ash(Detector):
    """ASH: the energy of the logits where only the largest features are left.

    `s` scales what is left by exp(sum before / sum after), `p` leaves it, `b` shares the sum out evenly. The
    published method prunes a late layer's activations before pooling; here it is the features before the last
    layer. (Djurisic et al., "Extremely Simple Activation Shaping for Out-of-Distribution Detection", ICLR 2023.)
    """

    variant: Literal["s", "p", "b"] = Field(default="s", description="what becomes of the largest features")
    pruned: float = Field(default=0.65, gt=0.0, lt=1.0, description="the share of features that becomes 0")

    def fit(self, classifier: Classifier, reference: Reference) -> Scorer:
        """Nothing to fit but where the model is cut."""
        return _Ash(Cut.of(classifier, reference.batch.images), self.variant, self.pruned)


@final
@dataclass(frozen=True)
class _React(Scorer):
    cut: Cut
    threshold: float

    def score(self, images: Tensor) -> Tensor:
        """Energy [n]."""
        return -self.cut.logits(self.cut.features(images).clamp(max=self.threshold)).logsumexp(1)


@final
@dataclass(frozen=True)
class _Ash(Scorer):
    cut: Cut
    variant: str
    pruned: float

    def score(self, images: Tensor) -> Tensor:
        """Energy [n]."""
        features = self.cut.features(images)
        kept = max(1, features.shape[1] - int(self.pruned * features.shape[1]))
        values, places = features.topk(kept, dim=1)
        before, after = features.sum(1, keepdim=True), values.sum(1, keepdim=True)
        if self.variant == "b":
            values = (before / kept).expand(-1, kept)
        elif self.variant == "s":  # features may be negative, where the published ones are behind a ReLU
            values = values * (before / after.clamp_min(1e-6)).clamp(max=20.0).exp()
        shaped = features.new_zeros(features.shape).scatter(1, places, values)
        return -self.cut.logits(shaped).logsumexp(1)
