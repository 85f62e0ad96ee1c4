"""The model family `timm/…`: names, normalisation, input size, weights, and what is missing on a machine."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from classrob.component import Component
from classrob.errors import StudyError
from classrob.images import Fit
from classrob_timm import classrob_models
from classrob_timm.model import TimmModel


@pytest.fixture(scope="module")
def timm() -> ModuleType:
    """timm, or a skip: beside a CPU-only torch its dependency torchvision is often absent or does not import."""
    try:
        import timm.data
    except (ImportError, RuntimeError, OSError) as error:
        pytest.skip(f"needs timm and a torchvision that suits torch ({type(error).__name__})")
    return timm


def refusal(**fields: Any) -> str:
    with pytest.raises(StudyError) as caught:
        TimmModel(**fields).load("cpu")
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_it_is_a_family() -> None:
    (component,) = classrob_models()
    assert isinstance(component, Component)
    assert (component.name, component.field) == ("*", "architecture")


@pytest.mark.parametrize("missing", ["timm.data", "torchvision"])
def test_a_machine_without_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("timm", "torchvision")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)  # importing it raises now
    for call in (lambda: TimmModel(architecture="resnet18").load("cpu"), lambda: list(TimmModel.members())):
        with pytest.raises(StudyError, match="install torch and torchvision from the same index, then timm"):
            call()


def test_a_torchvision_of_another_torch_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> ModuleType:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("classrob_timm.model.importlib.import_module", broken)
    assert "operator torchvision::nms does not exist): install torch and torchvision" in refusal(
        architecture="resnet18"
    )


def test_a_tag_without_its_weights_is_refused() -> None:
    with pytest.raises(ValidationError, match="names weights, but nothing loads them"):
        TimmModel(architecture="resnet18.a1_in1k")
    with pytest.raises(ValidationError, match="two sources of weights"):
        TimmModel(architecture="resnet18", pretrained=True, checkpoint=Path(__file__))


def test_members_hold_architectures_and_tags(timm: ModuleType) -> None:
    members = set(TimmModel.members())
    assert {"resnet18", "resnet18.a1_in1k", "vit_tiny_patch16_224"} <= members
    assert len(members) > 1000


def test_fit_and_normalisation_are_the_architectures_own(timm: ModuleType) -> None:
    classifier = TimmModel(architecture="vit_tiny_patch16_224", num_classes=7).load("cpu")
    assert classifier.fit == Fit(size=(224, 224), channels=3, crop=0.9, interpolation="bicubic")
    x = torch.rand(2, 3, 224, 224)
    with classifier.frozen(), torch.no_grad():
        inner = classifier.module.get_submodule("module")
        torch.testing.assert_close(classifier.module(x), inner((x - 0.5) / 0.5))
        assert classifier.module(x).shape == (2, 7)
    resnet = TimmModel(architecture="resnet18", num_classes=3).load("cpu").module.state_dict()
    torch.testing.assert_close(resnet["mean"].flatten(), torch.tensor([0.485, 0.456, 0.406]))


def test_weights_come_from_a_checkpoint_and_else_from_seed_0(timm: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = TimmModel(architecture="resnet10t", num_classes=3).load("cpu").module.get_submodule("module")
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(4)
    second = TimmModel(architecture="resnet10t", num_classes=3).load("cpu").module.get_submodule("module")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    state = {name: torch.rand_like(value.float()) for name, value in first.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    loaded = TimmModel(architecture="resnet10t", num_classes=3, checkpoint=tmp_path / "w.safetensors").load(
        "cpu"
    )
    assert torch.equal(loaded.module.state_dict()["module.fc.weight"], state["fc.weight"])
    text = refusal(architecture="resnet10t", checkpoint=tmp_path / "w.safetensors")
    assert "do not fit timm's 'resnet10t': size mismatch for fc" in text


def test_unknown_names_are_one_line_with_the_nearest(timm: ModuleType) -> None:
    assert "no architecture 'resnt18'; did you mean 'resnet18'?" in refusal(architecture="resnt18")
    text = refusal(architecture="resnet18.a9_in1k", pretrained=True)
    assert "no weights 'resnet18.a9_in1k'; did you mean 'resnet18.a" in text


def test_weights_that_cannot_be_fetched_are_one_line(
    timm: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert "cannot be fetched: use the network once, or give a file as `checkpoint`" in refusal(
        architecture="resnet18", pretrained=True
    )
