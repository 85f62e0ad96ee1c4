"""`classrob.evaluate`: the same rows as the command line's, nothing shared that differs, nothing left changed."""

from __future__ import annotations

import gc
import importlib.util
import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import classrob
from classrob.errors import ClassrobError, RequirementNotMet, StudyError, UsageError
from classrob.loading import load_file
from classrob.memory import digest_of

from .conftest import NETS, Called, quarters

PGD = {"use": "pgd", "steps": 4}
LINF = [{"use": "linf", "budgets": [0.05, 0.2], "attack": PGD}]
IMAGES, LABELS = quarters(32)


@pytest.fixture
def net(tmp_path: Path) -> Any:
    """A network of a file, which therefore has an identity."""
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    return load_file(str(path))


def evaluate(
    model: nn.Module, data: object = (IMAGES, LABELS), threats: Any = LINF, **rest: Any
) -> classrob.Run:
    return classrob.evaluate(model, data, threats, progress=False, **rest)


def values(run: classrob.Run) -> list[tuple[Any, ...]]:
    return [(r.threat, r.budget, r.metric, r.label, r.value, r.n) for r in run.rows]


def test_the_rows_are_those_of_the_command_line(study: Path, net: Any, cli: Callable[..., Called]) -> None:
    """All of them, as nothing is drawn at random: streams are keyed by the kind of data set too."""
    out = study.parent / "out"
    study.write_text(study.read_text().replace("restarts = 2, random_start = true", "random_start = false"))
    assert cli("run", study, "--out", out, "--set", "spot_check=0.0").code == 0
    with sqlite3.connect(out / "run.sqlite") as db:
        (text,) = db.execute("SELECT value FROM meta WHERE name = 'study'").fetchone()
    threats = json.loads(text)["threat"]
    names = ["0", "1", "2", "3"]
    made = evaluate(net.curved(), quarters(48), threats, classes=names, shard_size=16, spot_check=0.0)
    shown = json.loads(cli("show", out, "--format", "json").out)
    assert [row.as_dict() | {"model": "curved", "dataset": "quarters"} for row in made.rows] == shown


@pytest.mark.parametrize("form", ["chw", "hwc", "float", "dataset", "loader", "pairs"])
def test_every_form_of_the_same_data_gives_the_same_rows(form: str, net: Any) -> None:
    tensor = torch.from_numpy(IMAGES)[:, None]
    labels = torch.from_numpy(LABELS)
    data: object = {
        "chw": (tensor, labels),
        "hwc": (IMAGES[..., None], LABELS.tolist()),
        "float": (tensor.double() / 255, labels),
        "dataset": TensorDataset(tensor, labels),
        "loader": DataLoader(TensorDataset(tensor, labels), batch_size=5),
        "pairs": [IMAGES, LABELS],
    }[form]
    assert values(evaluate(net.linear(), data)) == values(evaluate(net.linear()))


def test_the_network_is_left_as_it_was(net: Any) -> None:
    model = net.curved().train()
    model.head[2].weight.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    evaluate(model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(m.training for m in model.modules())
    assert [p.requires_grad for p in model.parameters()] == [True, True, False, True]
    assert all(p.grad is None for p in model.parameters())


def shards(folder: Path) -> set[str]:
    with sqlite3.connect(folder / "run.sqlite") as db:
        return {key for (key,) in db.execute("SELECT key FROM shard")}


def test_equal_calls_share_rows_and_others_never(net: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    evaluate(net.linear(), folder=folder)
    first = shards(folder)
    evaluate(net.linear(), folder=folder)
    assert shards(folder) == first
    changed = net.linear()
    with torch.no_grad():
        changed[2].weight[0, 0] += 1e-6
    evaluate(changed, folder=folder)
    assert len(shards(folder)) == 2 * len(first)
    evaluate(net.linear(), (IMAGES, np.roll(LABELS, 1)), folder=folder)
    assert len(shards(folder)) == 3 * len(first)


class Scaled(nn.Module):
    """Its result depends on a plain attribute."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * x


def test_what_decides_a_networks_digest(net: Any) -> None:
    assert digest_of(net.curved()) == digest_of(net.curved())
    assert digest_of(net.curved()) != digest_of(net.linear())
    assert digest_of(Scaled(1.0)) == digest_of(Scaled(1.0)) != digest_of(Scaled(2.0))
    assert digest_of(nn.Conv2d(1, 1, 3, padding=1)) != digest_of(nn.Conv2d(1, 1, 3))
    assert digest_of(nn.Dropout(0.1)) == digest_of(nn.Dropout(0.1)) != digest_of(nn.Dropout(0.2))
    hooked = Scaled(1.0)
    assert digest_of(hooked) == digest_of(hooked)
    hooked.register_forward_hook(lambda *_: None)
    assert digest_of(hooked) != digest_of(hooked)  # one of a kind: nobody knows what the hook does
    patched = Scaled(1.0)
    patched.forward = lambda x: -x
    assert digest_of(patched) != digest_of(patched)
    names: dict[str, Any] = {"nn": nn, "__name__": "__main__"}
    exec("class Cell(nn.Module):\n    def forward(self, x): return x", names)
    assert digest_of(names["Cell"]()) != digest_of(names["Cell"]())


def test_the_network_is_not_written(net: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    model = net.linear()
    evaluate(model, folder=folder)
    with sqlite3.connect(folder / "run.sqlite") as db:
        (study,) = db.execute("SELECT value FROM meta WHERE name = 'study'").fetchone()
    assert json.loads(study)["model"][0]["module"] == {"digest": digest_of(model)}
    raw = model[2].weight.detach().numpy().tobytes()
    assert not any(raw in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_study_file_cannot_name_memory(study: Path, cli: Callable[..., Called]) -> None:
    study.write_text(
        study.read_text()
        .replace('use = "torch"', 'use = "memory"')
        .replace('factory = "nets.py:curved"', 'module = "x"')
    )
    called = cli("run", study)
    assert called.code == 3
    assert "only classrob.evaluate can hand over" in called.err


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (((torch.rand(4, 1, 6, 6) - 0.5) / 0.25, torch.arange(4)), "images have values from -"),
        ((torch.full((4, 1, 6, 6), torch.nan), torch.arange(4)), "from nan to nan"),
        ((torch.rand(4, 5, 6, 6), torch.arange(4)), "1 or 3 channels"),
        ((torch.rand(4, 1, 6, 6), torch.arange(3)), "4 images, but 3 labels"),
        ((torch.rand(4, 1, 6, 6), torch.rand(4)), "labels are float32"),
        ((torch.rand(0, 1, 6, 6), torch.arange(0)), "empty"),
        ((torch.rand(4, 1, 6, 6), torch.arange(4) - 1), "below 0"),
        ((torch.randint(0, 255, (4, 1, 6, 6)), torch.arange(4)), "int64"),
        ("images", "not str"),
        ((torch.rand(5, 1, 6, 6), torch.arange(5)), "4 outputs"),
    ],
)
def test_data_that_cannot_be_used_is_one_line(data: object, said: str, net: Any) -> None:
    with pytest.raises(StudyError) as error:
        evaluate(net.linear(), data, ())
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_other_mistakes_are_one_line(net: Any) -> None:
    for arguments, said in (
        ((net.linear(), (IMAGES, LABELS), {"lnf": [0.1]}), "did you mean"),
        ((net.linear(), (IMAGES, LABELS), {"linf": ["x"]}), "8/255"),
        (("model", (IMAGES, LABELS), {}), "torch.nn.Module"),
    ):
        with pytest.raises(StudyError, match=said):
            classrob.evaluate(*arguments, progress=False)  # type: ignore[arg-type]
    with pytest.raises(StudyError, match="names a class twice"):
        evaluate(net.linear(), classes=["a", "a", "b", "c"])
    with pytest.raises(ClassrobError):
        classrob.Run("nowhere")


def test_a_run_does_what_the_commands_do(net: Any, tmp_path: Path) -> None:
    run = evaluate(net.linear(), classes=["<b>", "b", "c", "d"])
    assert run.report().read_text().startswith("<!")
    assert "&lt;b&gt;" in run._repr_html_()
    assert "<b>" not in run._repr_html_()
    run.require("accuracy[threat=none, label=*] >= 0")
    with pytest.raises(RequirementNotMet, match="not met by"):
        run.require("accuracy > 1")
    with pytest.raises(RequirementNotMet, match="did you mean 'linf'"):
        run.require("accuracy[threat=lnf] >= 0")
    assert run.export(tmp_path / "x.csv", "csv").read_text().startswith("model,")
    folder = run.folder
    assert folder.is_dir()
    del run
    gc.collect()
    assert not folder.exists()


@pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="needs pandas")
def test_frames(net: Any) -> None:
    run = evaluate(net.linear())
    frame = run.scores()
    assert list(frame.columns) == list(run.rows[0]._fields)
    assert len(frame) == len(run.rows)
    assert run.query("SELECT count(*) AS n FROM judgement")["n"].tolist() == [3 * 32]
    other = net.linear()
    with torch.no_grad():
        other[2].weight.neg_()
    changes = run.compare(evaluate(other))
    clean = changes[(changes.threat == "none") & changes.label.isna()].iloc[0]
    assert clean.before > 0.9
    assert clean.changed
    assert clean.n == 32


def test_without_pandas_one_line_says_what_to_do(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = evaluate(net.linear(), threats={})
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"pip install 'classrob\[notebook\]'"):
        run.scores()
