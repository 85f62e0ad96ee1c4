"""`classrob check`: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ..host.conftest import Called

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
        return space.move(z, slope, self.stride)
'''

#: The same attack, but it leaves the model in train mode.
RUDE = SIGN.replace("(slope,) =", "classifier.module.train()\n        (slope,) =")


@pytest.fixture
def sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sign.py").write_text(SIGN)
    (tmp_path / "rude.py").write_text(RUDE)
    return tmp_path


def test_fifteen_lines_keep_every_promise(sign: Path, cli: Callable[..., Called]) -> None:
    done = cli("check", "./sign.py:Sign")
    assert done.code == 0
    assert "ok      attack/respects_the_budget[./sign.py:Sign]\n" in done.out
    assert "FAILED" not in done.out
    assert done.err.strip().endswith("kept, 0 broken, 1 skipped")


def test_a_broken_promise_is_one_line_with_its_reason_and_exit_code_4(
    sign: Path, cli: Callable[..., Called]
) -> None:
    done = cli("check", "./rude.py:Sign")
    assert done.code == 4
    lines = [line for line in done.out.splitlines() if line.startswith("FAILED  attack/leaves_no_trace[")]
    assert len(lines) == 1
    assert "the mode (train or eval) of module" in lines[0]


def test_json_is_a_list_of_rows_and_nothing_else(sign: Path, cli: Callable[..., Called]) -> None:
    rows = json.loads(cli("check", "./rude.py:Sign", "--format", "json").out)
    assert {tuple(row) for row in rows} == {("check", "part", "result", "reason")}
    assert {row["result"] for row in rows} == {"ok", "FAILED", "skipped"}


def test_a_field_can_be_set(sign: Path, cli: Callable[..., Called]) -> None:
    done = cli("check", "./sign.py:Sign", "--set", "stride=-1.0")  # downhill
    assert done.code == 4
    assert "FAILED  attack/finds_what_random_search_finds" in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing/at-all"], 3, "no plugin or part is called 'nothing/at-all'"),
        (["lp/pdg"], 3, "did you mean 'lp/pgd'?"),
        (["lp/pgd", "--kind", "model"], 3, "no model is called 'lp/pgd'"),
        (["./sign.py:Nothing"], 3, "has no class 'Nothing'"),
        (["./nowhere.py:Sign"], 3, "no such file"),
        (["./sign.py:torch"], 3, "has no class 'torch'"),
        (["./sign.py:classrob.Attack"], 3, "has no class"),
        (["lp/pgd", "--set", "stepz=3"], 3, "did you mean 'steps'?"),
        (["lp/pgd", "--set", "steps"], 2, "--set takes FIELD=VALUE"),
        (["lp", "--set", "steps=3"], 2, "--set goes with one part"),
        (["none", "--set", "steps=3"], 2, "--set goes with one part"),
        (["base/parquet"], 2, "has no default for 'path': give one by --set path=VALUE"),
    ],
)
def test_what_cannot_be_checked_is_one_line_and_its_own_exit_code(
    arguments: list[str], code: int, message: str, sign: Path, cli: Callable[..., Called]
) -> None:
    done = cli("check", *arguments)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_a_class_that_is_no_part_is_refused(sign: Path, cli: Callable[..., Called]) -> None:
    (sign / "plain.py").write_text("class Plain: ...")
    done = cli("check", "./plain.py:Plain")
    assert done.code == 3
    assert "is no part" in done.err


def test_a_name_of_several_kinds_checks_them_all(cli: Callable[..., Called]) -> None:
    rows = json.loads(cli("check", "base/none", "--format", "json").out)
    assert {row["check"].partition("/")[0] for row in rows} == {"part", "threat", "attack"}
    assert {row["result"] for row in rows} <= {"ok", "skipped"}


def test_importing_the_kit_loads_nothing_heavy() -> None:
    code = "import sys, classrob.testing; print(sorted({'torch', 'numpy', 'pydantic', 'pytest', 'pluggy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
