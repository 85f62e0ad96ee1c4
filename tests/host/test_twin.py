"""The search's fast form of a model: it proposes, the judge's form decides; and batches that fit into memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from classrob.judge import judge
from classrob.live import Batch, Classifier, Meter
from classrob.reading.results import Results
from classrob.run import run
from classrob.streams import Streams
from classrob.study import make_study
from classrob.twin import Twin
from classrob_lp.balls import LinfBall
from classrob_lp.pgd import PGD


class Net(nn.Module):
    """A small convolutional net with fixed random weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.linear = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16 * 64, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.conv(images).relu().flatten(1))


class Liar(Net):
    """Says a wrong class for every image as soon as it computes in bfloat16."""

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits.flip(1) * 100 if logits.dtype == torch.bfloat16 else logits


def setting(net: nn.Module, n: int = 40) -> tuple[Classifier, Batch, Streams]:
    classifier = Classifier(net, batch_size=16)
    ids = tuple(map(str, range(n)))
    streams = Streams.keyed(0, "d", ids, "c")
    images = streams.fork("images").uniform(3, 8, 8)
    with classifier.frozen(), torch.no_grad():
        labels = classifier(images).argmax(1)
    return classifier, Batch(ids, images, labels), streams


def searched(attack: PGD, net: nn.Module, budget: float) -> tuple[Tensor, Meter, Batch, Classifier, Any]:
    classifier, batch, streams = setting(net)
    space = LinfBall(torch.full((len(batch),), budget), batch.images)
    with classifier.frozen():
        classifier.meter = Meter.of(len(batch))
        z = attack.search(classifier, space, batch, streams, None)
        meter, classifier.meter = classifier.meter, None
        broken = judge(classifier, space, batch, z).broken
    return broken, meter, batch, classifier, z


def test_a_low_precision_search_believes_only_the_judge() -> None:
    """A model whose bfloat16 form always errs: the search must go on to the end, since nothing is confirmed."""
    broken, meter, batch, _, _ = searched(PGD(steps=6, precision="bfloat16"), Liar(), 1e-4)
    assert not broken.any()
    assert meter.backwards.tolist() == [6] * len(batch)
    assert int(meter.forwards.min()) > 6  # what it took for broken was looked at in float32, and is counted


def test_a_low_precision_search_finds_what_is_there() -> None:
    precise, *_ = searched(PGD(steps=20), Net(), 0.05)
    low, *_ = searched(PGD(steps=20, precision="bfloat16"), Net(), 0.05)
    assert 0 < int(precise.sum()) < len(precise)
    assert abs(int(precise.sum()) - int(low.sum())) <= 1


def test_the_twin_leaves_the_model_alone() -> None:
    classifier, batch, _ = setting(Net())
    classifier.channels_last = True
    before = {name: value.clone() for name, value in classifier.module.state_dict().items()}
    with classifier.frozen(), torch.no_grad():
        twin = classifier.twin()
        assert twin is not classifier
        assert torch.allclose(twin(batch.images), classifier(batch.images), atol=1e-5)
        assert classifier.twin("bfloat16")(batch.images).dtype == torch.float32
    assert classifier.module.conv.weight.is_contiguous()
    assert all(torch.equal(value, before[name]) for name, value in classifier.module.state_dict().items())
    assert all(weight.requires_grad for weight in classifier.module.parameters())


class Mixing(Net):
    """Turns what its last layer returns into float32 itself, so that it cannot be of one low type."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).float().addmm(self.conv(images).mean((2, 3)), torch.zeros(16, 3))


class Viewing(Net):
    """Views an activation as rows of numbers, which it can in one order only; its weights are of that order."""

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images).relu()
        return self.linear(x.view(len(x), -1))


def test_a_model_that_mixes_types_is_searched_in_those_that_torch_chooses() -> None:
    classifier, batch, _ = setting(Mixing())
    with classifier.frozen(), torch.no_grad():
        low = classifier.twin("bfloat16")
        assert torch.allclose(low(batch.images), classifier(batch.images), atol=0.05, rtol=0.05)
        assert low.module.whole is None


def scripted() -> nn.Module:
    """Its calls are seen by nobody."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch means to retire it
        return nn.Sequential(torch.jit.script(net.eval()))


@pytest.mark.parametrize(("net", "innermost"), [(Net, True), (Viewing, False), (scripted, False)])
def test_in_bfloat16_the_channels_go_innermost_where_the_model_takes_it(
    net: Callable[[], nn.Module], innermost: bool
) -> None:
    classifier, batch, _ = setting(net())
    with classifier.frozen():
        low = classifier.twin("bfloat16")
        x = batch.images.clone().requires_grad_()
        logits = low(x)
        assert low.module.innermost is innermost
        assert low.module.whole is not None
        assert torch.allclose(logits, classifier(batch.images), atol=0.05, rtol=0.05)
        (slope,) = torch.autograd.grad(logits.sum(), x)
    assert slope.dtype == torch.float32
    assert slope.is_contiguous()


class Normal(Net):
    """Normalises its images."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3])[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        self.seen = images - self.mean
        return super().forward(self.seen)


RECTIFIED: dict[str, Callable[[Tensor], Tensor]] = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "function": F.relu,
    "function by name": lambda x: F.relu(input=x, inplace=True),
    "torch": torch.relu,
    "torch in place": torch.relu_,
    "method": Tensor.relu,
    "method in place": Tensor.relu_,
}


@pytest.mark.parametrize("graded", [True, False])
@pytest.mark.parametrize("way", RECTIFIED)
def test_a_positive_part_is_the_same_however_it_is_called(way: str, graded: bool) -> None:
    """Of every number there is in bfloat16, and where its place is written over, it is."""

    class Parts(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            x = images.bfloat16() + 0.0
            y = RECTIFIED[way](x)
            return torch.cat([x.flatten(1), y.flatten(1)], 1)

    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    images = every[~every.isnan()].float()[None, None, None].requires_grad_(graded)
    plain = Parts()(images)
    found = Twin(Parts(), "bfloat16", channels_last=False)(images)
    assert torch.equal(found, plain)
    if graded:
        slopes = [torch.autograd.grad(one.sum(), images)[0] for one in (found, plain)]
        assert torch.equal(*slopes)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_normalisation_works_on_images_as_they_are(precision: str) -> None:
    classifier, batch, _ = setting(Normal())
    classifier.channels_last = True
    with classifier.frozen(), torch.no_grad():
        twin = classifier.twin(precision)
        twin(batch.images[:16])
        seen = (twin.module.whole or twin.module.module).seen
    assert seen.dtype == torch.float32
    assert seen.is_contiguous()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_finished_rows_ride_along_and_change_nothing(channels_last: bool, precision: Any) -> None:
    """The same proposals and counts, whatever shares the batch."""
    classifier, batch, streams = setting(Net())
    classifier.channels_last = channels_last
    space = LinfBall(torch.full((len(batch),), 0.05), batch.images)
    found = []
    with classifier.frozen():
        for size in (16, 48, 7, 1):
            classifier.batch_size, classifier.meter = size, Meter.of(len(batch))
            z = PGD(steps=9, restarts=3, precision=precision).search(classifier, space, batch, streams, None)
            found.append((z, classifier.meter.backwards, classifier.meter.forwards))
    for other in found[1:]:
        for ours, theirs in zip(found[0], other, strict=True):
            assert torch.equal(ours, theirs)


HUNGRY = """
import torch


class Hungry(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(192, 3)

    def forward(self, images):
        if len(images) > 16:
            raise torch.OutOfMemoryError("too many rows")
        return self.linear(images.flatten(1))


def hungry():
    torch.manual_seed(0)
    return Hungry()
"""


def test_a_batch_that_does_not_fit_is_halved_and_no_shard_is_lost(tmp_path: Path) -> None:
    images = (torch.rand(70, 8, 8, 3, generator=torch.Generator().manual_seed(0)) * 255).to(torch.uint8)
    np.savez(tmp_path / "data.npz", images=images.numpy(), labels=np.arange(70) % 3)
    (tmp_path / "nets.py").write_text(HUNGRY)
    study: dict[str, Any] = {
        "name": "hungry",
        "batch_size": 128,
        "model": [{"use": "torch", "factory": "nets.py:hungry"}],
        "dataset": [{"use": "arrays", "path": "data.npz"}],
        "threat": [{"use": "linf", "budgets": [0.05], "attack": {"use": "pgd", "steps": 3}}],
    }
    assert run(make_study(study), tmp_path, tmp_path / "out") == 0
    with Results.open(tmp_path / "out") as results:
        assert len(results.table(results.conditions[1])) == 70
        sizes = {
            row[0]
            for row in results.store.connection.execute("SELECT json_extract(how, '$.batch_size') FROM shard")
        }
    assert sizes == {16}
