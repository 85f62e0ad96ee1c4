"""A custom attack of fifteen lines in one file, used from a study without packaging."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Called

SIGN = '''\
import classrob
import torch
from torch.nn.functional import cross_entropy


class Sign(classrob.Attack):
    """One step along the steepest direction, `stride` budgets long."""

    stride: float = 1.0

    def search(self, classifier, space, batch, streams, start):
        z = space.centre().requires_grad_()
        loss = cross_entropy(classifier(space.render(z)), batch.labels, reduction="sum")
        (slope,) = torch.autograd.grad(loss, z)
        return z + self.stride * (space.move(z, slope, 1.0) - z)
'''


@pytest.fixture
def with_sign(study: Path) -> Path:
    (study.parent / "sign.py").write_text(SIGN)
    text = study.read_text()
    for attack in (
        '{ use = "pgd", steps = 8, restarts = 2, random_start = true }',
        '{ use = "pgd", steps = 6, momentum = 0.5, loss = "margin" }',
    ):
        assert attack in text
        text = text.replace(attack, '{ use = "./sign.py:Sign", name = "sign", stride = 2.0 }')
    study.write_text(text)
    return study


def test_it_is_fifteen_lines() -> None:
    assert len(SIGN.splitlines()) <= 15


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_runs_and_is_held_to_the_budget(with_sign: Path, cli: Callable[..., Called], workers: str) -> None:
    """It oversteps the budget twofold, and its z hangs on a graph; the records show both, and neither harms."""
    folder = with_sign.parent / "out"
    called = cli("run", with_sign, "--out", folder, "--workers", workers)
    assert called.code == 0, called.err
    with sqlite3.connect(folder / "run.sqlite") as db:
        rows = db.execute(
            "SELECT attack, budget, proposed, distance, spent FROM judgement WHERE basis = 'stood' AND threat = 'linf'"
        ).fetchall()
    assert rows
    for attack, budget, proposed, distance, spent in rows:
        assert attack == "sign"
        assert proposed == pytest.approx(2 * budget, rel=1e-5)
        assert distance <= budget + 1e-6
        assert spent == 1


def test_a_changed_attack_is_run_again(with_sign: Path, cli: Callable[..., Called]) -> None:
    folder = with_sign.parent / "out"
    assert cli("run", with_sign, "--out", folder).code == 0
    sign = with_sign.parent / "sign.py"
    sign.write_text(SIGN.replace("slope, 1.0", "slope, 0.5"))
    assert "3 shards done, 6 to do" in cli("run", with_sign, "--out", folder).err


def test_an_attack_that_fails_fails_its_shards_only(with_sign: Path, cli: Callable[..., Called]) -> None:
    (with_sign.parent / "sign.py").write_text(SIGN.replace("return z +", "return [z] +"))
    folder = with_sign.parent / "out"
    called = cli("run", with_sign, "--out", folder)
    assert called.code == 1
    assert "curved · quarters · linf · sign, samples 0–15" in called.err
    assert "6 shards failed" in called.err
    (with_sign.parent / "sign.py").write_text(SIGN)
    assert "3 shards done, 6 to do" in cli("run", with_sign, "--out", folder).err
    assert cli("show", folder).err == ""
