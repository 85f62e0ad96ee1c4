"""What pytorch-ood sees of a model (logits, features, the last layer), and the scores that come of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Self, final

import torch
from torch import Tensor, nn

from classrob.live import Classifier
from classrob.scorer import Reference, Scorer
from classrob_base.foreign import Network, explained
from classrob_detectors.layers import Cut


@final
class Encoder(nn.Module):
    """Features float32 [n, d] before a model's last linear layer."""

    def __init__(self, cut: Cut) -> None:
        super().__init__()
        self.cut = cut

    def forward(self, images: Tensor) -> Tensor:
        """Of images float32 [n, c, h, w]."""
        return self.cut.features(images)


@final
@dataclass(frozen=True)
class Views:
    """What a constructor is given of a model, by its parameters' names."""

    classifier: Classifier
    cut: Cut | None
    given: dict[str, Any]

    @classmethod
    def of(cls, classifier: Classifier, reference: Reference, wanted: Collection[str]) -> Self:
        """All of it that is wanted.

        Raises:
            NotObservable: features are, and the model shows none.
        """
        images = reference.batch.images
        network = Network(classifier, images.device, alone=False)
        if not {"encoder", "head", "w"} & set(wanted):
            return cls(classifier, None, {"model": network} if "model" in wanted else {})
        cut = Cut.of(classifier, images)
        classes, width = cut.weight.shape
        head = nn.Linear(width, classes, device=images.device).requires_grad_(False)
        head.weight.copy_(cut.weight)
        head.bias.copy_(cut.bias)
        every = {"model": network, "encoder": Encoder(cut), "head": head, "w": cut.weight, "b": cut.bias}
        return cls(classifier, cut, {name: one for name, one in every.items() if name in wanted})


@final
@dataclass(frozen=True)
class Fitted(Scorer):
    """A detector of pytorch-ood; `kind` is what it looks at: logits, features or images."""

    views: Views
    kind: str
    detector: Any
    what: str

    def fit(self, images: Tensor, labels: Tensor) -> None:
        """Fit it on a reference, where it is to be fitted."""
        if not self.detector.requires_fit:
            return
        if self.kind == "logits":
            self.detector.fit_logits(self.views.classifier(images), labels)
        else:
            assert self.views.cut is not None, "a detector of features without features"
            self.detector.fit_features(self.views.cut.features(images), labels)

    def score(self, images: Tensor) -> Tensor:
        """What the library says [n]; larger is more suspicious there too."""
        with explained(self.what):
            if self.kind == "logits":
                found = self.detector.predict_logits(self.views.classifier(images))
            elif self.kind == "features":
                assert self.views.cut is not None, "a detector of features without features"
                with torch.no_grad():
                    found = self.detector.predict_features(self.views.cut.features(images))
            else:
                with torch.enable_grad():
                    found = self.detector.predict(images.detach()).detach()
        return found.to(images)
