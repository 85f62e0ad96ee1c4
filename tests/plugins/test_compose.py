"""Threats made of threats: each one's own budget is kept, a chain composes, a union is as bad as its worst."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from classrob.catalog import Catalog
from classrob.errors import StudyError
from classrob.identity import identity
from classrob.judge import judge
from classrob.parts import Threat
from classrob.plan import conditions
from classrob.reading.results import Results
from classrob.study import make_study
from classrob.testing import conformance
from classrob.testing.arena import CHANNELS, COUNT, SIDE, arena, network
from classrob_compose.chain import Chained
from classrob_compose.composed import pieces
from classrob_compose.union import Each, Joined

TURN = {"use": "rotation-translation"}
SHIFT = {"use": "l2", "budgets": [0.6]}
BOX = {"use": "linf", "budgets": ["8/255"]}
CATALOG = Catalog.installed()


def make(kind: str, *threats: dict[str, Any], **fields: Any) -> Any:
    return CATALOG.make("threat", kind, {"threats": threats, **fields})


test_chain = conformance(
    "compose/chain", fields={"compose/chain": {"threats": [TURN, SHIFT], "budgets": [0.5, 1]}}
)
test_chain_of_other_threats = conformance(
    "compose/chain",
    fields={"compose/chain": {"threats": [{"use": "corruption/fog"}, BOX, {"use": "brightness-contrast"}]}},
)
test_union = conformance(
    "compose/union", fields={"compose/union": {"threats": [TURN, SHIFT, BOX], "budgets": [0.5, 1]}}
)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.sampled_from([0.01, 1.0, 30.0]), st.floats(0.05, 1.0))
def test_each_threat_keeps_its_own_budget(seed: int, scale: float, share: float) -> None:
    """Whatever is projected: each part is within a share of its threat's budget, and a chain renders one by one."""
    torch.manual_seed(seed)
    budget = torch.full((COUNT,), share)
    for kind in ("chain", "union"):
        where = arena(make(kind, TURN, SHIFT), kind, network())
        space = where.space.at(budget)
        z = space.project(space.centre() + scale * torch.randn(COUNT, 3 + CHANNELS * SIDE * SIDE))
        assert isinstance(space, Chained | Joined)
        spaces = space.resting if isinstance(space, Chained) else space.spaces
        turned, shifted = pieces(z, spaces)
        assert (turned.abs().amax(1) <= share + 1e-6).all()
        assert (shifted.flatten(1).norm(dim=1) <= 0.6 * share + 1e-6).all()
        if isinstance(space, Chained):
            expected = (spaces[0].render(turned) + shifted).clamp(0, 1)
            torch.testing.assert_close(space.render(z), expected)
        else:
            still = (turned.abs().amax(1) == 0) | (shifted.flatten(1).abs().amax(1) == 0)
            assert still.all()
            first = turned.abs().amax(1) > 0
            torch.testing.assert_close(space.render(z)[first], spaces[0].render(turned)[first])
            torch.testing.assert_close(space.render(z)[~first], spaces[1].render(shifted)[~first])


def test_the_slope_of_a_chain_reaches_every_threat() -> None:
    where = arena(make("chain", TURN, SHIFT), "chain", network())
    z = (where.space.centre() + 0.05).requires_grad_()
    (slope,) = torch.autograd.grad(where.classifier.module(where.space.render(z)).square().sum(), z)
    assert (slope[:, :3].abs().amax(1) > 0).all()
    assert (slope[:, 3:].abs().amax(1) > 0).all()


def test_what_has_no_slope_stands_first_and_is_applied_as_it_is() -> None:
    fog = {"use": "corruption/fog", "budgets": [4]}
    where = arena(make("chain", fog, BOX, budgets=[0.5, 1]), "chain", network())
    alone = arena(CATALOG.make("threat", "corruption/fog", {"budgets": [4]}), "chain", network())
    space = where.space.at(torch.full((COUNT,), 0.5))
    foggy = space.render(space.centre())
    assert (foggy - where.batch.images).abs().max() > 0.1
    assert foggy.mean() == pytest.approx(float(alone.space.render(alone.space.centre()).mean()), abs=0.1)
    z = space.project(torch.full_like(space.centre(), 9.0))
    assert (space.render(z) - foggy).abs().max() <= 4 / 255 + 1e-6
    with pytest.raises(StudyError, match=r"after what is searched: 'corruption/fog' has no slope|no slope"):
        make("chain", BOX, fog)


@pytest.mark.parametrize("attack", ["pgd", "apgd-ce", "minimum-norm"])
def test_gradient_attacks_work_in_a_chain(attack: str) -> None:
    """A chain breaks what each of its threats breaks alone, and more than that."""
    part = CATALOG.make("attack", attack, {"steps": 20})
    broken: dict[str, int] = {}
    for label, threat in {
        "turn": CATALOG.make("threat", "rotation-translation", {"budgets": [0.5]}),
        "shift": CATALOG.make("threat", "l2", {"budgets": [0.15]}),
        "both": make("chain", {**TURN, "budgets": [0.5]}, {**SHIFT, "budgets": [0.15]}),
    }.items():
        where = arena(threat, "same", network())
        with where.classifier.frozen():
            verdict = judge(where.classifier, where.space, where.batch, where.search(part))
        assert (verdict.distance <= where.space.budget + 1e-6).all()
        broken[label] = int(verdict.broken.sum())
    assert broken["both"] >= max(broken["turn"], broken["shift"])
    assert broken["both"] > 2, "the two that are wrong without any threat"


def test_a_union_is_as_bad_as_its_worst_threat_sample_by_sample() -> None:
    """The same attacks without random starts, alone and in the union: a sample breaks where one of them breaks it."""
    alone = []
    pgd, grid = CATALOG.make("attack", "pgd", {}), CATALOG.make("attack", "grid", {"steps": 3})
    for name, fields, attack in (
        ("rotation-translation", {"budgets": [0.5]}, grid),
        ("l2", {"budgets": [0.15]}, pgd),
    ):
        where = arena(CATALOG.make("threat", name, fields), "same", network())
        with where.classifier.frozen():
            alone.append(judge(where.classifier, where.space, where.batch, where.search(attack)).broken)
    union = make(
        "union",
        {**TURN, "budgets": [0.5], "attack": {"use": "grid", "steps": 3}},
        {**SHIFT, "budgets": [0.15]},
    )
    where = arena(union, "same", network())
    with where.classifier.frozen():
        z = union.searched_by(pgd).search(where.classifier, where.space, where.batch, where.streams, None)
        found = judge(where.classifier, where.space, where.batch, z).broken
    assert torch.equal(found, alone[0] | alone[1])
    assert found.sum() > min(one.sum() for one in alone)


STUDY = """
name = "composed"
spot_check = 1.0

[[model]]
use = "digits/standard"

[[dataset]]
use = "digits"
limit = 40

[[threat]]
use = "chain"
name = "turned, then shifted"
threats = [{ use = "rotation-translation", budgets = 0.4 }, { use = "l2", budgets = 0.5 }]
budgets = [0.25, 0.5, 1]

[[threat]]
use = "union"
threats = [{ use = "rotation-translation", budgets = 0.4, attack = "grid" }, { use = "l2", budgets = 0.5 }]
budgets = [0.5, 1]

[[threat]]
use = "l2"
budgets = [0.25, 0.5]
attack = "pgd"
"""


def test_a_study_of_both(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    done = cli("run", tmp_path / "study.toml", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    with Results.open(tmp_path / "run") as results:
        right = {
            c.threat: np.stack(
                [(t := results.table(c)).at(b)["predicted"] == t.at(b)["label"] for b in c.budgets]
            )
            for c in results.conditions
            if not c.clean
        }
        trials = {c.threat: results.trials(c) for c in results.conditions}
    for name in ("turned, then shifted", "union"):
        assert right[name][-1].sum() <= right["l2"][-1].sum()
    assert (right["union"][-1] <= right["l2"][-1]).all()
    told = trials["union"]
    assert told is not None
    assert set(told["attack"]) == {"rotation-translation", "l2"}
    said = cli("show", tmp_path / "run", "--trials").out
    assert "rotation-translation" in said


@pytest.mark.parametrize(
    ("threat", "what"),
    [
        ({"use": "chain", "threats": [TURN]}, "at least 2"),
        ({"use": "chain", "threats": [TURN, {"use": "l2"}]}, "threat 2 of 2 .*budgets"),
        ({"use": "chain", "threats": [TURN, {"use": "lw"}]}, "no threat is called 'lw'"),
        ({"use": "chain", "threats": [TURN, {"budgets": 1}]}, "threat 2 of 2 needs `use`"),
        ({"use": "chain", "threats": [TURN, SHIFT], "budgets": [2]}, "at most 1"),
        ({"use": "chain", "threats": [TURN, {**SHIFT, "attack": "pgd"}]}, "give it the `attack`"),
        ({"use": "chain", "threats": [{"use": "none"}, SHIFT]}, "no budget"),
        (
            {"use": "chain", "threats": [{"use": "corruption/fog"}, {"use": "corruption/snow"}]},
            "nothing to search",
        ),
        ({"use": "union", "threats": [SHIFT, SHIFT]}, "`name` of its own"),
        ({"use": "union", "threats": [SHIFT, {"use": "corruption/fog"}]}, "no slope"),
        ({"use": "union", "threats": [SHIFT, {**TURN, "attack": "square"}]}, "no offset of pixels"),
        ({"use": "chain", "threats": [TURN, SHIFT], "attack": "square"}, "needs pixels"),
    ],
)
def test_mistakes_are_one_line(threat: dict[str, Any], what: str) -> None:
    study = make_study(
        {
            "name": "x",
            "model": [{"use": "digits/standard"}],
            "dataset": [{"use": "digits"}],
            "threat": [threat],
        }
    )
    with pytest.raises(StudyError, match=what) as caught:
        conditions(study, CATALOG, Path())
    assert "\n" not in str(caught.value)


def test_identity_follows_the_threats() -> None:
    def of(**fields: Any) -> str:
        return identity(make("chain", TURN, {**SHIFT, **fields}))

    assert of() == of()
    assert of() != of(budgets=[0.7])
    union: Threat = make("union", TURN, SHIFT)
    one, other = (union.searched_by(CATALOG.make("attack", "pgd", {"steps": n})) for n in (5, 6))
    assert isinstance(one, Each)
    assert identity(one) != identity(other)
