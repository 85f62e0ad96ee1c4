"""The model `torch`: weights of any make into a factory's module, and one line for whatever does not fit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from classrob.errors import StudyError
from classrob.images import Fit
from classrob.live import Classifier
from classrob_base.parquet import Parquet
from classrob_base.torch_model import TorchModel

FACTORY = """
import torch
from torch import nn
from beside import WIDTH

NUMBER = 3

def net(classes=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(WIDTH, classes), nn.BatchNorm1d(classes)).train()

def fails():
    raise RuntimeError("no such\\nlayer")

def tensor():
    return torch.zeros(3)

class Own(nn.Linear):
    def __init__(self):
        super().__init__(9, 2)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(FACTORY)
    (tmp_path / "beside.py").write_text("WIDTH = 9\n")
    return tmp_path


def state(classes: int = 4) -> dict[str, Tensor]:
    torch.manual_seed(5)
    module = nn.Sequential(nn.Flatten(), nn.Linear(9, classes), nn.BatchNorm1d(classes))
    return {name: torch.rand_like(value.float()) + 0.1 for name, value in module.state_dict().items()}


def make(folder: Path, **fields: Any) -> TorchModel:
    return TorchModel.model_validate({"factory": "nets.py:net", **fields}, context={"base": folder})


def refusal(model: TorchModel) -> str:
    with pytest.raises(StudyError) as caught:
        model.load("cpu")
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_every_usual_checkpoint_gives_the_same_model(folder: Path) -> None:
    weights = state()
    save_file(weights, folder / "a.safetensors")
    torch.save(weights, folder / "a.pt")
    torch.save(weights, folder / "old.pt", _use_new_zipfile_serialization=False)
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in weights.items()}}, folder / "parallel.pt"
    )
    torch.save({"model": {f"_orig_mod.module.{k}": v for k, v in weights.items()}}, folder / "compiled.pt")
    torch.save({"state_dict": {"model": weights}}, folder / "nested.pt")
    torch.save({k: v for k, v in weights.items() if "num_batches" not in k}, folder / "ancient.pt")
    x = torch.rand(5, 1, 3, 3)
    expected = None
    for name in ("a.safetensors", "a.pt", "old.pt", "parallel.pt", "compiled.pt", "nested.pt", "ancient.pt"):
        module = make(folder, weights=name).load("cpu").module.eval()
        got = module(x)
        expected = got if expected is None else expected
        assert torch.equal(got, expected), name
        assert torch.equal(module.state_dict()["1.weight"], weights["1.weight"])


def test_a_prefix_that_is_the_modules_own_stays(folder: Path) -> None:
    (folder / "wrapped.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.module = nn.Linear(2, 2)\n"
    )
    weight = torch.rand(2, 2)
    save_file({"module.weight": weight, "module.bias": torch.rand(2)}, folder / "w.safetensors")
    module = make(folder, factory="wrapped.py:Net", weights="w.safetensors").load("cpu").module
    assert torch.equal(module.state_dict()["module.weight"], weight)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("new", [True, False])
def test_a_checkpoint_that_wants_to_run_code_is_refused_and_runs_none(folder: Path, new: bool) -> None:
    torch.save(
        {**state(), "x": Bomb(folder / "boom")}, folder / "bomb.pt", _use_new_zipfile_serialization=new
    )
    text = refusal(make(folder, weights="bomb.pt"))
    assert "wants to run code" in text
    assert ".safetensors" in text
    assert not (folder / "boom").exists()


def test_a_whole_pickled_module_is_refused(folder: Path) -> None:
    torch.save(nn.Linear(2, 2), folder / "whole.pt")
    assert "wants to run code (torch.nn.modules.linear.Linear)" in refusal(make(folder, weights="whole.pt"))


@settings(max_examples=30, deadline=None)
@given(data=st.binary(max_size=300), suffix=st.sampled_from([".pt", ".safetensors"]))
def test_garbage_is_one_line(tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str) -> None:
    folder = tmp_path_factory.mktemp("garbage")
    (folder / "nets.py").write_text("from torch import nn\ndef net():\n    return nn.Linear(1, 1)\n")
    (folder / f"w{suffix}").write_bytes(data)
    refusal(make(folder, weights=f"w{suffix}"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("1.weight"), ["lack '1.weight'"]),
        (
            lambda s: s.update(a=torch.ones(1), b=torch.ones(1), c=torch.ones(1)),
            ["also hold 'a', 'b' and 1 more"],
        ),
        (
            lambda s: s.update({"1.weight": torch.ones(4, 8)}),
            ["size mismatch for 1.weight", "[4, 8]", "[4, 9]"],
        ),
        (lambda s: (s.pop("1.bias"), s.update(z=torch.ones(1))), ["lack '1.bias', and also hold 'z'"]),
    ],
)
def test_weights_that_do_not_fit_name_the_first_ones(folder: Path, change: Any, words: list[str]) -> None:
    weights = state()
    change(weights)
    save_file(weights, folder / "w.safetensors")
    text = refusal(make(folder, weights="w.safetensors"))
    for word in ["w.safetensors do not fit", "nets.py:net", *words]:
        assert word in text


def test_what_is_no_state_dict(folder: Path) -> None:
    torch.save(torch.ones(3), folder / "tensor.pt")
    assert "holds a Tensor, not a state_dict" in refusal(make(folder, weights="tensor.pt"))
    torch.save({"epoch": 3}, folder / "epoch.pt")
    assert "holds 'epoch', a int, not a state_dict" in refusal(make(folder, weights="epoch.pt"))
    torch.save({}, folder / "empty.pt")
    assert "holds nothing, not a state_dict" in refusal(make(folder, weights="empty.pt"))


def test_factories_that_fail(folder: Path) -> None:
    assert "nets.py:fails' raised RuntimeError: no such layer" in refusal(
        make(folder, factory="nets.py:fails")
    )
    assert "must return a torch.nn.Module, not a Tensor" in refusal(make(folder, factory="nets.py:tensor"))
    assert "raised TypeError: 'int' object is not callable" in refusal(make(folder, factory="nets.py:NUMBER"))
    assert "has no 'nett'; did you mean 'net'?" in refusal(make(folder, factory="nets.py:nett"))
    assert "unexpected keyword argument 'depth'" in refusal(make(folder, arguments={"depth": 3}))


def test_arguments_mode_and_classes(folder: Path) -> None:
    module = make(folder, arguments={"classes": 7}).load("cpu").module
    assert module.training
    assert module(torch.rand(2, 9)).shape == (2, 7)
    assert make(folder, factory="nets.py:Own").load("cpu").module(torch.rand(2, 9)).shape == (2, 2)


def test_fresh_weights_are_the_same_every_time_and_leave_the_generator_alone(folder: Path) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = make(folder).load("cpu").module.state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(12)
    second = make(folder).load("cpu").module.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_normalisation_is_inside_and_size_and_channels_outside(folder: Path) -> None:
    plain = make(folder, factory="nets.py:Own").load("cpu")
    module = make(folder, factory="nets.py:Own", mean=0.25, std=[0.5], size=28).load("cpu")
    x = torch.rand(4, 1, 2, 9)
    assert torch.equal(module.module(x), plain.module((x - 0.25) / 0.5))
    assert plain.fit == Fit()
    assert module.fit == Fit(size=(28, 28))
    assert make(folder, mean=[0.1, 0.2, 0.3], std=0.5, size=[3, 5]).load("cpu").fit == Fit(
        size=(3, 5), channels=3
    )
    assert {"mean", "std"} <= set(module.module.state_dict())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mean": 0.5}, "go together"),
        ({"mean": [0.1, 0.2, 0.3], "std": [1.0, 1.0]}, "`mean` has 3 numbers, `std` 2"),
        ({"mean": 0.5, "std": 0.0}, "greater than 0"),
        ({"mean": [], "std": []}, "at least 1 item"),
        ({"size": 0}, "greater than 0"),
        ({"size": [1, 2, 3]}, "at most 2 items"),
        ({"channels": 2}, "1 or 3"),
        ({"weights": "absent.pt"}, "no such file"),
        ({"factory": "absent.py:net"}, "no such file"),
        ({"factory": "nets.py"}, "must read 'file.py:name'"),
    ],
)
def test_fields_are_checked(folder: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(folder, **fields)


# -- the real models ------------------------------------------------------------------------------------

NETS = Path(__file__).parents[1] / "nets.py"


@pytest.fixture(scope="session")
def mnist(shared: Path) -> tuple[Tensor, Tensor]:
    samples = Parquet(path=shared / "data/mnist/test.parquet").open()
    batch, broken = samples.read(range(len(samples)), Fit())
    assert not broken
    assert batch is not None
    return batch.images, batch.labels


def predicted(classifier: Classifier, images: Tensor) -> Tensor:
    with classifier.frozen(), torch.no_grad():
        return torch.cat([classifier(part).argmax(1) for part in images.split(1000)])


@pytest.mark.parametrize(
    ("name", "errors", "positives", "negatives"),
    [
        ("oneepoch", 177, [14, 9, 27, 9, 7, 14, 9, 15, 44, 29], [7, 10, 18, 26, 17, 14, 20, 30, 13, 22]),
        ("plain", 79, [8, 4, 19, 7, 3, 7, 4, 7, 10, 10], [5, 3, 1, 6, 7, 7, 15, 13, 7, 15]),
        ("robust", 91, [13, 3, 7, 11, 4, 11, 7, 10, 9, 16], [4, 3, 4, 3, 13, 15, 16, 10, 11, 12]),
    ],
)
def test_errors_of_the_latent_papers_classifiers(
    shared: Path,
    mnist: tuple[Tensor, Tensor],
    name: str,
    errors: int,
    positives: list[int],
    negatives: list[int],
) -> None:
    images, labels = mnist
    weights = shared / f"models/mnist-latent-arch0-{name}.safetensors"
    guess = predicted(TorchModel(factory=f"{NETS}:mnist_latent_arch0", weights=weights).load("cpu"), images)
    wrong = guess != labels
    assert int(wrong.sum()) == errors
    assert torch.bincount(guess[wrong], minlength=10).tolist() == positives
    assert torch.bincount(labels[wrong], minlength=10).tolist() == negatives


@pytest.mark.parametrize(
    ("factory", "weights", "errors"),
    [
        ("mnist_cnn", "mnist-convex-eps0.1.pth", 180),
        ("mnist_interp_small", "mnist-interp-small-normal.safetensors", 159),
        ("mnist_interp_small", "mnist-interp-small-adv.safetensors", 340),
        ("mnist_interp_small", "mnist-interp-small-int.safetensors", 669),
        ("mnist_interp_small", "mnist-interp-small-int2adv.safetensors", 746),
    ],
)
def test_errors_of_the_other_mnist_classifiers(
    shared: Path, mnist: tuple[Tensor, Tensor], factory: str, weights: str, errors: int
) -> None:
    images, labels = mnist
    classifier = TorchModel(factory=f"{NETS}:{factory}", weights=shared / "models" / weights).load("cpu")
    assert int((predicted(classifier, images) != labels).sum()) == errors
