"""What chains and unions of threats share: the threats, by their names, and a budget as a share of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self

import torch
from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator
from torch import Tensor

from classrob.catalog import Catalog
from classrob.errors import StudyError
from classrob.fields import Budgets
from classrob.identity import identity
from classrob.parts import Attack, Threat
from classrob.space import Space

#: Keys of a member's entry that are no fields of its own.
OWN = ("use", "name", "attack")


class Member(NamedTuple):
    """A threat that others are combined with, under its name; `attack` is its own, where it names one."""

    name: str
    threat: Threat
    attack: Attack | None

    @property
    def whole(self) -> float:
        """Its largest budget, of which a composed budget is a share."""
        return self.threat.budgets[-1]


class Composed(Threat):
    """A threat made of others. A budget is a share of each one's own largest budget, which it keeps."""

    default_attack: ClassVar[str] = "pgd"
    #: `ingredients` holds the members' identities, which unlike their entries do not depend on where files are.
    passive: ClassVar[frozenset[str]] = frozenset({"threats"})

    threats: tuple[dict[str, Any], ...] = Field(
        min_length=2,
        description="tables as in `[[threat]]`: `use` and fields; the largest of `budgets` counts",
    )
    budgets: Budgets = Field(
        default=(1.0,), description="ascending, shares of each threat's own largest budget, at most 1"
    )

    _members: tuple[Member, ...] = PrivateAttr(default=())

    @field_validator("budgets")
    @classmethod
    def _shares(cls, budgets: tuple[float, ...]) -> tuple[float, ...]:
        if budgets[-1] > 1.0:
            raise ValueError(f"a share of each threat's own budget is at most 1, not {budgets[-1]:g}")
        return budgets

    @model_validator(mode="after")
    def _find(self, info: ValidationInfo) -> Self:
        context = info.context or {}
        catalog = context.get("catalog") or Catalog.installed()
        self._members = tuple(
            self._member(entry, f"threat {i} of {len(self.threats)}", catalog, context)
            for i, entry in enumerate(self.threats, 1)
        )
        return self

    def _member(
        self, entry: Mapping[str, Any], where: str, catalog: Catalog, context: Mapping[str, Any]
    ) -> Member:
        use, name = entry.get("use"), entry.get("name", entry.get("use"))
        if not isinstance(use, str) or not isinstance(name, str):
            raise ValueError(f"{where} needs `use`, the name of a threat")
        try:
            fields = {key: value for key, value in entry.items() if key not in OWN}
            threat = catalog.make("threat", use, fields, context.get("base"), where)
            attack = entry.get("attack")
            if attack is not None:
                table = {"use": attack} if isinstance(attack, str) else attack
                rest = {key: value for key, value in table.items() if key not in OWN}
                attack = catalog.make("attack", table["use"], rest, context.get("base"), f"{where}: attack")
        except StudyError as error:
            raise ValueError(str(error)) from None
        if not threat.budgets:
            raise ValueError(f"{where} ('{use}') has no budget, so there is nothing to combine")
        return Member(name, threat, attack)

    def ingredients(self) -> Mapping[str, str]:
        """What each threat, and its own attack, are made of."""
        return {
            f"{i} {one.name}": identity(one.threat) + (identity(one.attack) if one.attack else "")
            for i, one in enumerate(self._members)
        }


def pieces(z: Tensor, spaces: tuple[Space, ...]) -> list[Tensor]:
    """The members' own z out of a composed one [n, sum of their sizes], each in its own shape."""
    centres = [space.centre() for space in spaces]
    cut = z.split([centre.shape[1:].numel() for centre in centres], 1)
    return [one.reshape(centre.shape) for one, centre in zip(cut, centres, strict=True)]


def joined(parts: list[Tensor]) -> Tensor:
    """The composed z of the members' own."""
    return torch.cat([one.flatten(1) for one in parts], 1)


def searchable(member: Member, what: str) -> None:
    """A member that is searched must be a set of numbers that grows with its budget.

    Raises:
        StudyError: it is not; `what` names the composed threat.
    """
    if not member.threat.gradients:
        raise StudyError(f"{what}: '{member.name}' has no slope to climb")
    if not member.threat.nested:
        raise StudyError(f"{what}: the smaller sets of '{member.name}' do not lie inside the larger ones")
