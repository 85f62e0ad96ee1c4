"""The search loop, the judge and the sweep, on a linear model whose smallest distances are known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from classrob.ensemble import Ensemble, Member
from classrob.errors import PluginError, StudyError
from classrob.judge import admitted, judge
from classrob.live import Batch, Classifier, Meter
from classrob.parts import Attack
from classrob.search import REST, Live, State, StepwiseAttack
from classrob.space import Space
from classrob.spotcheck import SpotChecks
from classrob.streams import Streams
from classrob.sweep import Sweep
from classrob_base.none import NoAttack
from classrob_lp.balls import L2Ball, LinfBall
from classrob_lp.pgd import PGD

N = 40
BUDGETS = tuple(float(b) for b in np.linspace(0.01, 0.16, 16))


class Counting(torch.nn.Module):
    """Two classes, told apart by the mean pixel; counts the rows it saw with and without gradients."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.flatten(1).mean(1) - 0.5
        return torch.stack([-mean, mean], 1) * 50


@dataclass
class Setting:
    """A classifier, a batch, and each sample's exact smallest L∞ distance (negative: already wrong)."""

    classifier: Classifier
    batch: Batch
    streams: Streams
    truth: np.ndarray


@pytest.fixture
def setting() -> Setting:
    levels = torch.linspace(0.361, 0.639, N)
    images = levels[:, None, None, None].expand(N, 1, 4, 4).contiguous()
    labels = (torch.arange(N) >= N // 2).long()
    labels[0] = 1  # one sample that is wrong from the start
    ids = tuple(map(str, range(N)))
    distance = torch.where(labels == 1, levels - 0.5, 0.5 - levels).numpy()
    classifier = Classifier(Counting().eval(), "mean", batch_size=8)
    return Setting(classifier, Batch(ids, images, labels), Streams.keyed(0, "d", ids, "c"), distance)


def sweep(setting: Setting, attack: Attack, budgets: tuple[float, ...] = BUDGETS, **more: Any) -> Sweep:
    space = LinfBall(torch.full((N,), budgets[-1]), setting.batch.images)
    return Sweep(setting.classifier, attack, "attack", space, setting.batch, setting.streams, budgets, **more)


@pytest.mark.parametrize("exhaustive", [False, True])
def test_every_verdict_is_the_exact_one(setting: Setting, exhaustive: bool) -> None:
    run = sweep(setting, PGD(steps=5), exhaustive=exhaustive)
    ledger = run.run()
    broken = ledger.predicted != ledger.labels.numpy()[:, None]
    expected = setting.truth[:, None] < np.array(BUDGETS)[None] - 1e-6
    assert (broken == expected).all()
    assert set(ledger.basis[broken]) == {"found"}
    assert set(ledger.basis[~broken]) == ({"stood"} if exhaustive else {"stood", "implied"})


def test_a_found_row_is_inside_its_budget_and_measured(setting: Setting) -> None:
    ledger = sweep(setting, PGD(steps=5)).run()
    found = ledger.basis == "found"
    assert (ledger.distance[found] <= np.broadcast_to(BUDGETS, found.shape)[found] + 1e-6).all()
    assert (
        ledger.distance[found] >= np.broadcast_to(setting.truth[:, None], found.shape)[found] - 1e-6
    ).all()
    assert (ledger.margin[found] <= 0).all()
    assert np.isnan(ledger.margin[ledger.basis == "implied"]).all()


def test_a_sweep_costs_little_more_than_one_budget(setting: Setting) -> None:
    single = max(int(sweep(setting, PGD(steps=20), budgets=(b,)).run().spent.sum()) for b in BUDGETS)
    run = sweep(setting, PGD(steps=20))
    assert int(run.run().spent.sum()) <= 1.5 * single


def test_what_is_spent_is_what_the_model_saw(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted at the model itself: rows of padding, and finished ones that ride along, are not charged."""
    monkeypatch.setattr("classrob.search.REST", 0.0)  # else some batches come in two calls
    seen = {"at work": 0, "finished": 0}
    real = setting.classifier._logits

    def counting(images: Tensor) -> Tensor:
        meter = setting.classifier.meter
        working = len(images) if meter is None or meter.rows is None else len(meter.rows)
        seen["at work"] += working
        seen["finished"] += len(images) - working
        return real(images)

    setting.classifier._logits = counting  # type: ignore[method-assign]
    ledger = sweep(setting, PGD(steps=7, restarts=2)).run()
    assert int(ledger.queries.sum()) == seen["at work"]
    assert 0 < int(ledger.spent.sum()) < seen["at work"]
    assert seen["finished"] < seen["at work"] / 8


def test_a_sample_that_stands_is_charged_every_step_and_one_that_falls_is_not(setting: Setting) -> None:
    ledger = sweep(setting, PGD(steps=9, restarts=3), budgets=(0.05,)).run()
    stood = ledger.basis[:, 0] == "stood"
    assert (ledger.spent[stood, 0] == 27).all()
    assert (ledger.spent[~stood, 0] < 27).all()
    assert ledger.spent[0, 0] == 0  # wrong from the start: nothing to search


def test_finished_samples_leave_and_the_batch_is_refilled(setting: Setting) -> None:
    sizes: list[int] = []

    class Watched(StepwiseAttack):
        """Notes how many rows are live."""

        def begin(self, live: Live) -> State:
            return {"z": live.origin}

        def step(self, live: Live, state: State) -> State:
            sizes.append(len(live.labels))
            slope, _ = live.slope(state["z"], lambda logits, y: -logits.gather(1, y[:, None])[:, 0])
            return {"z": live.space.move(state["z"], slope, 0.25)}

    sweep(setting, Watched(steps=6), budgets=(0.08,)).run()
    full = setting.classifier.batch_size
    assert full <= max(sizes) <= (1 + REST) * full
    smaller = sum(size < full for size in sizes)
    assert smaller <= 7  # only the pool's last rows run in smaller batches


def test_a_search_of_no_samples_finds_none(setting: Setting) -> None:
    none = torch.arange(0)
    batch = setting.batch.select(none)
    space = LinfBall(torch.empty(0), batch.images)
    for start in (None, space.centre()):
        found = PGD(steps=3).search(setting.classifier, space, batch, setting.streams.select(none), start)
        assert found.shape == batch.images.shape


@pytest.mark.parametrize(("batch_size", "steps"), [(N, 6), (N - 8, 6), (N // 2, 12)])
def test_a_small_rest_of_the_pool_takes_no_steps_of_its_own(
    batch_size: int, steps: int, setting: Setting
) -> None:
    setting.classifier.batch_size = batch_size
    seen: list[int] = []

    class Idle(StepwiseAttack):
        """Goes nowhere."""

        def begin(self, live: Live) -> State:
            return {"z": live.origin}

        def step(self, live: Live, state: State) -> State:
            seen.append(len(live.labels))
            live.slope(state["z"], lambda logits, y: -logits.gather(1, y[:, None])[:, 0])
            return state

    sweep(setting, Idle(steps=6), budgets=(0.001,)).run()
    assert len(seen) == steps


def test_spot_checks_confirm_or_refute_and_carry_upwards(setting: Setting) -> None:
    class OnlySmall(Attack):
        """Finds nothing above 0.1: a weak attack that a spot check must show up."""

        def search(self, classifier: Any, space: Any, batch: Any, streams: Any, start: Any) -> Tensor:
            sign = torch.where(batch.labels == 1, -1.0, 1.0).reshape(-1, 1, 1, 1)
            reach = torch.where(space.budget > 0.1, 0.0, space.budget).reshape(-1, 1, 1, 1)
            return sign * reach * torch.ones_like(space.images)

    blind = sweep(setting, OnlySmall()).run()
    assert "refuted" not in blind.basis
    checked = sweep(setting, OnlySmall(), spot_check=1.0).run()
    assert (checked.basis == "refuted").any()
    assert (checked.basis == "confirmed").any()
    broken = checked.predicted != checked.labels.numpy()[:, None]
    assert (np.diff(broken.astype(int), axis=1) >= 0).all(), "broken at a budget, but not at a larger one"


class _Pixels(Attack):
    """Moves every pixel by a share of the budget, the right way; writes down what it was asked for."""

    share: float = 1.0
    asked: list[tuple[int, int]] = []  # noqa: RUF012 a field of pydantic's, copied for each

    def search(
        self, classifier: Classifier, space: Any, batch: Batch, streams: Streams, start: Tensor | None
    ) -> Tensor:
        fresh = 0 if start is None else int((start == 0.0).flatten(1).all(1).sum())
        self.asked.append((len(batch), fresh))
        towards = torch.where(batch.labels == 1, -1.0, 1.0) * space.budget * self.share
        return towards[:, None, None, None].expand(batch.images.shape)


class _Scouted(Ensemble):
    """A scout that finds the smallest distances, and one member."""

    pixels: _Pixels

    def attacks(self, classes: int, space: Space) -> list[Member]:
        return [Member("scout", PGD(steps=5), scout=True), Member("member", self.pixels)]


def test_after_a_scout_spot_checks_take_no_round_of_their_own(setting: Setting) -> None:
    setting.classifier.batch_size = 1000
    member = _Pixels()
    ledger = sweep(setting, _Scouted(pixels=member), spot_check=1.0).run()
    assert len(member.asked) == 1
    checked = np.isin(ledger.basis, ("confirmed", "refuted"))
    assert member.asked[0][1] >= int(checked.sum()) > N
    assert not (ledger.basis == "implied").any()


def test_a_check_that_came_too_early_says_nothing_new(setting: Setting) -> None:
    """The scout finds nothing, so all are attacked at the top and most break: levels below settle themselves."""
    setting.classifier.batch_size = 1000

    class Blind(_Scouted):
        def attacks(self, classes: int, space: Space) -> list[Member]:
            return [Member("scout", NoAttack(), scout=True), Member("member", self.pixels)]

    with_checks = sweep(setting, Blind(pixels=_Pixels()), spot_check=1.0).run()
    without = sweep(setting, Blind(pixels=_Pixels())).run()
    assert (with_checks.predicted == without.predicted).all()
    settled = without.basis != "implied"
    assert (with_checks.basis[settled] == without.basis[settled]).all()
    assert set(with_checks.basis[~settled]) == {"confirmed"}
    keys = [(t.sample, t.budget, t.attack, t.goal) for t in with_checks.trials(setting.batch.ids)]
    assert len(keys) == len(set(keys))


def test_what_a_check_breaks_is_found_though_another_attack_let_it_stand(setting: Setting) -> None:
    ledger = sweep(setting, NoAttack(), budgets=(0.05, 0.1)).run()
    row = int(np.flatnonzero((ledger.basis[:, 1] == "stood") & (setting.truth < 0.1))[0])
    space = LinfBall(torch.full((N,), 0.1), setting.batch.images)
    towards = torch.where(setting.batch.labels == 1, -0.1, 0.1)[:, None, None, None]
    verdict = judge(setting.classifier, space, setting.batch, towards.expand(setting.batch.images.shape))
    checks = SpotChecks(np.ones((N, 2), bool), np.zeros((N, 2), bool))
    rows, levels = np.arange(N), np.ones(N, int)
    checks.note(rows, levels, verdict)
    checks.enter(ledger)
    assert ledger.basis[row, 1] == "found"
    assert checks.broken()[:, 1].tolist() == verdict.broken.tolist()
    assert not checks.waiting[:, 1].any()
    assert checks.waiting[:, 0].all()


def test_the_judge_trusts_no_witness(setting: Setting) -> None:
    space = LinfBall(torch.full((N,), 0.05), setting.batch.images)
    wild = torch.full_like(setting.batch.images, 3.0).requires_grad_() * 1
    wild = torch.where(torch.arange(N)[:, None, None, None] == 5, torch.nan, wild)
    proposal = admitted(wild, space, "liar")
    assert not proposal.requires_grad
    verdict = judge(setting.classifier, space, setting.batch, proposal)
    assert float(verdict.distance.max()) <= 0.05 + 1e-6
    assert float(verdict.proposed[4]) == 3.0
    assert verdict.proposed[5].isnan()
    assert float(verdict.distance[5]) == 0.0


@pytest.mark.parametrize("wrong", [None, 3, torch.zeros(2, 2)])
def test_a_proposal_of_the_wrong_shape_names_its_attack(wrong: object, setting: Setting) -> None:
    space = LinfBall(torch.full((N,), 0.05), setting.batch.images)
    with pytest.raises(PluginError, match="attack 'liar' must return z of shape"):
        admitted(wrong, space, "liar")


def test_logits_that_are_not_finite_name_the_sample(setting: Setting) -> None:
    class Bad(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.where(images.flatten(1)[:, :2] > 0.635, torch.nan, images.flatten(1)[:, :2])

    space = LinfBall(torch.full((N,), 0.05), setting.batch.images)
    with pytest.raises(StudyError, match="not finite for sample '39'"):
        judge(Classifier(Bad(), "bad"), space, setting.batch, space.centre())


def test_a_threat_that_is_not_nested_judges_every_budget(setting: Setting) -> None:
    ledger = sweep(setting, NoAttack(), nested=False).run()
    assert set(ledger.basis.ravel()) == {"stood", "found"}
    assert int(ledger.spent.sum()) == 0


def test_nothing_is_left_behind(setting: Setting) -> None:
    module = setting.classifier.module.train()
    module.register_parameter("weight", torch.nn.Parameter(torch.ones(1)))
    before = setting.batch.images.clone()
    with pytest.raises(ZeroDivisionError), setting.classifier.frozen():
        sweep(setting, PGD(steps=3)).run()
        assert not module.training
        raise ZeroDivisionError
    assert module.training
    assert next(module.parameters()).requires_grad
    assert next(module.parameters()).grad is None
    assert torch.equal(setting.batch.images, before)


@pytest.mark.parametrize("ball", [LinfBall, L2Ball])
def test_pgd_reaches_the_exact_distance(ball: type[Any], setting: Setting) -> None:
    """A linear model's smallest perturbation is known; a budget 2 % above it breaks, 2 % below does not."""
    scale = 1.0 if ball is LinfBall else 4.0  # 16 equal pixels: the L2 norm is four times the L∞ norm
    right = torch.from_numpy(setting.truth > 0)
    truth = torch.from_numpy(setting.truth).float()[right] * scale
    batch = setting.batch.select(right)
    for factor, broken in ((1.02, True), (0.98, False)):
        space = ball(truth * factor, batch.images)
        z = PGD(steps=20).search(setting.classifier, space, batch, setting.streams.select(right), None)
        assert bool((judge(setting.classifier, space, batch, z).broken == broken).all())


def test_a_meter_charges_copies_evenly() -> None:
    meter = Meter.of(3)
    meter.charge(meter.forwards, 12)
    meter.rows = torch.tensor([1])
    meter.charge(meter.forwards, 2)
    assert meter.forwards.tolist() == [4, 6, 4]
