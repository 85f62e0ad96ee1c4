"""The explainer family `captum/…`: every attribution of Captum that needs a model, images and classes alone."""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, ClassVar, final

import torch
from pydantic import Field, field_validator
from torch import Tensor

from classrob.errors import NotExplainable, StudyError, nearest, one_line
from classrob.live import Classifier
from classrob.parts import Explainer

#: Of batches: one would mix the images; of features: one takes as many looks as they have subsets.
_LEFT_OUT = frozenset({"FeaturePermutation", "ShapleyValues"})
#: What a method's maker and its `attribute` may require, beside what they have a default for.
_MADE_OF, _ASKED_WITH = frozenset({"forward_func", "model"}), frozenset({"inputs", "sliding_window_shapes"})


@final
class CaptumExplainer(Explainer):
    """An attribution method of Captum (Kokhlikyan et al., 2020), [n, c, h, w] or as the method shapes it.

    Images are asked about one by one, each with the same seed, since some methods draw or compare images of a batch.
    Maps are of no graph, so they can be shown and compared, and neither attacked nor trained.
    """

    differentiable: ClassVar[bool] = False

    method: str = Field(description="Captum's class in small letters with dashes: saliency, deep-lift, …")
    arguments: dict[str, Any] = Field(default={}, description="what else goes to its `attribute`")
    window: int = Field(default=4, ge=1, description="side in pixels of what `occlusion` hides")
    seed: int = Field(default=0, ge=0, description="of methods that draw")

    @field_validator("method")
    @classmethod
    def _known(cls, method: str) -> str:
        try:
            known = _methods(_library())
        except StudyError as error:
            raise ValueError(str(error)) from None
        if method not in known:
            raise ValueError(f"Captum has no method '{method}' that suits{nearest(method, known)}")
        return method

    @classmethod
    def members(cls) -> Iterable[str]:
        """Every method that needs no more than a model, images and classes."""
        return sorted(_methods(_library()))

    def ingredients(self) -> Mapping[str, str]:
        """Captum's version."""
        try:
            return {"captum": version("captum")}
        except PackageNotFoundError as error:
            raise _absent(error) from error

    def explain(self, classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """Raises NotExplainable where the method does not take such a model; the text is Captum's."""
        method = _methods(_library())[self.method]
        takes_module = "model" in inspect.signature(method).parameters
        more = dict(self.arguments)
        if "sliding_window_shapes" in inspect.signature(method.attribute).parameters:
            more.setdefault("sliding_window_shapes", (images.shape[1], self.window, self.window))
        maps: list[Tensor] = []
        for image, label in zip(images.detach().split(1), labels.tolist(), strict=True):
            with _alone(self.seed), torch.enable_grad():
                try:
                    attribution = method(classifier.module if takes_module else classifier)
                    found = attribution.attribute(image.clone().requires_grad_(), target=label, **more)
                except torch.OutOfMemoryError:
                    raise
                except Exception as error:  # a library's method may raise anything about a model
                    raise NotExplainable(f"Captum's {method.__name__}: {one_line(error)[:200]}") from error
            maps.append(found.detach().float())
        return torch.cat(maps)


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """The global generator at a seed, afterwards as it was; without Captum's remarks on hooks."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(seed)
        yield


def _methods(captum: ModuleType) -> dict[str, Any]:
    """The methods that suit, by the names that studies use."""
    found: dict[str, Any] = {}
    for name, cls in vars(captum).items():
        verb = getattr(cls, "attribute", None)
        if not inspect.isclass(cls) or not callable(verb) or name in _LEFT_OUT:
            continue
        made, asked = _required(cls.__init__), _required(verb)
        if made and made <= _MADE_OF and asked <= _ASKED_WITH:
            found[re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()] = cls
    return found


def _required(function: Any) -> frozenset[str]:
    """The parameters without a default."""
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind in plain]
    return frozenset(p.name for p in parameters if p.default is inspect.Parameter.empty) - {"self"}


def _library() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("captum.attr")
    except ImportError as error:
        raise _absent(error) from error


def _absent(error: Exception) -> StudyError:
    return StudyError(
        f"'captum/…' needs the library captum ({one_line(error)[:120]}): install classrob[captum]"
    )
