"""Square: the law of its windows and updates, its budgets, and that it breaks what hides its gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from classrob.errors import StudyError
from classrob.judge import judge
from classrob.live import Batch, Classifier, Meter
from classrob.pool import Pool
from classrob.rows import Live
from classrob.streams import Streams
from classrob.testing.arena import Tint
from classrob_lp.asked import LULL, Asked
from classrob_lp.balls import L2Ball, LinfBall, Offsets
from classrob_lp.l1 import L1Ball
from classrob_lp.losses import margin
from classrob_lp.pgd import PGD
from classrob_lp.square import Square
from classrob_lp.windows import Windows, bump, plan, side

CPU = torch.device("cpu")
BUDGETS = [(LinfBall, 0.05), (L2Ball, 0.5), (L1Ball, 3.0)]
Ball = type[LinfBall] | type[L2Ball] | type[L1Ball]


class Straight(nn.Module):
    """Three logits linear in the image, summed in float64 and row by row alike for every batch."""

    def __init__(self, seed: int, channels: int, height: int, width: int) -> None:
        super().__init__()
        draw = Streams.keyed(seed, "d", "abc", "weights").normal(channels, height, width)
        self.register_buffer("weight", draw.double())
        self.register_buffer("shift", torch.tensor([1.5, 0.0, 0.0]))

    def forward(self, images: Tensor) -> Tensor:
        weight, shift = self.get_buffer("weight"), self.get_buffer("shift")
        columns = [(images.double() * one).sum((1, 2, 3)) for one in weight]
        return torch.stack(columns, 1).float() / 10 + shift


def arena(
    ball: Ball, budget: float, n: int = 12, shape: tuple[int, int, int] = (3, 10, 12), seed: int = 0
) -> tuple[Classifier, Offsets, Batch, Streams]:
    """A linear model, images that it predicts right (black and white pixels among them), and balls."""
    ids = tuple(map(str, range(n)))
    images = (1.4 * Streams.keyed(seed, "d", ids, "images").uniform(*shape) - 0.2).clamp(0, 1)
    classifier = Classifier(Straight(seed, *shape))
    labels = classifier(images).argmax(1)
    space = ball(torch.full((n,), budget), images)
    return classifier, space, Batch(ids, images, labels), Streams.keyed(seed, "d", ids, "c")


def rows_at_work(classifier: Classifier, space: Offsets, batch: Batch, streams: Streams) -> Live:
    pool = Pool(classifier, space, batch.labels, streams, None)
    pool.prepare("float32", 0, False)
    return pool.live(torch.arange(len(batch)))


# -- windows ----------------------------------------------------------------------------------------


def test_the_schedule_of_the_paper() -> None:
    """32×32 and p = 0.8: from 29 pixels down to 1; with bumps, odd and at least 3 (worked out by hand)."""
    shares = (0.0, 0.002, 0.01, 0.03, 0.07, 0.15, 0.3, 0.5, 0.7, 0.9)
    assert [side(s, 0.8, 32, 32, False) for s in shares] == [29, 20, 14, 10, 7, 5, 4, 3, 2, 1]
    assert [side(s, 0.8, 32, 32, True) for s in shares] == [29, 21, 15, 11, 7, 5, 5, 3, 3, 3]
    assert side(0.0, 1.0, 10, 40, False) == 10
    assert plan(1, 0.8, 8, 8, 0, CPU).of_query.tolist() == [[0, 0, 0]]
    assert plan(3, 1.0, 8, 8, 0, CPU).of_query[:, 0].tolist() == [0, 8, 1]


@given(st.integers(1, 40), st.sampled_from([1, 2]))
def test_a_bump_is_a_peak_above_a_trough(pixels: int, power: int) -> None:
    value = bump(pixels, power)
    assert float(value.norm(p=power)) == pytest.approx(1.0, abs=1e-5)
    above, below = value[: pixels // 2], value[pixels // 2 :]
    assert bool((above >= 0).all())
    assert bool((below <= 0).all())
    if pixels > 1:
        assert float(above.norm(p=power)) == pytest.approx(float(below.norm(p=power)), rel=1e-4)
    if pixels == 3:  # the peak's row has one ring around the middle; Σ k^−q from each ring on
        q = 4 / power
        assert torch.allclose(above[0, 1] / above[0, 0], torch.tensor((1 + 2.0**-q) / 2.0**-q))


@settings(deadline=None)
@given(st.lists(st.integers(0, 59), min_size=1, max_size=8), st.integers(0, 99))
def test_windows_are_squares_within_their_own_image(queries: list[int], seed: int) -> None:
    shape, n = torch.Size([len(queries), 2, 9, 7]), len(queries)
    shapes = plan(60, 0.8, 9, 7, 0, CPU)
    sides, pixels, first = shapes.of_query[queries].unbind(1)
    generator = torch.Generator().manual_seed(seed)
    top, left = (torch.rand(2, n, generator=generator) * (torch.tensor([[10], [8]]) - sides)).long()
    windows = Windows.at(shapes, pixels, first, top * 7 + left, torch.arange(n), shape[1:])
    images = torch.randn(shape, generator=generator)
    before, painted = images.clone(), torch.zeros(shape)
    windows.write(painted, torch.ones(len(windows.row), 2))
    expected = torch.zeros(shape)
    for i, (y, x, s) in enumerate(zip(top.tolist(), left.tolist(), sides.tolist(), strict=True)):
        expected[i, :, y : y + s, x : x + s] = 1.0
    assert torch.equal(painted, expected)
    values = windows.read(images)
    sums = (images.double() * expected).sum((2, 3))
    assert torch.allclose(windows.total(values), sums)
    windows.write(images, values)
    assert torch.equal(images, before)


def test_a_sum_does_not_see_the_neighbours() -> None:
    """Bit for bit, so that no sample's walk depends on who is in the batch."""
    shapes = plan(60, 0.8, 9, 9, 2, CPU)
    images = torch.randn(50, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    queries = torch.arange(50) + 1
    _, pixels, first = shapes.of_query[queries].unbind(1)
    corner = torch.zeros_like(pixels)
    whole = Windows.at(shapes, pixels, first, corner, torch.arange(50), images.shape[1:])
    totals = whole.total(whole.read(images))
    for i in range(50):
        one = Windows.at(
            shapes, pixels[i : i + 1], first[i : i + 1], corner[:1], corner[:1], images.shape[1:]
        )
        assert torch.equal(one.total(one.read(images[i : i + 1].contiguous())), totals[i : i + 1])


# -- one query --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ball", "budget"), BUDGETS)
def test_the_first_query_is_where_it_begins(ball: Ball, budget: float) -> None:
    where = arena(ball, budget)
    live, attack = rows_at_work(*where), Square(steps=50)
    state = attack.begin(live)
    z = state["z"].clone()
    after = attack.step(live, state)
    assert torch.equal(after["z"], z)
    assert torch.allclose(after["margin"], margin(where[0](where[1].render(z)), where[2].labels))
    assert bool((where[1].distance(z) > 0.3 * budget).all())
    if ball is LinfBall:
        assert torch.equal(z.abs(), torch.full_like(z, budget))
        assert torch.equal(z, z[:, :, :1].expand_as(z)), "vertical stripes"


@pytest.mark.parametrize("channels", [1, 3])
def test_a_linf_query_changes_one_window_to_one_colour(channels: int) -> None:
    """It always changes the image (the colour is drawn again until it does), in one square, everywhere."""
    classifier, space, batch, streams = arena(LinfBall, 0.05, n=400, shape=(channels, 8, 8))
    live, attack = rows_at_work(classifier, space, batch, streams), Square(steps=40)
    state = attack.begin(live)
    z = state["z"].clone()
    seen = torch.zeros(8, 8, dtype=torch.int64)
    for age, pixels in ((39, 1), (3, 2)):
        assert side((age - 1) / 39, 0.8, 8, 8, False) == pixels
        least = torch.full((400,), -torch.inf)  # whatever it is, it is taken
        state = {**state, "z": z.clone(), "shown": space.render(z), "margin": least}
        live.age[:] = age
        moved = attack.step(live, state)["z"]
        assert bool((moved != z).flatten(1).any(1).all())
        changed = (moved != z).any(1)
        for one, at in zip(moved, changed, strict=True):
            y, x = at.nonzero().amin(0).tolist()
            yy, xx = at.nonzero().amax(0).tolist()
            assert max(yy - y, xx - x) < pixels
            if pixels == 1:
                seen[y, x] += 1
                assert bool((one.abs() == 0.05).all())
    assert int(seen.min()) > 0, "windows reach every pixel, the last line and column too"
    assert int(seen.max()) < 30


@pytest.mark.parametrize(("ball", "budget"), BUDGETS)
def test_a_query_that_gains_nothing_changes_nothing(ball: Ball, budget: float) -> None:
    classifier, space, batch, streams = arena(ball, budget)
    live, attack = rows_at_work(classifier, space, batch, streams), Square(steps=50)
    state = attack.step(live, attack.begin(live))
    for age in range(1, 50):
        live.age[:] = age
        before = {k: v.clone() for k, v in state.items()}
        state = attack.step(live, state)
        standing = before["margin"] < 0  # a misclassified point is always taken
        assert bool((state["margin"] >= before["margin"])[standing].all())
        stays = (state["margin"] == before["margin"]) & standing
        assert all(torch.equal(state[k][stays], v[stays]) for k, v in before.items() if k != "lull")
        if "shown" in state:
            assert torch.equal(state["shown"], live.space.render(state["z"]))
        if ball is not LinfBall:
            power = 2 if ball is L2Ball else 1
            mass = state["z"].double().abs().pow(power).sum((1, 2, 3))
            assert torch.allclose(state["mass"], mass, rtol=1e-6)


@pytest.mark.parametrize("age", [1, 5, 49])
def test_an_l2_query_keeps_the_norm(age: int) -> None:
    """What a second window gives up and what the budget leaves, the first one takes, where the box lets it."""
    n = 30
    space = L2Ball(torch.full((n,), 0.5), torch.full((n, 3, 12, 12), 0.5))
    classifier = Classifier(Straight(0, 3, 12, 12))
    ids = tuple(map(str, range(n)))
    batch = Batch(ids, space.images, torch.zeros(n, dtype=torch.int64))
    live = rows_at_work(classifier, space, batch, Streams.keyed(0, "d", ids, "c"))
    state = Square(steps=50).begin(live)
    assert torch.allclose(space.distance(state["z"]), space.budget, rtol=1e-5)
    live.age[:] = age
    z = state["z"].clone()
    moved = Square(steps=50).step(live, state)["z"]
    assert bool((moved != z).flatten(1).any(1).all())
    assert torch.allclose(space.distance(moved), space.budget, rtol=1e-5)


# -- searches ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=12)
@given(st.sampled_from(BUDGETS), st.integers(0, 99), st.sampled_from([(1, 9, 9), (3, 8, 13), (2, 3, 4)]))
def test_budgets_and_box_are_respected(
    case: tuple[Ball, float], seed: int, shape: tuple[int, int, int]
) -> None:
    ball, budget = case
    classifier, space, batch, streams = arena(ball, budget, shape=shape, seed=seed)
    z = Square(steps=60).search(classifier, space, batch, streams, None)
    assert bool(z.isfinite().all())
    assert bool((space.distance(z.double()) <= space.budget * (1 + 1e-6)).all())
    if ball is not LinfBall:  # there the box is left to `render`
        assert torch.allclose(space.render(z), space.images + z, atol=1e-7)


@pytest.mark.parametrize(("ball", "budget"), BUDGETS)
def test_a_sample_alone_does_as_in_a_batch(ball: Ball, budget: float) -> None:
    """Whatever the batch size, and so whatever the ages of the others."""
    classifier, space, batch, streams = arena(ball, budget / 4)
    whole = Square(steps=40).search(classifier, space, batch, streams, None)
    classifier.batch_size = 5
    assert torch.equal(Square(steps=40).search(classifier, space, batch, streams, None), whole)
    for i in range(0, len(batch), 4):
        row = torch.tensor([i])
        alone = Square(steps=40).search(
            classifier, space.select(row), batch.select(row), streams.select(row), None
        )
        assert torch.equal(alone, whole[row])


@pytest.mark.parametrize(("ball", "budget"), BUDGETS)
def test_looking_ahead_changes_nothing_but_the_calls(ball: Ball, budget: float) -> None:
    """The same walk where there is room for one query a row, and where there is room for many."""
    classifier, space, batch, streams = arena(ball, budget / 4)
    calls, found, spent = list[int](), list[Tensor](), list[list[int]]()
    classifier.module.register_forward_pre_hook(lambda *_: calls.append(1))
    for classifier.batch_size in (12, 256):
        calls.append(0)
        classifier.meter = Meter.of(len(batch))
        found.append(Square(steps=600).search(classifier, space, batch, streams, None))
        spent.append(classifier.meter.forwards.tolist())
    assert torch.equal(*found)
    assert spent[0] == spent[1]
    alone = calls.index(0, 1)
    assert len(calls) - alone < 0.8 * alone, "fewer calls, which look at several queries each"


def test_a_row_looks_ahead_as_far_as_its_last_gain_is_behind() -> None:
    """Never beyond its last query, nor beyond what fills the network's call; a finished row not at all."""
    classifier, space, batch, streams = arena(LinfBall, 0.05, n=3)
    classifier.batch_size = 48
    live = rows_at_work(classifier, space, batch, streams)
    live.age[:] = torch.tensor([50, 98, 60])
    asked = Asked.of(live, torch.tensor([8 * LULL, 40 * LULL, 0]), 100)
    assert asked.depth.tolist() == [9, 2, 5], "the third one has 16 // 3 places in any case"
    assert asked.first.tolist() == [0, 9, 11]
    assert asked.row.tolist() == [0] * 9 + [1] * 2 + [2] * 5
    assert asked.age.tolist() == [*range(50, 59), 98, 99, *range(60, 65)]
    live.leave(torch.tensor([True, False, False]))
    assert Asked.of(live, torch.tensor([99, 99, 0]), 100).depth.tolist() == [0, 2, 9], "8, and one to fill up"
    live.leave(torch.tensor([False, True, False]))
    assert Asked.of(live, torch.tensor([0, 0, 999]), 100).depth.tolist() == [0, 0, 40]


def test_it_costs_one_query_a_step() -> None:
    classifier, space, batch, streams = arena(LinfBall, 1e-4)
    classifier.meter = Meter.of(len(batch))
    Square(steps=30).search(classifier, space, batch, streams, None)
    assert classifier.meter.forwards.tolist() == [30] * len(batch)
    assert int(classifier.meter.backwards.sum()) == 0


def test_it_breaks_what_hides_its_gradients() -> None:
    """Images rounded to 64 grey levels: the gradient is 0 everywhere, and PGD does not leave the centre."""

    class Rounded(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, images: Tensor) -> Tensor:
            return self.inner((images * 63).round() / 63)

    for ball, budget in BUDGETS:
        classifier, space, batch, streams = arena(ball, budget)
        hidden = Classifier(Rounded(classifier.module))
        assert torch.equal(hidden(batch.images).argmax(1), batch.labels)
        by_slope = judge(hidden, space, batch, PGD(steps=40).search(hidden, space, batch, streams, None))
        by_search = judge(hidden, space, batch, Square(steps=400).search(hidden, space, batch, streams, None))
        assert int(by_slope.broken.sum()) == 0
        assert int(by_search.broken.sum()) >= len(batch) // 2, ball


def test_more_queries_break_more() -> None:
    for ball, budget in BUDGETS:
        classifier, space, batch, streams = arena(ball, budget / 2, n=60)
        counts = []
        for steps in (1, 20, 400):
            z = Square(steps=steps).search(classifier, space, batch, streams, None)
            counts.append(int(judge(classifier, space, batch, z).broken.sum()))
        assert counts[0] < counts[1] < counts[2], ball


def test_where_a_larger_budget_ended_is_a_beginning() -> None:
    classifier, space, batch, streams = arena(L2Ball, 0.5)
    start = space.start(streams.fork("start"))
    live = Pool(classifier, space, batch.labels, streams, start).live(torch.arange(len(batch)))
    assert torch.equal(Square().begin(live)["z"], start)


def test_another_space_is_refused() -> None:
    classifier, _, batch, streams = arena(L2Ball, 0.5)
    tint = Tint(torch.full((len(batch),), 0.3), batch.images)
    with pytest.raises(StudyError, match="linf, l2 and l1, not 'Tint'"):
        Square().search(classifier, tint, batch, streams, None)
