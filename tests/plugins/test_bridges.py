"""The bridges to Foolbox and torchattacks: with stand-ins for the libraries everywhere, with the real ones where installed."""

from __future__ import annotations

import importlib
import json
import logging
import random
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from classrob.catalog import Catalog
from classrob.errors import ClassrobError, PluginError, StudyError
from classrob.live import Meter
from classrob.parts import Attack, Need
from classrob.testing.arena import Arena, arena, arenas, network
from classrob.testing.cases import cases
from classrob.testing.subject import Subject, subjects

from ..docs.pages import DOCS, blocks
from ..host.conftest import Called

ROOT = Path(__file__).parents[2]
BRIDGES = ("foolbox", "torchattacks")

#: Every bridge, and the modules that it is made of.
PACKAGES = {
    "foolbox": ("__init__", "attack"),
    "torchattacks": ("__init__", "attack"),
    "pytorch-ood": ("__init__", "detector", "scores"),
}

#: A library of Foolbox's interface. Its attacks draw from every global generator, and log.
FOOLBOX = {
    "__init__.py": """
from . import attacks, criteria, distances

class PyTorchModel:
    def __init__(self, model, bounds, device):
        assert not model.training and bounds == (0, 1)
        self.model = model
""",
    "distances.py": "l0, l1, l2, linf = 'L0 distance', 'L1 distance', 'L2 distance', 'Linf distance'\n",
    "criteria.py": """
class Misclassification:
    def __init__(self, labels):
        self.labels = labels
""",
    "attacks/base.py": """
class AttackWithDistance: ...
class FixedEpsilonAttack(AttackWithDistance): ...
class MinimizationAttack(AttackWithDistance): ...
class FlexibleDistanceMinimizationAttack(MinimizationAttack): ...
""",
    "attacks/__init__.py": """
import logging, random
from . import base
from .. import distances

CALLS = []

class LinfSign(base.FixedEpsilonAttack):
    distance = distances.linf
    def __init__(self, *, steps=3, noise=0.1, needed=None):
        self.steps, self.noise = steps, noise
    def run(self, model, images, criterion, *, epsilon):
        import numpy as np
        import torch
        CALLS.append((len(images), epsilon))
        logging.info("as Foolbox does")
        drawn = torch.rand(images.shape) + torch.from_numpy(np.random.rand(*images.shape)).float() + random.random()
        x = (images + self.noise * epsilon * (drawn - 1.5)).clamp(0, 1)
        for _ in range(self.steps):
            x = x.detach().requires_grad_()
            torch.nn.functional.cross_entropy(model.model(x), criterion.labels, reduction="sum").backward()
            x = (x + epsilon * x.grad.sign()).clamp(0, 1)
        return (images + (x - images).clamp(-epsilon, epsilon)).detach()

class Blend(base.FlexibleDistanceMinimizationAttack):
    def __init__(self, *, distance=None):
        assert distance is not None
    def run(self, model, images, criterion):
        raise ValueError(f"init_attack failed for 1.0 of {len(images)} inputs")

class Broken(base.MinimizationAttack):
    distance = distances.l2
    def __init__(self, steps): ...
    def run(self, model, images, criterion):
        raise AssertionError("no start")

class L0Count(base.MinimizationAttack):
    distance = distances.l0

class DatasetAttack(base.FlexibleDistanceMinimizationAttack): ...
""",
}

#: A library of torchattacks' interface; it prints, and sets the model's mode.
TORCHATTACKS = {
    "__init__.py": "import torch\nfrom .attacks.sign import SIGN, COUNT, L2SIGN\n",
    "attacks/__init__.py": "",
    "attacks/sign.py": '''
import torch

SEEN = []

class SIGN:
    """Signed steps.

    Distance Measure : Linf, L2
    """
    def __init__(self, model, norm="Linf", eps=8 / 255, alpha=2 / 255, steps=6, seed=0, n_classes=10):
        SEEN.append({"norm": norm, "eps": eps, "alpha": alpha, "seed": seed, "n_classes": n_classes})
        self.__dict__ |= SEEN[-1] | {"model": model, "steps": steps, "device": next(model.parameters()).device}
    def __call__(self, images, labels):
        print("torchattacks speaks")
        self.model.eval()
        SEEN[-1]["n"] = len(images)
        torch.manual_seed(self.seed)
        x = images + 0.1 * self.eps * torch.rand_like(images) / images[0].numel()
        for _ in range(self.steps):
            x = x.detach().requires_grad_()
            loss = torch.nn.functional.cross_entropy(self.model(x), labels, reduction="sum")
            (slope,) = torch.autograd.grad(loss, x)
            step = slope.sign() if self.norm == "Linf" else slope / slope.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
            x = (x + self.alpha * step).clamp(0, 1)
        return x

class L2SIGN(SIGN):
    """Distance Measure : L2"""

class COUNT(SIGN):
    """Distance Measure : L0"""
''',
}


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Both libraries replaced by small ones of the same interface, and both bridges importable."""
    for name, files in (("foolbox", FOOLBOX), ("torchattacks", TORCHATTACKS)):
        for path, text in files.items():
            file = tmp_path / "site" / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        monkeypatch.syspath_prepend(ROOT / f"plugins/classrob-{name}")
    monkeypatch.syspath_prepend(tmp_path / "site")
    real = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in BRIDGES}
    for name in real:
        del sys.modules[name]
    for name in BRIDGES:
        monkeypatch.setattr(importlib.import_module(f"classrob_{name}.attack"), "version", lambda name: "1")
    yield tmp_path / "site"
    for name in [name for name in sys.modules if name.partition(".")[0] in BRIDGES]:
        del sys.modules[name]
    sys.modules.update(real)


def catalog() -> Catalog:
    """The catalogue with both bridges, whether they are installed or not."""
    found = Catalog.installed()
    for name in BRIDGES:
        if not found.manager.has_plugin(name):
            found.add(name, importlib.import_module(f"classrob_{name}"))
    return found


def place(norm: str = "linf", module: nn.Module | None = None) -> Arena:
    return arena(catalog().make("threat", norm, {"budgets": [0.1, 0.3]}), norm, module or network())


def kept(reference: str, **fields: Any) -> dict[str, str]:
    """What the kit says of a part; only what is not `ok`."""
    results = [case.run() for case in cases(subjects(reference, catalog(), {reference: fields}))]
    assert results
    return {result.check: result.reason for result in results if result.result != "ok"}


# -- packages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PACKAGES)
def test_a_bridge_is_a_distribution_of_its_own(name: str, tmp_path: Path) -> None:
    for needed in ("pip", "hatchling"):
        if find_spec(needed) is None:
            pytest.skip(f"building a package without a download needs {needed} in the test environment")
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check"]
    source, package = str(ROOT / f"plugins/classrob-{name}"), f"classrob_{name.replace('-', '_')}"
    command = [sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", str(tmp_path), source]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
        (points,) = [n for n in names if n.endswith("entry_points.txt")]
        assert files.read(points).decode().split() == ["[classrob]", name, "=", package]
        (metadata,) = [n for n in names if n.endswith("METADATA")]
        assert f"Requires-Dist: {name}>=" in files.read(metadata).decode()
    assert {n for n in names if n.endswith(".py")} == {f"{package}/{one}.py" for one in PACKAGES[name]}


def test_the_main_distribution_holds_no_bridge() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert not [p for p in packages if any(name.replace("-", "_") in p for name in PACKAGES)]
    assert not set(project["project"]["entry-points"]["classrob"]) & set(PACKAGES)


# -- stand-ins ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reference", ["foolbox/LinfSign", "torchattacks/SIGN", "torchattacks/L2SIGN", "foolbox"]
)
def test_every_promise_is_kept(reference: str, stand_ins: Path) -> None:
    said = kept(reference)
    assert {reason for reason in said.values() if "family" not in reason} == set()


def test_attacked_together_random_numbers_depend_on_the_batch(stand_ins: Path) -> None:
    """What `alone` is for; and where nothing is random, it makes no difference."""
    assert set(kept("foolbox/LinfSign", alone=False)) == {"attack/treats_each_sample_alone"}
    assert kept("foolbox/LinfSign", alone=False, options={"noise": 0.0}) == {}


def test_members_are_those_of_a_norm_and_listing_them_loads_no_torch(stand_ins: Path) -> None:
    code = (
        "import sys, json; sys.path[:0] = json.loads(sys.argv[1])\n"
        "from classrob_foolbox.attack import FoolboxAttack as F\n"
        "from classrob_torchattacks.attack import TorchattacksAttack as T\n"
        "print(json.dumps([list(F.members()), list(T.members()), 'torch' in sys.modules]))"
    )
    command = [sys.executable, "-c", code, json.dumps(sys.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [["Blend", "Broken", "LinfSign"], ["L2SIGN", "SIGN"], False]


@pytest.mark.parametrize(
    ("reference", "options", "line"),
    [
        ("foolbox/LinfSing", {}, "foolbox.attacks has no 'LinfSing' for a study; did you mean 'LinfSign'?"),
        ("foolbox/DatasetAttack", {}, "foolbox.attacks has no 'DatasetAttack' for a study"),
        (
            "foolbox/LinfSign",
            {"stepz": 3},
            "foolbox's LinfSign has no option 'stepz'; did you mean 'steps'? (known: steps, noise, needed)",
        ),
        ("foolbox/Broken", {}, "foolbox's Broken requires the option 'steps'"),
        ("foolbox/Blend", {"distance": 1}, "option 'distance' is set by the study, its threat and its model"),
        ("torchattacks/SIG", {}, "torchattacks has no 'SIG' for a study; did you mean 'SIGN'?"),
        (
            "torchattacks/SIGN",
            {"alfa": 1},
            "has no option 'alfa'; did you mean 'alpha'? (known: alpha, steps)",
        ),
        ("torchattacks/SIGN", {"eps": 1}, "option 'eps' is set by the study, its threat and its model"),
    ],
)
def test_what_is_misspelt_is_one_line(reference: str, options: Any, line: str, stand_ins: Path) -> None:
    with pytest.raises(StudyError) as error:
        catalog().make("attack", reference, {"options": options})
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", BRIDGES)
def test_without_its_library_a_bridge_says_what_to_install(
    name: str, stand_ins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"classrob_{name}.attack")
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, f"{name}.attacks", None)
    monkeypatch.setattr(module, "find_spec", lambda name: None, raising=False)
    for asked in (
        lambda: catalog().make("attack", f"{name}/X", {}),
        lambda: catalog().list("attack", f"{name}/*"),
    ):
        with pytest.raises(StudyError, match=f"needs .*: pip install {name}"):
            asked()


@pytest.mark.parametrize("reference", ["foolbox/LinfSign", "torchattacks/L2SIGN"])
def test_another_norm_is_one_line(reference: str, stand_ins: Path) -> None:
    attack = catalog().make("attack", reference, {})
    norm, ball = ("l2", "L2Ball") if "Linf" in reference else ("linf", "LinfBall")
    with pytest.raises(
        StudyError, match=f"not in a space of type {ball}: choose attack and threat for the same norm"
    ):
        place(norm).search(attack)


@pytest.mark.parametrize(
    ("alone", "calls"), [(True, [(1, 0.3)] * 6 + [(1, 0.1)] * 6), (False, [(6, 0.1), (6, 0.3)])]
)
def test_every_sample_gets_its_own_budget_and_pays_for_its_own_passes(
    alone: bool, calls: list[tuple[int, float]], stand_ins: Path
) -> None:
    where = place()
    budget = torch.tensor([0.3] * 6 + [0.1] * 6)
    where = replace(where, space=where.space.at(budget))
    attack = catalog().make("attack", "foolbox/LinfSign", {"alone": alone})
    meter = where.classifier.meter = Meter.of(12)
    with where.classifier.frozen():
        z = where.search(attack)
    assert [(n, round(epsilon, 6)) for n, epsilon in sys.modules["foolbox.attacks"].CALLS] == calls
    assert torch.all(z.flatten(1).abs().amax(1) <= budget + 1e-6)
    assert (meter.forwards.tolist(), meter.backwards.tolist()) == ([3] * 12, [3] * 12)
    assert meter.rows is None


def test_sizes_seed_and_classes_come_from_the_study(stand_ins: Path) -> None:
    where = place()
    with where.classifier.frozen():
        where.search(catalog().make("attack", "torchattacks/SIGN", {}))
        where.search(
            catalog().make("attack", "torchattacks/SIGN", {"options": {"alpha": 0.5}, "alone": False})
        )
    seen = sys.modules["torchattacks.attacks.sign"].SEEN
    assert {(one["norm"], one["n_classes"]) for one in seen} == {("Linf", 4)}
    assert [one["n"] for one in seen] == [1] * 12 + [12]
    assert all(one["eps"] == pytest.approx(0.3) for one in seen)
    assert [one["alpha"] for one in seen] == [pytest.approx(0.3 / 4)] * 12 + [0.5]
    assert len({one["seed"] for one in seen}) == 13


@pytest.mark.parametrize("reference", ["foolbox/LinfSign", "foolbox/Broken", "torchattacks/SIGN"])
def test_the_program_around_it_is_left_as_it_was(
    reference: str, stand_ins: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generators, the log and standard output, also when the library stops."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in a program of its own
    options = {"steps": 3}
    where = place("l2" if "Broken" in reference else "linf")
    attack = catalog().make("attack", reference, {"options": options})

    def state() -> tuple[Any, ...]:
        numpy: Any = np.random.get_state()
        return random.getstate(), numpy[1].tolist(), numpy[2], torch.get_rng_state().tolist()

    before = state()
    with where.classifier.frozen():
        if "Broken" in reference:
            with pytest.raises(PluginError, match="foolbox's Broken cannot go on: AssertionError: no start"):
                attack.search(where.classifier, where.space, where.batch, where.streams, None)
        else:
            attack.search(where.classifier, where.space, where.batch, where.streams, None)
    assert state() == before
    assert logging.getLogger().handlers == []
    assert capsys.readouterr().out == ""


def test_no_point_to_start_from_is_no_example(stand_ins: Path) -> None:
    where = place("l2")
    with where.classifier.frozen():
        assert where.search(catalog().make("attack", "foolbox/Blend", {})).abs().max() == 0.0
        with pytest.raises(PluginError, match="of 12 inputs"):  # of the twelve, nobody knows which
            where.search(catalog().make("attack", "foolbox/Blend", {"alone": False}))


# -- the kit ------------------------------------------------------------------------------------------


class Choosy(Attack):
    """An attack that accepts some spaces only."""

    needs: ClassVar[frozenset[Need]] = frozenset({"pixels"})
    accepted: tuple[str, ...] = ()

    def search(self, classifier: Any, space: Any, batch: Any, streams: Any, start: Any) -> torch.Tensor:
        """The centre, in accepted spaces."""
        if type(space).__name__ not in self.accepted:
            raise StudyError("not here")
        return space.centre()


def test_the_kit_leaves_out_a_space_that_an_attack_refuses_but_not_all() -> None:
    found = [type(one.space).__name__ for one in arenas(Choosy(accepted=("L2Ball",)), Catalog.installed())]
    assert found == ["L2Ball"]
    subject = Subject.of("attack", "choosy", Choosy, Catalog.installed())
    failed = {r.check: r.reason for case in cases([subject]) if (r := case.run()).result == "FAILED"}
    assert failed["attack/respects_the_budget"] == "not here"
    with pytest.raises(ClassrobError, match="not here"):
        list(arenas(Choosy(), Catalog.installed()))


# -- the libraries ------------------------------------------------------------------------------------


def real(name: str) -> None:
    """Skip where the bridge or its library is not installed."""
    for needed in (name, f"classrob_{name}"):
        if find_spec(needed) is None:
            pytest.skip(f"needs {needed}: pip install ./plugins/classrob-{name}")


@pytest.mark.parametrize(
    ("reference", "options"),
    [
        ("foolbox/LinfPGD", {"steps": 5}),
        ("foolbox/L2FMNAttack", {"steps": 20}),
        ("foolbox/L2DeepFoolAttack", {"steps": 10}),
        ("torchattacks/PGD", {"steps": 5}),
        ("torchattacks/APGD", {"steps": 5}),
        ("torchattacks/FAB", {"steps": 5}),
    ],
)
def test_the_libraries_own_attacks_keep_every_promise(reference: str, options: dict[str, Any]) -> None:
    real(reference.partition("/")[0])
    assert kept(reference, options=options) == {}


def test_the_study_of_the_documentation(tmp_path: Path, cli: Callable[..., Called]) -> None:
    for name in BRIDGES:
        real(name)
    study = tmp_path / "study.toml"
    study.write_text(blocks(DOCS / "how-to/compare-attacks.md", "toml")[0].text)
    out = tmp_path / "out"
    done = cli("run", study, "--out", out, "--set", "dataset.0.limit=4")
    assert (done.code, done.out) == (0, ""), done.err
    shown = json.loads(cli("show", out, "--format", "json").out)
    attacks = {row["attack"] for row in shown if row["metric"] == "accuracy" and row["threat"] != "none"}
    assert attacks >= {
        "pgd",
        "foolbox/LinfPGD",
        "foolbox/L2FMNAttack",
        "torchattacks/APGD",
        "torchattacks/FAB",
    }
