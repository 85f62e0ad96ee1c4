"""Captum's methods as explainers: the same maps as ours where both compute them, and one clear line without Captum."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import nn

from classrob import Classifier
from classrob.catalog import Catalog
from classrob.errors import NotExplainable, StudyError
from classrob_explain.gradients import InputGradient, IntegratedGradients

IMAGES, LABELS = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1])


def network() -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Classifier(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval())


def made(name: str, **fields: Any) -> Any:
    pytest.importorskip("captum.attr", exc_type=ImportError)
    return Catalog.installed().make("explainer", f"captum/{name}", fields)


def test_saliency_is_the_slope_and_integrated_gradients_are_ours() -> None:
    one = made("saliency", arguments={"abs": False}).explain(network(), IMAGES, LABELS)
    torch.testing.assert_close(one, InputGradient().explain(network(), IMAGES, LABELS))
    arguments = {"n_steps": 20, "method": "riemann_right"}
    one = made("integrated-gradients", arguments=arguments).explain(network(), IMAGES, LABELS)
    torch.testing.assert_close(one, IntegratedGradients(steps=20).explain(network(), IMAGES, LABELS))


@pytest.mark.parametrize("name", ["deep-lift", "guided-backprop", "occlusion", "lime"])
def test_methods_that_need_hooks_windows_or_draws_repeat_themselves(name: str) -> None:
    if name == "lime":
        pytest.importorskip("sklearn")
    classifier, part = network(), made(name)
    one = part.explain(classifier, IMAGES, LABELS)
    assert one.shape == IMAGES.shape
    torch.testing.assert_close(part.explain(classifier, IMAGES.flip(0), LABELS.flip(0)).flip(0), one)
    assert not any(module._forward_hooks or module._backward_hooks for module in classifier.module.modules())


def test_a_method_that_does_not_suit_the_model_says_so_in_captums_words() -> None:
    class Twice(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.rfft(x.flatten(1)).abs()[:, :3]

    with pytest.raises(NotExplainable, match="Captum's Saliency"):
        made("saliency", arguments={"no_such_argument": 1}).explain(Classifier(Twice()), IMAGES, LABELS)


def test_a_method_that_is_not_there_is_named_with_the_nearest() -> None:
    made("saliency")
    with pytest.raises(
        StudyError, match="Captum has no method 'salience' that suits; did you mean 'saliency'"
    ):
        made("salience")


def test_without_captum_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(StudyError, match=r"install classrob\[captum\]") as raised:
        Catalog.installed().make("explainer", "captum/saliency", {})
    assert len(str(raised.value).splitlines()) == 1
    assert [offer.name for offer in Catalog.installed().list("explainer", "cam")] == ["explain/cam"]
