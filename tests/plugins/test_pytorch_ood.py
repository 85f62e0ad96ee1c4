"""The bridge to pytorch-ood: every promise kept, and the same AUROC as our own detectors on the same features."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from classrob.catalog import Catalog
from classrob.errors import PluginError, StudyError
from classrob.images import Fit
from classrob.live import Batch, Classifier
from classrob.scorer import Reference, Scorer
from classrob.streams import Streams
from classrob.testing.arena import CHANNELS, SIDE, network
from classrob.testing.cases import cases
from classrob.testing.subject import subjects
from classrob_base.parquet import Parquet

ROOT = Path(__file__).parents[2]
NETS = ROOT / "tests" / "nets.py"

#: Our detector, theirs, and the options with which both are the same.
SAME = [
    ("msp", {}, "MaxSoftmax", {}),
    ("max-logit", {}, "MaxLogit", {}),
    ("energy", {"temperature": 2.0}, "EnergyBased", {"t": 2.0}),
    ("mahalanobis", {}, "Mahalanobis", {}),
    ("mahalanobis", {"relative": True}, "RMD", {}),
    ("knn", {"k": 10}, "KNN", {"k": 10}),
    ("vim", {"dimensions": 6}, "ViM", {"d": 6}),
    ("kl-matching", {}, "KLMatching", {}),
    ("odin", {}, "ODIN", {}),
]


@pytest.fixture
def bridge(monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """The catalogue with the bridge, whether it is installed or not."""
    monkeypatch.syspath_prepend(ROOT / "plugins/classrob-pytorch-ood")
    found = Catalog.installed()
    if not found.manager.has_plugin("pytorch-ood"):
        found.add("pytorch-ood", importlib.import_module("classrob_pytorch_ood"))
    return found


def library() -> None:
    """Skip where the library is not installed."""
    if find_spec("pytorch_ood") is None:
        pytest.skip("needs pytorch-ood: pip install ./plugins/classrob-pytorch-ood")


# -- the family ---------------------------------------------------------------------------------------


def test_without_its_library_it_says_what_to_install(
    bridge: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("classrob_pytorch_ood.detector")
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    for asked in (
        lambda: bridge.make("detector", "pytorch-ood/ViM", {}),
        lambda: bridge.list("detector", "pytorch-ood/*"),
    ):
        with pytest.raises(StudyError, match=r"needs pytorch-ood .*: pip install pytorch-ood"):
            asked()


def test_listing_loads_no_torch(bridge: Catalog) -> None:
    library()
    code = (
        "import sys, json; sys.path[:0] = json.loads(sys.argv[1])\n"
        "from classrob_pytorch_ood.detector import PytorchOodDetector as D\n"
        "print(json.dumps([list(D.members()), 'torch' in sys.modules]))"
    )
    command = [sys.executable, "-c", code, json.dumps(sys.path)]
    names, loaded = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert not loaded
    assert {theirs for _, _, theirs, _ in SAME} <= set(names)
    assert not {"MCM", "WeightedEBO", "Gram", "ReAct", "MCD"} & set(names)


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("Vim", {}, "pytorch_ood.detector has no 'Vim' for a study; did you mean 'ViM'?"),
        ("ViM", {}, "pytorch-ood's ViM requires the option 'd'"),
        ("KNN", {"kk": 3}, "pytorch-ood's KNN has no option 'kk'; did you mean 'k'? (known: k, normalize)"),
        ("KNN", {"encoder": 3}, "option 'encoder' is set by the study, its threat and its model"),
    ],
)
def test_what_is_misspelt_is_one_line(name: str, options: Any, line: str, bridge: Catalog) -> None:
    library()
    with pytest.raises(StudyError) as error:
        bridge.make("detector", f"pytorch-ood/{name}", {"options": options})
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MaxSoftmax", {}),
        ("KNN", {"k": 10}),
        ("ViM", {"d": 4}),
        ("Mahalanobis", {}),
        ("NNGuide", {}),
        ("ODIN", {}),
    ],
)
def test_every_promise_is_kept(name: str, options: dict[str, Any], bridge: Catalog) -> None:
    library()
    reference = f"pytorch-ood/{name}"
    results = [case.run() for case in cases(subjects(reference, bridge, {reference: {"options": options}}))]
    assert len(results) > 5
    assert {result.check: result.reason for result in results if result.result != "ok"} == {}


def test_what_the_library_cannot_do_is_one_line(bridge: Catalog) -> None:
    library()
    classifier, reference = small()
    with (
        classifier.frozen(),
        pytest.raises(PluginError, match=r"pytorch-ood's KNN cannot go on: .*exceeds the number"),
    ):
        fitted(bridge, "pytorch-ood/KNN", {"options": {"k": 1000}}, classifier, reference)


def test_logits_have_a_slope_and_features_none(bridge: Catalog) -> None:
    """What the attack `evade` follows, or estimates."""
    library()
    classifier, reference = small()
    images = reference.batch.images[:5].clone().requires_grad_()
    with classifier.frozen():
        for name, options, slope in (("GEN", {}, True), ("RMD", {}, False), ("ODIN", {}, False)):
            scorer = fitted(bridge, f"pytorch-ood/{name}", {"options": options}, classifier, reference)
            with torch.enable_grad():
                assert scorer.score(images).requires_grad == slope, name
    assert images.grad is None


# -- the same figures ---------------------------------------------------------------------------------


def small() -> tuple[Classifier, Reference]:
    """The kit's network, and images for it."""
    ids = tuple(str(i) for i in range(60))
    streams = Streams.keyed(0, "bridge", ids, "")
    batch = Batch(ids, streams.uniform(CHANNELS, SIDE, SIDE), torch.arange(60) % 4)
    return Classifier(network(), fit=Fit((SIDE, SIDE), CHANNELS)), Reference(batch, {}, streams)


def fitted(
    catalog: Catalog, name: str, fields: dict[str, Any], classifier: Classifier, reference: Reference
) -> Scorer:
    with torch.no_grad():
        return catalog.make("detector", name, fields).fit(classifier, reference)


def area(scorer: Scorer, inside: Tensor, outside: Tensor) -> float:
    with torch.no_grad():
        scores = [scorer.score(one) for one in (inside, outside)]
    truth = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
    return float(roc_auc_score(truth, torch.cat(scores).numpy()))


def read(path: Path, n: int, fit: Fit) -> Batch:
    samples = Parquet(path=path, limit=n, stratify=True).open()
    batch, _ = samples.read(range(n), fit)
    assert batch is not None
    return batch


@pytest.fixture(scope="module", params=["mnist", "cifar10"])
def real(request: pytest.FixtureRequest, shared: Path) -> tuple[Classifier, Reference, Tensor, Tensor]:
    """A network of others, a reference of training images, test images, and those of the other data set."""
    here, models = request.param, shared / "models"
    fields = {
        "mnist": {"factory": f"{NETS}:mnist_cnn", "weights": str(models / "mnist-convex-eps0.1.pth")},
        "cifar10": {"path": str(models / "cifar10-resnet-2b.onnx"), "mean": [0.49, 0.48, 0.45], "std": [0.247, 0.2435, 0.262]},
    }  # fmt: skip
    model = Catalog.installed().make("model", "torch" if here == "mnist" else "onnx", fields[here])
    classifier = model.load("cpu")
    fit = Fit((28, 28), 1) if here == "mnist" else Fit((32, 32), 3)
    batch = read(shared / f"data/{here}/train.parquet", 500, fit)
    reference = Reference(batch, {}, Streams.keyed(0, here, batch.ids, ""))
    inside = read(shared / f"data/{here}/test.parquet", 300, fit).images
    other = "cifar10" if here == "mnist" else "mnist"
    outside = read(
        shared / f"data/{other}/test.parquet", 300, Fit(fit.size, 3 if here == "mnist" else 1)
    ).images
    return classifier, reference, inside, outside.mean(1, keepdim=True).expand_as(inside)


@pytest.mark.parametrize(
    ("ours", "fields", "theirs", "options"), SAME, ids=[f"{a}-{b}" for a, _, b, _ in SAME]
)
def test_the_same_features_give_the_same_auroc(
    ours: str,
    fields: dict[str, Any],
    theirs: str,
    options: dict[str, Any],
    bridge: Catalog,
    real: tuple[Classifier, Reference, Tensor, Tensor],
) -> None:
    """To three digits, on features of networks of others: test images against the other data set's, pure and mixed in."""
    library()
    classifier, reference, inside, outside = real
    near = 0.7 * inside + 0.3 * outside  # the other set itself is told apart at once, by most
    with classifier.frozen():
        one = fitted(bridge, ours, fields, classifier, reference)
        other = fitted(bridge, f"pytorch-ood/{theirs}", {"options": options}, classifier, reference)
        found = [(area(one, inside, strange), area(other, inside, strange)) for strange in (outside, near)]
    for mine, others in found:
        assert others == pytest.approx(mine, abs=5e-4), found
    assert 0.05 < found[1][0] < 0.999, "a figure that a difference would show in"
