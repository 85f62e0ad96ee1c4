"""The probe `explanations`: how far an attack moves the explanations of an image, of one class, of two and of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from pydantic import Field
from torch import Tensor

from classrob.errors import NotExplainable, NotObservable
from classrob.live import Batch, Classifier
from classrob.parts import Explainer, Probe
from classrob_explain.asking import Asked
from classrob_explain.compared import NORMS, agreement, extent, kendall, l1
from classrob_explain.gradients import InputGradient


@final
class Explanations(Probe):
    """Interpretability discrepancies of judged images (Boopathy et al., ICML 2020), and how far maps agree.

    Of an image with the true class t, t' is the class that the model takes the judged image for or, where it is
    right, the next likely one. Each map's distance is in ranges of the unperturbed image's map. Columns, [n, …]:

    - `discrepancy-l1` and `discrepancy-l2`: of the map of t (1-class), the mean of the maps of t and t' (2-class)
      and, for models of few classes, the mean over all (all-class);
    - `agreement`: Kendall's τ of the map of t with its unperturbed one, and the share of its top places that stay;
    - `discrepancy-bound`, where maps add up to logits: the 2-class discrepancy in logits, and what it cannot be
      less than where t' beats t, half of what t is ahead of t' in the unperturbed image.
    """

    explainer: Asked = InputGradient()
    top: int = Field(default=8, ge=1, description="so many of the largest places are compared")
    most: int = Field(default=20, ge=2, description="models of more classes have no all-class discrepancy")

    def observe(self, classifier: Classifier, batch: Batch, rendered: Tensor) -> Mapping[str, Tensor]:
        """Maps of the unperturbed and of the judged images, compared.

        Raises:
            NotObservable: the model has no such explanation.
        """
        explainer = self.explainer
        before, after = classifier(batch.images), classifier(rendered)
        rival = after.scatter(1, batch.labels[:, None], -torch.inf).argmax(1)
        try:
            pair = _Maps(explainer, classifier, batch.images, rendered)
            own, other = pair.of(batch.labels), pair.of(rival)
            every = [own, other]
            if (classes := before.shape[1]) <= self.most:
                every = [pair.of(torch.full_like(rival, c)) for c in range(classes)]
        except NotExplainable as error:
            raise NotObservable(f"explainer '{type(explainer).__name__}': {error}") from error
        columns: dict[str, Tensor] = {}
        for norm, distance in NORMS.items():
            one, two, *_ = scaled = [distance(*maps) / extent(maps[0]) for maps in (own, other)]
            forms = [one, (one + two) / 2]
            if len(every) == classes and classes <= self.most:
                scaled = [distance(*maps) / extent(maps[0]) for maps in every]
                forms.append(torch.stack(scaled).mean(0))
            columns[f"discrepancy-{norm}"] = torch.stack(forms, 1)
        columns["agreement"] = torch.stack([kendall(*own), agreement(*own, self.top)], 1)
        if explainer.adds_up is not None:
            places = own[0][0].numel() if explainer.adds_up == "mean" else 1
            two_class = (l1(*own) + l1(*other)) / (2 * places)
            ahead = before.gather(1, batch.labels[:, None]) - before.gather(1, rival[:, None])
            columns["discrepancy-bound"] = torch.stack([two_class, ahead[:, 0] / 2], 1)
        return columns


class _Maps:
    """Maps of unperturbed and of judged images, by one explainer."""

    def __init__(self, explainer: Explainer, classifier: Classifier, clean: Tensor, moved: Tensor) -> None:
        self.explainer, self.classifier, self.images = explainer, classifier, (clean, moved)

    def of(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """The maps of each image's class, unperturbed and judged, [n, …] each."""
        clean, moved = (
            self.explainer.explain(self.classifier, images, classes).detach() for images in self.images
        )
        return clean, moved
