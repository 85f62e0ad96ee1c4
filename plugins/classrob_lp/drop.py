"""How far linear functions fall in a ball that is cut to the box [0, 1]."""

from __future__ import annotations

from torch import Tensor

from classrob_lp.balls import L2Ball, LinfBall, Offsets
from classrob_lp.hyperplane import farthest
from classrob_lp.l1 import L1Ball
from classrob_lp.relaxed import dot
from classrob_lp.traced import Box, NotTraceable

BALLS = "the threat is no ball of linf, l2 or l1"


def drop(ball: Offsets, slope: Tensor) -> Tensor:
    """How far linear functions with slopes [r, pixels] can fall in a ball of one row, or of r, [r]; not negative."""
    image, budget = ball.images.flatten(1), ball.budget[:, None]
    match ball:
        case LinfBall():
            return _alone(slope, image.minimum(budget), (1.0 - image).minimum(budget))
        case L2Ball():
            return _alone(slope, image, 1.0 - image).minimum(ball.budget * slope.norm(dim=1))
        case L1Ball():
            corner = farthest(image.expand_as(slope), -slope, ball.budget.expand(len(slope)))
            return -(slope * corner).sum(1)
    raise NotTraceable(BALLS)


def _alone(slope: Tensor, darker: Tensor, brighter: Tensor) -> Tensor:
    """The fall where every pixel moves by itself: down by `darker` and up by `brighter`."""
    down = slope.clamp_min(0)
    return dot(down, darker) - dot(slope - down, brighter)


def around(ball: Offsets) -> Box:
    """The smallest boxes around balls that lie in [0, 1]; an ℓp ball reaches its budget along any axis."""
    limit = ball.rows(ball.budget)
    return Box.between((ball.images - limit).clamp_min(0), (ball.images + limit).clamp_max(1))
