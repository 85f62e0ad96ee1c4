"""Several attacks as one: the cheap ones first, each on the samples that still stand."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple, final

import torch
from pydantic import Field
from torch import Tensor

from classrob.judge import admitted, judge
from classrob.live import Batch, Classifier
from classrob.parts import Attack
from classrob.space import Space
from classrob.streams import Streams


class Member(NamedTuple):
    """One attack of an ensemble, under the name that its trials are kept by.

    A `scout` looks for the smallest distance once, at the largest budget, before the others are asked.
    A `goal` is the one class that the member wants the model to say.
    """

    name: str
    attack: Attack
    scout: bool = False
    goal: int | None = None


class Ensemble(Attack):
    """Attacks of which a sample has to withstand every one; a sweep keeps each one's own verdict."""

    batches_itself: ClassVar[bool] = True

    individual: bool = Field(
        default=False, description="every member attacks every sample, also one that is broken already"
    )

    @abstractmethod
    def attacks(self, classes: int, space: Space) -> Sequence[Member]:
        """The attacks, in the order they are asked, for a model of so many classes and a space."""

    @final
    def search(
        self, classifier: Classifier, space: Space, batch: Batch, streams: Streams, start: Tensor | None
    ) -> Tensor:
        """What the first member to break a sample found; else what the last one proposed."""
        answer = space.centre() if start is None else start.clone()
        rows = torch.arange(len(batch), device=batch.labels.device)
        for member in members_of(self, "", classifier, space):
            if not len(rows):
                break
            here, samples = space.select(rows), batch.select(rows)
            begin = None if start is None else start[rows]
            found = propose(member, classifier, here, samples, streams.select(rows), begin)
            answer[rows] = found
            broken = judge(classifier, here, samples, found).broken
            rows = rows[~broken.to(rows.device)]
        return answer


def members_of(attack: Attack, name: str, classifier: Classifier, space: Space) -> Sequence[Member]:
    """The attacks that an attack consists of: itself alone, where it is no ensemble."""
    if not isinstance(attack, Ensemble):
        return (Member(name, attack),)
    meter, classifier.meter = classifier.meter, None
    one = space.select(torch.arange(1, device=space.budget.device))
    with torch.no_grad():
        classes = classifier(one.render(one.centre())).shape[1]
    classifier.meter = meter
    return attack.attacks(classes, space)


def propose(
    member: Member,
    classifier: Classifier,
    space: Space,
    batch: Batch,
    streams: Streams,
    start: Tensor | None,
) -> Tensor:
    """What a member proposes for some samples, admitted; a batch at a time where it does not batch itself."""
    attack, meter, found = member.attack, classifier.meter, list[Tensor]()
    size = max(1, len(batch)) if attack.batches_itself else classifier.batch_size
    for rows in torch.arange(len(batch), device=batch.labels.device).split(size):
        whole = len(rows) == len(batch)
        if meter is not None:
            meter.rows, meter.width = rows.cpu(), None
        here = space if whole else space.select(rows)
        proposal = attack.search(
            classifier,
            here,
            batch if whole else batch.select(rows),
            (streams if whole else streams.select(rows)).fork(member.name),
            None if start is None else start[rows],
        )
        found.append(admitted(proposal, here, member.name))
    return torch.cat(found)
