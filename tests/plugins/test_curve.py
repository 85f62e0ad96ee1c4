"""`curve` and `targeted-flow`: exact on a linear model, one failed suite a sample, and never weaker than PGD."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from classrob.ensemble import Member
from classrob.live import Batch, Classifier
from classrob.records import Trial
from classrob.streams import Streams
from classrob.sweep import Sweep
from classrob_lp.apgd import ApgdCE
from classrob_lp.balls import LinfBall
from classrob_lp.curve import Curve
from classrob_lp.flow import TargetedFlow

from ..host.conftest import Called

N = 24
BUDGETS = tuple(float(b) for b in np.linspace(0.01, 0.16, 16))


class Mean(nn.Module):
    """Three classes, the first two told apart by the mean pixel; the third is never near."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.flatten(1).mean(1) - 0.5
        return torch.stack([-mean, mean, mean - 0.4], 1) * 50


def swept(
    monkeypatch: pytest.MonkeyPatch,
    budgets: tuple[float, ...] = BUDGETS,
    spot_check: float = 0.0,
    exhaustive: bool = False,
) -> tuple[Sweep, np.ndarray]:
    """A sweep by `curve`, its suite cut to one attack of 10 steps, and each sample's exact distance."""

    def suite(*_: object) -> list[Member]:
        return [Member("apgd-ce", ApgdCE(steps=10))]

    monkeypatch.setattr("classrob_lp.curve.suite", suite)
    levels = torch.linspace(0.361, 0.639, N)
    images = levels[:, None, None, None].expand(N, 1, 4, 4).contiguous()
    labels = (torch.arange(N) >= N // 2).long()
    labels[0] = 1  # wrong from the start
    truth = torch.where(labels == 1, levels - 0.5, 0.5 - levels).numpy()
    ids = tuple(map(str, range(N)))
    space = LinfBall(torch.full((N,), budgets[-1]), images)
    sweep = Sweep(
        Classifier(Mean().eval(), "mean", batch_size=16), Curve(), "curve", space,
        Batch(ids, images, labels), Streams.keyed(0, "d", ids, "c"), budgets,
        spot_check=spot_check, exhaustive=exhaustive,
    )  # fmt: skip
    sweep.run()
    return sweep, truth


def by_member(sweep: Sweep, name: str) -> list[Trial]:
    return [trial for trial in sweep.ledger.trials(sweep.batch.ids) if trial.attack == name]


@pytest.mark.parametrize("exhaustive", [False, True])
def test_every_verdict_is_the_exact_one(monkeypatch: pytest.MonkeyPatch, exhaustive: bool) -> None:
    sweep, truth = swept(monkeypatch, exhaustive=exhaustive)
    broken = sweep.ledger.predicted != sweep.ledger.labels.numpy()[:, None]
    assert (broken == (truth[:, None] < np.array(BUDGETS)[None] - 1e-6)).all()
    assert set(sweep.ledger.basis[broken]) == {"found"}
    assert set(sweep.ledger.basis[~broken]) == ({"stood"} if exhaustive else {"stood", "implied"})


def test_the_scout_runs_once_a_sample_and_the_suite_fails_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, truth = swept(monkeypatch)
    right = [str(i) for i in np.flatnonzero(truth > 0)]
    scouted = by_member(sweep, "minimum-norm")
    assert sorted(trial.sample for trial in scouted) == sorted(right)
    assert {trial.budget for trial in scouted} == {BUDGETS[-1]}
    failed = [trial for trial in by_member(sweep, "apgd-ce") if trial.predicted == trial.label]
    above = [str(i) for i in np.flatnonzero(truth > BUDGETS[0])]
    assert sorted(trial.sample for trial in failed) == sorted(above), "one failed suite a sample, at most"
    for trial in failed:  # just below the distance that the scout has found
        assert trial.budget == max(b for b in BUDGETS if b < truth[int(trial.sample)])


def test_what_the_scout_does_not_break_is_attacked_at_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its failure is no verdict."""
    sweep, truth = swept(monkeypatch, budgets=(0.01, 0.05))
    far = {str(i) for i in np.flatnonzero(truth > 0.05)}
    assert far
    assert far <= {trial.sample for trial in by_member(sweep, "apgd-ce") if trial.budget == 0.05}
    assert set(sweep.ledger.basis[truth > 0.05, 1]) == {"stood"}


def test_spot_checks_ask_the_suite_and_not_the_scout(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, truth = swept(monkeypatch, spot_check=1.0)
    assert "implied" not in set(sweep.ledger.basis.ravel())
    confirmed = int((sweep.ledger.basis == "confirmed").sum())
    assert confirmed > N
    assert int((sweep.ledger.basis == "refuted").sum()) == 0
    assert len(by_member(sweep, "minimum-norm")) == int((truth > 0).sum())
    assert len(by_member(sweep, "apgd-ce")) >= confirmed + int((truth > BUDGETS[0]).sum())


# -- on the models that come along --------------------------------------------------------------------

STUDY = """
name = "small"
spot_check = 0.0
pictures = 0
[[model]]
use = "digits/adversarial"
[[dataset]]
use = "digits"
limit = LIMIT
"""


def judged(folder: Path, cli: Callable[..., Called], name: str, limit: int, threat: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(STUDY.replace("LIMIT", str(limit)) + threat)
    done = cli("run", path, "--out", folder / "runs" / name)
    assert done.code == 0, done.err
    return folder / "runs" / name


def test_curve_is_nowhere_weaker_than_a_sweep_by_pgd(tmp_path: Path, cli: Callable[..., Called]) -> None:
    threat = """
[[threat]]
use = "linf"
budgets = [0.02, 0.06, 0.1, 0.14, 0.18]
attack = [{ use = "pgd", steps = 40 }, { use = "curve" }]
"""
    out = judged(tmp_path, cli, "curve", 5, threat)
    with sqlite3.connect(out / "run.sqlite") as db:
        rows = db.execute(
            "SELECT attack, budget, sum(correct) FROM judgement WHERE threat = 'linf' GROUP BY attack, budget"
        ).fetchall()
        spent = dict(db.execute("SELECT attack, sum(queries) FROM trial GROUP BY attack"))
    stand = {(attack, budget): count for attack, budget, count in rows}
    budgets = sorted({budget for _, budget, _ in rows})
    assert all(stand["curve", b] <= stand["pgd", b] for b in budgets), stand
    assert stand["curve", budgets[0]] > stand["curve", budgets[-1]]
    assert spent["minimum-norm"] > 0


def test_targeted_flow_drives_every_class_to_every_goal(tmp_path: Path, cli: Callable[..., Called]) -> None:
    threat = """
[[threat]]
use = "linf"
budgets = [0.1, 0.4]
attack = { use = "targeted-flow", goals = [0, 1], steps = 15 }
"""
    out = judged(tmp_path, cli, "flow", 10, threat)
    rows = [
        r
        for r in json.loads(cli("show", out, "--format", "json").out)
        if r["metric"].startswith("targeted-flow-to/")
    ]
    assert rows
    assert {row["metric"] for row in rows} == {"targeted-flow-to/0", "targeted-flow-to/1"}
    assert not any(row["metric"].endswith(f"/{row['label']}") for row in rows), "nobody flows to where it is"
    with sqlite3.connect(out / "run.sqlite") as db:
        trials = db.execute("SELECT sample, label, budget, attack, goal, predicted FROM trial").fetchall()
    assert {(attack, goal) for _, _, _, attack, goal, _ in trials} == {("towards 0", 0), ("towards 1", 1)}
    for row in rows:
        goal = int(row["metric"][-1])
        own = [t for t in trials if (t[1], t[2], t[4]) == (int(row["label"]), row["budget"], goal)]
        arrived = {t[0] for t in own if t[5] == goal}
        assert (row["n"], row["value"]) == (len({t[0] for t in own}), len(arrived) / row["n"])
    far = sum(row["value"] for row in rows if row["budget"] == 0.4)
    near = sum(row["value"] for row in rows if row["budget"] == 0.1)
    assert far > near


def test_a_goal_that_the_model_does_not_have_is_left_out() -> None:
    space = LinfBall(torch.full((1,), 0.1), torch.full((1, 1, 4, 4), 0.5))
    assert [m.goal for m in TargetedFlow(goals=(0, 2, 5)).attacks(3, space)] == [0, 2]
    assert [m.goal for m in TargetedFlow().attacks(3, space)] == [0, 1, 2]
