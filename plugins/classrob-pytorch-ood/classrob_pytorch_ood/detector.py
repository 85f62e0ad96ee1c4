"""The detector family `pytorch-ood/…`: a detector of pytorch-ood, on what a study's model makes of images."""

from __future__ import annotations

import ast
import importlib
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, final

from pydantic import Field, model_validator

from classrob.errors import StudyError, nearest, one_line
from classrob.parts import Detector

if TYPE_CHECKING:
    from classrob.live import Classifier
    from classrob.scorer import Reference, Scorer

#: What a detector looks at, by the library's base class; further classes look at what no study can name.
SEES = {"LogitsDetector": "logits", "FeaturesDetector": "features"}

#: These step along the gradient of the image, and see the whole model.
STEPS = {"ODIN": "images", "MahalanobisODIN": "images"}

#: These want a tensor that no study can hold: embeddings of texts, weights of classes.
BEYOND = frozenset({"MCM", "WeightedEBO"})

#: Constructor parameters that follow from the model.
OURS = frozenset({"model", "encoder", "head", "w", "b", "criterion", "detector"})


@final
class PytorchOodDetector(Detector):
    """A detector of pytorch-ood (Kirchheim, Filax and Ortmeier, CVPR Workshops 2022).

    It is fitted on the study's reference alone. Detectors of logits have a slope in the image, which the attack
    `evade` follows; those of features and of steps have none here.
    """

    detector: str = Field(description="the name of a class in pytorch_ood.detector, such as ViM")
    options: dict[str, Any] = Field(default={}, description="keyword arguments for that class")

    @model_validator(mode="after")
    def _known(self) -> Self:
        from classrob_base.foreign import checked

        if self.detector not in (known := _kinds()):
            hint = nearest(self.detector, known)
            raise ValueError(f"pytorch_ood.detector has no '{self.detector}' for a study{hint}")
        checked(f"pytorch-ood's {self.detector}", _class(self.detector), self.options, OURS)
        return self

    @classmethod
    def members(cls) -> Iterable[str]:
        """Every detector that looks at logits, at features, or at a step of the image."""
        return sorted(_kinds())

    def ingredients(self) -> Mapping[str, str]:
        """The version of pytorch-ood."""
        return {"pytorch-ood": version("pytorch-ood")}

    def fit(self, classifier: Classifier, reference: Reference) -> Scorer:
        """The library's detector, fitted where it wants to be.

        Raises:
            NotObservable: it wants features, and the model shows none. PluginError: the library cannot go on.
        """
        import torch

        from classrob_base.foreign import call, explained

        from .scores import Fitted, Views

        views = Views.of(classifier, reference, _parameters(self.detector))
        images, labels = reference.batch.images, reference.batch.labels
        what, rows = f"pytorch-ood's {self.detector}", torch.arange(len(images))
        with explained(what), call(classifier, reference.streams, rows):
            detector = _class(self.detector)(**views.given, **self.options)
            scorer = Fitted(views, _kinds()[self.detector], detector, what)
            scorer.fit(images, labels)
        return scorer


def _parameters(name: str) -> set[str]:
    return set(inspect.signature(_class(name)).parameters)


def _kinds() -> dict[str, str]:
    """What every detector that a study can have looks at, by its name."""
    spec = find_spec("pytorch_ood")
    if spec is None or spec.origin is None:
        raise _absent(ImportError("it is not installed"))
    return _read(Path(spec.origin).parent / "detector")


@lru_cache(maxsize=1)
def _read(folder: Path) -> dict[str, str]:
    """The classes in a folder with a base in `SEES`; read as text, since importing loads torch."""
    bases: dict[str, str] = {}
    for file in sorted(folder.rglob("*.py")):
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.bases and not node.name.startswith("_"):
                bases.setdefault(node.name, ast.unparse(node.bases[0]))
    found = dict(STEPS)
    for name in bases:
        base = name
        while base in bases and base not in SEES:
            base = bases[base]
        if base in SEES and name not in BEYOND:
            found[name] = SEES[base]
    return {name: kind for name, kind in found.items() if name in bases}


def _class(name: str) -> Callable[..., Any]:
    try:
        with warnings.catch_warnings(action="ignore"):
            return vars(importlib.import_module("pytorch_ood.detector"))[name]
    except (ImportError, RuntimeError, OSError) as error:  # a torchvision of another torch raises the latter
        raise _absent(error) from error


def _absent(error: Exception) -> StudyError:
    return StudyError(f"'pytorch-ood/…' needs pytorch-ood ({one_line(error)[:120]}): pip install pytorch-ood")
