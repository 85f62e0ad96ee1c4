"""The ℓp balls and PGD's losses: laws of projection, closed forms, and what the conformance kit asks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from classrob.streams import Streams
from classrob_lp.balls import L2Ball, LinfBall
from classrob_lp.losses import LOSSES, dlr, margin


def streams(n: int, seed: int) -> Streams:
    return Streams.keyed(seed, "d", map(str, range(n)), "c")


@settings(deadline=None)
@given(st.sampled_from([LinfBall, L2Ball]), st.floats(1e-3, 2.0), st.integers(0, 1000))
def test_projection(ball: type[LinfBall] | type[L2Ball], budget: float, seed: int) -> None:
    """Inside the ball and the box, idempotent, and no nearer point exists among many random ones."""
    noise = streams(4, seed)
    space = ball(torch.full((4,), budget), noise.fork("x").uniform(2, 3, 3))
    wild = noise.fork("z").normal(2, 3, 3) * 3 * budget
    z = space.project(wild)
    assert bool((space.distance(z) <= budget * (1 + 1e-5) + 1e-6).all())
    image = space.images + z
    assert float(image.min()) >= 0.0
    assert float(image.max()) <= 1.0
    assert torch.allclose(space.project(z), z, atol=1e-6)
    if ball is LinfBall:
        for trial in range(5):
            other = space.start(noise.fork(trial))
            assert bool(
                ((wild - z).flatten(1).norm(dim=1) <= (wild - other).flatten(1).norm(dim=1) + 1e-5).all()
            )


def test_random_starts_fill_the_ball() -> None:
    """L2: the share of starts within half of the radius is (1/2)^d; L∞: pixels are uniform."""
    images = torch.full((4000, 1, 1, 3), 0.5)
    within = L2Ball(torch.full((4000,), 0.4), images).start(streams(4000, 0)).flatten(1).norm(dim=1)
    assert abs(float((within < 0.2).float().mean()) - 0.125) < 0.02
    pixels = LinfBall(torch.full((4000,), 0.4), images).start(streams(4000, 1)).flatten()
    assert abs(float((pixels.abs() < 0.2).float().mean()) - 0.5) < 0.02


@settings(deadline=None)
@given(st.integers(3, 12), st.integers(0, 1000), st.floats(0.1, 10), st.floats(-5, 5))
def test_dlr_ignores_scale_and_shift(classes: int, seed: int, scale: float, shift: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(5, classes, generator=generator, dtype=torch.float64)
    labels = torch.arange(5) % classes
    assert torch.allclose(dlr(logits, labels), dlr(scale * logits + shift, labels), rtol=1e-6, atol=1e-8)


def test_losses_in_closed_form() -> None:
    logits, labels = torch.tensor([[3.0, 1.0, 0.0, 2.0]]), torch.tensor([0])
    assert margin(logits, labels).tolist() == [-1.0]
    assert torch.allclose(dlr(logits, labels), torch.tensor([-0.5]))  # (2 − 3) / (3 − 1)
    assert torch.allclose(LOSSES["cross-entropy"](logits, labels), cross_entropy(logits, labels)[None])


def test_every_loss_has_a_gradient_with_two_classes() -> None:
    """Any ratio of the one difference of two logits is constant, so a DLR there would never move."""
    for loss in LOSSES.values():
        logits = torch.tensor([[2.0, 0.5]], requires_grad=True)
        (slope,) = torch.autograd.grad(loss(logits, torch.tensor([0])).sum(), logits)
        assert float(slope.abs().max()) > 0.01


@pytest.mark.parametrize("ball", [LinfBall, L2Ball])
def test_black_and_white_pixels_have_a_gradient(ball: type[LinfBall] | type[L2Ball]) -> None:
    """The gradient of torch's clamp at its bounds is 1 in some releases and 0 in others."""
    images = torch.tensor([0.0, 1.0, 0.5, 0.25]).reshape(1, 1, 2, 2)
    weight = torch.tensor([1.0, -2.0, 3.0, -4.0]).reshape(1, 1, 2, 2)
    space = ball(torch.tensor([0.1]), images)
    z = space.centre().requires_grad_()
    (slope,) = torch.autograd.grad((weight * space.render(z)).sum(), z)
    assert torch.equal(slope, weight)
    moved = space.move(space.centre(), slope, 1.0)
    assert bool((moved * weight > 0).all()), "every pixel climbs, those on the box's faces inwards"


@given(st.floats(-9, 9, width=32), st.floats(0, 1, width=32))
def test_rendering_is_exactly_the_clamp(offset: float, pixel: float) -> None:
    space = LinfBall(torch.tensor([1.0]), torch.full((1, 1, 1, 1), pixel))
    z = torch.full((1, 1, 1, 1), offset)
    assert torch.equal(space.render(z), (space.images + z).clamp(0, 1))
