"""Bad input: each fault is one line that says what and where, with the right exit code, and loses nothing."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from .conftest import NETS, STUDY, Called

MODEL = '[[model]]\nuse = "torch"\nfactory = "nets.py:curved"\n'
DATA = '[[dataset]]\nuse = "arrays"\npath = "data.npz"\n'
LINF = '[[threat]]\nuse = "linf"\nbudgets = [0.1]\n'

#: name → (the study's text, exit code, what the line must contain)
FAULTS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "no toml": ("name = = 1", 3, ("not valid TOML", "line 1")),
    "empty": ("", 3, ("'name' is required",)),
    "no name": (MODEL + DATA, 3, ("'name' is required",)),
    "name is a path": ('name = "../up"\n' + MODEL + DATA, 3, ("name",)),
    "no model": ('name = "x"\n' + DATA, 3, ("'model' is required",)),
    "no data set": ('name = "x"\n' + MODEL, 3, ("'dataset' is required",)),
    "unknown key": ('name = "x"\nsede = 1\n' + MODEL + DATA, 3, ("'sede'", "did you mean 'seed'")),
    "unknown table": (
        'name = "x"\n' + MODEL + DATA + '[[thread]]\nuse = "linf"',
        3,
        ("did you mean 'threat'",),
    ),
    "table for a list": ('name = "x"\n' + DATA + '[model]\nuse = "torch"', 3, ("model", "[[")),
    "entry without use": ('name = "x"\n[[model]]\nfactory = "nets.py:curved"\n' + DATA, 3, ("model", "use")),
    "seed is text": ('name = "x"\nseed = "one"\n' + MODEL + DATA, 3, ("seed", "integer")),
    "negative seed": ('name = "x"\nseed = -1\n' + MODEL + DATA, 3, ("seed",)),
    "batch size zero": ('name = "x"\nbatch_size = 0\n' + MODEL + DATA, 3, ("batch_size",)),
    "bad device": ('name = "x"\ndevice = "tpu"\n' + MODEL + DATA, 3, ("device",)),
    "unknown model": ('name = "x"\n[[model]]\nuse = "torhc"\n' + DATA, 3, ("torhc", "did you mean 'torch'")),
    "unknown data set": ('name = "x"\n' + MODEL + '[[dataset]]\nuse = "minst"', 3, ("no dataset", "minst")),
    "unknown threat": (
        'name = "x"\n' + MODEL + DATA + '[[threat]]\nuse = "linff"\nbudgets = [1]',
        3,
        ("'linf'",),
    ),
    "threat of another kind": (
        'name = "x"\n' + MODEL + DATA + '[[threat]]\nuse = "pgd"',
        3,
        ("kind 'attack'",),
    ),
    "unknown attack": (
        'name = "x"\n' + MODEL + DATA + LINF + 'attack = "pdg"',
        3,
        ("pdg", "did you mean 'pgd'"),
    ),
    "attack is a number": ('name = "x"\n' + MODEL + DATA + LINF + "attack = 3", 3, ("attack", "3")),
    "unknown attack key": (
        'name = "x"\n' + MODEL + DATA + LINF + 'attack = { use = "pgd", stpes = 3 }',
        3,
        ("did you mean 'steps'",),
    ),
    "wrong attack type": (
        'name = "x"\n' + MODEL + DATA + LINF + 'attack = { use = "pgd", steps = "x" }',
        3,
        ("steps",),
    ),
    "zero steps": (
        'name = "x"\n' + MODEL + DATA + LINF + 'attack = { use = "pgd", steps = 0 }',
        3,
        ("steps",),
    ),
    "unknown loss": (
        'name = "x"\n' + MODEL + DATA + LINF + 'attack = { use = "pgd", loss = "ce" }',
        3,
        ("loss",),
    ),
    "unknown part key": ('name = "x"\n' + MODEL + 'factroy = "a"\n' + DATA, 3, ("did you mean 'factory'",)),
    "missing field": ('name = "x"\n[[model]]\nuse = "torch"\n' + DATA, 3, ("'factory' is required",)),
    "bad fraction": (
        'name = "x"\n' + MODEL + DATA + '[[threat]]\nuse = "linf"\nbudgets = ["8/0"]',
        3,
        ("8/0",),
    ),
    "fraction of words": (
        'name = "x"\n' + MODEL + DATA + '[[threat]]\nuse = "linf"\nbudgets = ["eight"]',
        3,
        ("eight",),
    ),
    "negative budget": (
        'name = "x"\n' + MODEL + DATA + '[[threat]]\nuse = "linf"\nbudgets = [-0.1]',
        3,
        ("-0.1",),
    ),
    "zero budget": (
        'name = "x"\n' + MODEL + DATA + '[[threat]]\nuse = "linf"\nbudgets = [0]',
        3,
        ("above 0",),
    ),
    "infinite budget": (
        'name = "x"\n' + MODEL + DATA + '[[threat]]\nuse = "l2"\nbudgets = [inf]',
        3,
        ("finite",),
    ),
    "unsorted budgets": (
        'name = "x"\n' + MODEL + DATA + '[[threat]]\nuse = "linf"\nbudgets = [0.2, 0.1]',
        3,
        ("ascend",),
    ),
    "equal budgets": (
        'name = "x"\n' + MODEL + DATA + '[[threat]]\nuse = "linf"\nbudgets = [0.1, 0.1]',
        3,
        ("ascend",),
    ),
    "no budgets": ('name = "x"\n' + MODEL + DATA + '[[threat]]\nuse = "linf"\nbudgets = []', 3, ("budgets",)),
    "budget in grey levels": (
        'name = "x"\n' + MODEL + DATA + '[[threat]]\nuse = "linf"\nbudgets = [8]',
        3,
        ("8/255",),
    ),
    "two models of one name": ('name = "x"\n' + MODEL + MODEL + DATA, 3, ("both called 'torch'", "name")),
    "two data sets of one name": ('name = "x"\n' + MODEL + DATA + DATA, 3, ("both called 'arrays'",)),
    "two threats of one name": ('name = "x"\n' + MODEL + DATA + LINF + LINF, 3, ("both 'linf'", "name")),
    "missing factory file": (
        'name = "x"\n[[model]]\nuse = "torch"\nfactory = "no.py:net"\n' + DATA,
        3,
        ("no.py",),
    ),
    "factory without a name": (
        'name = "x"\n[[model]]\nuse = "torch"\nfactory = "nets.py"\n' + DATA,
        3,
        ("file.py:",),
    ),
    "no such function": (
        'name = "x"\n[[model]]\nuse = "torch"\nfactory = "nets.py:nothing"\n' + DATA,
        3,
        ("nothing",),
    ),
    "factory raises": (
        'name = "x"\n[[model]]\nuse = "torch"\nfactory = "bad.py:raises"\n' + DATA,
        3,
        ("too wide",),
    ),
    "factory makes no module": (
        'name = "x"\n[[model]]\nuse = "torch"\nfactory = "bad.py:text"\n' + DATA,
        3,
        ("Module",),
    ),
    "file does not parse": (
        'name = "x"\n[[model]]\nuse = "torch"\nfactory = "syntax.py:net"\n' + DATA,
        3,
        ("syntax.py",),
    ),
    "missing weights": ('name = "x"\n' + MODEL + 'weights = "no.pth"\n' + DATA, 3, ("no.pth",)),
    "weights that run code": ('name = "x"\n' + MODEL + 'weights = "bomb.pth"\n' + DATA, 3, ("bomb.pth",)),
    "weights of another net": ('name = "x"\n' + MODEL + 'weights = "other.pth"\n' + DATA, 3, ("other.pth",)),
    "weights that are noise": ('name = "x"\n' + MODEL + 'weights = "noise.pth"\n' + DATA, 3, ("noise.pth",)),
    "missing data": ('name = "x"\n' + MODEL + '[[dataset]]\nuse = "arrays"\npath = "no.npz"', 3, ("no.npz",)),
    "data that is noise": (
        'name = "x"\n' + MODEL + '[[dataset]]\nuse = "arrays"\npath = "noise.npz"',
        3,
        ("noise.npz",),
    ),
    "empty data": ('name = "x"\n' + MODEL + '[[dataset]]\nuse = "arrays"\npath = "empty.npz"', 3, ("empty",)),
    "normalised images": (
        'name = "x"\n' + MODEL + '[[dataset]]\nuse = "arrays"\npath = "norm.npz"',
        3,
        ("[0, 1]",),
    ),
    "wrong class count": (
        'name = "x"\n' + MODEL + '[[dataset]]\nuse = "arrays"\npath = "nine.npz"',
        3,
        ("4", "9"),
    ),
    "too few class names": ('name = "x"\n' + MODEL + DATA + 'classes = ["a", "b"]', 3, ("2 names", "4")),
    "limit zero": ('name = "x"\n' + MODEL + DATA + "limit = 0", 3, ("limit",)),
    "nan weights": (
        'name = "x"\n[[model]]\nuse = "torch"\nfactory = "bad.py:nan"\n' + DATA,
        3,
        ("conv.weight",),
    ),
    "nan logits": (
        'name = "x"\n[[model]]\nuse = "torch"\nfactory = "bad.py:overflow"\n' + DATA,
        3,
        ("not finite",),
    ),
    "no logits": (
        'name = "x"\n[[model]]\nuse = "torch"\nfactory = "bad.py:features"\n' + DATA,
        3,
        ("logits",),
    ),
    "neighbours decide": (
        'name = "x"\n[[model]]\nuse = "torch"\nfactory = "bad.py:neighbours"\n' + DATA,
        3,
        ("other images",),
    ),
    "wrong channels": (
        'name = "x"\n[[model]]\nuse = "torch"\nfactory = "bad.py:colour"\n' + DATA,
        3,
        ("cannot take",),
    ),
    "attack file missing": ('name = "x"\n' + MODEL + DATA + LINF + 'attack = "./no.py:A"', 3, ("no.py",)),
    "attack class missing": ('name = "x"\n' + MODEL + DATA + LINF + 'attack = "./bad.py:No"', 3, ("No",)),
    "attack is no attack": (
        'name = "x"\n' + MODEL + DATA + LINF + 'attack = "./bad.py:Plain"',
        3,
        ("classrob.Attack",),
    ),
    "unknown metric": (
        'name = "x"\n' + MODEL + DATA + '[[metric]]\nuse = "acuracy"',
        3,
        ("did you mean 'accuracy'",),
    ),
}

BAD = (
    NETS
    + """
class Plain: pass
class Overflow(nn.Module):
    def forward(self, x): return x.flatten(1)[:, :4] * float("inf")
class Features(nn.Module):
    def forward(self, x): return x
class Neighbours(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = linear()
    def forward(self, x): return self.head(x - x.mean(0, keepdim=True))
def raises(): raise ValueError("too wide")
def text(): return "net"
def nan():
    net = Curved()
    net.conv.weight.data[0, 0, 0, 0] = float("nan")
    return net
def overflow(): return Overflow()
def features(): return Features()
def neighbours(): return Neighbours()
def colour(): return nn.Sequential(nn.Conv2d(3, 4, 6), nn.Flatten())
"""
)


class Bomb:
    """Pickles into a call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (self.path,))  # type: ignore[return-value]


@pytest.fixture
def folder(study: Path) -> Path:
    """The tiny study's folder, with every kind of bad file beside it."""
    here = study.parent
    (here / "bad.py").write_text(BAD)
    (here / "syntax.py").write_text("def net(:\n")
    (here / "noise.pth").write_bytes(b"not a checkpoint")
    (here / "noise.npz").write_bytes(b"not an archive")
    (here / "bomb.pth").write_bytes(pickle.dumps({"conv.weight": Bomb(here / "exploded")}))
    torch.save({"layer.weight": torch.zeros(2, 2)}, here / "other.pth")
    images, labels = np.zeros((6, 6, 6), np.uint8), np.arange(6) % 4
    np.savez(here / "empty.npz", images=images[:0], labels=labels[:0])
    np.savez(here / "norm.npz", images=images.astype(np.float32) - 2.1, labels=labels)
    np.savez(here / "nine.npz", images=np.zeros((9, 6, 6), np.uint8), labels=np.arange(9))
    return here


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_study_is_one_line_and_touches_nothing(
    fault: str, folder: Path, cli: Callable[..., Called]
) -> None:
    text, code, parts = FAULTS[fault]
    path = folder / "bad.toml"
    path.write_text(text)
    before = sorted(p.name for p in folder.iterdir())
    called = cli("run", path, "--out", folder / "out")
    assert called.code == code, called.err
    assert called.err.count("\n") == 1, called.err
    assert "Traceback" not in called.err
    assert called.err.startswith("error: ")
    for part in parts:
        assert part in called.err, (part, called.err)
    assert called.out == ""
    assert sorted(p.name for p in folder.iterdir()) == before, "something was written"


def test_weights_that_run_code_do_not_run_it(folder: Path, cli: Callable[..., Called]) -> None:
    (folder / "bad.toml").write_text(FAULTS["weights that run code"][0])
    cli("run", folder / "bad.toml", "--out", folder / "out")
    assert not (folder / "exploded").exists()


def test_a_fault_leaves_an_earlier_store_as_it_was(folder: Path, cli: Callable[..., Called]) -> None:
    assert cli("run", folder / "tiny.toml", "--out", folder / "out").code == 0
    store = folder / "out" / "run.sqlite"
    before = store.read_bytes()
    for text, code, _ in FAULTS.values():
        (folder / "bad.toml").write_text(text)
        assert cli("run", folder / "bad.toml", "--out", folder / "out").code == code
    assert store.read_bytes() == before


def test_the_study_beside_the_faults_is_sound(study: Path, cli: Callable[..., Called]) -> None:
    """Else every fault above could be one and the same."""
    called = cli("run", study, "--out", study.parent / "out")
    assert called.code == 0, called.err
    assert STUDY in study.read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["run", "missing.toml"], 3, "no such study"),
        (["run"], 2, "Missing argument"),
        (["run", "tiny.toml", "--set", "seed"], 2, "PATH=VALUE"),
        (["run", "tiny.toml", "--set", "dataset.7.limit=1"], 2, "no such place"),
        (["run", "tiny.toml", "--set", "seed=x"], 3, "seed"),
        (["run", "tiny.toml", "--executor", "loacl"], 3, "did you mean 'local'"),
        (["run", "tiny.toml", "--workers", "0"], 2, "workers"),
        (["show", "nowhere"], 5, "no run"),
        (["report", "nowhere"], 5, "no run"),
        (["show", "."], 5, "no run"),
        (["list", "atacks"], 2, "did you mean 'attacks'"),
        (["describe", "nothing"], 3, "nothing"),
        (["fly"], 2, "fly"),
    ],
)
def test_a_bad_command_is_one_fault(
    arguments: list[str],
    code: int,
    part: str,
    study: Path,
    cli: Callable[..., Called],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(study.parent)
    called = cli(*arguments)
    assert called.code == code, called.err
    assert part in called.err
    assert "Traceback" not in called.err


def test_a_file_that_is_no_store_is_refused(tmp_path: Path, cli: Callable[..., Called]) -> None:
    (tmp_path / "run.sqlite").write_bytes(b"something else")
    called = cli("show", tmp_path)
    assert (called.code, called.err.count("\n")) == (5, 1)
