"""CROWN by automatic differentiation: which images no attack can break.

Zhang, Weng, Chen, Hsieh and Daniel (2018), "Efficient neural network robustness certification with
general activation functions". Between its ReLUs a network is affine, so what CROWN carries backwards
through it is a gradient; only a ReLU has another backward. No weight and no bias is ever looked at: a
bound is the value at the image, less what every ReLU and the input may take away.
"""

from __future__ import annotations

from typing import Any, cast, final

import torch
from torch import Tensor

from classrob.errors import NotCertifiable
from classrob.live import Batch, Classifier
from classrob.parts import Certifier
from classrob.space import Space
from classrob_lp.balls import L2Ball, LinfBall, Offsets
from classrob_lp.hyperplane import farthest
from classrob_lp.l1 import L1Ball
from classrob_lp.traced import Box, NotTraceable, Trace, refuse_hidden

#: Copies of an image that the network runs on; each carries one bound back at a time.
COPIES = 32
BALLS = "the threat is no ball of linf, l2 or l1"
MIXES = "it does not treat images one by one"
#: Rounding: neurons' bounds are widened by this share of all that went into them, and a certificate
#: wants a margin above `DEMAND` of it. An allowance, no proof: float32 is not verified formally.
WIDEN, DEMAND = 1e-5, 1e-4


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
        for i in standing.nonzero()[:, 0].tolist():
            index = torch.tensor([i], device=standing.device)
            bounds = Bounds(classifier.module, space.select(index))
            if not bounds.logits[0].detach().allclose(logits[i], 1e-3, 1e-4):
                raise NotTraceable("it says something else when it is asked again")
            standing[i] = bool((bounds.margins(int(batch.labels[i])) > 0).all())
        return standing


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


class _Relaxed(torch.autograd.Function):
    """A ReLU whose backward carries the coefficients of a lower bound.

    `ticket` holds a number a row that enters nothing; its gradient is what the relaxation takes away.
    """

    @staticmethod
    def forward(ctx: Any, pre: Tensor, ticket: Tensor, layer: Layer) -> Tensor:
        ctx.layer = layer
        return pre.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None]:
        layer: Layer = ctx.layer
        below = grad_outputs[0].clamp_max(0)
        above = grad_outputs[0] - below
        lost = above.flatten(1) @ layer.lost_above.flatten() + below.flatten(1) @ layer.lost_below.flatten()
        return above.mul_(layer.flat).addcmul_(below, layer.chord), lost, None


@final
class Layer:
    """One ReLU of the trace: its values at the image, and the lines below and above it.

    Attributes:
        here: [1, …], the pre-activations.
        ticket: see `_Relaxed`.
        flat, chord: slopes of the lower and the upper line, like pre.
        lost_above, lost_below: what a positive and a negative coefficient lose at the image itself; not
            positive after multiplication.
    """

    def __init__(self, pre: Tensor) -> None:
        self.ticket = pre.new_zeros(len(pre), requires_grad=True)
        self.here = pre[:1].detach().clone()

    def relax(self, low: Tensor, high: Tensor) -> None:
        """Draw the lines for pre-activations between `low` and `high`, like pre."""
        post = self.here.clamp_min(0)
        unstable = (low < 0) & (high > 0)
        active = (low >= 0).to(low.dtype)
        self.chord = torch.where(unstable, high / (high - low).clamp_min(1e-30), active)
        self.flat = torch.where(unstable, (high > -low).to(low.dtype), active)
        self.lost_above = torch.where(unstable, self.flat * self.here - post, 0.0)
        self.lost_below = torch.where(unstable, self.chord * (self.here - low) - post, 0.0)


@final
class Bounds:
    """The bounds of one image's network over one set of offsets.

    Raises:
        NotTraceable: the network is more than affine operations and ReLUs.
    """

    def __init__(self, module: torch.nn.Module, ball: Offsets) -> None:
        """`ball` has one row."""
        self.ball, self.layers = ball, list[Layer]()
        self.image = ball.images.detach().repeat(COPIES, 1, 1, 1).requires_grad_()
        with torch.enable_grad():
            copy = self.image.clone()  # so that the network may write into it
            with (trace := Trace(self._relu, copy, around(ball))):
                self.logits = module(copy)
        if not trace.follows(self.logits):
            raise NotTraceable("its logits come by a way that cannot be followed")
        (mixed,) = torch.autograd.grad(self.logits[0].sum(), self.image, retain_graph=True)
        if self.logits.shape[:1] != (COPIES,) or mixed[1:].any():
            raise NotTraceable(MIXES)

    def _relu(self, pre: Tensor, box: Box | None) -> tuple[Tensor, Box]:
        """Bound a ReLU's input, all that comes before it being bounded, and draw its lines."""
        if len(pre) != COPIES or not pre.detach().allclose(pre[:1].detach(), 1e-4, 1e-5):
            raise NotTraceable(MIXES)
        layer = Layer(pre)
        low, high = self._interval(pre, box)
        layer.relax(low, high)
        self.layers.append(layer)
        post = cast(Tensor, _Relaxed.apply(pre, layer.ticket, layer))
        return post, Box.between(low.clamp_min(0).expand_as(pre), high.clamp_min(0).expand_as(pre))

    def _interval(self, pre: Tensor, box: Box | None) -> tuple[Tensor, Tensor]:
        """Bounds like pre's first row. Where the box leaves a sign open, the likelier end first."""
        here = pre[0].detach().flatten()
        if box is None:
            low, high = torch.full_like(here, -torch.inf), torch.full_like(here, torch.inf)
        else:
            low, high = (end[0].flatten() for end in box.ends())
            slack = WIDEN * (low.abs() + high.abs())
            low, high = low - slack, high + slack
        if self.layers or not isinstance(self.ball, LinfBall):  # else the box says all: it is the ball
            likelier = torch.where(here > 0, 1.0, -1.0)
            for sign in (likelier, -likelier):
                rows = ((low < 0) & (high > 0)).nonzero()[:, 0]
                bound = sign[rows] * self._bound(pre, rows, sign[rows])
                low[rows] = torch.where(sign[rows] > 0, low[rows].maximum(bound), low[rows])
                high[rows] = torch.where(sign[rows] < 0, high[rows].minimum(bound), high[rows])
        return low.view_as(pre[:1]), high.view_as(pre[:1])

    def _bound(self, pre: Tensor, neurons: Tensor, sign: Tensor) -> Tensor:
        """Lower bounds of some neurons times their `sign`."""
        found = [sign[:0]]
        for part, signs in zip(neurons.split(COPIES), sign.split(COPIES), strict=True):
            if len(part):
                unit = pre.new_zeros(COPIES, pre[0].numel())
                unit[torch.arange(len(part), device=part.device), part] = signs
                value, scale = self._lowest(pre, unit)
                found.append((value - WIDEN * scale)[: len(part)])
        return torch.cat(found)

    def _lowest(self, target: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """Lower bounds [r] of r linear functions of a traced value, and the sizes of what went into them.

        Args:
            target: [r, …], all ReLUs before it being bounded. coefficients: [r, its size].
        """
        slope, *lost = torch.autograd.grad(
            target,
            [self.image, *(layer.ticket for layer in self.layers)],
            coefficients.view_as(target),
            retain_graph=True,
            materialize_grads=True,
        )
        value = (coefficients * target.detach().flatten(1)).sum(1)
        taken = sum(lost, -drop(self.ball, slope.flatten(1)))
        return value + taken, value.abs() - taken

    def margins(self, label: int) -> Tensor:
        """Lower bounds of the true logit minus every other, [k − 1], less what rounding may be worth."""
        classes = self.logits.shape[1]
        others = torch.tensor([c for c in range(classes) if c != label], device=self.logits.device)
        found = list[Tensor]()
        for part in others.split(COPIES):
            spec = self.logits.new_zeros(self.logits.shape).detach()
            spec[:, label] = 1.0
            spec[torch.arange(len(part), device=part.device), part] = -1.0
            value, scale = self._lowest(self.logits, spec)
            found.append((value - DEMAND * scale)[: len(part)])
        return torch.cat(found)


def drop(ball: Offsets, slope: Tensor) -> Tensor:
    """How far linear functions with r slopes [r, pixels] can fall in a ball of one row, [r]; not negative."""
    image = ball.images.flatten(1)
    down, up = slope.clamp_min(0), slope.clamp_max(0)
    box = down @ image[0] - up @ (1.0 - image[0])
    budget = ball.budget
    match ball:
        case LinfBall():
            return down @ image[0].minimum(budget) - up @ (1.0 - image[0]).minimum(budget)
        case L2Ball():
            return box.minimum(budget * slope.norm(dim=1))
        case L1Ball():
            corner = farthest(image.expand_as(slope), -slope, budget.expand(len(slope)))
            return -(slope * corner).sum(1)
    raise NotTraceable(BALLS)


def around(ball: Offsets) -> Box:
    """The smallest box around a ball of one row that lies in [0, 1]; an ℓp ball reaches its budget along any axis."""
    limit = ball.rows(ball.budget)
    low, high = (ball.images - limit).clamp_min(0), (ball.images + limit).clamp_max(1)
    return Box.between(low.expand(COPIES, -1, -1, -1), high.expand(COPIES, -1, -1, -1))
