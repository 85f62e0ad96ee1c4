"""The models of other people, which mask nothing, set off no sign."""

from __future__ import annotations

from pathlib import Path

import pytest

from classrob.audit.growth import growth
from classrob.audit.setting import Setting
from classrob.audit.stored import Audit
from classrob.audit.subject import Subject
from classrob.catalog import Catalog
from classrob.plan import Plan
from classrob.study import make_study
from classrob.worker import Worker

from .honest import CIFAR, MNIST, audited, images, models


def fired(made: Audit) -> list[tuple[str, str, str]]:
    """What fired; every sign was looked for."""
    unchecked = {f.sign for f in made.findings if f.state == "not checked"}
    several = len({f.model for f in made.findings}) > 1
    assert unchecked <= (set() if several else {"transfer-beats-gradients"})  # it needs another model
    return [(f.model, f.sign, f.text) for f in made.fired]


def test_nothing_fires_on_mnist(shared: Path, tmp_path: Path) -> None:
    """Few images: a robust one takes eight hundred passes. tests/benchmarks/honest.py takes more of them."""
    made = audited(tmp_path, models(shared, list(MNIST)), images(shared, "mnist", 60), [0.1], 6)
    assert fired(made) == []


def test_nothing_fires_on_cifar(shared: Path, tmp_path: Path) -> None:
    """The deep ones take a tenth of a second an image and gradient: tests/benchmarks/honest.py has them."""
    pytest.importorskip("onnx")
    entries, data = models(shared, ["resnet-2b"]), images(shared, "cifar10", 60)
    assert fired(audited(tmp_path, entries, data, ["2/255"], 20)) == []


def test_nothing_fires_on_the_built_in_models(tmp_path: Path) -> None:
    entries = [{"use": "digits/standard"}, {"use": "digits/adversarial"}]
    assert fired(audited(tmp_path, entries, {"use": "digits"}, [0.1], 50)) == []


@pytest.mark.parametrize(("source", "names", "budget"), [("mnist", MNIST, 0.1), ("cifar10", CIFAR, "2/255")])
def test_no_honest_model_stands_at_a_budget_that_holds_other_images(
    shared: Path, source: str, names: dict[str, object], budget: float | str
) -> None:
    """The sign that plain PGD sets off on int2adv, on more images of every model than a whole audit can take here."""
    if source == "cifar10":
        pytest.importorskip("onnx")
    study = make_study(
        {
            "name": "growth",
            "model": models(shared, list(names)),
            "dataset": [images(shared, source, 100)],
            "threat": [{"use": "linf", "budgets": [budget], "attack": "pgd"}],
        }
    )
    catalog = Catalog.installed()
    plan = Plan.of(study, catalog, shared)
    worker = Worker(plan.study, shared)
    for condition in plan.conditions:
        if condition.clean:
            continue
        subject = Subject.of(worker, condition, 30)
        with subject.at_work():
            setting = Setting(subject, condition.threat, catalog, condition.threat.part.budgets)
            (found,) = growth(setting)
        assert len(found.hits) >= 15, condition.title
        assert not found.hits.any(), condition.title
