"""The shortest way to a hyperplane in the box: against linear programming, closed forms and degenerate rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, linprog
from torch import Tensor

from classrob_lp import hyperplane

ORDERS = {"linf": torch.inf, "l2": 2, "l1": 1}
WAYS: dict[str, Callable[[Tensor], hyperplane.Way]] = {
    "linf": hyperplane.linf,
    "l2": hyperplane.l2,
    "l1": hyperplane.l1,
}


def rows(seed: int, n: int, d: int) -> tuple[Tensor, Tensor]:
    """Points of the box, some on its faces, and normals, some coordinates of them 0."""
    draw = torch.Generator().manual_seed(seed)
    points = (1.4 * torch.rand(n, d, generator=draw) - 0.2).clamp(0.0, 1.0)
    normal = torch.randn(n, d, generator=draw) * torch.rand(n, d, generator=draw) ** 2
    normal[torch.rand(n, d, generator=draw) < 0.15] = 0.0
    return points, normal


def most(points: Tensor, normal: Tensor, sign: Tensor) -> Tensor:
    """How far normal · point can be brought in the direction of a sign [n], by float64."""
    drive = normal.double() * sign[:, None]
    return (drive.abs() * torch.where(drive > 0, 1.0 - points, points)).sum(1)


def least(name: str, p: np.ndarray, w: np.ndarray, gap: float) -> float:
    """The smallest norm, in float64, by linear programming, or for ℓ2 by a root of the dual."""
    d = len(p)
    if name == "linf":  # [offset, t]: minimise t with −t ≤ offset ≤ t
        sides = np.block([[np.eye(d), -np.ones((d, 1))], [-np.eye(d), -np.ones((d, 1))]])
        bounds = [*zip(-p, 1.0 - p, strict=True), (0, None)]
        done = linprog(
            [0.0] * d + [1.0], A_ub=sides, b_ub=np.zeros(2 * d), A_eq=[[*w, 0.0]], b_eq=[gap], bounds=bounds
        )
        return float(done.fun)
    if name == "l1":  # offset = up − down
        bounds = [*zip(0 * p, 1.0 - p, strict=True), *zip(0 * p, p, strict=True)]
        return float(linprog([1.0] * (2 * d), A_eq=[[*w, *-w]], b_eq=[gap], bounds=bounds).fun)

    def offset(m: float) -> np.ndarray:
        return np.clip(m * w, -p, 1.0 - p)

    end = 1e6 * np.sign(gap)
    m = brentq(lambda m: w @ offset(m) - gap, 0.0, end, xtol=1e-15) if gap else 0.0
    return float(np.linalg.norm(offset(float(m))))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", WAYS)
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), d=st.integers(2, 40), share=st.floats(-0.98, 0.98))
def test_it_is_on_the_plane_in_the_box_and_no_longer_than_need_be(
    name: str, seed: int, d: int, share: float
) -> None:
    points, normal = rows(seed, 3, d)
    sign = torch.full((3,), 1.0 if share >= 0 else -1.0)
    gap = (share * most(points, normal, sign)).float()
    offset, length = WAYS[name](normal)(points - 0.5, gap)
    reached = (normal.double() * offset).sum(1)
    assert torch.allclose(reached, gap.double(), rtol=2e-5, atol=1e-6 * float(normal.abs().sum()))
    image = points + offset
    assert float(image.min()) >= -1e-6
    assert float(image.max()) <= 1.0 + 1e-6
    lengths = torch.linalg.vector_norm(offset.double(), ORDERS[name], dim=1)
    assert torch.allclose(length.double(), lengths, rtol=1e-5, atol=1e-6)
    for row in range(3):
        p, w = points[row].double().numpy(), normal[row].double().numpy()
        if np.abs(w).max() > 1e-3:  # the programme's own tolerance is absolute
            optimum = least(name, p, w, float(gap[row]))
            assert float(lengths[row]) == pytest.approx(optimum, rel=2e-4, abs=2e-5)


@pytest.mark.parametrize("name", WAYS)
def test_where_the_box_ends_before_the_plane_it_goes_to_the_nearest_corner(name: str) -> None:
    points, normal = rows(1, 6, 50)
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    gap = 2.0 * sign * most(points, normal, sign).float() + sign
    offset, length = WAYS[name](normal)(points - 0.5, gap)
    image = points + offset
    assert torch.allclose(length, torch.linalg.vector_norm(offset, ORDERS[name], dim=1), rtol=1e-5)
    drive = normal * sign[:, None]
    assert torch.allclose(image[drive > 0], torch.ones(()), atol=1e-6)
    assert torch.allclose(image[drive < 0], torch.zeros(()), atol=1e-6)
    assert torch.equal(image[drive == 0], points[drive == 0])


@pytest.mark.parametrize("name", WAYS)
def test_rows_without_a_direction_or_a_gap_stay(name: str) -> None:
    points, normal = rows(2, 4, 30)
    normal[:2] = 0.0
    gap = torch.tensor([0.5, 0.0, 0.0, -0.0])
    offset, length = WAYS[name](normal)(points - 0.5, gap)
    assert torch.equal(offset, torch.zeros_like(points))
    assert torch.equal(length, torch.zeros(len(points)))


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
def test_the_length_of_the_normal_does_not_matter(name: str, scale: float) -> None:
    """The squares of 1e-30 are 0 in float32."""
    points, normal = rows(3, 4, 60)
    gap = 0.3 * most(points, normal, torch.ones(4)).float()
    plain = WAYS[name](normal)(points - 0.5, gap).offset
    assert torch.allclose(WAYS[name](scale * normal)(points - 0.5, scale * gap).offset, plain, atol=1e-5)


@pytest.mark.parametrize("name", WAYS)
def test_a_row_does_not_see_the_others(name: str) -> None:
    """Rows that need few passes, or few coordinates, beside rows that need many."""
    points, normal = rows(4, 9, 700)
    gap = torch.linspace(-0.95, 0.95, 9) * most(points, normal, torch.linspace(-1, 1, 9).sign()).float()
    together = WAYS[name](normal)(points - 0.5, gap).offset
    some = [slice(i, i + 1) for i in range(9)]
    alone = torch.cat([WAYS[name](normal[one])(points[one] - 0.5, gap[one]).offset for one in some])
    assert torch.allclose(together, alone, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), d=st.integers(2, 60), budget=st.floats(0.05, 8.0))
def test_the_farthest_corner_is_the_linear_optimum(seed: int, d: int, budget: float) -> None:
    points, slope = rows(seed, 2, d)
    offset = hyperplane.farthest(points, slope, torch.full((2,), budget))
    for row in range(2):
        p, w = points[row].double().numpy(), slope[row].double().numpy()
        bounds = [*zip(0 * p, 1.0 - p, strict=True), *zip(0 * p, p, strict=True)]
        best = linprog([*-w, *w], A_ub=[[1.0] * (2 * d)], b_ub=[budget], bounds=bounds)
        assert float(offset[row].double() @ slope[row].double()) == pytest.approx(
            -best.fun, rel=1e-4, abs=1e-5
        )
        assert float(offset[row].abs().sum()) <= budget * (1.0 + 1e-6)
