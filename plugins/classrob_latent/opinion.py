"""What a study's other models say of judged images: does a perturbed image still look like its class?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, cast, final

import torch
from pydantic import BeforeValidator, Field, ValidationInfo
from torch import Tensor

from classrob.errors import NotObservable
from classrob.identity import identity
from classrob.live import Batch, Classifier
from classrob.nested import Nested
from classrob.parts import Model, Probe
from classrob_latent.codes import fitted


def _of_study(value: Any, info: ValidationInfo) -> Any:
    """All models of the study, by name, for `others`."""
    catalog = (info.context or {}).get("catalog")
    return dict(catalog.named.get("model", {})) if value == "others" and catalog is not None else value


Models = Annotated[dict[str, Annotated[Model, Nested("model")]], BeforeValidator(_of_study)]


@final
class SecondOpinion(Probe):
    """The share of the study's other models that see an image's class in it; column `second-opinion`.

    A small distance in a generator's codes does not say that an image is still of its class. Neither do other
    models, which err too, but they err less often on images that were made to fool this one.
    """

    models: Models = Field(
        default=cast(Any, "others"),
        description="by name, whose opinion is asked; `others`: all others of the study",
    )

    def observe(self, classifier: Classifier, batch: Batch, rendered: Tensor) -> Mapping[str, Tensor]:
        """The share [n] of other models that give the label.

        Raises:
            NotObservable: there is no other model.
            StudyError: another one cannot be loaded, or does not take such images.
        """
        asked = [model for name, model in self.models.items() if name != classifier.name]
        if not asked:
            raise NotObservable("there is no other model to ask")
        votes = torch.zeros(len(batch), device=rendered.device)
        for model in asked:
            other = _loaded(_Key(identity(model), classifier.device, model))
            channels, size = rendered.shape[1], rendered.shape[2:]
            shape = (other.fit.channels or channels, *(other.fit.size or size))
            with other.frozen(), torch.no_grad():
                votes += other(fitted(rendered, shape)).argmax(1) == batch.labels
        return {"second-opinion": votes / len(asked)}


@dataclass(frozen=True)
class _Key:
    identity: str
    device: str
    part: Model = field(compare=False)


@lru_cache(maxsize=16)
def _loaded(key: _Key) -> Classifier:
    return key.part.load(key.device)
