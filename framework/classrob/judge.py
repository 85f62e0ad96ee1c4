"""The judge trusts no witness: it projects, renders, predicts and measures again, in float32.

An attack only proposes. What it returns may be attached to a graph, outside the budget, of another
type or not finite; what is recorded is what the judge has measured on the image it rendered itself.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from classrob.errors import PluginError, StudyError
from classrob.live import Batch, Classifier
from classrob.space import Space


@dataclass(frozen=True)
class Verdict:
    """Judgements of n proposals.

    Attributes:
        z: the projected proposals, [n, …].
            On the model's device; all that follows is on the CPU, brought there at once.
        predicted: int64 [n]. margin: float32 [n], true logit minus the largest other.
        distance: float32 [n], after projection. proposed: float32 [n], before it; NaN where the
            proposal was not finite and the centre was judged in its place.
        broken: bool [n], predicted is not the label.
    """

    z: Tensor
    predicted: Tensor
    margin: Tensor
    distance: Tensor
    proposed: Tensor
    broken: Tensor

    def rows(self, some: slice) -> Verdict:
        """Some of them."""
        return Verdict(**{field.name: getattr(self, field.name)[some] for field in dataclasses.fields(self)})

    def worse(self, other: Verdict, rows: Tensor) -> Verdict:
        """The worse for the model of two verdicts; row i of `other` is on the same sample as `rows[i]`.

        A broken sample is worse than one that stands; of two broken ones the nearer, of two that stand
        the one with the smaller margin.
        """
        nearer = (other.distance < self.distance[rows]) & self.broken[rows]
        closer = (other.margin < self.margin[rows]) & ~self.broken[rows]
        take = other.broken & (~self.broken[rows] | nearer) | ~other.broken & closer
        whole = {}
        for field in dataclasses.fields(self):
            mine, theirs = getattr(self, field.name).clone(), getattr(other, field.name)
            mine[rows[take].to(mine.device)] = theirs[take.to(mine.device)]
            whole[field.name] = mine
        return Verdict(**whole)


def admitted(proposal: Any, space: Space, by: str) -> Tensor:
    """What an attack returned, off its graph and of the space's type.

    Raises:
        PluginError: it is no tensor, or of another shape than the space's; `by` names the attack.
    """
    centre = space.centre()
    if not isinstance(proposal, Tensor) or proposal.shape != centre.shape:
        got = tuple(proposal.shape) if isinstance(proposal, Tensor) else type(proposal).__name__
        raise PluginError(f"attack '{by}' must return z of shape {tuple(centre.shape)}, not {got}")
    return proposal.detach().to(centre)


@torch.no_grad()
def judge(classifier: Classifier, space: Space, batch: Batch, proposal: Tensor) -> Verdict:
    """Judge one admitted proposal a sample.

    Raises:
        StudyError: the model's logits for a judged image are not finite.
    """
    centre = space.centre()
    rows = [1] * (centre.ndim - 1)
    finite = proposal.flatten(1).isfinite().all(1)
    proposed = torch.where(finite, space.distance(proposal), torch.nan)
    z = space.project(torch.where(finite.reshape(-1, *rows), proposal, centre))
    image = space.render(z).clamp(*space.box)
    logits = classifier(image)
    if not (sane := logits.isfinite().all(1)).all():
        sample = batch.ids[int((~sane).nonzero()[0, 0])]
        raise StudyError(f"model '{classifier.name}' gives logits that are not finite for sample '{sample}'")
    predicted = logits.argmax(1)
    rest = logits.scatter(1, batch.labels[:, None], -torch.inf).amax(1)
    margin = logits.gather(1, batch.labels[:, None])[:, 0] - rest
    numbers = (predicted, margin, space.distance(z), proposed, predicted != batch.labels)
    return Verdict(z, *(column.cpu() for column in numbers))
