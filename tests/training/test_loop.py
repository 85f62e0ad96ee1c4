"""The loop of training: equal weights for equal fields, stopped or not; what it refuses; what it leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self, final

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from classrob import Classifier, Course, Fit, GradientRecipe, Mark, Model, Step, Trained
from classrob.errors import ClassrobError, StoreError, StudyError
from classrob.testing.pupil import Halves, Pupil
from classrob.testing.tiny import Quarters
from classrob.training.checkpoint import NAME, Checkpoint, Progress
from classrob.training.optimising import augmented, optimizer_of, rate_of
from classrob.training.shelf import Shelf, parted
from classrob_base.arrays import Arrays


@final
class Plain(GradientRecipe):
    """Cross-entropy, a number that is remembered, and one that is drawn."""

    epochs: int = 3
    batch: int = 50

    def loss(self, step: Step) -> Tensor:
        step.memory["steps"] = step.memory.get("steps", 0.0) + 1.0
        noise = 0.05 * torch.rand(step.images.shape, generator=step.draws)
        return cross_entropy(step.module(step.images + noise), step.labels)


@final
class Fallen(GradientRecipe):
    """A loss that is no number."""

    def loss(self, step: Step) -> Tensor:
        return step.module(step.images).sum() * float("nan")


@final
class Restless(Model):
    """A network with all that has a state: batch statistics and dropout."""

    size: int = 6
    weights_in: ClassVar[str | None] = "size"

    def suited(self, shape: tuple[int, int, int], classes: int, seed: int) -> Self:
        return self

    def load(self, device: str) -> Classifier:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            module = nn.Sequential(
                nn.Conv2d(1, self.size, 3),
                nn.BatchNorm2d(self.size),
                nn.ReLU(),
                nn.Dropout(0.3),
                nn.Flatten(),
                nn.Linear(self.size * 36, 4),
            )
        return Classifier(module, fit=Fit((8, 8), 1))


class Killed(Exception):
    """What stands for a kill in this file."""


def state(trained: Trained) -> dict[str, Tensor]:
    return {name: one.detach().clone() for name, one in trained.classifier.module.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


RECIPES = [
    Plain(),
    Plain(optimizer="sgd", schedule="drops", drops=(1, 2.5), augment=("flip", "crop")),
    Plain(optimizer="sgd", momentum=0.0, schedule="one-cycle"),
    Plain(schedule="cosine", weight_decay=0.1, seed=5),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda one: f"{one.optimizer}-{one.schedule}")
@pytest.mark.parametrize("after", [1, 6, 8])
def test_killed_after_any_step_it_ends_as_if_it_had_not_been(
    recipe: Plain, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three steps an epoch, a checkpoint after each; the kill comes between a checkpoint and the next step."""
    whole = recipe.train(Restless(), Quarters(), Course(held_out=0.1))
    saved: list[int] = []
    save = Checkpoint.save

    def dies(self: Checkpoint, *rest: Any) -> None:
        save(self, *rest)
        saved.append(1)
        if len(saved) == after:
            raise Killed

    monkeypatch.setattr(Checkpoint, "save", dies)
    course = Course(held_out=0.1, folder=tmp_path, interval=-1.0)
    with pytest.raises(Killed):
        recipe.train(Restless(), Quarters(), course)
    marks: list[Mark] = []
    monkeypatch.setattr(Checkpoint, "save", save)
    again = recipe.train(Restless(), Quarters(), Course(held_out=0.1, folder=tmp_path, marked=marks.append))
    assert equal(state(whole), state(again))
    assert [dict(m.values) for m in whole.history] == [dict(m.values) for m in again.history]
    assert len(marks) == recipe.epochs - after // 3
    assert whole.history[-1].values["steps"] == 9.0
    done = recipe.train(Restless(), Quarters(), course)  # finished: nothing is left to do
    assert equal(state(whole), state(done))


def test_equal_fields_give_equal_weights_and_leave_the_caller_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.manual_seed(1)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(2)
    first = Plain().train(Restless(), Quarters(), Course())
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    torch.manual_seed(2)
    with torch.no_grad():
        second = Plain().train(Restless(), Quarters(), Course())
    assert equal(state(first), state(second))
    assert not first.classifier.module.training
    assert not equal(state(first), state(Plain(seed=1).train(Restless(), Quarters(), Course())))
    assert capsys.readouterr() == ("", "")  # no terminal, no bar


def test_a_checkpoint_of_another_training_and_a_damaged_one_are_one_line(tmp_path: Path) -> None:
    course = Course(folder=tmp_path)
    Plain().train(Pupil(), Quarters(), course)
    others: list[tuple[GradientRecipe, Model, Any, Course]] = [
        (Plain(lr=0.1), Pupil(), Quarters(), course),
        (Plain(), Pupil(rectifier="softplus"), Quarters(), course),
        (Plain(), Pupil(), Quarters(limit=100), course),
        (Plain(), Pupil(), Quarters(), Course(folder=tmp_path, held_out=0.2)),
    ]
    for recipe, model, data, other in others:
        with pytest.raises(StoreError, match=r"is of another training .* start anew with --fresh"):
            recipe.train(model, data, other)
    whole = (tmp_path / NAME).read_bytes()
    for damage in (b"", whole[:100], b"x" * 400):
        (tmp_path / NAME).write_bytes(damage)
        with pytest.raises(StoreError, match="is damaged") as caught:
            Plain().train(Pupil(), Quarters(), course)
        assert "\n" not in str(caught.value)


def test_a_checkpoint_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    course = Course(folder=tmp_path)
    Plain().train(Pupil(), Quarters(), course)
    before = (tmp_path / NAME).read_bytes()

    def full(*rest: object) -> None:
        Path(str(rest[1])).write_bytes(b"half of it")
        raise OSError("no space left")

    monkeypatch.setattr("classrob.training.checkpoint.save_file", full)
    with pytest.raises(StoreError, match="cannot be written: OSError: no space left"):
        Checkpoint(tmp_path, "key").save(Progress(), {})
    assert (tmp_path / NAME).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.integers(0, 9) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(max_size=3), values, max_size=3), st.floats(allow_nan=False))
def test_what_a_checkpoint_holds_comes_back(
    tmp_path_factory: pytest.TempPathFactory, plain: Any, number: float
) -> None:
    folder = tmp_path_factory.mktemp("checkpoint")
    tensor = torch.arange(3, dtype=torch.float64) / 7
    progress = Progress(
        2, 1, number, 3.5, torch.tensor([2, 0, 1]), {"psi": number}, [Mark(1, 0.5, {"loss": number})]
    )
    Checkpoint(folder, "k").save(
        progress, {"a": {**plain, "weight!": tensor}, "b": {"0": {"x": tensor.float()}}}
    )
    found = Checkpoint(folder, "k").load()
    assert found is not None
    again, states = found
    assert torch.equal(states["a"].pop("weight!"), tensor)
    assert torch.equal(states["b"]["0"]["x"], tensor.float())
    assert states["a"] == plain
    assert torch.equal(again.order, progress.order)
    assert (again.total, again.memory, again.history) == (progress.total, progress.memory, progress.history)


def refusal(recipe: GradientRecipe, model: Model, data: Any, course: Course | None = None) -> str:
    with pytest.raises(ClassrobError) as caught:
        recipe.train(model, data, course or Course())
    text = str(caught.value)
    assert "\n" not in text
    return text


@final
class Fixed(Model):
    """A given network."""

    outputs: int = 4
    side: int | None = None
    frozen: bool = False
    weights_in: ClassVar[str | None] = "side"

    def load(self, device: str) -> Classifier:
        module = nn.Sequential(nn.Flatten(), nn.Linear(64, self.outputs)).requires_grad_(not self.frozen)
        return Classifier(module, fit=Fit(None if self.side is None else (self.side, self.side)))


def test_what_cannot_be_trained_is_one_line(tmp_path: Path) -> None:
    assert "7 logits, but the data has 4 classes" in refusal(Plain(), Fixed(outputs=7), Quarters())
    assert "no weights to train" in refusal(Plain(), Fixed(frozen=True), Quarters())
    assert "cannot take images of shape (3, 6, 10)" in refusal(Plain(), Fixed(outputs=2), Halves())
    assert "the loss is nan in epoch 1: start anew with a smaller `lr`" in refusal(
        Fallen(), Pupil(), Quarters()
    )
    assert "is empty" in refusal(Plain(), Pupil(), Quarters(classes=(), limit=None))
    np.savez(tmp_path / "one.npz", x=np.zeros((4, 8, 8), np.uint8), y=np.zeros(4, np.int64))
    assert "two classes, but the data has 1" in refusal(Plain(), Pupil(), Arrays(path=tmp_path / "one.npz"))
    assert "holding out 0.01 keeps no image" in refusal(Plain(), Pupil(), Quarters(), Course(held_out=0.01))
    few = Quarters(limit=4)
    assert "leaves class 'north-west' (1 images) none" in refusal(Plain(), Pupil(), few, Course(held_out=0.9))


def test_images_of_several_sizes_are_resized_where_the_model_names_a_size(tmp_path: Path) -> None:
    from PIL import Image

    from classrob_base.folder import Folder

    for i in range(12):
        side, label = 6 + i // 2, ("cat", "dog")[i % 2]
        file = tmp_path / label / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(i).integers(
            0, 100 + 155 * (i % 2), (side, side + 2, 3), dtype=np.uint8
        )
        Image.fromarray(pixels).save(file)
    data = Folder(path=tmp_path)
    assert "give the model a `size`" in refusal(Plain(), Fixed(outputs=2), data)
    from classrob_zoo.model import CNN

    done = Plain().train(CNN(size=(9, 7)), data, Course())
    assert done.classifier.fit == Fit((9, 7), 3)
    assert Plain().train(CNN(), data, Course()).classifier.fit == Fit((6, 8), 3)


def test_images_that_do_not_fit_into_memory_are_read_as_they_are_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = Plain().train(Pupil(), Quarters(), Course())
    monkeypatch.setattr("classrob.training.shelf.HELD", 0)
    samples = Quarters().open()
    assert Shelf.of(samples, range(8), Fit()).images is None
    assert equal(state(held), state(Plain().train(Pupil(), Quarters(), Course())))


def test_a_share_of_every_class_is_held_out_and_measured() -> None:
    samples = Quarters(size=123).open()
    learned, kept = parted(samples, 0.2, 3)
    assert sorted([*learned, *kept]) == list(range(123))
    assert [sum(samples.label(row) == k for row in kept) for k in range(4)] == [6, 6, 6, 6]
    assert parted(samples, 0.2, 3)[1] == kept != parted(samples, 0.2, 4)[1]
    done = Plain(epochs=12).train(Pupil(), Quarters(), Course(held_out=0.25))
    assert (done.learned, done.held_out) == (88, 32)
    assert done.history[-1].values["held-out accuracy"] > 0.5
    assert done.history[-1].values["held-out loss"] < done.history[0].values["held-out loss"]


def test_a_last_batch_of_one_is_left_out() -> None:
    """Batch statistics of one image with one position are nothing, and torch refuses them."""
    done = Plain(epochs=1, batch=17, augment=("crop",)).train(Restless(), Quarters(size=103), Course())
    assert done.history[-1].values["steps"] == 6.0


def test_learning_rates() -> None:
    def rates(recipe: Plain, steps: int = 2) -> list[float]:
        optimizer = optimizer_of(recipe, nn.Linear(2, 2))
        rate = rate_of(recipe, optimizer, steps)
        found = []
        for _ in range(recipe.epochs * steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            rate.step()
        return found

    assert rates(Plain(schedule="constant", lr=0.5)) == [0.5] * 6
    assert rates(Plain(schedule="drops", drops=(1, 2.5), lr=1.0)) == pytest.approx(
        [1, 1, 0.1, 0.1, 0.1, 0.01]
    )
    cosine = rates(Plain(schedule="cosine", lr=1.0))
    assert cosine[0] == 1.0
    assert cosine[3] == pytest.approx(0.5)
    assert max(rates(Plain(lr=1.0), 50)) == pytest.approx(1.0, abs=1e-3)


def test_augmented_images_are_moved_and_mirrored_each_by_itself() -> None:
    images = torch.rand(200, 3, 16, 9)
    both = Plain(augment=("flip", "crop"))
    moved = augmented(both, images, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    assert torch.equal(moved, augmented(both, images, torch.Generator().manual_seed(0)))
    flipped = augmented(Plain(augment=("flip",)), images, torch.Generator().manual_seed(0))
    same = (flipped == images).flatten(1).all(1)
    assert 60 < int(same.sum()) < 140
    assert torch.equal(flipped[~same], images[~same].flip(3))
    ramp = torch.arange(9.0).expand(200, 1, 16, 9)
    across = augmented(Plain(augment=("crop",)), ramp, torch.Generator().manual_seed(1))[:, 0, 0, 4] - 4.0
    assert sorted(set(across.tolist())) == [-2.0, -1.0, 0.0, 1.0, 2.0]
    assert augmented(Plain(), images, torch.Generator()) is images


def test_the_file_of_a_wrapped_network_is_the_networks_own(tmp_path: Path) -> None:
    """Normalisation and rectifier stay out of the file, and it fits the bare network and the model alike."""
    from classrob.live import bare
    from classrob_base.torch_model import TorchModel

    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "def net(num_classes, width=3):\n"
        "    return nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, num_classes))\n"
    )
    given = TorchModel(factory=f"{tmp_path}/nets.py:net", mean=(0.5,), std=(0.2,), rectifier="half-huber")
    done = Plain(epochs=1, seed=9).train(given, Quarters(), Course())
    assert isinstance(done.model, TorchModel)
    assert (done.model.arguments, done.model.seed) == ({"num_classes": 4}, 9)
    inner = bare(done.classifier.module)
    assert isinstance(inner, nn.Sequential)
    save_file(inner.state_dict(), tmp_path / "w.safetensors")
    assert set(load_file(tmp_path / "w.safetensors")) == {"0.weight", "0.bias", "3.weight", "3.bias"}
    again = done.model.model_copy(update={"weights": tmp_path / "w.safetensors"}).load("cpu")
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(again(x), done.classifier(x))
    with pytest.raises(StudyError, match="they lack"):
        save_file({"a": torch.ones(1)}, tmp_path / "w.safetensors")
        done.model.model_copy(update={"weights": tmp_path / "w.safetensors"}).load("cpu")
