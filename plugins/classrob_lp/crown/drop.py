"""How far linear functions fall in a ball that is cut to the box [0, 1]."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from classrob_lp.balls import L2Ball, LinfBall, Offsets
from classrob_lp.crown.carried import BySign, Carried
from classrob_lp.crown.traced import Box, NotTraceable
from classrob_lp.hyperplane import farthest
from classrob_lp.l1 import L1Ball

BALLS = "the threat is no ball of linf, l2 or l1"


@final
class Drop:
    """How far linear functions fall in the balls of some images, which are cut to the box [0, 1].

    Raises:
        NotTraceable: they are no balls of linf, l2 or l1.
    """

    def __init__(self, ball: Offsets) -> None:
        if not isinstance(ball, LinfBall | L2Ball | L1Ball):
            raise NotTraceable(BALLS)
        self.ball, self.image = ball, ball.images.flatten(1)
        # Where every pixel moves by itself, a positive coefficient makes it darker, a negative one brighter.
        reach = ball.budget[:, None] if isinstance(ball, LinfBall) else torch.inf
        self.alone = BySign.of(self.image.clamp_max(reach), (self.image - 1).clamp_min(-reach))

    def __call__(self, slope: Tensor, carried: Carried) -> Tensor:
        """How far functions with slopes [ROWS, …] fall, like `carried.taken`; not negative."""
        budget = self.ball.budget[carried.owner]
        match self.ball:
            case L1Ball():  # pixels move one after the other, so no two functions may share them
                slope = slope.flatten(1)
                return -(slope * farthest(self.image[carried.owner], -slope, budget)).sum(1)
            case L2Ball():
                norm = carried.sums(slope.square(), None).sqrt()
                most = norm * budget.reshape(-1, *[1] * (norm.ndim - 1))
                return carried.products(slope, slope.abs(), self.alone, None).minimum(most)
            case _:
                return carried.products(slope, slope.abs(), self.alone, None)


def around(ball: Offsets) -> Box:
    """The smallest boxes around balls that lie in [0, 1]; an ℓp ball reaches its budget along any axis."""
    limit = ball.rows(ball.budget)
    return Box.between((ball.images - limit).clamp_min(0), (ball.images + limit).clamp_max(1))
