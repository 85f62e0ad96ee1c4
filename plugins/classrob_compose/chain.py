"""One threat after the other: z is theirs side by side, and each is opened around what the one before has made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self, final

import torch
from pydantic import model_validator
from torch import Tensor

from classrob.errors import StudyError
from classrob.live import Batch, Classifier
from classrob.space import Space
from classrob.streams import Streams
from classrob_compose.composed import Composed, Member, joined, pieces, searchable


@final
class Chain(Composed):
    """Threats one after the other, as a rotation and then an offset of pixels; all are searched at once.

    At a budget of 0.5 each has half of its own largest budget. Threats without a slope, such as corruptions,
    may stand first: they are applied as they are, at their own largest budget whatever the share.
    """

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if any(one.attack is not None for one in self._members):
            raise ValueError("a chain is searched at once: give it the `attack`, not one of its threats")
        try:
            for member in self.searched:
                searchable(member, "after what is searched" if member.threat.gradients else "of a chain")
        except StudyError as error:
            raise ValueError(str(error)) from None
        if not self.searched:
            raise ValueError("no threat of this chain has a slope: there is nothing to search")
        return self

    @property
    def fixed(self) -> tuple[Member, ...]:
        """The threats without a slope that stand first."""
        first = [i for i, one in enumerate(self._members) if one.threat.gradients]
        return self._members[: first[0] if first else len(self._members)]

    @property
    def searched(self) -> tuple[Member, ...]:
        """The others."""
        return self._members[len(self.fixed) :]

    def open(self, batch: Batch, classifier: Classifier, streams: Streams) -> Space:
        """The space around each image, after what is applied as it is."""
        with torch.no_grad():
            for i, member in enumerate(self.fixed):
                space = member.threat.open(batch, classifier, streams.fork(f"fixed {i}"))
                batch = replace(batch, images=space.render(space.centre()))
            share = batch.images.new_full((len(batch),), self.budgets[-1])
            resting: list[Space] = []
            images = batch.images
            for i, member in enumerate(self.searched):
                resting.append(member.threat.open(replace(batch, images=images), classifier, streams.fork(i)))
                if i + 1 < len(self.searched):
                    images = resting[i].render(resting[i].centre())
        rows = torch.arange(len(batch), device=share.device)
        return Chained(
            share,
            rows,
            batch.labels,
            streams.to(share.device).keys,
            tuple(resting),
            batch.ids,
            classifier,
            self,
        )


@final
@dataclass(frozen=True)
class Chained(Space):
    """The images that a chain reaches; z [n, d] holds the numbers of all its threats, one after the other.

    Attributes:
        rows: int64 [n], each sample's place in `ids`; labels: int64 [n]; keys: int64 [n], of the streams.
        resting: each threat's space, opened around what those before it make of the image when they do nothing.
        ids: all samples that the chain was opened for.
    """

    rows: Tensor
    labels: Tensor
    keys: Tensor
    resting: tuple[Space, ...]
    ids: tuple[str, ...]
    classifier: Classifier
    chain: Chain

    def centre(self) -> Tensor:
        """Nothing done by any."""
        return joined([space.centre() for space in self.resting])

    def start(self, streams: Streams) -> Tensor:
        """A random point of each, around what those before it have made."""
        found: list[Tensor] = []
        image: Tensor | None = None
        for i in range(len(self.resting)):
            space = self._around(i, image)
            found.append(space.start(streams.fork(i)))
            image = self._on(i, space, found[i])
        return joined(found)

    def project(self, z: Tensor) -> Tensor:
        """Each threat's numbers into its own budget, the first ones first."""
        found: list[Tensor] = []
        image: Tensor | None = None
        for i, piece in enumerate(pieces(z, self.resting)):
            space = self._around(i, image)
            found.append(space.project(piece))
            image = self._on(i, space, found[i])
        return joined(found)

    def render(self, z: Tensor) -> Tensor:
        """What the last threat makes of what those before it have made."""
        *_, (space, piece) = self._along(z)
        return space.render(piece)

    def distance(self, z: Tensor) -> Tensor:
        """The largest share that any threat uses of its own largest budget."""
        used = [space.distance(piece) for space, piece in self._along(z)]
        return torch.stack(
            [one / member.whole for one, member in zip(used, self.chain.searched, strict=True)]
        ).amax(0)

    def steepest(self, slope: Tensor) -> Tensor:
        """Each threat's own steepest direction, as long as its largest budget."""
        members = zip(self.chain.searched, pieces(slope, self.resting), strict=True)
        return joined([m.whole * self._resting(i).steepest(piece) for i, (m, piece) in enumerate(members)])

    def _resting(self, i: int) -> Space:
        return self.resting[i].at(self.budget * self.chain.searched[i].whole)

    def _around(self, i: int, image: Tensor | None) -> Space:
        """The space of a threat around the images that those before it have made; None where there are none."""
        if image is None:
            return self._resting(i)
        batch = Batch(tuple(self.ids[row] for row in self.rows.tolist()), image, self.labels)
        member = self.chain.searched[i]
        opened = member.threat.open(batch, self.classifier, Streams(self.keys).fork(i))
        return opened.at(self.budget * member.whole)

    def _along(self, z: Tensor) -> Iterator[tuple[Space, Tensor]]:
        """Each threat's space and its own z; the images between them are made of z."""
        image: Tensor | None = None
        for i, piece in enumerate(pieces(z, self.resting)):
            space = self._around(i, image)
            yield space, piece
            image = self._on(i, space, piece)

    def _on(self, i: int, space: Space, piece: Tensor) -> Tensor | None:
        """What the next threat begins with; nothing after the last."""
        return space.render(piece) if i + 1 < len(self.resting) else None
