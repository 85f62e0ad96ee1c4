"""The attack `evade`: finds images that the model gets wrong and that its detector does not suspect."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from classrob.live import Batch, Classifier
from classrob.parts import Attack, Need
from classrob.scorer import Scorer
from classrob.space import Space
from classrob.streams import Streams


@final
class Evade(Attack):
    """Orthogonal descent: first to a wrong class, then down the detector's score without undoing the first.

    While an image is still classified right the step climbs the margin of the likeliest wrong class; from then on it
    goes down the detector's score, and where that would lower the margin, the margin's slope is projected out.
    (Bryniarski et al., "Evading Adversarial Example Detection Defenses with Orthogonal Projected Gradient Descent",
    ICLR 2022; they project in both phases and always, which leaves nothing where the goals are opposite.) Where a
    score has no slope, one is estimated from pairs of random directions, `probes` of them, with forward passes of
    the detector alone (Spall, IEEE Transactions on Automatic Control 37, 1992). Of all points that were seen
    misclassified the least suspicious is proposed; of none, the last.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "logits", "gradients", "detector"})

    steps: int = Field(
        default=40, ge=1, description="steps, each with a gradient of the model or of the detector"
    )
    stride: float = Field(
        default=0.1, gt=0.0, le=1.0, description="length of a step, in budgets; it falls to a tenth"
    )
    probes: int = Field(default=4, ge=1, description="random directions for a score without slope")

    def search(
        self, classifier: Classifier, space: Space, batch: Batch, streams: Streams, start: Tensor | None
    ) -> Tensor:
        """The least suspicious misclassified points seen."""
        scorer, labels = classifier.scorer, batch.labels
        assert scorer is not None, "an attack that needs a detector, and none is given"
        z = (space.centre() if start is None else start).detach().clone()
        answer, best = z.clone(), torch.full((len(z),), torch.inf, device=z.device)
        for step in range(self.steps + 1):
            push, margin = _slope_of(lambda x: _excess(classifier(x), labels), space, z)
            hide, score = self._hidden(scorer, space, z, streams.fork(step))
            wrong = margin > 0
            better = wrong & (score < best)
            answer[better], best[better] = z[better], score[better]
            answer[~wrong & best.isinf()] = z[~wrong & best.isinf()]
            if step == self.steps:
                break
            aim = torch.where(_like(wrong, push), _without(hide, push), push)
            z = space.move(z, aim, self.stride * (1.0 - 0.9 * step / self.steps)).detach()
        return answer

    def _hidden(self, scorer: Scorer, space: Space, z: Tensor, streams: Streams) -> tuple[Tensor, Tensor]:
        """The slope down the detector's score [n, …], and the scores [n]."""
        with torch.enable_grad():
            x = z.detach().requires_grad_()
            score = scorer.score(space.render(x))
            if score.requires_grad:
                (slope,) = torch.autograd.grad(score.sum(), x)
                if slope.isfinite().all() and bool(slope.flatten(1).abs().sum(1).gt(0).any()):
                    return -slope, score.detach()
        with torch.no_grad():
            slope = torch.zeros_like(z)
            for probe in range(self.probes):
                sign = 2.0 * (streams.fork(f"probe {probe}").uniform(*z.shape[1:]) >= 0.5).to(z) - 1.0
                size = _like(0.02 * space.budget, z)
                up, down = (scorer.score(space.render(space.project(z + s * size * sign))) for s in (1, -1))
                slope += _like(up - down, z) * sign
        return -slope, score.detach()


def _excess(logits: Tensor, labels: Tensor) -> Tensor:
    """The largest wrong logit minus the true one, [n]."""
    rest = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return rest - logits.gather(1, labels[:, None])[:, 0]


def _slope_of(goal: object, space: Space, z: Tensor) -> tuple[Tensor, Tensor]:
    """A goal's slope in z, and its values [n]."""
    with torch.enable_grad():
        x = z.detach().requires_grad_()
        value = goal(space.render(x))  # type: ignore[operator]
        (slope,) = torch.autograd.grad(value.sum(), x)
    return slope, value.detach()


def _like(rows: Tensor, z: Tensor) -> Tensor:
    """[n] as [n, 1, …], to be combined with z."""
    return rows.reshape(-1, *[1] * (z.ndim - 1))


def _without(slope: Tensor, other: Tensor) -> Tensor:
    """A slope without its part against another one; as it is where the two agree."""
    flat, away = slope.flatten(1), other.flatten(1)
    share = (flat * away).sum(1).clamp(max=0.0) / away.square().sum(1).clamp_min(1e-30)
    return slope - _like(share, slope) * other
