"""Auto-PGD: its schedule and steps worked out by hand, its budgets, its independence, its strength under noise."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classrob.judge import judge
from classrob.live import Batch, Classifier, Meter
from classrob.pool import Pool
from classrob.search import State
from classrob.streams import Streams
from classrob_lp import momentum, sparse
from classrob_lp.apgd import APGD, ApgdCE, ApgdDLR, ApgdTargeted
from classrob_lp.balls import L2Ball, LinfBall
from classrob_lp.l1 import L1Ball

BUDGETS: list[Any] = [(LinfBall, 0.05), (L2Ball, 0.6), (L1Ball, 6.0)]
N, SHAPE = 20, (3, 6, 6)


class Bent(nn.Module):
    """Four logits of a small random network, row by row alike for every batch."""

    def __init__(self, classes: int = 4, noise: float = 0.0) -> None:
        super().__init__()
        draw = Streams.keyed(3, "d", ["w"], "net")
        self.register_buffer("first", draw.fork(1).normal(12, math.prod(SHAPE)).double()[0] / 4)
        self.register_buffer("second", draw.fork(2).normal(classes, 12).double()[0])
        self.noise = noise

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1).double() - 0.5
        if self.noise:
            flat = flat + self.noise * torch.randn_like(flat)
        hidden = [(flat * row).sum(1).tanh() for row in self.get_buffer("first")]
        logits = [sum(h * w for h, w in zip(hidden, row, strict=True)) for row in self.get_buffer("second")]
        return torch.stack([one for one in logits if isinstance(one, Tensor)], 1).float()


def arena(ball: Any, budget: float, classes: int = 4) -> tuple[Classifier, Any, Batch, Streams]:
    ids = tuple(map(str, range(N)))
    images = (1.4 * Streams.keyed(0, "d", ids, "images").uniform(*SHAPE) - 0.2).clamp(0, 1)
    classifier = Classifier(Bent(classes))
    batch = Batch(ids, images, classifier(images).argmax(1))
    return classifier, ball(torch.full((N,), budget), images), batch, Streams.keyed(0, "d", ids, "c")


def broken(attack: APGD, where: tuple[Classifier, Any, Batch, Streams]) -> int:
    classifier, space, batch, streams = where
    return int(
        judge(classifier, space, batch, attack.search(classifier, space, batch, streams, None)).broken.sum()
    )


# -- the schedule -----------------------------------------------------------------------------------


def test_the_checkpoints_are_the_published_ones() -> None:
    """p₀ = 0, p₁ = 0.22, p₊ = p + max(p − p₋ − 0.03, 0.06), at ⌈100 p⌉: section 3.2 of the paper."""
    assert momentum.windows(100).nonzero()[:, 0].tolist() == [22, 41, 57, 70, 80, 87, 93, 99]
    shares = [0.0, 0.22]
    while (following := shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06)) <= 1 + 1e-9:
        shares.append(following)
    assert [math.ceil(100 * share - 1e-9) for share in shares[1:]] == [22, 41, 57, 70, 80, 87, 93, 99]
    found = momentum.windows(100)
    assert found[found > 0].tolist() == [22, 19, 16, 13, 10, 7, 6, 6], "each window reaches back to the last"


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20])
def test_short_walks_have_a_schedule_too(steps: int) -> None:
    found = momentum.windows(steps)
    assert found.nonzero()[0, 0] >= 1
    assert len(found) == steps + 1


# -- the step ---------------------------------------------------------------------------------------


def walked(losses: list[float], steps: int = 20) -> list[State]:
    """The states of a walk on a line whose loss takes these values, with slope 1."""
    space = LinfBall(torch.tensor([0.4]), torch.full((1, 1, 1, 1), 0.5))
    states = [momentum.begin(torch.tensor([-0.4]).reshape(1, 1, 1, 1))]
    for age, value in enumerate(losses):
        state = {k: v.clone() for k, v in states[-1].items()}
        slope = torch.full((1, 1, 1, 1), 1.0 if age % 2 == 0 else -1.0)
        states.append(
            momentum.step(space, torch.tensor([age]), steps, state, slope, torch.tensor([float(value)]))
        )
    return states


def test_a_step_halves_where_the_loss_oscillates_and_the_walk_goes_back_to_its_best_point() -> None:
    """With 20 steps the first window ends at step 4; it saw one rise of four, fewer than 75 %."""
    states = walked([1.0, 5.0, 2.0, 2.0, 1.0])
    assert [float(s["length"]) for s in states] == [2.0, 2.0, 2.0, 2.0, 2.0, 1.0]
    peak = states[1]["z"]  # where the loss was 5, with slope −1
    assert torch.equal(states[5]["old"], peak)
    space = LinfBall(torch.tensor([0.4]), torch.full((1, 1, 1, 1), 0.5))
    move = space.move(peak, -torch.ones_like(peak), 1.0)
    expected = space.project(peak + 0.75 * (move - peak) + 0.25 * (peak - states[4]["old"]))
    assert torch.allclose(states[5]["z"], expected)


def test_a_step_stays_while_the_loss_rises_and_halves_where_the_best_no_longer_grows() -> None:
    rising = walked([0, 1, 2, 3, 4, 5, 6, 7, 8])
    assert {float(s["length"]) for s in rising} == {2.0}
    # Of 100 steps the windows end at 22 and 41. The second has 18 rises of 19, all below the best of the first.
    idle = walked([*range(23), *range(-19, 0), 0], steps=100)
    assert [float(s["length"]) for s in idle[1:]] == [*[2.0] * 41, 1.0, 1.0]
    assert torch.equal(idle[42]["old"], idle[22]["z"])


def test_momentum_counts_from_the_second_step() -> None:
    space = LinfBall(torch.tensor([0.4]), torch.full((1, 1, 1, 1), 0.5))
    first, second = walked([0.0, 1.0])[1:]
    assert torch.equal(first["z"], torch.full((1, 1, 1, 1), 0.4)), "two budgets up, cut to the ball"
    expected = space.project(first["z"] + 0.75 * (-0.8) + 0.25 * 0.8)  # down to −0.4, and the last move again
    assert torch.allclose(second["z"], expected)


# -- searches ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ball", "budget"), BUDGETS)
@pytest.mark.parametrize(
    "attack", [ApgdCE(steps=12), ApgdDLR(steps=12, restarts=2), ApgdTargeted(steps=9, targets=2)]
)
def test_a_sample_alone_does_as_in_a_batch(attack: APGD, ball: Any, budget: float) -> None:
    classifier, space, batch, streams = arena(ball, budget)
    whole = attack.search(classifier, space, batch, streams, None)
    classifier.batch_size = 7
    assert torch.equal(attack.search(classifier, space, batch, streams, None), whole)
    for i in range(0, N, 5):
        row = torch.tensor([i])
        alone = attack.search(classifier, space.select(row), batch.select(row), streams.select(row), None)
        assert torch.equal(alone, whole[row])


@pytest.mark.parametrize(("ball", "budget"), BUDGETS)
def test_budgets_are_respected_at_every_age(ball: Any, budget: float) -> None:
    """Within the ball, or within 3, 2 and 1 of it for 30, 30 and 40 % of the moves in ℓ1; always in the box."""
    classifier, space, batch, streams = arena(ball, budget / 2000)
    steps = 22 if ball is L1Ball else 20
    attack, seen = ApgdCE(steps=steps), dict[int, float]()
    pool = Pool(classifier, space, batch.labels, streams, None)
    pool.prepare("float32", 0, False)
    live = pool.live(torch.arange(N))
    state = attack.begin(live)
    for age in range(steps + 1):
        assert bool((space.images + state["z"] >= -1e-6).all()) or ball is LinfBall
        seen[age] = float((space.distance(state["z"]) / space.budget).max())
        if age < steps:
            state = attack.step(live, state)
            live.grow()
    assert int(live.done.sum()) == 0
    if ball is not L1Ball:
        assert max(seen.values()) <= 1 + 1e-5
        return
    limits = [3] * 7 + [2] * 7 + [1] * 9  # a walk of m moves in a ball looks at m + 1 points
    assert all(seen[age] <= limit * (1 + 1e-5) for age, limit in enumerate(limits))
    assert seen[6] > 2.5
    assert seen[13] > 1.5


def test_the_l1_walk_is_sparse_and_adapts() -> None:
    """As many coordinates move as the best point has changed, over 1.5; the length shrinks to a tenth."""
    space = L1Ball(torch.tensor([1.0]), torch.full((1, 1, 10, 10), 0.5))
    state = sparse.begin(space.project(torch.linspace(-1, 1, 100).reshape(1, 1, 10, 10)))
    changed = int((state["z"] != 0).sum())
    slope = torch.linspace(2, -1, 100).reshape(1, 1, 10, 10)
    before = state["z"].clone()
    state = sparse.step(space, torch.tensor([0]), 102, state, slope, torch.tensor([1.0]))
    moved = state["z"] - space.at(torch.tensor([3.0])).project(before)
    assert int((moved.abs() > 1e-6).sum()) >= 1
    assert int((moved.abs() > 1e-6).sum()) <= changed
    lengths = []
    for age in range(1, 12):
        state = sparse.step(space, torch.tensor([age]), 102, state, slope, torch.tensor([-1.0]))
        lengths.append(float(state["length"]))
    assert lengths[0] == pytest.approx(1 / 1.5)
    assert lengths[-1] == pytest.approx(0.1)


def test_found_rows_stop_and_the_others_take_every_step() -> None:
    where = arena(LinfBall, 0.03)
    classifier, space, batch, streams = where
    classifier.meter = Meter.of(N)
    z = ApgdCE(steps=25).search(classifier, space, batch, streams, None)
    spent, classifier.meter = classifier.meter.backwards, None
    verdict = judge(classifier, space, batch, z)
    assert 0 < int(verdict.broken.sum()) < N
    assert bool((spent[~verdict.broken] == 25).all())
    assert bool((spent[verdict.broken] < 25).any())


def test_targets_are_the_likeliest_other_classes_each_in_a_walk_of_its_own() -> None:
    classifier, space, batch, streams = arena(LinfBall, 1e-4)
    pool = Pool(classifier, space, batch.labels, streams, None)
    pool.prepare("float32", 9, False)
    order = classifier(batch.images).argsort(1, descending=True)
    assert torch.equal(pool.aims, order[:, 1:]), "one fewer than there are classes, at most"
    classifier.meter = Meter.of(N)
    ApgdTargeted(steps=4, targets=2, restarts=2).search(classifier, space, batch, streams, None)
    assert classifier.meter.backwards.tolist() == [16] * N


@pytest.mark.parametrize("budget", [1e-4, 0.02])
def test_targets_that_go_abreast_find_the_same_in_every_batch(budget: float) -> None:
    """After the likeliest one; also where a batch is smaller than they are."""
    classifier, space, batch, streams = arena(LinfBall, budget, classes=10)
    attack, found = ApgdTargeted(steps=7, targets=9, restarts=2), list[Tensor]()
    spent, asked = list[list[int]](), list[list[int]]()
    for classifier.batch_size in (1, 4, 16, 50, 256):
        classifier.meter = Meter.of(N)
        found.append(attack.search(classifier, space, batch, streams, None))
        spent.append(classifier.meter.backwards.tolist())
        asked.append(classifier.meter.forwards.tolist())
    classifier.meter = None
    assert all(one.equal(found[0]) for one in found)
    assert all(one == spent[0] for one in spent)
    assert all(one == asked[0] for one in asked)
    broken = judge(classifier, space, batch, found[0]).broken
    stands = torch.tensor(spent[0])[~broken]
    assert bool((stands == 7 * 18).all())
    assert int(broken.sum()) > 0 if budget > 0.01 else int(broken.sum()) == 0
    early = torch.tensor(spent[0])[broken]
    assert bool((early < 7 * 18).all())
    if budget > 0.01:  # some by the likeliest class alone, in a few steps, some by others after it
        assert int(early.min()) < 7
        assert int(early.max()) > 7


def test_where_a_larger_budget_ended_is_a_beginning() -> None:
    classifier, space, batch, streams = arena(L2Ball, 0.5)
    start = space.start(streams.fork("start"))
    live = Pool(classifier, space, batch.labels, streams, start).live(torch.arange(N))
    assert torch.equal(ApgdCE().begin(live)["z"], start)


def test_averaged_gradients_beat_single_ones_where_the_model_draws() -> None:
    """Judged over many draws, since one draw of a random model says little."""
    _, space, batch, streams = arena(LinfBall, 0.06)
    noisy = Classifier(Bent(noise=0.35))
    shares = []
    for averaged in (1, 12):
        torch.manual_seed(0)
        z = ApgdCE(steps=12, averaged=averaged).search(noisy, space, batch, streams, None)
        draws = [judge(noisy, space, batch, z).broken for _ in range(40)]
        shares.append(float(torch.stack(draws).float().mean()))
    assert shares[1] > shares[0] + 0.1


def test_averaged_gradients_cost_what_they_say_and_one_lucky_draw_ends_nothing() -> None:
    classifier, space, batch, streams = arena(LinfBall, 0.5)
    classifier.meter = Meter.of(N)
    z = ApgdCE(steps=6, averaged=5).search(classifier, space, batch, streams, None)
    assert classifier.meter.backwards.tolist() == [30] * N
    assert int(judge(classifier, space, batch, z).broken.sum()) > N // 2


def test_more_steps_and_restarts_break_no_fewer() -> None:
    for ball, budget in BUDGETS:
        where = arena(ball, budget / 2)
        few, many = broken(ApgdCE(steps=2), where), broken(ApgdCE(steps=40, restarts=2), where)
        assert few <= many
        assert many > 0, ball
