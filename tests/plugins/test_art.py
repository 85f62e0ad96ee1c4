"""The attack family `art/…`: what is offered, fields as ART's own, and that nobody notices ART at work."""

from __future__ import annotations

import inspect
import json
import logging
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from classrob.catalog import Catalog
from classrob.errors import StudyError
from classrob.live import Batch, Classifier, Meter
from classrob.parts import Attack, Part
from classrob.space import Space
from classrob.streams import Streams
from classrob.testing import conformance
from classrob.testing.check import checks
from classrob.testing.subject import subjects
from classrob_art.attack import SET, ArtAttack
from classrob_art.offer import Offer, kebab, offer_of, offers
from classrob_art.source import exported
from classrob_lp.balls import L2Ball, LinfBall

from ..host.conftest import Called

test_pgd = conformance(
    "art/projected-gradient-descent", fields={"art/projected-gradient-descent": {"max_iter": 3}}
)
test_apgd = conformance(
    "art/auto-projected-gradient-descent",
    fields={"art/auto-projected-gradient-descent": {"max_iter": 5, "nb_random_init": 1}},
)


@pytest.fixture(scope="module")
def quiet_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def make(name: str, **fields: Any) -> Attack:
    return Catalog.installed().make("attack", f"art/{name}", fields)


def arena(n: int = 4, ball: type[LinfBall] | type[L2Ball] = LinfBall, budget: float = 0.1) -> dict[str, Any]:
    """A linear model, images and a ball round each, as an attack receives them."""
    streams = Streams.keyed(0, "d", map(str, range(n)), "c")
    images = streams.fork("images").uniform(1, 8, 8)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with torch.no_grad():
        net[1].weight.copy_(Streams.keyed(0, "w", ["w"], "c").normal(3, 64)[0] / 2)
        net[1].bias.zero_()
    classifier = Classifier(net)
    with torch.no_grad():
        labels = classifier(images).argmax(1)
    batch = Batch(tuple(map(str, range(n))), images, labels)
    space = ball(torch.full((n,), budget), images)
    return {"classifier": classifier, "space": space, "batch": batch, "streams": streams}


def search(attack: Attack, where: dict[str, Any]) -> Tensor:
    with where["classifier"].frozen():
        return attack.search(**where, start=None)


# -- what is offered ----------------------------------------------------------------------------------


def test_what_is_offered_and_why_the_rest_is_not() -> None:
    names = [offer.name for offer in offers()]
    assert names == sorted(names)
    assert {"carlini-l2-method", "deep-fool", "hop-skip-jump", "square-attack", "zoo-attack"} <= set(names)
    for name, why in {
        "adversarial-patch-pytorch": "it makes a patch, not images",
        "d-patch": "it needs a ObjectDetectorMixin",
        "decision-tree-attack": "it needs a ScikitlearnDecisionTreeClassifier",
        "feature-adversaries-numpy": "it is guided by other images",
        "graphite-blackbox": "it needs 'noise_size', which has no default",
        "low-pro-fool": "it needs training data",
        "over-the-air-flickering-pytorch": "it searches in videos",
        "projected-gradient-descent-tensorflow-v2": "it is written for TensorFlow",
        "universal-perturbation": "it builds on another attack",
    }.items():
        assert name not in names
        with pytest.raises(StudyError, match=why):
            offer_of(name)


@pytest.mark.skipif("mat" in dir(np), reason="this NumPy still has what GeoDA calls")
def test_an_attack_that_numpy_has_left_behind_is_not_offered() -> None:
    with pytest.raises(StudyError, match=r"'art/geoda' is not offered: it calls `np\.mat`"):
        make("geoda")


@pytest.mark.parametrize("promise", ["reads_only_what_it_declares", "leaves_no_trace_when_the_model_fails"])
def test_black_box_attacks_keep_the_promises(promise: str) -> None:
    fields = {"art/square-attack": {"max_iter": 5}}
    (subject,) = subjects("art/square-attack", Catalog.installed(), fields)
    check = next(one for one in checks("attack") if one.id == f"attack/{promise}")
    assert check(subject).result == "ok", check(subject).reason


def test_short_names_and_unknown_ones() -> None:
    for short, full in {
        "pgd": "projected-gradient-descent",
        "fgm": "fast-gradient-method",
        "deepfool": "deep-fool",
        "carlini-l2": "carlini-l2-method",
        "square": "square-attack",
        "autoattack": "auto-attack",
    }.items():
        assert offer_of(short).name == full
        assert make(short) == make(full)
    with pytest.raises(StudyError, match="no attack 'deepfol'; did you mean 'deep-fool'"):
        make("deepfol")


def test_names_are_unique() -> None:
    names = [kebab(name) for name in exported()]
    assert len(set(names)) == len(names)


def test_requirements_say_who_differentiates() -> None:
    for name in ("square-attack", "hop-skip-jump", "boundary-attack", "zoo-attack", "simba"):
        assert "gradients" not in make(name).needs
    for name in ("auto-attack", "basic-iterative-method", "deep-fool", "shadow-attack"):
        assert "gradients" in make(name).needs
    assert all("pixels" in make(offer.name).needs for offer in offers())


@pytest.mark.parametrize("offer", offers(), ids=lambda offer: offer.name)
def test_fields_are_those_that_python_sees(offer: Offer) -> None:
    """Names, order and defaults as `inspect` reads them from the imported class, and a type for each."""
    from classrob_art.seclusion import imported

    cls = getattr(imported(offer.source.module), offer.source.name)
    classifier, *seen = list(inspect.signature(cls).parameters.values())
    assert classifier.name == offer.classifier
    assert [one.name for one in seen] == [one.name for one in offer.parameters]
    part = make(offer.name)
    for one, theirs in zip(offer.parameters, seen, strict=True):
        if one.type is None:
            assert theirs.default is None, "what a study cannot set must be optional"
        elif one.name in type(part).model_fields and one.name != "eps_step":
            assert getattr(part, one.name) == theirs.default
        else:
            assert one.name in SET | offer.from_space | {"eps_step"}
    steps = offer.from_space >= {"eps"} and offer.parameter("eps_step")
    assert not steps or math.isclose(vars(part)["eps_step"], 0.1 / 0.3, rel_tol=1e-6)
    own = {n for base in Part.__mro__ for n in vars(base)} | set(dir(ArtAttack))
    assert not own & (set(type(part).model_fields) - {"algorithm"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_itr": 3}, "unknown key 'max_itr'; did you mean 'max_iter'"),
        ({"max_iter": "many"}, "max_iter: input should be a valid integer"),
        ({"algorithm": "deep-fool"}, "already names 'projected-gradient-descent'"),
        ({"eps": 0.3}, "unknown key 'eps'"),
    ],
)
def test_wrong_fields_are_one_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        make("pgd", **fields)
    assert "\n" not in str(caught.value)


def test_describe(cli: Callable[..., Called]) -> None:
    shown = cli("describe", "art/deepfool")
    assert (shown.code, shown.err) == (0, "")
    assert "Moosavi-Dezfooli" in shown.out
    rows = {row["field"]: row for row in json.loads(cli("describe", "art/deepfool", "--format", "json").out)}
    assert list(rows) == ["algorithm", "max_iter", "epsilon", "nb_grads"]
    assert rows["max_iter"] | {"meaning": ""} == {
        "field": "max_iter",
        "type": "integer",
        "default": "100",
        "meaning": "",
    }
    assert "did you mean 'deep-fool'" in cli("describe", "art/deepfol").err


# -- nobody notices -----------------------------------------------------------------------------------


def loaded(*arguments: str, home: Path) -> tuple[set[str], int]:
    code = (
        "import sys, io, contextlib\n"
        f"sys.argv = ['classrob', *{list(arguments)!r}]\n"
        "from classrob.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit): main()\n"
        "print(len(out.getvalue().splitlines()), *sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": str(home)},
    )
    lines, *modules = done.stdout.split()
    return set(modules), int(lines)


@pytest.mark.parametrize("command", [("list", "attacks", "art/*"), ("describe", "art/pgd"), ("plugins",)])
def test_naming_and_describing_load_neither_art_nor_torch(command: tuple[str, ...], quiet_home: Path) -> None:
    modules, lines = loaded(*command, home=quiet_home)
    assert not modules & {"art", "torch"}
    assert "classrob_art" in modules
    assert lines > 5
    assert list(quiet_home.iterdir()) == []


UNNOTICED = """
import logging, os, pathlib, random, sys, warnings
import numpy as np, torch
handler = logging.FileHandler(sys.argv[1])
logging.getLogger().addHandler(handler)
from classrob_art import search
from tests_art import arena, make, search as run
where, names = arena(), sys.argv[2:]
attacks = [make(name) for name in ["projected-gradient-descent"]] + [
    make("hop-skip-jump", max_iter=1, max_eval=20, init_eval=5)]
def seen():
    loggers = {n: list(l.handlers) for n, l in logging.root.manager.loggerDict.items() if isinstance(l, logging.Logger)}
    return [list(logging.root.handlers), logging.root.level, loggers.get("tests"), list(warnings.filters), random.getstate(),
        np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), np.random.RandomState, np.geterr(), np.get_printoptions(),
        os.getcwd(), os.environ.get("HOME"), sorted(os.listdir(".")), sys.stdout, sys.stderr, logging.config.dictConfig,
        sys.modules.get("multiprocess")]
before = seen()
for attack in attacks:
    run(attack, where)
after = seen()
assert "art" in sys.modules
print([i for i, (a, b) in enumerate(zip(before, after)) if a != b])
print(handler.stream is not None and not handler.stream.closed)
print([str(p) for p in pathlib.Path(os.environ["HOME"]).rglob("*")])
import art
print(art.config.ART_DATA_PATH.startswith(os.environ["HOME"]), all(p.grad is None for p in where["classifier"].module.parameters()))
"""


def test_home_logging_and_generators_are_left_alone(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "empty"
    home.mkdir()
    folder.mkdir()
    helpers = "\n".join(inspect.getsource(one) for one in (make, arena, search))
    head = "\n".join(
        [
            "from __future__ import annotations",
            "from typing import Any",
            "import torch",
            "from torch import Tensor, nn",
            "from classrob.catalog import Catalog",
            "from classrob.live import Batch, Classifier",
            "from classrob.streams import Streams",
            "from classrob_lp.balls import L2Ball, LinfBall",
        ]
    )
    (tmp_path / "tests_art.py").write_text(head + "\n" + helpers)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", "import logging.config\n" + UNNOTICED, str(tmp_path / "user.log")],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "HOME": str(home), "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[]", "True", "[]", "True True"]
    assert done.stderr == ""


def test_logging_and_generators_after_an_exception() -> None:
    class Fault(Exception):
        pass

    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            np.random.rand()
            random.random()
            torch.rand(1)
            if len(images):
                raise Fault
            return images

    where = arena()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    handlers, folder = list(logging.root.handlers), Path.cwd()
    where["classifier"] = _After(where["classifier"].module, Broken())
    with pytest.raises(Fault):
        search(make("square", max_iter=5), where)
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert (handlers, folder) == (list(logging.root.handlers), Path.cwd())


def _After(module: nn.Module, broken: nn.Module) -> Classifier:  # noqa: N802
    """A classifier that breaks at its second call, which is ART's first."""

    class Twofold(nn.Module):
        calls = 0

        def forward(self, images: Tensor) -> Tensor:
            self.calls += 1
            return module(images) if self.calls == 1 else broken(images)

    return Classifier(Twofold())


def test_without_art_there_is_one_line_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cli: Callable[..., Called]
) -> None:
    monkeypatch.setattr("classrob_art.source.importlib.util.find_spec", lambda name: None)
    remedy = "which is not installed: pip install adversarial-robustness-toolbox"
    for call in (lambda: make("deepfool"), lambda: list(ArtAttack.members())):
        with pytest.raises(StudyError, match=remedy):
            call()
    assert remedy in cli("describe", "art/deepfool").err
    listed = cli("list", "attacks", "art/*")
    assert listed.code == 3
    assert remedy in listed.err


# -- what it finds ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ball", "budget"), [(LinfBall, 0.05), (L2Ball, 0.4)])
def test_pgd_reaches_the_optimum_of_a_linear_model(
    ball: type[LinfBall] | type[L2Ball], budget: float
) -> None:
    """For two classes the best offset is the budget along the steepest direction, cut to the box."""
    where = arena(ball=ball, budget=budget)
    net = where["classifier"].module
    with torch.no_grad():
        net[1].weight[2], net[1].bias[2] = 0.0, -100.0
        where["batch"] = Batch(where["batch"].ids, torch.full((4, 1, 8, 8), 0.5), torch.tensor([0, 1, 0, 1]))
    space: Space = ball(torch.full((4,), budget), where["batch"].images)
    where["space"] = space
    z = space.project(search(make("pgd", max_iter=10), where))
    rise = (net[1].weight[1] - net[1].weight[0]).detach().reshape(1, 1, 8, 8)
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0]).reshape(4, 1, 1, 1)
    best = budget * space.steepest(sign * rise.expand(4, 1, 8, 8))
    torch.testing.assert_close(z, best, atol=1e-3 * budget, rtol=0)


def test_each_sample_has_its_own_budget_and_its_own_bill() -> None:
    where = arena(n=5)
    budgets = torch.tensor([0.01, 0.2, 0.01, 0.2, 0.05])
    where["space"] = where["space"].at(budgets)
    meter = where["classifier"].meter = Meter.of(5)
    z = search(make("pgd", max_iter=4), where)
    assert torch.allclose(z.abs().flatten(1).amax(1), budgets, atol=1e-5)
    assert meter.backwards.tolist() == [4] * 5
    meter = where["classifier"].meter = Meter.of(5)
    search(make("square", max_iter=7), where)
    assert meter.backwards.tolist() == [0] * 5
    assert int(meter.forwards.min()) >= 3
    assert len(set(meter.forwards.tolist())) > 1, "who breaks early pays less"


def test_a_random_start_is_each_samples_own() -> None:
    """Neighbours, order and the generators' earlier state change nothing; the stream does."""
    attack = make("pgd", max_iter=2, num_random_init=1)
    where = arena(n=6)
    whole = search(attack, where)
    torch.manual_seed(5)
    np.random.seed(5)
    rows = torch.tensor([4, 1])
    part = {
        "classifier": where["classifier"],
        **{name: where[name].select(rows) for name in ("space", "batch", "streams")},
    }
    torch.testing.assert_close(search(attack, part), whole[rows], atol=1e-5, rtol=0)
    other = search(attack, {**where, "streams": where["streams"].fork("other")})
    assert not torch.allclose(other, whole, atol=1e-3)


@pytest.mark.parametrize(("fields", "calls"), [({}, 4), ({"num_random_init": 1}, 24)])
def test_what_draws_nothing_is_called_on_whole_batches(fields: dict[str, int], calls: int) -> None:
    where, seen = arena(n=6), []
    where["classifier"].module.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    search(make("pgd", max_iter=2, **fields), where)
    assert len(seen) in range(calls - 1, calls + 3), seen


def test_a_norm_and_a_value_that_the_attack_has_not_are_refused() -> None:
    with pytest.raises(
        StudyError, match="art/basic-iterative-method' searches balls of the norm ∞, not L2Ball"
    ):
        search(make("bim", max_iter=2), arena(ball=L2Ball))
    with pytest.raises(StudyError, match="art/deep-fool': ValueError: The number of iterations must be"):
        search(make("deepfool", max_iter=0), arena())


def test_a_package_that_an_attack_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cma", None)
    with pytest.raises(StudyError, match="'art/threshold-attack' needs a package: pip install cma"):
        search(make("threshold-attack", es=0, max_iter=1, th=3), arena(n=1))


def test_a_study_with_two_attacks_of_art(study: Path, cli: Callable[..., Called]) -> None:
    text = study.read_text().partition("[[threat]]")[0]
    text += """
[[threat]]
use = "linf"
budgets = [0.05, 0.2]
attack = { use = "art/pgd", max_iter = 5 }

[[threat]]
use = "l2"
budgets = [0.9]
attack = { use = "art/deepfool", max_iter = 20 }
"""
    study.write_text(text)
    out = study.parent / "out"
    done = cli("run", study, "--out", out)
    assert done.code == 0, done.err
    rows = json.loads(cli("show", out, "--format", "json").out)
    overall = {
        (row["threat"], row["budget"]): row["value"]
        for row in rows
        if row["metric"] == "accuracy" and row["label"] is None
    }
    assert overall["linf", 0.2] < overall["linf", 0.05] < overall["none", None]
    assert overall["l2", 0.9] < overall["none", None]
    assert {row["attack"] for row in rows} >= {"art/pgd", "art/deepfool"}
