"""AutoAttack: what its versions consist of for few and many classes, what they cost, and what is kept of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classrob.ensemble import Ensemble
from classrob.judge import judge
from classrob.live import Batch, Classifier, Meter
from classrob.pool import Pool
from classrob.search import StepwiseAttack
from classrob.streams import Streams
from classrob.sweep import Sweep
from classrob.testing.fair import abridged
from classrob_lp.apgd import ApgdCE, ApgdTargeted
from classrob_lp.autoattack import AutoAttack, AutoAttackBfloat16, Version
from classrob_lp.balls import L2Ball, LinfBall
from classrob_lp.l1 import L1Ball
from classrob_lp.square import Square

from ..host.conftest import Called

N, SHAPE = 6, (1, 6, 6)
CLASSES = (2, 3, 4, 9, 10, 12)
BALLS: dict[str, tuple[Any, float]] = {"linf": (LinfBall, 0.1), "l2": (L2Ball, 0.6), "l1": (L1Ball, 4.0)}
Where = tuple[Classifier, Any, Batch, Streams]


class Net(nn.Module):
    """A small convolutional network; `ahead` is what the true class of every image has to spare."""

    def __init__(self, classes: int, ahead: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(144, classes)
        )
        self.ahead = ahead
        with torch.no_grad():
            for name, weight in self.named_parameters():
                draw = Streams.keyed(0, "w", [name], "w").normal(*weight.shape)[0]
                weight.copy_(draw / max(1, weight[0].numel()) ** 0.5)

    def forward(self, images: Tensor) -> Tensor:
        logits = self.layers(images)
        first = nn.functional.one_hot(torch.zeros(len(logits), dtype=torch.int64), logits.shape[1])
        return logits + self.ahead * first


def arena(classes: int, norm: str = "linf", ahead: float = 0.0, n: int = N) -> Where:
    ids = tuple(map(str, range(n)))
    images = (1.4 * Streams.keyed(0, "d", ids, "images").uniform(*SHAPE) - 0.2).clamp(0, 1)
    classifier = Classifier(Net(classes, ahead).eval().requires_grad_(False))
    ball, budget = BALLS[norm]
    labels = classifier(images).argmax(1)
    return (
        classifier,
        ball(torch.full((n,), budget), images),
        Batch(ids, images, labels),
        Streams.keyed(0, "d", ids, "c"),
    )


# -- what the versions consist of ---------------------------------------------------------------------

#: Fields by member: the settings of the reference implementation (fra31/auto-attack, commit a392200,
#: autoattack/autoattack.py: the constructors' arguments, `set_version`, and `fab.n_restarts = 1` before
#: `fab-t`). Square counts the first look at each image; Auto-PGD in ℓ1 the entries into two balls.
WALK, SPARSE = {"steps": 100}, {"steps": 102}
STANDARD: dict[str, dict[str, Any]] = {
    "apgd-ce": {**WALK, "restarts": 1, "targets": 0, "averaged": 1},
    "apgd-targeted": {**WALK, "restarts": 1, "targets": 9, "averaged": 1},
    "fab-targeted": {**WALK, "restarts": 1, "targets": 9, "alpha_max": 0.1, "eta": 1.05, "beta": 0.9},
    "square": {"steps": 5001, "restarts": 1, "share": 0.8},
}
VERSIONS: dict[tuple[str, bool], dict[str, dict[str, Any]]] = {
    ("standard", False): STANDARD,
    ("standard", True): {
        **STANDARD,
        "apgd-ce": {**SPARSE, "restarts": 5},
        "apgd-targeted": {**SPARSE, "restarts": 1, "targets": 5},
    },
    ("plus", False): {
        "apgd-ce": {**WALK, "restarts": 5},
        "apgd-dlr": {**WALK, "restarts": 5},
        "fab": {**WALK, "restarts": 5, "targets": 0},
        "square": STANDARD["square"],
        "apgd-targeted": STANDARD["apgd-targeted"],
        "fab-targeted": STANDARD["fab-targeted"],
    },
    ("rand", False): {
        "apgd-ce": {**WALK, "restarts": 1, "averaged": 20},
        "apgd-dlr": {**WALK, "restarts": 1, "averaged": 20},
    },
}


@pytest.mark.parametrize(("version", "sparsely"), VERSIONS)
@pytest.mark.parametrize("classes", CLASSES)
def test_a_version_is_what_its_authors_define(version: Version, sparsely: bool, classes: int) -> None:
    _, space, _, _ = arena(classes, "l1" if sparsely else "linf")
    members = AutoAttack(version=version).attacks(classes, space)
    replaced = {"apgd-dlr": classes < 3, "apgd-targeted": classes < 4}
    wanted = VERSIONS[version, sparsely]
    names = [f"{name} (margin)" if replaced.get(name) else name for name in wanted]
    assert [member.name for member in members] == names
    for member, fields in zip(members, wanted.values(), strict=True):
        found = member.attack.model_dump()
        assert {name: found[name] for name in fields if name in found} == {
            name: value for name, value in fields.items() if name != "share"
        }
        assert found["precision"] == "float32"
        assert not member.scout
        assert member.goal is None


@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
def test_the_bfloat16_twin_differs_by_its_precision_alone(version: Version) -> None:
    _, space, _, _ = arena(10)
    ours = AutoAttack(version=version).attacks(10, space)
    twins = AutoAttackBfloat16(version=version).attacks(10, space)
    for one, twin in zip(ours, twins, strict=True):
        assert twin.name == one.name
        assert twin.attack == one.attack.model_copy(update={"precision": "bfloat16"})


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
@pytest.mark.parametrize("norm", BALLS)
def test_every_version_runs_for_any_number_of_classes(classes: int, version: Version, norm: str) -> None:
    """With short walks; the reference stops with an IndexError for fewer than ten classes."""
    classifier, space, batch, streams = arena(classes, norm)
    found = abridged(AutoAttack(version=version)).search(classifier, space, batch, streams, None)
    verdict = judge(classifier, space, batch, found)
    assert bool((verdict.distance <= space.budget * (1 + 1e-6)).all())


# -- what it costs ------------------------------------------------------------------------------------


def cost(attack: StepwiseAttack, where: Where) -> tuple[set[int], set[int]]:
    """Gradients and forward passes of each sample, those where a failed walk ended included."""
    classifier, space, batch, streams = where
    classifier.meter = meter = Meter.of(len(batch))
    z = attack.search(classifier, space, batch, streams, None)
    assert not judge(classifier, space, batch, z).broken.any()
    classifier.meter = None
    return set(meter.backwards.tolist()), set(meter.forwards.tolist())


@pytest.mark.parametrize("classes", CLASSES)
def test_at_most_nine_classes_are_aimed_at(classes: int) -> None:
    where = arena(classes, ahead=1e3)
    walks = min(9, classes - 1)
    gradients, _ = cost(ApgdTargeted(steps=3), where)
    assert gradients == {3 * walks}


#: Points at which the reference's attacks look at an image that withstands all of them, ten classes (same
#: source): Auto-PGD looks before its first and after each of its 100 moves, 101 points a restart or target; in
#: ℓ1 at 31 + 31 + 41. FAB looks twice a step, Square once a query and once before. It takes a gradient
#: at every point of Auto-PGD, also at the last of a restart, where nothing follows from it; here that one
#: point is looked at without one (in the last restart by the judge). The looks at the image itself, which
#: rank the classes, come on top: one here, one or two a target there.
REFERENCE = [
    ("linf", "apgd-ce", 101, 100),
    ("linf", "apgd-targeted", 9 * 101, 9 * 100),
    ("linf", "fab-targeted", 9 * 200, 9 * 100),
    ("linf", "square", 5001, 0),
    ("l1", "apgd-ce", 5 * 103, 5 * 102),
    ("l1", "apgd-targeted", 5 * 103, 5 * 102),
]


@pytest.mark.parametrize(("norm", "name", "looks", "gradients"), REFERENCE)
def test_a_robust_sample_costs_what_it_costs_the_reference(
    norm: str, name: str, looks: int, gradients: int
) -> None:
    where = arena(10, norm, ahead=1e3, n=2)
    (attack,) = [m.attack for m in AutoAttack().attacks(10, where[1]) if m.name == name]
    assert isinstance(attack, StepwiseAttack)
    spent, passes = cost(attack, where)
    assert spent == {gradients}
    (passed,) = passes
    extra = {"apgd-targeted": 1, "fab-targeted": 1 + 9, "square": 1}  # to rank the classes; the judge's look
    assert looks <= passed <= looks + extra.get(name, 0)


def test_samples_that_fail_at_different_times_are_charged_alike() -> None:
    """Walks that end one by one, among samples that stand: nobody pays for the others."""
    classifier, space, batch, streams = arena(10, n=34)
    classifier.meter, classifier.batch_size = (meter := Meter.of(34)), 32  # two begin when others have ended
    budget = torch.where(torch.arange(34) % 16 == 0, 0.2, 1e-4)
    ApgdTargeted(steps=7, targets=3).search(classifier, space.at(budget), batch, streams, None)
    assert int(meter.backwards.max()) <= 7 * 3


def test_rand_averages_twenty_gradients() -> None:
    where = arena(10, ahead=1e3, n=2)
    first, second = AutoAttack(version="rand").attacks(10, where[1])
    assert isinstance(first.attack, ApgdCE)
    short = first.attack.model_copy(update={"steps": 3})
    assert cost(short, where)[0] == {60}
    assert getattr(second.attack, "averaged", None) == 20


# -- verdicts -----------------------------------------------------------------------------------------


def swept(attack: Ensemble, where: Where, budgets: tuple[float, ...] = (0.02, 0.06)) -> Sweep:
    classifier, space, batch, streams = where
    sweep = Sweep(classifier, attack, "aa", space, batch, streams, budgets)
    sweep.run()
    return sweep


@pytest.mark.parametrize("individual", [False, True])
def test_a_verdict_is_the_worst_of_its_trials(individual: bool) -> None:
    sweep = swept(abridged(AutoAttack(individual=individual)), arena(10, n=24))  # type: ignore[arg-type]
    trials = sweep.ledger.trials(sweep.batch.ids)
    records = {(r.sample, r.budget): r for r in sweep.ledger.records(sweep.batch.ids)}
    asked: dict[tuple[str, float | None], list[bool]] = {}
    for trial in trials:
        asked.setdefault((trial.sample, trial.budget), []).append(trial.predicted != trial.label)
        assert trial.distance <= (trial.budget or 0) * (1 + 1e-6)
    assert asked
    for key, broken in asked.items():
        assert (records[key].predicted != records[key].label) == any(broken)
        if individual:
            assert len(broken) == 4, "every member is asked"
        else:
            assert True not in broken[:-1], "the first success ends it"
    assert any(any(broken) for broken in asked.values())
    assert not all(any(broken) for broken in asked.values())


class Coarse(nn.Module):
    """Two logits that differ by little beside their size, so that in bfloat16 they often change places."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(36, 2)
        with torch.no_grad():
            self.linear.weight.copy_(Streams.keyed(0, "w", ["a", "b"], "w").normal(36) / 10 + 3)
            self.linear.bias.fill_(1.0)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1))


@pytest.mark.parametrize(
    "attack", [ApgdCE(steps=30, precision="bfloat16"), Square(steps=60, precision="bfloat16")]
)
def test_no_success_in_bfloat16_that_float32_does_not_confirm(attack: StepwiseAttack) -> None:
    ids = tuple(map(str, range(64)))
    images = Streams.keyed(0, "d", ids, "i").uniform(*SHAPE)
    classifier = Classifier(Coarse().eval().requires_grad_(False))
    labels = classifier(images).argmax(1)
    space = LinfBall(torch.full((64,), 0.02), images)
    low = classifier.twin("bfloat16")
    assert bool((low(images).argmax(1) != labels).any()), (
        "the low-precision model errs where nothing is attacked"
    )
    pool = Pool(classifier, space, labels, Streams.keyed(0, "d", ids, "c"), None)
    z = attack.walk(pool)
    claimed = pool.nearest.isfinite()
    exact = classifier(space.render(z)).argmax(1) != labels
    assert bool((low(space.render(z)).argmax(1) != labels)[~exact].any()), "the trap is there"
    assert bool(exact[claimed].all())
    assert 0 < int(claimed.sum()) < 64


# -- a run --------------------------------------------------------------------------------------------


def test_trials_are_stored_and_shown(study: Path, cli: Callable[..., Called]) -> None:
    """Every member's own verdict beside the worst case, from the store and from the command line."""
    out = study.parent / "runs" / "aa"
    entry = 'threat=[{use="linf", budgets=[0.3], attack={use="autoattack", individual=true}}]'
    done = cli("run", study, "--out", out, "--set", entry, "--set", "dataset.0.limit=12")
    assert done.code == 0, done.err
    shown = json.loads(cli("show", out, "--trials", "--format", "json").out)
    with sqlite3.connect(out / "run.sqlite") as db:
        stored = db.execute("SELECT attack, sample, label, predicted, spent, queries FROM trial").fetchall()
        verdicts = dict(
            db.execute("SELECT sample, correct FROM judgement WHERE threat = 'linf' AND distance > 0")
        )
    names = ["apgd-ce", "apgd-targeted", "fab-targeted", "square"]
    assert list(dict.fromkeys(row["member"] for row in shown)) == names
    for name in names:
        own = [row for row in stored if row[0] == name]
        (whole,) = [row for row in shown if row["member"] == name and row["label"] is None]
        assert whole["asked"] == len(own) == len(verdicts)
        assert whole["broken"] == sum(label != predicted for _, _, label, predicted, _, _ in own)
        assert whole["value"] == whole["broken"] / whole["asked"]
        assert (whole["spent"], whole["queries"]) == (sum(r[4] for r in own), sum(r[5] for r in own))
        classes = [row for row in shown if row["member"] == name and row["label"] is not None]
        assert sum(row["asked"] for row in classes) == whole["asked"]
    for sample, correct in verdicts.items():
        fell = [predicted != label for _, who, label, predicted, _, _ in stored if who == sample]
        assert correct == (not any(fell))
