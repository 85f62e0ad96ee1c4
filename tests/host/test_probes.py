"""Probes: they see the images that were judged, at the budgets they watch, and have shards of their own."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classrob.catalog import Catalog
from classrob.plan import Plan
from classrob.reading.results import Results
from classrob.study import Study, read_study

from .conftest import Called

Call = Callable[..., Called]

PROBE = """
import torch
from typing import ClassVar
from classrob import Probe

class Judged(Probe):
    constant: ClassVar = frozenset({"bias"})

    def observe(self, classifier, batch, rendered):
        logits = classifier(rendered)
        own = logits.gather(1, batch.labels[:, None])
        rest = logits.scatter(1, batch.labels[:, None], -torch.inf).amax(1)
        return {
            "logits": logits,
            "own-margin": own[:, 0] - rest,
            "moved": (rendered - batch.images).abs().flatten(1).amax(1).half(),
            "bias": classifier.module.head[2].bias.detach(),
        }

class Again(Judged):
    pass

class Wrong(Probe):
    def observe(self, classifier, batch, rendered):
        return {"logits": classifier(rendered)[:3]}
"""

COY = """
import torch
from torch.nn import functional as F
from classrob import Attack

class Coy(Attack):
    def search(self, classifier, space, batch, streams, start):
        z = space.centre().requires_grad_()
        loss = F.cross_entropy(classifier(space.render(z)), batch.labels, reduction="sum")
        (slope,) = torch.autograd.grad(loss, z)
        shy = (space.budget > 0.25).reshape(-1, 1, 1, 1)
        return torch.where(shy, z.detach(), space.move(z.detach(), slope, 1.0))
"""

COLUMNS = frozenset({"logits", "own-margin", "moved", "bias"})


@pytest.fixture
def probed(study: Path) -> Callable[..., Path]:
    """Write the small study with a probe of its own and whatever else; returns its path."""
    (study.parent / "judged.py").write_text(PROBE)
    text = study.read_text()

    def write(*lines: str, probe: str = "./judged.py:Judged", head: str = "") -> Path:
        study.write_text("\n".join([head + text, "[[probe]]", f'use = "{probe}"', *lines]))
        return study

    return write


def tables(out: Path, columns: frozenset[str] = COLUMNS) -> dict[str, Any]:
    with Results.open(out) as results:
        return {one.threat: results.table(one, columns) for one in results.conditions}


@pytest.mark.parametrize("head", ["", "exhaustive = true\n", "spot_check = 1.0\n"])
def test_what_is_observed_is_what_was_judged(head: str, probed: Callable[..., Path], cli: Call) -> None:
    """Margin and distance of the observed image are those of the record, whatever the verdict rests on."""
    path = probed('budgets = "all"', head=head)
    out = path.parent / "runs" / "a"
    assert cli("run", path, "--out", out).code == 0
    for threat, table in tables(out).items():
        there = ~np.isnan(table["margin"])
        if head or threat == "none":
            assert there.all() or threat != "none"
        assert there.any()
        assert (table.seen("logits") == there).all(), threat
        rows = table.where(there)
        assert np.allclose(rows["own-margin"], rows["margin"], atol=1e-5)
        assert (rows["logits"].argmax(1) == rows["predicted"]).all()
        if threat == "linf":
            assert np.allclose(rows["moved"], rows["distance"], atol=1e-3)
            assert len(np.unique(rows["budget"])) > 1
        assert np.isnan(table["logits"][~there]).all()


def test_a_verdict_that_is_lifted_brings_its_image_along(probed: Callable[..., Path], cli: Call) -> None:
    """A weak attack that is refuted below what it withstood: the image at the top is the one found below."""
    path = probed(head="spot_check = 1.0\n")
    (path.parent / "coy.py").write_text(COY)
    pgd = 'attack = { use = "pgd", steps = 8, restarts = 2, random_start = true }'
    path.write_text(path.read_text().replace(pgd, 'attack = "./coy.py:Coy"'))
    out = path.parent / "runs" / "a"
    assert cli("run", path, "--out", out).code == 0
    table = tables(out)["linf"].at(0.3)
    refuted = [
        s
        for s, b in zip(*(tables(out)["linf"][c] for c in ("sample", "basis")), strict=True)
        if b == "refuted"
    ]
    assert refuted, "no verdict was refuted: the test shows nothing"
    assert table.seen("own-margin").all()
    assert np.allclose(table["own-margin"], table["margin"], atol=1e-5)
    assert np.allclose(table["moved"], table["distance"], atol=1e-3)


def test_only_the_largest_budget_is_observed_and_only_what_is_asked_for_is_read(
    probed: Callable[..., Path], cli: Call
) -> None:
    path = probed('against = ["linf"]')
    out = path.parent / "runs" / "a"
    assert cli("run", path, "--out", out).code == 0
    found = tables(out)
    assert set(found["linf"]["budget"][found["linf"].seen("moved")]) == {0.3}
    assert found["l2"].observed == {}
    assert found["none"].seen("moved").all()
    assert found["none"].constants["bias"].shape == (4,)
    assert found["linf"].constants == {}
    assert tables(out, frozenset())["none"].observed == {}
    assert found["none"]["logits"].dtype == np.float32
    assert found["none"].observed["moved"].values.dtype == np.float16
    with sqlite3.connect(out / "run.sqlite") as db:
        assert db.execute("SELECT count(*) FROM observation WHERE sample IS NULL").fetchone() == (1,)


def test_neither_shards_nor_neighbours_change_what_is_observed(
    probed: Callable[..., Path], cli: Call
) -> None:
    path = probed()
    for name, size in (("a", 16), ("b", 7)):
        done = cli(
            "run", path, "--out", path.parent / "runs" / name, "--set", f"shard_size={size}", "--no-reuse"
        )
        assert done.code == 0
    one, other = (tables(path.parent / "runs" / name) for name in "ab")
    for threat in one:
        for column in ("logits", "moved"):
            assert np.array_equal(one[threat][column], other[threat][column], equal_nan=True)


def shards(path: Path) -> dict[str, set[str]]:
    plan = Plan.of(read_study(path), Catalog.installed(), path.parent)
    found: dict[str, set[str]] = {}
    for shard in plan.shards:
        found.setdefault(plan.conditions[shard.condition].threat.name, set()).add(shard.key)
    return found


def test_a_probe_gives_what_it_observes_addresses_of_their_own(
    study: Path, probed: Callable[..., Path], cli: Call
) -> None:
    bare = shards(study)
    out = study.parent / "runs" / "a"
    assert cli("run", study, "--out", out).code == 0
    one = shards(probed('against = ["linf"]'))
    assert not one["linf"] & bare["linf"]
    assert not one["none"] & bare["none"]
    assert one["l2"] == bare["l2"]
    every = shards(probed('against = ["linf"]', 'budgets = "all"'))
    assert not every["linf"] & one["linf"]
    path = probed('against = ["linf"]')
    assert "3 shards done, 6 to do" in cli("run", path, "--out", out).err
    assert tables(out)["linf"].seen("moved").any()
    assert "9 shards done, 0 to do" in cli("run", path, "--out", out).err
    taken = cli("run", path, "--out", study.parent / "runs" / "b")
    assert "taken over" in taken.err
    fresh = tables(study.parent / "runs" / "b")
    assert np.array_equal(fresh["linf"]["logits"], tables(out)["linf"]["logits"], equal_nan=True)


def test_rows_do_not_change_by_being_observed(study: Path, probed: Callable[..., Path], cli: Call) -> None:
    rows = []
    for name, path in (("a", study), ("b", probed('budgets = "all"'))):
        assert cli("run", path, "--out", study.parent / "runs" / name).code == 0
        with sqlite3.connect(study.parent / "runs" / name / "run.sqlite") as db:
            rows.append(db.execute("SELECT * FROM judgement ORDER BY threat, sample, budget").fetchall())
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['budgets = "some"'], "`budgets` must be 'largest' or 'all', not 'some'"),
        (['against = "linf"'], "`against` must be a list of names of threats"),
        (['against = ["lnf"]'], "no threat is called 'lnf'; did you mean 'linf'?"),
        (["strength = 1"], "strength"),
    ],
)
def test_a_wrong_entry_is_one_line(
    lines: list[str], message: str, probed: Callable[..., Path], cli: Call
) -> None:
    done = cli("run", probed(*lines))
    assert done.code == 3
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_columns_that_clash_or_are_wrong_are_one_line(probed: Callable[..., Path], cli: Call) -> None:
    path = probed("[[probe]]", 'use = "./judged.py:Again"')
    done = cli("run", path, "--out", path.parent / "runs" / "a")
    assert done.code == 1
    assert "is recorded by probe './judged.py:Judged' too: leave one out" in done.err
    path = probed(probe="./judged.py:Wrong")
    done = cli("run", path, "--out", path.parent / "runs" / "b")
    assert done.code == 1
    assert "column 'logits' of probe './judged.py:Wrong' has 3 rows for 16 images" in done.err


def test_a_study_names_no_probe_by_itself() -> None:
    assert Study(name="a", model=({"use": "m"},), dataset=({"use": "d"},)).probe == ()
    assert (
        json.loads(Study(name="a", model=({"use": "m"},), dataset=({"use": "d"},)).model_dump_json())["probe"]
        == []
    )
