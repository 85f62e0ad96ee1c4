"""Wrong models are named before anything is written, and nothing of theirs is touched."""

from __future__ import annotations

import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from classrob.live import Classifier
from classrob.preflight import state_digest
from classrob.reading.results import Results
from classrob.study import read_study
from classrob.worker import Worker

from .conftest import NETS, Called

MODES = (
    NETS
    + """
class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.drop, self.head = nn.BatchNorm2d(1), nn.Dropout(0.5), linear()
    def forward(self, x): return self.head(self.drop(self.norm(x)))
class Sneaky(Normed):
    def forward(self, x):
        self.norm.train()
        return super().forward(x)
class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = linear()
    def forward(self, x): return self.head(x + 0.1 * torch.randn_like(x))
class Rarely(Noisy):
    calls = 0  # it draws the same a few times, and then not; the batch has no part in it
    def forward(self, x):
        self.calls += 1
        return self.head(x.flip(3) if self.calls % 7 == 3 else x)
class Mixing(Noisy):
    def forward(self, x): return self.head(x) * (1 + x[1].mean())
def rarely(): return Rarely()
def mixing(): return Mixing()
def left_in_train_mode(): return Normed().train()
def evaluated(): return Normed().eval()
def sneaky(): return Sneaky()
def noisy(): return Noisy()
"""
)


@pytest.fixture
def use(study: Path) -> Callable[[str], Path]:
    """The tiny study with another model."""
    (study.parent / "modes.py").write_text(MODES)

    def change(factory: str) -> Path:
        study.write_text(study.read_text().replace("nets.py:curved", f"modes.py:{factory}"))
        return study

    return change


def test_train_mode_is_said_and_measured_in_eval_mode(
    use: Callable[[str], Path], cli: Callable[..., Called]
) -> None:
    study = use("left_in_train_mode")
    called = cli("run", study, "--out", study.parent / "out")
    assert called.code == 0, called.err
    notes = [line for line in called.err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1
    assert "model 'curved' is in train mode (BatchNorm2d 'norm')" in notes[0]
    use("evaluated")
    study.write_text(study.read_text().replace("left_in_train_mode", "evaluated"))
    quiet = cli("run", study, "--out", study.parent / "other" / "out")
    assert "note: " not in quiet.err


def test_nothing_of_a_model_is_touched(use: Callable[[str], Path]) -> None:
    """Weights, buffers, modes and gradients, by their digests, after a whole shard and after a failed one."""
    study = use("left_in_train_mode")
    worker = Worker(read_study(study), study.parent)
    condition = worker.conditions()[1]
    classifier = worker.classifier(condition.model)
    before = state_digest(classifier.module)
    from classrob.records import Shard

    outcome = worker.work(Shard("k", 1, tuple(range(20)), frozenset({3})))
    assert outcome.error is None, outcome.error
    assert len(outcome.records) == 20 * 5
    assert state_digest(classifier.module) == before
    assert classifier.module.training
    assert all(p.grad is None and p.requires_grad for p in classifier.module.parameters())
    assert worker.work(Shard("k", 1, (10_000,))).error is not None
    assert state_digest(classifier.module) == before


def test_the_digest_sees_weights_buffers_and_modes() -> None:
    net = nn.BatchNorm1d(2)
    seen = {state_digest(net)}
    seen.add(state_digest(net.eval()))
    net.running_mean += 1  # type: ignore[operator]
    seen.add(state_digest(net))
    with torch.no_grad():
        net.weight += 1
    seen.add(state_digest(net))
    assert len(seen) == 4


@pytest.mark.parametrize("factory", ["sneaky"])
def test_a_model_that_leaves_eval_mode_is_refused(
    factory: str, use: Callable[[str], Path], cli: Callable[..., Called]
) -> None:
    study = use(factory)
    called = cli("run", study, "--out", study.parent / "out")
    assert called.code == 3
    assert "changes its own weights or buffers while it predicts" in called.err
    assert not (study.parent / "out").exists()


def test_a_random_model_is_said(use: Callable[[str], Path], cli: Callable[..., Called]) -> None:
    study = use("noisy")
    called = cli("run", study, "--out", study.parent / "out")
    assert called.code == 0
    assert "note: model 'curved' is not deterministic" in called.err


def test_a_model_that_draws_the_same_twice_by_chance_is_said_and_not_refused(
    use: Callable[[str], Path], cli: Callable[..., Called]
) -> None:
    study = use("rarely")
    called = cli("run", study, "--out", study.parent / "out")
    assert called.code == 0, called.err
    assert "note: model 'curved' is not deterministic" in called.err


def test_a_model_that_mixes_its_batch_is_refused(
    use: Callable[[str], Path], cli: Callable[..., Called]
) -> None:
    study = use("mixing")
    called = cli("run", study, "--out", study.parent / "out")
    assert called.code == 3
    assert "depend on the other images of the batch" in called.err


def test_a_graph_survives_no_frozen_block() -> None:
    net = nn.Linear(2, 2)
    classifier = Classifier(nn.Sequential(nn.Flatten(), net))
    with classifier.frozen():
        assert not classifier(torch.rand(3, 1, 1, 2)).requires_grad
    assert classifier(torch.rand(3, 1, 1, 2)).requires_grad


def test_progress_is_drawn_on_a_terminal_only(study: Path) -> None:
    command = [sys.executable, "-m", "classrob", "run", str(study), "--out", str(study.parent / "out")]
    quiet = subprocess.run([*command, "--no-reuse"], capture_output=True, text=True, check=True)
    assert "\r" not in quiet.stderr
    assert quiet.stdout == ""
    driver, terminal = pty.openpty()
    again = [*command[:-1], str(study.parent / "again"), "--no-reuse"]
    process = subprocess.Popen(again, stderr=terminal, stdout=subprocess.PIPE)
    import os

    os.close(terminal)
    drawn = b""
    while True:
        try:
            piece = os.read(driver, 4096)
        except OSError:  # Linux ends a pseudo-terminal with EIO
            break
        if not piece:
            break
        drawn += piece
    os.close(driver)
    assert process.wait() == 0
    assert process.stdout is not None
    process.stdout.close()
    text = drawn.decode()
    assert "images/s" in text
    assert "left" in text
    assert "worst class so far: " in text


def test_notes_stay_in_the_store_when_nothing_is_left_to_do(
    use: Callable[[str], Path], cli: Callable[..., Called]
) -> None:
    """… also in a run that takes all over from its sibling, and they go with the model that they are about."""
    study = use("left_in_train_mode")
    folder, sibling = study.parent / "out", study.parent / "sibling"

    def notes(place: Path) -> list[str]:
        with Results.open(place) as results:
            return list(results.meta["notes"])

    assert cli("run", study, "--out", folder).code == 0
    (line,) = notes(folder)
    assert "is in train mode" in line
    assert "0 to do" in cli("run", study, "--out", folder).err
    assert notes(folder) == [line]
    assert cli("run", study, "--out", sibling).code == 0
    assert notes(sibling) == [line]
    study.write_text(study.read_text().replace("left_in_train_mode", "evaluated"))
    assert cli("run", study, "--out", folder).code == 0
    assert notes(folder) == []


def test_a_metric_that_does_not_suit_the_classes_ends_the_plan(
    study: Path, cli: Callable[..., Called]
) -> None:
    (study.parent / "groups.toml").write_text('low = ["0", "nobody"]\n')
    study.write_text(study.read_text() + '\n[[metric]]\nuse = "groups"\ngroups = "groups.toml"\n')
    for command in ("plan", "run"):
        called = cli(command, study, "--out", study.parent / "out")
        assert called.code == 3
        assert called.err.count("\n") == 1
        assert "metric 'groups' on data set 'quarters'" in called.err
        assert "group 'low' names class 'nobody'" in called.err
    assert not (study.parent / "out").exists()
