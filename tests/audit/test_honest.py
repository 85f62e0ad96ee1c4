"""The models of other people, which mask nothing, set off no sign."""

from __future__ import annotations

from pathlib import Path

import pytest

from classrob.audit.stored import Audit

from .honest import CIFAR, MNIST, audited, images, models


def fired(made: Audit) -> list[tuple[str, str, str]]:
    """What fired; every sign was looked for."""
    unchecked = {f.sign for f in made.findings if f.state == "not checked"}
    several = len({f.model for f in made.findings}) > 1
    assert unchecked <= (set() if several else {"transfer-beats-gradients"})  # it needs another model
    return [(f.model, f.sign, f.text) for f in made.fired]


def test_nothing_fires_on_mnist(shared: Path, tmp_path: Path) -> None:
    made = audited(tmp_path, models(shared, list(MNIST)), images(shared, "mnist", 100), [0.1], 20)
    assert fired(made) == []


@pytest.mark.parametrize(("names", "budget", "n"), [(["resnet-2b"], "2/255", 20), (list(CIFAR), "4/255", 8)])
def test_nothing_fires_on_cifar(shared: Path, tmp_path: Path, names: list[str], budget: str, n: int) -> None:
    """The deep ones take a tenth of a second an image and gradient, so few images have to do here."""
    pytest.importorskip("onnx")
    assert fired(audited(tmp_path, models(shared, names), images(shared, "cifar10", 60), [budget], n)) == []


def test_nothing_fires_on_the_built_in_models(tmp_path: Path) -> None:
    entries = [{"use": "digits/standard"}, {"use": "digits/adversarial"}]
    assert fired(audited(tmp_path, entries, {"use": "digits"}, [0.1], 50)) == []
