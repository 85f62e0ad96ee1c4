"""CROWN by automatic differentiation: which images no attack can break.

Between its ReLUs a network is affine, so what CROWN carries backwards through it is a gradient; only a
ReLU has another backward. No weight and no bias is ever looked at: a bound is the value at the image, less
what every ReLU and the input may take away.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from classrob.errors import NotCertifiable
from classrob.live import Batch, Classifier
from classrob.parts import Certifier
from classrob.space import Space
from classrob_lp.balls import L2Ball, LinfBall, Offsets
from classrob_lp.crown.bounds import Bounds
from classrob_lp.crown.drop import BALLS
from classrob_lp.crown.examined import examine
from classrob_lp.crown.supports import ROWS, Supports
from classrob_lp.crown.traced import NotTraceable, refuse_hidden
from classrob_lp.l1 import L1Ball


@final
class Crown(Certifier):
    """CROWN: linear bounds of a network of affine operations and ReLUs, in the balls of linf, l2 and l1.

    Convolutions, linear maps, normalisation by constants, mean pooling, sums, clamps and leaky ReLUs will
    do; for a model with anything else (max pooling, sigmoids, attention) it refuses.
    """

    def certify(self, classifier: Classifier, space: Space, batch: Batch) -> Tensor:
        """Where the bound of every margin is positive.

        Raises:
            NotCertifiable: the model is more than affine operations and ReLUs, or the threat is no such ball.
        """
        with classifier.frozen():
            try:
                refuse_hidden(classifier.module)
                return self._certify(classifier, space, batch)
            except NotTraceable as reason:
                raise NotCertifiable(
                    f"model '{classifier.name}' cannot be certified by crown: {reason}"
                ) from None

    def _certify(self, classifier: Classifier, space: Space, batch: Batch) -> Tensor:
        if not isinstance(space, LinfBall | L2Ball | L1Ball):
            raise NotTraceable(BALLS)
        parts = torch.arange(len(batch), device=batch.labels.device).split(classifier.batch_size)
        steps = [_one_step(classifier, space.select(rows), batch.select(rows)) for rows in parts]
        logits, standing = (torch.cat(found) for found in zip(*steps, strict=True))
        supports = None
        for rows in standing.nonzero()[:, 0].split(ROWS):
            if len(rows):
                examine(classifier.module, batch.images[rows[:1]], logits[rows[:1]])
                supports = supports or Supports(classifier.module, batch.images[rows[:1]])
                standing[rows] = certified(
                    classifier.module, space.select(rows), batch.labels[rows], supports
                )
        return standing


def certified(module: nn.Module, ball: Offsets, labels: Tensor, supports: Supports | None = None) -> Tensor:
    """Bool [n], of at most `ROWS` images that are classified well: where every margin's bound is positive.

    An image is given up where bounds that are guessed from a few neurons say that its own will not do.
    """
    guess = Bounds(module, ball, guess=True, supports=supports)
    sure = (guess.margins(labels) > 0).all(1)
    if sure.any():
        hard = [one[sure] for one in guess.near_zero()]
        bounds = Bounds(module, ball.select(sure), hard=hard, supports=supports)
        sure[sure.clone()] = (bounds.margins(labels[sure]) > 0).all(1)
    return sure


def _one_step(classifier: Classifier, space: Offsets, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits of the images, and which are classified well there and after a step along the margin's slope.

    A bound would be wasted on the others.
    """
    z = space.centre().requires_grad_()
    with torch.enable_grad():
        logits = classifier(space.render(z))
        rest = logits.scatter(1, batch.labels[:, None], -torch.inf).amax(1)
        margin = logits.gather(1, batch.labels[:, None])[:, 0] - rest
        if not margin.requires_grad:
            raise NotTraceable("its logits have no gradient")
        (slope,) = torch.autograd.grad(-margin.sum(), z)
    with torch.no_grad():
        after = classifier(space.render(space.move(space.centre(), slope, 1.0))).argmax(1)
    return logits.detach(), (margin.detach() > 0) & (after == batch.labels)
