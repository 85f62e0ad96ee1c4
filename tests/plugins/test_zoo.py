"""The models of the digits and the small CNN: accuracy, robustness, and the cache of weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from classrob.errors import StudyError
from classrob.identity import identity
from classrob.images import Fit
from classrob.live import Classifier
from classrob.parts import Model
from classrob.training.course import Course, Trained
from classrob_base.arrays import Arrays
from classrob_base.digits import Digits
from classrob_zoo.digits.models import AdversarialDigits, StandardDigits
from classrob_zoo.model import CNN
from classrob_zoo.nets import SmallCNN
from classrob_zoo.standard import StandardTraining


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(cache / name))


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    samples = Digits().open()
    batch, _ = samples.read(range(len(samples)), Fit())
    assert batch is not None
    return batch.images, batch.labels


def small(path: Path, shape: tuple[int, ...] = (40, 6, 6), classes: int = 2) -> Arrays:
    """Noise, brighter for a higher class."""
    labels = np.arange(shape[0]) % classes
    images = np.random.default_rng(0).random(shape, dtype=np.float32) * 0.3
    images += (labels / classes * 0.7).reshape(-1, *[1] * (len(shape) - 1)).astype(np.float32)
    np.savez(path / "small.npz", x=images, y=labels)
    return Arrays(path=path / "small.npz")


def robust(classifier: Classifier, images: Tensor, labels: Tensor, budget: float) -> float:
    """The share of images that 20 steps of PGD leave right."""
    with classifier.frozen():
        right = classifier(images).argmax(1) == labels
        z = images.clone()
        for _ in range(20):
            z.requires_grad_(True)
            loss = torch.nn.functional.cross_entropy(classifier(z), labels, reduction="sum")
            (slope,) = torch.autograd.grad(loss, z)
            z = (z.detach() + budget / 5 * slope.sign()).clamp(images - budget, images + budget).clamp(0, 1)
            right &= classifier(z).argmax(1) == labels
    return float(right.float().mean())


def test_the_two_models_of_the_digits(digits: tuple[Tensor, Tensor], cache: Path) -> None:
    images, labels = digits
    accuracy: dict[str, float] = {}
    stood: dict[str, list[float]] = {}
    for model in (StandardDigits(), AdversarialDigits()):
        classifier = model.load("cpu")
        assert classifier.fit == Fit(size=(8, 8), channels=1)
        name = type(model).__name__
        with torch.no_grad():
            accuracy[name] = float((classifier(images).argmax(1) == labels).float().mean())
        stood[name] = [robust(classifier, images, labels, budget) for budget in (0.1, 0.2)]
    assert accuracy["StandardDigits"] >= 0.97
    assert accuracy["AdversarialDigits"] >= 0.93
    assert stood["AdversarialDigits"][0] > stood["StandardDigits"][0] + 0.2
    assert stood["AdversarialDigits"][1] > stood["StandardDigits"][1] + 0.3
    assert len(list((cache / "classrob").iterdir())) == 2


def test_kept_weights_are_used_and_a_damaged_file_is_made_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any damage is found: a file cut short, and a single byte changed in the middle of the weights."""
    trainings: list[int] = []

    def train(self: StandardTraining, model: Model, dataset: Digits, course: Course) -> Trained:
        trainings.append(1)
        torch.manual_seed(0)
        module = SmallCNN.of_shape((1, 8, 8), 10).eval()
        return Trained(model, Classifier(module, fit=Fit(size=(8, 8), channels=1)))

    monkeypatch.setattr(StandardTraining, "train", train)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(cache / "other" / name))
    x = torch.rand(8, 1, 8, 8)
    first = StandardDigits().load("cpu")(x)
    assert torch.equal(StandardDigits().load("cpu")(x), first)
    assert len(trainings) == 1
    assert capsys.readouterr().err == ""
    (path,) = (cache / "other" / "classrob").iterdir()
    whole = path.read_bytes()
    for damage in (whole[:-5], whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:], b"", b"x" * 500):
        path.write_bytes(damage)
        assert torch.equal(StandardDigits().load("cpu")(x), first)
        assert StandardDigits().load("cpu").module.state_dict().keys() == load_file(path).keys()
        assert "is damaged" in capsys.readouterr().err
    assert len(trainings) == 5


def test_a_folder_that_cannot_be_written_costs_a_note_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "file" / name))
    fresh = Classifier(SmallCNN.of_shape((1, 8, 8), 10), fit=Fit(size=(8, 8), channels=1))
    monkeypatch.setattr(StandardTraining, "train", lambda self, model, dataset, course: Trained(model, fresh))
    assert StandardDigits().load("cpu").module is fresh.module
    assert "cannot be kept" in capsys.readouterr().err


def test_ingredients_change_with_torch_and_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity(StandardDigits())
    assert identity(StandardDigits()) == before
    assert StandardDigits().ingredients() != AdversarialDigits().ingredients()
    assert set(StandardTraining().ingredients()) == {"torch"}
    monkeypatch.setattr("classrob.training.gradient.version", lambda name: "9.9")
    assert identity(StandardDigits()) != before


@pytest.mark.parametrize(
    ("shape", "classes"), [((24, 6, 6), 2), ((24, 13, 7, 3), 4), ((24, 3, 3), 3), ((24, 28, 28, 1), 2)]
)
def test_any_small_images_train_and_come_back_from_a_file(
    tmp_path: Path, shape: tuple[int, ...], classes: int
) -> None:
    recipe = StandardTraining(epochs=1, batch=7)
    classifier = recipe.train(CNN(), small(tmp_path, shape, classes), Course()).classifier
    save_file(classifier.module.state_dict(), tmp_path / "cnn.safetensors")
    again = CNN(weights=tmp_path / "cnn.safetensors").load("cpu")
    x = torch.rand(8, classifier.fit.channels or 1, *shape[1:3])
    assert torch.equal(classifier(x), again(x))
    assert classifier(x).shape == (8, classes)
    assert again.fit == Fit(channels=classifier.fit.channels)


def test_training_honours_the_limit(tmp_path: Path) -> None:
    whole, cut = small(tmp_path), small(tmp_path).model_copy(update={"limit": 10})
    recipe = StandardTraining(epochs=1, batch=10)
    done = [recipe.train(CNN(), data, Course()) for data in (whole, cut)]
    assert [one.learned for one in done] == [40, 10]
    weights = [one.classifier.module.state_dict()["head.bias"] for one in done]
    assert not torch.equal(*weights)


def test_what_cannot_be_trained_on_or_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", x=np.full((4, 5, 5), 7.0), y=[0, 1, 0, 1])
    with pytest.raises(StudyError, match="training needs every image, but '0' cannot be read: values from 7"):
        StandardTraining(epochs=1).train(CNN(), Arrays(path=tmp_path / "bad.npz"), Course())
    save_file({"a": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(StudyError, match="does not hold a small CNN"):
        CNN(weights=tmp_path / "other.safetensors").load("cpu")
    assert "a" in load_file(tmp_path / "other.safetensors")
