"""The attack family `torchattacks/…`: an attack of torchattacks on pixels, at every sample's own budget."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import warnings
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from pydantic import Field, model_validator

from classrob.errors import StudyError, nearest, one_line
from classrob.parts import Attack, Need

if TYPE_CHECKING:
    from torch import Tensor

    from classrob.live import Batch, Classifier
    from classrob.space import Space
    from classrob.streams import Streams

#: torchattacks' name of a space's norm, by the name of its class: listing attacks need not load torch.
NORMS = {"LinfBall": "Linf", "L2Ball": "L2", "L1Ball": "L1"}

#: FAB's docstring names L1 too, but there the library stops with an UnboundLocalError (3.5.1).
BROKEN = {"FAB": "L1"}

#: Constructor parameters that follow from the model, the threat and the study's seed.
OURS = frozenset({"model", "eps", "max_epsilon", "norm", "n_classes", "seed"})


@final
class TorchattacksAttack(Attack):
    """An attack of torchattacks (Kim, 2020), in a norm that it is made for.

    Where the constructor has `eps`, it gets the sample's budget, and `alpha`, the size of a step, keeps its
    default share of `eps` unless the options set it. `steps` stay at the library's defaults, which are few:
    its AutoAttack takes 10 where the authors' own takes 100. `norm`, `n_classes` and `seed` are set too.

    Every sample is attacked alone, with random numbers of its own: in a batch the library draws for all
    samples at once, and some of its attacks stop when the batch as a whole no longer improves. PGD of 20
    steps on 64 images then takes 1.5 times as long as in one batch on a convolutional network of 32 channels
    and 32×32 pixels, APGD 1.7 times; 8 and 15 times at 16 channels and 8×8 pixels (one core).
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "logits", "gradients", "pixels"})

    attack: str = Field(description="the name of a class in torchattacks, such as APGD")
    options: dict[str, Any] = Field(default={}, description="keyword arguments for that class")
    alone: bool = Field(
        default=True,
        description="attack each sample on its own; false: samples of equal budgets together, which is faster, "
        "but what is found then depends on the batch",
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        from classrob_base.foreign import checked

        if self.attack not in (known := _norms()):
            raise ValueError(f"torchattacks has no '{self.attack}' for a study{nearest(self.attack, known)}")
        checked(f"torchattacks' {self.attack}", _class(self.attack), self.options, OURS)
        return self

    @classmethod
    def members(cls) -> Iterable[str]:
        """Every attack that says it keeps to one of the norms of `NORMS`."""
        return sorted(_norms())

    def ingredients(self) -> Mapping[str, str]:
        """The version of torchattacks."""
        return {"torchattacks": version("torchattacks")}

    def search(
        self, classifier: Classifier, space: Space, batch: Batch, streams: Streams, start: Tensor | None
    ) -> Tensor:
        """The offsets of the images that torchattacks returns.

        Raises:
            StudyError: the attack is made for another norm. PluginError: torchattacks cannot go on.
        """
        from classrob_base.foreign import Network, call, calls, explained

        norms, norm = _norms()[self.attack], NORMS.get(type(space).__name__)
        if norm not in norms:
            raise StudyError(
                f"torchattacks' {self.attack} searches among offsets of small {' or '.join(norms)} norm, not in a "
                f"space of type {type(space).__name__}: choose attack and threat for the same norm"
            )
        cls, found = _class(self.attack), batch.images.clone()
        network = Network(classifier, batch.images.device, self.alone)
        for rows in calls(space.budget, self.alone, one_budget=True):
            with explained(f"torchattacks' {self.attack}"), call(classifier, streams, rows) as seed:
                ours = {**_sizes(cls, float(space.budget[rows[0]])), "norm": norm, "seed": seed}
                parameters = inspect.signature(cls).parameters
                if "n_classes" in parameters:
                    ours["n_classes"] = network(batch.images[rows[:1]]).shape[1]
                ours = {name: value for name, value in ours.items() if name in parameters}
                attack = cls(network, **{**ours, **self.options})
                found[rows] = attack(batch.images[rows], batch.labels[rows]).detach()
        return found - batch.images


def _sizes(cls: Any, budget: float) -> dict[str, float]:
    """The radius of a constructor, and its step where that is a share of the radius."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(cls).parameters.items()}
    sizes = {"eps": budget, "max_epsilon": budget}
    return sizes | ({"alpha": budget * defaults["alpha"] / defaults["eps"]} if "alpha" in defaults else {})


def _norms() -> dict[str, list[str]]:
    """The norms of every attack that keeps to one, by its name."""
    spec = find_spec("torchattacks")
    if spec is None or spec.origin is None:
        raise _absent(ImportError("it is not installed"))
    return _documented(Path(spec.origin).parent / "attacks")


@lru_cache(maxsize=1)
def _documented(folder: Path) -> dict[str, list[str]]:
    """What the docstrings of all classes in a folder say of norms; read as text, since importing loads torch."""
    found: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*.py")):
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                said = re.search(r"Distance Measure\s*:(.*)", ast.get_docstring(node) or "")
                norms = re.findall(r"Linf|L2|L1", said[1]) if said else []
                found[node.name] = [norm for norm in norms if norm != BROKEN.get(node.name)]
    return {name: norms for name, norms in found.items() if norms}


def _class(name: str) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):
            return vars(importlib.import_module("torchattacks"))[name]
    except (ImportError, RuntimeError, OSError) as error:  # a torchvision of another torch raises the latter
        raise _absent(error) from error


def _absent(error: Exception) -> StudyError:
    return StudyError(
        f"'torchattacks/…' needs torchattacks ({one_line(error)[:120]}): pip install torchattacks"
    )
