"""The attack family `foolbox/…`: an attack of Foolbox on pixels, at every sample's own budget."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from pydantic import Field, model_validator

from classrob.errors import StudyError, nearest, one_line
from classrob.parts import Attack, Need

if TYPE_CHECKING:
    from torch import Tensor

    from classrob.live import Batch, Classifier
    from classrob.space import Space
    from classrob.streams import Streams

#: Foolbox's distance for a space, by the name of its class: listing attacks need not load torch.
DISTANCES = {"LinfBall": "linf", "L2Ball": "l2", "L1Ball": "l1"}

#: These want what no study can name: a target class, other images, points to start from.
BEYOND = frozenset({"GenAttack", "DatasetAttack", "BinarizationRefinementAttack"})


@final
class FoolboxAttack(Attack):
    """An attack of Foolbox (Rauber et al., 2020), in the norm that it is made for.

    An attack at a fixed epsilon gets the sample's budget; one that minimises runs to its end. One that finds
    no point to start from proposes the image itself.

    Every sample is attacked alone, with random numbers of its own: in a batch the library draws for all
    samples at once. LinfPGD of 20 steps on 64 images then takes 1.5 times as long as in one batch on a
    convolutional network of 96 channels and 32×32 pixels, 2 times at 32 channels, and 9 times at 16 channels
    and 8×8 pixels (one core). On a GPU it takes many times as long: see `alone`.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "logits", "gradients", "pixels"})

    attack: str = Field(description="the name of a class in foolbox.attacks, such as LinfPGD")
    options: dict[str, Any] = Field(default={}, description="keyword arguments for that class")
    alone: bool = Field(
        default=True,
        description="attack each sample on its own; false: samples of equal budgets together, which is faster, "
        "but what an attack that draws random numbers finds then depends on the batch",
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        from classrob_base.foreign import checked

        attacks = _attacks()
        if self.attack not in attacks:
            hint = nearest(self.attack, attacks)
            raise ValueError(f"foolbox.attacks has no '{self.attack}' for a study{hint}")
        checked(f"foolbox's {self.attack}", attacks[self.attack], self.options, ["distance"])
        return self

    @classmethod
    def members(cls) -> Iterable[str]:
        """Every attack in foolbox.attacks that keeps to a norm, with Foolbox's short names."""
        return sorted(_attacks())

    def ingredients(self) -> Mapping[str, str]:
        """The versions of Foolbox and of what it computes with."""
        return {name: version(name) for name in ("foolbox", "eagerpy")}

    def search(
        self, classifier: Classifier, space: Space, batch: Batch, streams: Streams, start: Tensor | None
    ) -> Tensor:
        """The offsets of the images that Foolbox returns.

        Raises:
            StudyError: the attack is made for another norm. PluginError: Foolbox cannot go on.
        """
        from classrob_base.foreign import Network, call, calls, explained

        foolbox, what = _library(), f"foolbox's {self.attack}"
        device, found = batch.images.device, batch.images.clone()
        model = foolbox.PyTorchModel(Network(classifier, device, self.alone), bounds=(0, 1), device=device)
        with explained(what):
            attack = self._made(foolbox, space)
        fixed = isinstance(attack, foolbox.attacks.base.FixedEpsilonAttack)
        for rows in calls(space.budget, self.alone, fixed):
            criterion = foolbox.criteria.Misclassification(batch.labels[rows])
            epsilon = {"epsilon": float(space.budget[rows[0]])} if fixed else {}
            with explained(what), call(classifier, streams, rows):
                try:
                    found[rows] = attack.run(model, batch.images[rows], criterion, **epsilon)
                except ValueError as error:
                    if "init_attack failed for 1.0 of 1 " not in str(error):
                        raise
        return found - batch.images

    def _made(self, foolbox: ModuleType, space: Space) -> Any:
        cls = _attacks()[self.attack]
        distance = getattr(foolbox.distances, DISTANCES.get(type(space).__name__, ""), None)
        flexible = issubclass(cls, foolbox.attacks.base.FlexibleDistanceMinimizationAttack)
        ours = {"distance": distance} if "distance" in inspect.signature(cls).parameters else {}
        attack = cls(**self.options, **ours)
        if distance is None or (not flexible and attack.distance is not distance):
            own = "offsets of pixels in any norm" if flexible else f"offsets of small {attack.distance}"
            raise StudyError(
                f"foolbox's {self.attack} searches among {own}, not in a space of type {type(space).__name__}: "
                "choose attack and threat for the same norm"
            )
        return attack


def _library() -> ModuleType:
    try:
        with warnings.catch_warnings(action="ignore"):  # of names that scipy has moved
            importlib.import_module("foolbox.attacks.base")
            return importlib.import_module("foolbox")
    except ImportError as error:
        raise StudyError(
            f"'foolbox/…' needs Foolbox ({one_line(error)[:120]}): pip install foolbox"
        ) from error


def _attacks() -> dict[str, Any]:
    """The attacks within a norm by name; found without torch."""
    library = _library()
    kind = library.attacks.base.AttackWithDistance
    found = {
        name: one
        for name, one in vars(library.attacks).items()
        if inspect.isclass(one) and issubclass(one, kind)
    }
    counts = library.distances.l0  # of pixels, which no threat bounds
    return {
        n: one for n, one in found.items() if n not in BEYOND and getattr(one, "distance", None) is not counts
    }
