"""The fast adaptive boundary attack: steps onto the linearised boundary that keep near the image."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar, NamedTuple, final

import torch
from pydantic import Field
from torch import Tensor

from classrob.errors import StudyError
from classrob.parts import Need
from classrob.rows import Live
from classrob.search import State, StepwiseAttack
from classrob.space import Space
from classrob_lp import hyperplane
from classrob_lp.balls import L2Ball, LinfBall, Offsets
from classrob_lp.l1 import L1Ball
from classrob_lp.losses import targeted_margin

#: Tensors like z that a step has at work.
AT_WORK = 20


class Geometry(NamedTuple):
    """A ball, and what its norm decides.

    `onto`: the shortest way onto planes of normals [n, d]. `dual`: the norm of slopes [n, k, d] → [n, k].
    """

    space: Offsets
    onto: Callable[[Tensor], hyperplane.Way]
    dual: Callable[[Tensor], Tensor]


@final
class FAB(StepwiseAttack):
    """The fast adaptive boundary attack, for the smallest change (Croce and Hein, ICML 2020).

    Each step takes one class for the nearest (untargeted: of all other classes, at a gradient each;
    targeted: the one aimed at, at one gradient), the boundary to it for a plane, and goes onto that plane
    and a little beyond, between the points of the plane nearest to where it stands and nearest to the
    image. From a misclassified point it returns part of the way to the image. Points outside the budget
    are visited too; where none is found inside, the nearest misclassified one is proposed.

    First walks begin at the image, later ones at half of a random start within the budget.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "logits", "gradients", "pixels"})

    steps: int = Field(
        default=100, ge=1, description="steps of one restart: two evaluations, one of them with its gradient"
    )
    alpha_max: float = Field(
        default=0.1, ge=0, le=1, description="largest weight of the plane's point nearest to the image"
    )
    eta: float = Field(default=1.05, ge=1, description="how far a step goes, 1 being just onto the plane")
    beta: float = Field(
        default=0.9, gt=0, lt=1, description="share of the way that remains after the return to the image"
    )

    def begin(self, live: Live) -> State:
        """Where each row starts; nothing misclassified is known yet."""
        _geometry(live.space)
        centre = live.space.centre()
        z = torch.where((live.restart == 0).reshape(-1, 1, 1, 1), live.origin, centre)
        again = live.restart >= max(1, live.pool.aims.shape[1])  # every class has been aimed at
        if again.any():
            half = 0.5 * live.space.start(live.streams)
            z = torch.where(again.reshape(-1, 1, 1, 1), half, z)
        return {"z": z, "best": z.clone(), "norm": torch.full_like(live.space.budget, torch.inf)}

    def step(self, live: Live, state: State) -> State:
        """One linearisation, one step, and a look at where it led."""
        geometry = _geometry(live.space)
        if self.targets:
            slope, ahead = live.slope(state["z"], partial(targeted_margin, targets=live.target))
            gap = -ahead
        else:
            gap, slope = _nearest(live, state["z"], geometry)
        moved = self._moved(geometry, state["z"], gap, slope)
        broken = live.logits(moved).argmax(1) != live.labels
        distance, norm, best = live.space.distance(moved), state["norm"], state["best"]
        nearer = broken & (distance < norm)
        # where nothing was found, the last point is what the walk hands on
        keep = nearer | (norm.isinf() & (live.age + 1 >= self.steps))
        best[keep] = moved[keep]
        if broken.any():
            moved[broken] *= self.beta
        return {"z": moved, "best": best, "norm": torch.where(nearer, distance, norm)}

    def _moved(self, geometry: Geometry, z: Tensor, gap: Tensor, slope: Tensor) -> Tensor:
        """z after a step; `gap` [n] is what the difference of logits with `slope` lacks to the boundary."""
        moved = torch.empty_like(z)
        for rows, part in geometry.space.parts(AT_WORK):
            self._step(geometry, part, z[rows], gap[rows], slope[rows], out=moved[rows])
        return moved

    def _step(
        self, geometry: Geometry, space: Offsets, z: Tensor, gap: Tensor, slope: Tensor, out: Tensor
    ) -> None:
        offset, normal, middle = z.flatten(1), slope.flatten(1), space.middle.flatten(1)
        onto, moved = geometry.onto(normal), out.flatten(1)
        here, near = onto(middle + offset, gap)
        back, far = onto(middle, gap + torch.linalg.vecdot(normal, offset))
        near = near.clamp_min(1e-8)
        alpha = (near / (near + far.clamp_min(1e-8))).clamp(max=self.alpha_max)[:, None]
        torch.mul(offset, 1.0 - alpha, out=moved)
        moved.addcmul_(here, self.eta * (1.0 - alpha)).addcmul_(back, self.eta * alpha)
        torch.maximum(moved, space.darkest.flatten(1), out=moved)
        torch.minimum(moved, space.brightest.flatten(1), out=moved)


def _nearest(live: Live, z: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Gap [n] and slope, like z, of the class whose linearised boundary is the nearest."""
    slopes = live.jacobian(z).flatten(2)
    rows = torch.arange(len(z), device=z.device)
    slopes = slopes - slopes[rows, live.labels][:, None]
    ahead = live.last_logits - live.last_logits.gather(1, live.labels[:, None])
    distance = ahead.abs() / (geometry.dual(slopes) + 1e-12)
    nearest = distance.scatter(1, live.labels[:, None], torch.inf).argmin(1)
    return -ahead[rows, nearest], slopes[rows, nearest].view_as(z)


def _geometry(space: Space) -> Geometry:
    """The geometry of a ball.

    Raises:
        StudyError: the space is none of the balls whose hyperplanes this attack knows.
    """
    match space:
        case LinfBall():
            return Geometry(space, hyperplane.linf, lambda slopes: slopes.abs().sum(2))
        case L2Ball():
            return Geometry(space, hyperplane.l2, lambda slopes: slopes.norm(dim=2))
        case L1Ball():
            return Geometry(space, hyperplane.l1, lambda slopes: slopes.abs().amax(2))
    raise StudyError(f"attack 'fab' knows the threats linf, l2 and l1, not {type(space).__name__}; try 'pgd'")
