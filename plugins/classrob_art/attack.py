"""The attack family `art/…`: every member has the fields, defaults and documentation of ART's own class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, create_model

from classrob.errors import StudyError
from classrob.parts import Attack, Need
from classrob_art.offer import Offer, offer_of, offers
from classrob_art.signature import Parameter
from classrob_art.source import REMEDY, root

if TYPE_CHECKING:
    from torch import Tensor

    from classrob.live import Batch, Classifier
    from classrob.space import Space
    from classrob.streams import Streams

#: What the plugin sets itself: output, batching, and that an attack moves away from the label.
SET = frozenset({"verbose", "summary_writer", "batch_size", "targeted", "parallel_pool_size"})


def _canonical(name: str) -> str:
    try:
        return offer_of(name).name
    except StudyError as error:
        raise ValueError(str(error)) from None


class ArtAttack(Attack):
    """An attack of the Adversarial Robustness Toolbox (Nicolae et al., 2018) that works on images alone.

    The budget and the norm come from the space, step sizes `eps_step` are in budgets. ART's own progress bars,
    files, logging set-up and draws from global random generators are kept away from the rest of the program.

    An attack that draws is called for one image at a time, its generators seeded from the image's stream: so
    an image's result does not depend on its neighbours. The fast gradient method and projected gradient
    descent in all their forms are called on whole batches while they draw nothing; every other attack of ART,
    and these with a random start, one image at a time. That takes 2 to 4 times as long for APGD and Square,
    and no longer for DeepFool (docs/how-to/use-attacks-of-art.md has the figures and the command).
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "logits", "gradients", "pixels"})

    algorithm: Annotated[str, AfterValidator(_canonical)] = Field(
        description="ART's class in kebab-case, or its initials"
    )

    @classmethod
    def members(cls) -> Iterable[str]:
        """Every attack that needs a PyTorch classifier, images and labels, and no more."""
        return [offer.name for offer in offers()]

    @classmethod
    def member(cls, name: str) -> type[ArtAttack]:
        """The part of one attack, with a field for every parameter of ART's class.

        Raises:
            StudyError: ART is missing, knows no such attack, or it cannot be offered; says why.
        """
        return _member(str(root()), offer_of(name).name)

    def ingredients(self) -> Mapping[str, str]:
        """ART's version, which decides what an attack does."""
        try:
            return {"art": version("adversarial-robustness-toolbox")}
        except PackageNotFoundError as error:
            raise StudyError(f"'art/…' needs the Adversarial Robustness Toolbox: {REMEDY}") from error

    def search(
        self, classifier: Classifier, space: Space, batch: Batch, streams: Streams, start: Tensor | None
    ) -> Tensor:
        """What ART's attack makes of every image, minus the image; `start` is of no use to ART.

        Raises:
            StudyError: ART refuses a field's value or the images, or a package that it needs is missing.
        """
        from classrob_art.search import Search  # torch and ART are loaded here and not before

        fields = {name: getattr(self, name) for name in type(self).model_fields if name != "algorithm"}
        return Search(offer_of(self.algorithm), fields, classifier, space, batch, streams).run()


@lru_cache(maxsize=256)
def _member(folder: str, name: str) -> type[ArtAttack]:
    """The class of a member, made once for every place where an ART lies."""
    offer = offer_of(name)
    fields: dict[str, Any] = {
        one.name: _field(offer, one)
        for one in offer.parameters
        if one.type is not None and one.name not in SET | offer.from_space
    }
    only = Annotated[str, AfterValidator(_canonical), AfterValidator(_only(name))]
    made = create_model(
        offer.source.name,
        __base__=ArtAttack,
        __module__=__name__,
        __doc__=f"{offer.source.name} of the Adversarial Robustness Toolbox.\n\n{offer.source.doc}",
        algorithm=(only, Field(default=name, description="this attack")),
        **fields,
    )
    if not offer.gradients:
        made.needs = ArtAttack.needs - {"gradients"}
    return made


def _only(name: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value != name:
            raise ValueError(f"the reference already names '{name}'")
        return value

    return check


def _field(offer: Offer, one: Parameter) -> tuple[Any, Any]:
    meaning = one.meaning or f"`{one.name}` of ART's {offer.source.name}"
    if one.name == "eps_step" and "eps" in offer.from_space:
        share = round(one.default / offer.default("eps"), 9)
        return float, Field(default=share, gt=0, description=f"{meaning} Here in budgets.")
    return one.type, Field(default=one.default, description=meaning)
