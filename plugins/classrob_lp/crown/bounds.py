"""Bounds of every ReLU's input and of every margin, for some images of one network at a time."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from classrob.convolutions import LeanConvolutions
from classrob_lp.balls import LinfBall, Offsets
from classrob_lp.crown.carried import Carried
from classrob_lp.crown.drop import Drop, around
from classrob_lp.crown.relaxed import Lines, Passing, relaxed, undecided
from classrob_lp.crown.supports import ROWS, Supports
from classrob_lp.crown.traced import Box, NotTraceable, Trace
from classrob_lp.l1 import L1Ball

#: So many ReLUs back a function is carried first; only where that leaves a sign open it goes to the image.
SHORT = 3
#: Rounding: neurons' bounds are widened by this share of all that went into them, and a certificate
#: wants a margin above `DEMAND` of it. An allowance, no proof: float32 is not verified formally.
WIDEN, DEMAND = 1e-5, 1e-4
#: Neurons of every ReLU that a guess rests on.
PROBES = 32
#: A short way back settles what by the guess is so many times as far from zero as it moves.
FAR = 1.5


@final
class Bounds:
    """The bounds of at most `ROWS` images' networks over their balls.

    Args:
        guess: bound only some neurons, and guess from them how much narrower than its box each other one
            is. What comes out is no bound, and cheap.
        hard: what a guess of these images says that a short way back will not settle.
        supports: what the network's neurons see, so that some share a way back; None: none does.

    Raises:
        NotTraceable: the network is more than affine operations and ReLUs.
    """

    def __init__(
        self,
        module: nn.Module,
        ball: Offsets,
        guess: bool = False,
        hard: list[Tensor] | None = None,
        supports: Supports | None = None,
    ) -> None:
        self.ball, self.guess, self.hard, self.n = ball, guess, hard, len(ball.images)
        self.supports = None if isinstance(ball, L1Ball) else supports
        self.drop, self.layers, self.passing = Drop(ball), list[Lines](), Passing()
        self.tiled = torch.arange(ROWS, device=ball.images.device) % self.n
        self.image = ball.images.detach()[self.tiled].requires_grad_()
        with torch.enable_grad():
            copy = self.image.clone()  # so that the network may write into it
            with LeanConvolutions(), (trace := Trace(self._relu, copy, around(ball.select(self.tiled)))):
                self.logits = module(copy)
        if not trace.follows(self.logits):
            raise NotTraceable("its logits come by a way that cannot be followed")

    def _relu(self, pre: Tensor, box: Box | None) -> tuple[Tensor, Box]:
        """Bound a ReLU's input, all that comes before it being bounded, and draw its lines."""
        here = pre[: self.n].detach().clone()
        low, high = (end.view_as(here) for end in self._interval(pre, here.flatten(1), box))
        lines = Lines(here, low, high)
        post = relaxed(pre, lines, self.passing, len(self.layers))
        self.layers.append(lines)
        return post, Box.between(low.clamp_min(0)[self.tiled], high.clamp_min(0)[self.tiled])

    def _interval(self, pre: Tensor, here: Tensor, box: Box | None) -> tuple[Tensor, Tensor]:
        """Bounds like `here` [n, size of pre]: by the box; where it leaves a sign open, the likelier end first."""
        index = len(self.layers)
        if box is None:
            low, high = torch.full_like(here, -torch.inf), torch.full_like(here, torch.inf)
        else:
            low, high = (end[: self.n].flatten(1) for end in box.ends())
            slack = WIDEN * (low.abs() + high.abs())
            low, high = (low - slack).nan_to_num(-torch.inf), (high + slack).nan_to_num(torch.inf)
        if index == 0 and isinstance(self.ball, LinfBall) and box is not None:
            return low, high  # the box says all: it is the ball
        if self.guess and bool((low.isfinite() & high.isfinite()).all()):
            return self._guessed(pre, here, low, high)
        likelier = torch.where(here > 0, 1.0, -1.0)
        if index > 1:
            self._tighten(pre, low, high, likelier, cut=max(index - SHORT, 1))
        self._tighten(pre, low, high, likelier)
        self._tighten(pre, low, high, -likelier)
        return low, high

    def _tighten(self, pre: Tensor, low: Tensor, high: Tensor, sign: Tensor, cut: int = 0) -> None:
        """Raise `low` where the sign is 1 and lower `high` where it is −1, of the neurons that are open.

        Those of which no box is known are open until both ends are.
        """
        open_ = undecided(low, high) | low.isinf() | high.isinf()
        if cut and self.hard is not None:
            open_ &= ~self.hard[len(self.layers)].view_as(open_)
        images, neurons = open_.nonzero(as_tuple=True)
        bound = self._bound(pre, images, neurons, sign[images, neurons], cut)
        up = sign[images, neurons] > 0
        low[images, neurons] = torch.where(up, low[images, neurons].maximum(bound), low[images, neurons])
        high[images, neurons] = torch.where(up, high[images, neurons], high[images, neurons].minimum(-bound))

    def near_zero(self) -> list[Tensor]:
        """For every ReLU bool [n, …]: inputs that a short way back would not settle, these bounds being guessed."""
        return [
            (one.low < (1 - 1 / FAR) * one.here) & ((1 - 1 / FAR) * one.here < one.high)
            for one in self.layers
        ]

    def _guessed(self, pre: Tensor, here: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Every end as much nearer than the box's as those of `PROBES` neurons are, in the mean."""
        open_ = undecided(low, high)
        rank = open_.cumsum(1) - 1
        every = (open_.sum(1, keepdim=True) / PROBES).clamp_min(1.0)
        probed = open_ & ((rank / every).floor() != ((rank - 1) / every).floor())
        images, neurons = probed.nonzero(as_tuple=True)
        at = here[images, neurons]
        sign = torch.where(at > 0, 1.0, -1.0)
        bound = self._bound(pre, images, neurons, sign)
        far = torch.where(sign > 0, at - low[images, neurons], high[images, neurons] - at)
        share = (sign * at - bound) / far.clamp_min(1e-30)
        total = here.new_zeros(self.n).index_add_(0, images, share.clamp(0, 1))
        mean = (total / probed.sum(1).clamp_min(1))[:, None]
        guess = here - mean * (here - low), here + mean * (high - here)
        return torch.where(open_, guess[0], low), torch.where(open_, guess[1], high)

    def _bound(self, pre: Tensor, images: Tensor, neurons: Tensor, sign: Tensor, cut: int = 0) -> Tensor:
        """Lower bounds of some neurons times their `sign`, [r]; `images` ascend."""
        sign = sign.to(pre.dtype)
        found = torch.empty_like(sign)
        if not len(images):
            return found
        at = sign * pre.detach().flatten(1)[images, neurons]
        shares = self.supports and self.supports.of(len(self.layers))
        row = torch.arange(len(images), device=images.device)
        row = row if shares is None else shares.rows(images, neurons)
        kinds = None if shares is None else shares.kind[neurons]
        for first in range(0, int(row.amax()) + 1, ROWS):
            some = ((row >= first) & (row < first + ROWS)).nonzero()[:, 0]
            rows = row[some] - first
            unit = pre.new_zeros(ROWS, pre[0].numel())
            unit[rows, neurons[some]] = sign[some]
            owner = images.new_zeros(int(rows.amax()) + 1).index_copy_(0, rows, images[some])
            taken = self._taken(pre, unit, Carried(owner, cut, shares))
            taken = taken[rows] if kinds is None else taken[rows, kinds[some]]
            found[some] = at[some] + taken - WIDEN * (at[some].abs() - taken)
        return found

    def _taken(self, target: Tensor, unit: Tensor, carried: Carried) -> Tensor:
        """What the ball may take from linear functions of a traced value, like `carried.taken`; not positive.

        Args:
            target: [ROWS, …], all ReLUs before it being bounded. unit: [ROWS, its size], coefficients.
        """
        self.passing.carried = carried
        (slope,) = torch.autograd.grad(
            target, [self.image], unit.view_as(target), retain_graph=True, allow_unused=True
        )
        if slope is not None:
            carried.take(-self.drop(slope, carried))
        return carried.taken

    def margins(self, labels: Tensor) -> Tensor:
        """Lower bounds of the true logit minus every other, [n, k − 1], less what rounding may be worth."""
        logits, n, k = self.logits.detach(), self.n, self.logits.shape[1]
        others = torch.arange(k, device=labels.device).repeat(n)
        images = torch.arange(n, device=labels.device).repeat_interleave(k)
        keep = others != labels[images]
        others, images = others[keep], images[keep]
        found = [logits[:0, 0]]
        for at, other in zip(images.split(ROWS), others.split(ROWS), strict=True):
            if not len(at):  # a single class
                continue
            spec = logits.new_zeros(ROWS, k)
            spec[: len(at)].scatter_(1, labels[at, None], 1.0).scatter_(1, other[:, None], -1.0)
            here = logits[at, labels[at]] - logits[at, other]
            taken = self._taken(self.logits, spec, Carried(at))[: len(at)]
            found.append(here + taken - DEMAND * (here.abs() - taken))
        return torch.cat(found).view(n, k - 1)
