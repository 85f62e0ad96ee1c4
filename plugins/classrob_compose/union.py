"""Whichever of several threats is the worst: z is theirs side by side, and only one of them is off its centre."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, final

import torch
from pydantic import PrivateAttr, SerializeAsAny, model_validator
from torch import Tensor

from classrob.ensemble import Ensemble, propose
from classrob.ensemble import Member as Asked
from classrob.errors import StudyError
from classrob.identity import identity
from classrob.live import Batch, Classifier
from classrob.parts import Attack
from classrob.space import Space
from classrob.streams import Streams
from classrob_compose.composed import Composed, Member, joined, pieces, searchable


@final
class Union(Composed):
    """A sample withstands a union when it withstands each of its threats, each within its own budget.

    Every threat is searched on its own, by its own `attack` where its table names one, else by the union's; the
    worst judged example counts, and `classrob show --trials` has each threat's share under its name. At a
    budget of 0.5 each threat has half of its own largest budget.
    """

    @model_validator(mode="after")
    def _apart(self) -> Self:
        names = [one.name for one in self._members]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(
                    f"two threats of this union are called '{name}': give one a `name` of its own"
                )
        try:
            for member in self._members:
                searchable(member, "of a union")
                if member.attack is not None and "pixels" in member.attack.needs and not member.threat.pixels:
                    raise StudyError(f"'{member.name}' is no offset of pixels, which its attack needs")
        except StudyError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def each(self) -> tuple[Member, ...]:
        """The threats."""
        return self._members

    def searched_by(self, attack: Attack) -> Attack:
        """The attack in each threat on its own, but for those that have one of their own."""
        return Each.of(self, attack)

    def open(self, batch: Batch, classifier: Classifier, streams: Streams) -> Space:
        """The spaces of all threats around each image."""
        spaces = [one.threat.open(batch, classifier, streams.fork(i)) for i, one in enumerate(self._members)]
        return Joined(batch.images.new_full((len(batch),), self.budgets[-1]), tuple(spaces), self)


@final
@dataclass(frozen=True)
class Joined(Space):
    """The images that any of several threats reaches; of z [n, d] the part that is farthest off counts.

    Attributes:
        spaces: each threat's own.
    """

    spaces: tuple[Space, ...]
    union: Union

    def centre(self) -> Tensor:
        """Nothing done by any."""
        return joined([space.centre() for space in self.spaces])

    def start(self, streams: Streams) -> Tensor:
        """A random point of a threat drawn at random."""
        drawn = streams.fork("threat").integers(len(self.spaces), 1)[:, 0]
        starts = [self.own(i).start(streams.fork(i)) for i in range(len(self.spaces))]
        return self._only(starts, drawn)

    def project(self, z: Tensor) -> Tensor:
        """The part that is farthest off into its own budget, the others back to their centres."""
        found = [self.own(i).project(piece) for i, piece in enumerate(pieces(z, self.spaces))]
        return self._only(found, self._used(z).argmax(1))

    def render(self, z: Tensor) -> Tensor:
        """The image of the threat whose part is farthest off."""
        chosen = self._used(z.detach()).argmax(1)
        images: Tensor | None = None
        for i, piece in enumerate(pieces(z, self.spaces)):
            rows = (chosen == i).nonzero()[:, 0]
            if len(rows):
                image = self.spaces[i].select(rows).render(piece[rows])
                images = image.new_empty(len(z), *image.shape[1:]) if images is None else images
                images = images.index_copy(0, rows, image)
        return self.spaces[0].render(self.spaces[0].centre()) if images is None else images

    def distance(self, z: Tensor) -> Tensor:
        """The largest share that any threat uses of its own largest budget."""
        return self._used(z).amax(1)

    def steepest(self, slope: Tensor) -> Tensor:
        """Each threat's own steepest direction, as long as its largest budget."""
        members = zip(self.union.each, pieces(slope, self.spaces), strict=True)
        return joined([m.whole * self.own(i).steepest(piece) for i, (m, piece) in enumerate(members)])

    def own(self, i: int) -> Space:
        """A threat's own space, within its own budget."""
        return self.spaces[i].at(self.budget * self.union.each[i].whole)

    def embedded(self, i: int, z: Tensor) -> Tensor:
        """z of a threat's own space as one of the union."""
        return joined([z if k == i else space.centre() for k, space in enumerate(self.spaces)])

    def _used(self, z: Tensor) -> Tensor:
        """[n, m]: the share that each part uses of its threat's largest budget."""
        parts = zip(self.spaces, pieces(z, self.spaces), self.union.each, strict=True)
        return torch.stack([space.distance(piece) / one.whole for space, piece, one in parts], 1)

    def _only(self, parts: Sequence[Tensor], chosen: Tensor) -> Tensor:
        """The chosen part of each row, the others at their centres."""
        kept = []
        for i, (space, part) in enumerate(zip(self.spaces, parts, strict=True)):
            mine = (chosen == i).reshape(-1, *[1] * (part.ndim - 1))
            kept.append(torch.where(mine, part, space.centre()))
        return joined(kept)


@final
class Each(Ensemble):
    """An attack in each threat of a union, within that threat's own space; an ensemble with a member a threat."""

    _union: Union | None = PrivateAttr(default=None)
    _attack: Attack | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, union: Union, attack: Attack) -> Self:
        """The attack shared out over the threats of a union.

        Raises:
            StudyError: it needs pixels, and a threat is no offset of pixels.
        """
        for member in union.each:
            if member.attack is None and "pixels" in attack.needs and not member.threat.pixels:
                raise StudyError(
                    f"threat '{member.name}' of the union is no offset of pixels, which the attack needs: "
                    "give it an `attack` of its own"
                )
        made = cls()
        made._union, made._attack = union, attack
        return made

    def ingredients(self) -> dict[str, str]:
        """What is shared out."""
        return {"attack": identity(self._attack) if self._attack else ""}

    def attacks(self, classes: int, space: Space) -> Sequence[Asked]:
        """Every threat's attack, in their order."""
        if self._union is None or self._attack is None or not isinstance(space, Joined):
            raise StudyError("attack 'each' searches a union of threats, and nothing else")
        return [
            Asked(member.name, Within(place=i, attack=member.attack or self._attack))
            for i, member in enumerate(self._union.each)
        ]


@final
class Within(Attack):
    """An attack in one threat of a union, whatever the union is searched with."""

    batches_itself = True

    place: int
    attack: SerializeAsAny[Attack]

    def search(
        self, classifier: Classifier, space: Space, batch: Batch, streams: Streams, start: Tensor | None
    ) -> Tensor:
        """What the attack proposes in the threat's own space, as a point of the union."""
        assert isinstance(space, Joined)
        begin = None if start is None else pieces(start, space.spaces)[self.place]
        asked = Asked("within", self.attack)
        own = space.own(self.place)
        return space.embedded(self.place, propose(asked, classifier, own, batch, streams, begin))
