"""`classrob train`: what it writes, that it can be killed, and what it says to those who get it wrong."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from classrob import Mark
from classrob.catalog import Catalog
from classrob.live import Classifier
from classrob.training.curves import curves
from classrob.training.measuring import named, toml
from classrob_base.digits import Digits

from ..host.conftest import Called

Call = Callable[..., Called]

NETS = """
from torch import nn

def small(classes, width=4):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(16 * width, classes)
    )
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path


def loaded(study: Path) -> Classifier:
    """The model of a study, as a run loads it."""
    entry = dict(tomllib.loads(study.read_text())["model"][0])
    entry.pop("name")
    return Catalog.installed().make("model", entry.pop("use"), entry, study.parent).load("cpu")


def test_it_writes_weights_a_study_curves_and_a_card(cli: Call, here: Path) -> None:
    where = here / "made" / "d.safetensors"
    words = [
        "train", "pgd-adversarial", "--data", "digits", "--out", where, "--epochs", "2", "--hold-out", "0.1",
        "--set", "steps=1", "--model", "torch", "--set", "model.factory=nets.py:small", "--set", "test.limit=16",
    ]  # fmt: skip
    done = cli(*words)
    assert done.code == 0, done.err
    assert done.out.strip() == str(where)
    assert "epoch 2: loss" in done.err
    assert sorted(path.name for path in where.parent.iterdir()) == [
        "d.checkpoints", "d.md", "d.run", "d.safetensors", "d.svg", "d.toml",
    ]  # fmt: skip
    study = tomllib.loads((where.parent / "d.toml").read_text())
    assert study["model"][0]["factory"] == "../nets.py:small"
    assert study["threat"] == [{"use": "linf", "budgets": [0.075, 0.15, 0.3]}]
    assert study["dataset"] == [{"use": "digits", "limit": 16}]  # the split `test` is its default
    classifier = loaded(where.parent / "d.toml")
    assert set(classifier.module.state_dict()) == set(load_file(where))
    samples = Digits().open()
    batch, _ = samples.read(range(16), classifier.fit)
    assert batch is not None
    with classifier.frozen(), torch.no_grad():
        right = int((classifier(batch.images).argmax(1) == batch.labels).sum())
    card = (where.parent / "d.md").read_text()
    assert f"| digits | none | – | – | {100 * right / 16:.1f} % (" in card
    assert "n = " not in card
    assert card.count("| 16 |") == 4
    assert "on 1,134 images" in card
    picture = ElementTree.fromstring((where.parent / "d.svg").read_text())
    titles = [one.text for one in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"loss", "held-out loss", "held-out accuracy", "budget", "epoch 2"} <= set(titles)
    # the same command again trains nothing and measures nothing
    weights = where.read_bytes()
    again = cli(*words)
    assert (again.code, "epoch" in again.err, "0 to do" in again.err) == (0, False, True)
    assert where.read_bytes() == weights
    other = cli(*words, "--set", "lr=0.1")
    assert (other.code, "is of another training" in other.err) == (5, True)
    assert len(other.err.strip().splitlines()) == 1
    assert cli(*words, "--set", "lr=0.1", "--fresh", "--no-eval").code == 0
    assert where.read_bytes() != weights


def test_a_killed_training_goes_on_to_the_same_weights(cli: Call, here: Path) -> None:
    """A real process and a real SIGKILL, in the middle of it."""
    words = ["train", "standard", "--data", "digits", "--epochs", "4", "--set", "data.limit=500", "--no-eval"]
    assert cli(*words, "--out", "whole.safetensors").code == 0
    command = [sys.executable, "-m", "classrob", *words, "--out", "cut.safetensors"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 2"):
                os.kill(process.pid, signal.SIGKILL)
                break
    assert not Path("cut.safetensors").exists()
    done = cli(*words, "--out", "cut.safetensors")
    assert (done.code, "epoch 2:" in done.err, "epoch 4:" in done.err) == (0, False, True)
    assert Path("cut.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()


def test_an_interrupt_says_how_to_go_on(cli: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from classrob_zoo.standard import StandardTraining

    def stop(self: object, step: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(StandardTraining, "loss", stop)
    done = cli("train", "standard", "--data", "digits", "--out", "a b.safetensors")
    assert done.code == 130
    again = done.err.strip().splitlines()[-1].partition("Resume with: ")[2]
    assert shlex.split(again) == [
        "classrob",
        "train",
        "standard",
        "--data",
        "digits",
        "--out",
        "a b.safetensors",
    ]


def test_a_study_of_ones_own_measures_it(cli: Call, here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "s.toml").write_text(
        'name = "mine"\n[[model]]\nuse = "digits/standard"\n[[dataset]]\nuse = "digits"\nlimit = 12\n'
        '[[threat]]\nuse = "l2"\nbudgets = [0.5]\nattack = { use = "pgd", steps = 2 }\n'
    )
    words = ["--data", "digits", "--epochs", "1", "--out", "w.safetensors", "--eval", "mine/s.toml"]
    done = cli("train", "standard", *words)
    assert done.code == 0, done.err
    card = Path("w.md").read_text()
    assert "| digits | l2 | 0.5 | pgd |" in card
    command = card.rpartition("```sh\n")[2].splitlines()[0]
    assert cli(*shlex.split(command)[1:], "--out", "again").code == 0
    shown = [cli("show", folder, "--format", "json").out for folder in ("w.run", "again")]
    assert shown[0] == shown[1]


def test_without_other_data_the_card_says_what_there_is(cli: Call, here: Path) -> None:
    images, labels = np.random.default_rng(0).integers(0, 255, (40, 8, 8), np.uint8), np.arange(40) % 4
    np.savez("d.npz", x=images, y=labels)
    words = [
        "train",
        "standard",
        "--data",
        "arrays",
        "--set",
        "data.path=d.npz",
        "--epochs",
        "1",
        "--out",
        "n.safetensors",
    ]
    assert cli(*words).code == 0
    assert "no image was kept from training" in Path("n.md").read_text()
    assert cli(*words, "--hold-out", "0.2", "--fresh").code == 0
    card = Path("n.md").read_text()
    assert "On 8 images held out from training: " in card
    assert ", accuracy " in card
    assert not Path("n.toml").exists()
    assert cli(*words, "--hold-out", "0.2", "--test", "digits").code == 3  # ten classes there, four here
    assert cli(*words, "--fresh", "--test", "arrays", "--set", "test.path=d.npz").code == 0
    assert tomllib.loads(Path("n.toml").read_text())["dataset"] == [{"use": "arrays", "path": "d.npz"}]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["standart", "--data", "digits", "--out", "a.safetensors"], 3, "did you mean 'standard'?"),
        (["standard", "--data", "digit", "--out", "a.safetensors"], 3, "did you mean"),
        (["standard", "--data", "digits", "--out", "a.pth"], 2, "FILE.safetensors"),
        (["standard", "--data", "digits", "--out", "a.safetensors", "--set", "epoch=3"], 3, "did you mean 'epochs'?"),
        (["standard", "--data", "digits", "--out", "a.safetensors", "--set", "model.sise=3"], 3, "'size'?"),
        (["standard", "--data", "digits", "--out", "a.safetensors", "--set", "epochs"], 2, "FIELD=VALUE"),
        (["standard", "--data", "digits", "--out", "a.safetensors", "--model", "digits/standard"], 3, "cannot be trained"),
        (["standard", "--data", "digits", "--out", "a.safetensors", "--device", "cuda:99"], 3, "cannot be used"),
        (["standard", "--data", "digits", "--out", "nets.py/a.safetensors"], 2, "cannot be written"),
        (["standard", "--data", "arrays", "--set", "data.path=no.npz", "--out", "a.safetensors"], 3, "no such file"),
        (["standard", "--data", "digits", "--out", "a.safetensors", "--hold-out", "1"], 2, "hold-out"),
        (["standard", "--out", "a.safetensors"], 2, "--data"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    words: list[str], code: int, text: str, cli: Call, here: Path
) -> None:
    done = cli("train", *words)
    assert done.code == code, done.err
    assert text in done.err
    assert not list(here.glob("a.*"))
    assert len(done.err.strip().splitlines()) == (
        1 if done.err.startswith("error:") else len(done.err.strip().splitlines())
    )


@pytest.mark.parametrize("name", ["trades", "ae-regularised", "interpretability-aware", "ig-norm"])
def test_every_recipe_trains_an_architecture_of_timm(name: str, cli: Call, here: Path) -> None:
    """Colour, from grey; batch statistics; a head without a bias is not needed."""
    pytest.importorskip("timm")
    words = [
        "--data", "digits", "--set", "data.limit=24", "--model", "timm/test_resnet", "--set", "model.size=32",
        "--set", "epochs=1", "--set", "steps=1", "--set", "batch=12", "--out", "t.safetensors", "--no-eval",
    ]  # fmt: skip
    more = [] if name == "ae-regularised" else ["--set", "still=0", "--set", "rise=0", "--set", "budget=0.05"]
    done = cli("train", name, *words, *more)
    assert done.code == 0, done.err
    assert "num\\_classes" not in Path("t.md").read_text()
    assert "num_classes = 10" in Path("t.md").read_text()
    assert ("rectifier" in Path("t.md").read_text()) == (name == "ae-regularised")


def test_toml_of_anything_comes_back() -> None:
    study = {
        "name": "a",
        "list": [1, 0.5, True, "8/255"],
        "text": 'a"\\\n\x7f\u2028é😀',
        "model": [{"use": "x", "deep": {"a b": {"c": [1]}}, "tiny": 1e-09}, {"use": "y"}],
        "none": [],
    }
    assert tomllib.loads(toml(study)) == study
    assert named("../ä b<") == "b"


def test_names_in_a_picture_are_text() -> None:
    marks = [Mark(epoch, 1.0, {"<b>&": float(epoch), "loss": float("inf")}) for epoch in (1, 2)]
    picture = ElementTree.fromstring(curves(marks, "<script>"))
    assert "<b>&" in [one.text for one in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert len(ElementTree.fromstring(curves(marks[:1], "one"))) > 0
