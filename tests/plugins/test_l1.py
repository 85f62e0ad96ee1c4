"""The ℓ1 ball in the box: the exact projection, its laws, random starts and the steepest directions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from classrob.streams import Streams
from classrob_lp.l1 import L1Ball


def streams(n: int, seed: int) -> Streams:
    return Streams.keyed(seed, "d", map(str, range(n)), "c")


def balls(seed: int, budget: float, n: int = 4, side: int = 4) -> L1Ball:
    images = (1.4 * streams(n, seed).fork("x").uniform(3, side, side) - 0.2).clamp(0.0, 1.0)
    return L1Ball(budget * torch.linspace(0.5, 1.0, n), images)


def exact(z: Tensor, space: L1Ball) -> Tensor:
    """The projection by bisection of its multiplier, in float64."""
    z, images = z.double(), space.images.double()
    size, room = z.abs(), torch.where(z > 0, 1.0 - images, images)
    low, high = torch.zeros(len(z), dtype=torch.float64), size.flatten(1).amax(1)

    def shortened(m: Tensor) -> Tensor:
        return (size - m.reshape(-1, 1, 1, 1)).clamp(min=0.0).minimum(room)

    for _ in range(100):
        middle = 0.5 * (low + high)
        long = shortened(middle).flatten(1).sum(1) > space.budget
        low, high = torch.where(long, middle, low), torch.where(long, high, middle)
    inside = shortened(torch.zeros_like(low)).flatten(1).sum(1) <= space.budget
    return shortened(torch.where(inside, 0.0, high)) * z.sign()


@settings(deadline=None, max_examples=60)
@given(st.floats(0.01, 40.0), st.sampled_from([0.01, 0.3, 1.0, 30.0]), st.integers(1, 5), st.integers(0, 999))
def test_projection_is_exact(budget: float, scale: float, power: int, seed: int) -> None:
    """As by bisection in float64; inside ball and box; once is enough, to the last bit."""
    space = balls(seed, budget)
    z = scale * streams(4, seed).fork("z").normal(3, 4, 4) ** power
    y = space.project(z)
    ulp = 1.2e-7 * float(z.abs().max().clamp_min(1.0))
    assert torch.allclose(y.double(), exact(z, space), rtol=0, atol=4 * ulp)
    assert bool((space.distance(y) <= space.budget * (1 + 1e-6)).all())
    assert float((space.images + y).min()) >= 0.0
    assert float((space.images + y).max()) <= 1.0
    assert torch.equal(space.project(y), y)


@settings(deadline=None, max_examples=20)
@given(st.floats(0.1, 10.0), st.integers(0, 999))
def test_no_point_of_the_set_is_nearer(budget: float, seed: int) -> None:
    space, noise = balls(seed, budget), streams(4, seed)
    z = noise.fork("z").normal(3, 4, 4)
    apart = (z - space.project(z)).flatten(1).norm(dim=1)
    for trial in range(20):
        other = space.project(space.project(z) + 0.1 * noise.fork(trial).normal(3, 4, 4))
        assert bool((apart <= (z - other).flatten(1).norm(dim=1) + 1e-5).all())


def test_points_inside_stay_to_the_last_bit() -> None:
    space = balls(0, 5.0, n=50)
    z = space.start(streams(50, 1))
    assert torch.equal(space.project(z), z)
    assert torch.equal(space.project(0.3 * z), 0.3 * z)


def test_what_the_box_cuts_off_is_spent_elsewhere() -> None:
    """Ball, then box, would end at (0.1, 0.25) here: a length of 0.35 where 0.5 is allowed."""
    space = L1Ball(torch.tensor([0.5]), torch.tensor([0.9, 0.5]).reshape(1, 1, 1, 2))
    z = torch.tensor([0.8, 0.8]).reshape(1, 1, 1, 2)
    assert space.project(z).flatten().tolist() == pytest.approx([0.1, 0.4])


def test_random_starts_fill_the_ball() -> None:
    """The share within half of the radius is (1/2)^d, and one coordinate alone is as by its density."""
    n = 6000
    space = L1Ball(torch.full((n,), 0.4), torch.full((n, 1, 1, 3), 0.5))
    z = space.start(streams(n, 0)).flatten(1)
    assert abs(float((z.abs().sum(1) < 0.2).float().mean()) - 0.125) < 0.02
    assert abs(float((z > 0).float().mean()) - 0.5) < 0.01
    # P(|z₁| > r t) = (1 − t)³, the volume of a ball of radius (1 − t) r on either side
    for t in (0.2, 0.5):
        assert abs(float((z[:, 0].abs() > 0.4 * t).float().mean()) - (1 - t) ** 3) < 0.02


@pytest.mark.parametrize("budget", [0.05, 3.0, 500.0])
def test_a_step_of_one_budget_climbs_as_far_as_the_set_allows(budget: float) -> None:
    """On a linear function one step from the image ends at the optimum, and a later one stays near it."""
    space = balls(7, budget, n=6, side=8)
    slope = streams(6, 7).fork("slope").normal(3, 8, 8)
    assert torch.allclose(space.distance(space.steepest(slope)), torch.ones(6), atol=1e-5)
    z = space.move(space.centre(), slope, 1.0)
    room = torch.where(slope > 0, 1.0 - space.images, space.images).flatten(1)
    weight, index = slope.flatten(1).abs().sort(1, descending=True)
    room = room.gather(1, index)
    spent = (space.budget[:, None] - room.cumsum(1) + room).clamp(min=0.0).minimum(room)
    optimum = (weight * spent).sum(1)
    assert torch.allclose((z * slope).flatten(1).sum(1), optimum, rtol=1e-4)
    again = space.move(z, slope, 0.5)
    assert bool(((again * slope).flatten(1).sum(1) > 0.98 * optimum).all())


def test_sparse_directions_have_the_count_of_their_row() -> None:
    space = balls(8, 1.0)
    slope = streams(4, 8).fork("slope").normal(3, 4, 4)
    count = torch.tensor([1, 5, 48, 20])
    direction = space.sparse_steepest(slope, count).flatten(1)
    assert (direction != 0).sum(1).tolist() == count.tolist()
    assert torch.allclose(direction.abs().sum(1), torch.ones(4))
    for row, number in enumerate(count.tolist()):
        top = slope[row].flatten().abs().topk(number).indices
        assert torch.equal(direction[row, top].sign(), slope[row].flatten()[top].sign())
    assert float(space.sparse_steepest(torch.zeros_like(slope), count).abs().max()) == 0.0


def test_a_point_with_a_gradient_is_projected_too() -> None:
    """An attack need not detach what it moves."""
    space = balls(9, 1.0)
    z = streams(4, 9).fork("z").normal(3, 4, 4)
    assert torch.equal(space.project(z.clone().requires_grad_()), space.project(z))
    assert torch.equal(space.move(z.clone().requires_grad_(), z, 0.5), space.move(z, z, 0.5))
