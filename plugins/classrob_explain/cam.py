"""Class activation maps: what every place of the last features adds to a class's logit."""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from classrob.errors import NotExplainable
from classrob.live import Classifier
from classrob.parts import Explainer
from classrob_explain.graph import tracked, wanted
from classrob_explain.places import activations, seen


@final
class Cam(Explainer):
    """Class activation map (Zhou et al., CVPR 2016): features before the pooling, weighted by the class's weights.

    Signed, neither resized nor scaled, [n, 1, h', w']: its mean is the class's logit, but for the last layer's
    bias. So it exists only where the logits are a linear layer on features averaged over all places.
    """

    adds_up: ClassVar[Literal["mean", "sum"] | None] = "mean"

    def explain(self, classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """Raises NotExplainable where something else stands between the features and the logits."""
        return _maps(classifier, images, labels, positive=False)


@final
class CamPlusPlus(Explainer):
    """Class activation map by the positive weights alone, what Boopathy et al. (ICML 2020) call CAM++.

    They leave out the higher derivatives of Grad-CAM++ (Chattopadhyay et al., WACV 2018).
    """

    def explain(self, classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """Raises NotExplainable where `cam` does."""
        return _maps(classifier, images, labels, positive=True)


@final
class GradCam(Explainer):
    """Grad-CAM (Selvaraju et al., ICCV 2017): the last features with places, weighted by the logit's mean slopes."""

    rectified: bool = Field(default=True, description="keep only what speaks for the class")

    def explain(self, classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """Raises NotExplainable where no features of the model have places."""
        graph = wanted(classifier, images)
        maps: list[Tensor] = []
        with torch.enable_grad():
            for rows, places in seen(classifier, tracked(images)):
                if places.last is None:
                    raise NotExplainable("no features with places were seen: take 'input-gradient'")
                logit = places.logits.gather(1, labels[rows, None]).sum()
                (slope,) = torch.autograd.grad(logit, places.last, create_graph=graph, materialize_grads=True)
                one = (slope.mean((2, 3), keepdim=True) * places.last).sum(1, keepdim=True)
                one = one[: len(places.logits)].float()
                maps.append(one if graph else one.detach())
        whole = torch.cat(maps)
        return whole.relu() if self.rectified else whole


def _maps(classifier: Classifier, images: Tensor, labels: Tensor, positive: bool) -> Tensor:
    """Maps [n, 1, h', w'] of each image's class."""
    maps: list[Tensor] = []
    single = len(images) == 1  # of one row a constant cannot be told: another is looked at beside it
    for rows, places in seen(classifier, torch.cat([images, 1.0 - images]) if single else images):
        features, weight = activations(places)
        mine = labels[rows] if not single else labels[:1].expand(len(features))
        if weight is None:
            one = features[torch.arange(len(features), device=mine.device), mine]
        else:
            chosen = (weight.relu() if positive else weight)[mine]
            one = torch.einsum("nd,ndhw->nhw", chosen.to(features.dtype), features)
        maps.append(one[:, None].float())
    return torch.cat(maps)[: len(images)]
