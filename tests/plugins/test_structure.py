"""The probe `features` and the metrics of features: what they find, against scikit-learn and against chance."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import silhouette_samples, silhouette_score
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from torch import Tensor, nn

from classrob.errors import NotObservable, StudyError
from classrob.live import Batch, Classifier
from classrob.parts import Metric
from classrob.table import Observed, Score, Table
from classrob_classwise.clouds import Cloud, means, within
from classrob_classwise.drift import Drift
from classrob_classwise.features import Features
from classrob_classwise.neighbours import CentroidMargin, NeighbourPurity, Silhouette
from classrob_classwise.scatter import CentroidDistance, Scatter, WeightAlignment

from ..host.conftest import Called

Draw = Callable[[np.random.Generator], tuple[Table, Table]]


def table(x: np.ndarray, label: np.ndarray, k: int, budget: float | None = None) -> Table:
    """A table whose features are x."""
    n = len(label)
    columns: dict[str, np.ndarray] = {
        "sample": np.array([f"s{i:05d}" for i in range(n)], object),
        "label": label.astype(np.int64),
        "predicted": label.astype(np.int64),
        "budget": np.full(n, np.nan if budget is None else budget),
    }
    names = tuple(f"c{i}" for i in range(k))
    seen = {"features": Observed(x.astype(np.float32), np.arange(n))}
    return Table(names, budget, columns, observed=seen)


def blobs(
    seed: int = 0, n: int = 90, k: int = 3, d: int = 6, apart: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(n) % k)
    centres = apart * rng.normal(size=(k, d))
    return (centres[label] + rng.normal(size=(n, d))).astype(np.float32), label


def by_name(metric: Metric, one: Table, clean: Table) -> dict[tuple[str, str | None], Score]:
    return {(score.name, score.label): score for score in metric.compute(one, clean)}


# -- against scikit-learn -----------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.floats(0.0, 4.0))
def test_the_silhouette_is_that_of_scikit_learn(seed: int, k: int, apart: float) -> None:
    x, label = blobs(seed, 40, k, 4, apart)
    label[0] = k  # a class of one sample
    one = table(x, label, k + 1)
    found = by_name(Silhouette(), one, one)
    theirs = silhouette_samples(x.astype(np.float64), label, metric="sqeuclidean")
    whole = silhouette_score(x.astype(np.float64), label, metric="sqeuclidean")
    assert found["silhouette", None].value == pytest.approx(whole, abs=1e-9)
    for c in range(k + 1):
        assert found["silhouette", f"c{c}"].value == pytest.approx(theirs[label == c].mean(), abs=1e-9)
    assert found["silhouette", f"c{k}"].low is None


def test_the_sign_of_a_margin_is_what_nearest_centroid_says() -> None:
    x, label = blobs(3, 60, 3, 4, 0.8)
    one = table(x, label, 3)
    right = []
    for i in range(len(x)):  # without the sample itself, as the margin is
        rest = np.arange(len(x)) != i
        right.append(NearestCentroid().fit(x[rest], label[rest]).predict(x[i : i + 1])[0] == label[i])
    single = [
        by_name(
            CentroidMargin(), replace(table(x, label, 3, 0.1), observed={"features": Observed(x, at)}), one
        )
        for at in (np.where(np.arange(len(x)) == i, i, -1) for i in range(len(x)))
    ]
    signs = [found["centroid-margin", None].value > 0 for found in single]  # type: ignore[operator]
    assert signs == right
    assert 0 < sum(right) < len(right)
    mean = np.mean([found["centroid-margin", None].value for found in single])  # type: ignore[arg-type]
    assert by_name(CentroidMargin(), one, one)["centroid-margin", None].value == pytest.approx(mean, abs=1e-6)


def test_purity_is_what_kneighbors_finds() -> None:
    x, label = blobs(5, 80, 4, 5, 0.7)
    moved = x + np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    one, other = table(x, label, 4), table(moved, label, 4, 0.1)
    for query, asked in ((x, one), (moved, other)):
        near = KNeighborsClassifier(n_neighbors=len(x)).fit(x, label).kneighbors(query)[1]
        near = np.array([row[row != i][:7] for i, row in enumerate(near)])
        pure = (label[near] == label[:, None]).mean(1)
        found = by_name(NeighbourPurity(neighbours=7), asked, one)
        assert found["knn-purity", None].value == pytest.approx(pure.mean())
        assert found["knn-purity", "c2"].value == pytest.approx(pure[label == 2].mean())
    few = by_name(NeighbourPurity(neighbours=7, references=40), one, one)["knn-purity", None]
    assert few.value == pytest.approx(
        by_name(NeighbourPurity(neighbours=7), one, one)["knn-purity", None].value, abs=0.15
    )


def test_scatter_and_distances_are_what_numpy_finds() -> None:
    x, label = blobs(7, 300, 3, 5, 2.0)
    one, x = table(x, label, 3), x.astype(np.float64)
    found = by_name(Scatter(), one, one) | by_name(CentroidDistance(), one, one)
    parts = [x[label == c] for c in range(3)]
    centres, noise = np.stack([p.mean(0) for p in parts]), [p.var(0, ddof=1).sum() / len(p) for p in parts]
    for c, part in enumerate(parts):
        assert found["within-scatter", f"c{c}"].value == pytest.approx(part.var(0, ddof=1).sum())
        plain = np.square(centres[c] - centres.mean(0)).sum()
        assert found["between-scatter", f"c{c}"].value == pytest.approx(plain - noise[c] / 3 - sum(noise) / 9)
        other = (c + 1) % 3
        square = np.square(centres[c] - centres[other]).sum() - noise[c] - noise[other]
        assert found[f"centroid-distance-to/c{other}", f"c{c}"].value == pytest.approx(square**0.5)
    assert len(by_name(CentroidDistance(pairs=2), one, one)) == 2


def test_alignment_and_drift_of_points_that_are_known() -> None:
    """Weights that point at two of three centroids and away from the third; a class that is moved halfway."""
    rng = np.random.default_rng(0)
    centres = np.array([[10.0, 0, 0], [0, 10, 0], [0, 0, 10]])
    label = np.arange(150) % 3
    x = (centres[label] + 0.01 * rng.normal(size=(150, 3))).astype(np.float32)
    weights = (centres - centres.mean(0)) + 5.0  # what all weights share does not count
    clean = replace(table(x, label, 3), constants={"weights": weights.astype(np.float32)})
    found = by_name(WeightAlignment(), clean, clean)
    assert all(found["weight-alignment", f"c{c}"].value == pytest.approx(1.0, abs=1e-4) for c in range(3))
    turned = replace(clean, constants={"weights": weights[[0, 2, 1]].astype(np.float32)})
    assert by_name(WeightAlignment(), turned, turned)["weight-alignment", "c1"].value == pytest.approx(
        -0.5, abs=1e-3
    )
    moved = x + np.where(label == 0, 0.5, 0.0)[:, None] * (centres[1] - centres[0])
    found = by_name(Drift(), table(moved, label, 3, 0.1), clean)
    assert found["drift-to/c1", "c0"].value == pytest.approx(0.5, abs=1e-3)
    assert found["drift-to/c2", "c0"].value == pytest.approx(0.25, abs=1e-3)
    assert found["drift-to/c1", "c2"].value == pytest.approx(0.0, abs=1e-6)
    assert found["drift", "c0"].value == pytest.approx(0.5, abs=2e-3)
    assert found["drift", "c1"].value == pytest.approx(0.0, abs=1e-6)


def test_unobserved_rows_do_not_count() -> None:
    x, label = blobs(9, 60, 3)
    clean, whole = table(x, label, 3), table(x + 1, label, 3, 0.1)
    at = np.where(np.arange(60) % 4 == 0, -1, np.arange(60))
    part = replace(whole, observed={"features": Observed((x + 1).astype(np.float32), at)})
    for metric in (Silhouette(), CentroidMargin(), NeighbourPurity(), Scatter(), Drift()):
        scores = list(metric.compute(part, clean))
        assert [s.n for s in scores if s.label is None] == [45] * sum(s.label is None for s in scores)
    none = replace(whole, observed={"features": Observed(x, np.full(60, -1))})
    for metric in (Silhouette(), CentroidMargin(), NeighbourPurity(), Scatter(), Drift(), CentroidDistance()):
        assert list(metric.compute(none, clean)) == []


# -- intervals ----------------------------------------------------------------------------------------


def population(size: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three skewed clouds, one of them wide and near to another, and where an attack moves them."""
    rng = np.random.default_rng(seed)
    label = np.arange(size) % 3
    centres = np.array([[0.0, 0, 0, 0, 0], [2.5, 0, 0, 0, 0], [0, 4, 0, 0, 0]])
    spread = np.array([1.0, 0.6, 1.5])[label][:, None]
    x = centres[label] + spread * (rng.exponential(size=(size, 5)) - 1.0)
    way = (centres[[1, 0, 0]] - centres)[label]
    moved = x + rng.uniform(0, 0.8, (size, 1)) * way + 0.2 * rng.normal(size=(size, 5))
    return x.astype(np.float32), label, moved.astype(np.float32)


WEIGHTED = np.array([[0.0, -1, 0, 0, 0], [2, 0, 1, 0, 0], [0, 3, 0, 0, 1]], np.float32)


def both(size: int, seed: int) -> tuple[Table, Table]:
    x, label, moved = population(size, seed)
    clean = replace(table(x, label, 3), constants={"weights": WEIGHTED})
    return table(moved, label, 3, 0.1), clean


STRUCTURE = (Scatter(), CentroidDistance(), WeightAlignment(), Silhouette(), CentroidMargin(), Drift())


@pytest.mark.parametrize("metric", STRUCTURE, ids=lambda metric: type(metric).__name__)
def test_intervals_hold_the_true_value(metric: Metric) -> None:
    """In 300 draws of 40 samples a class; the truth is that of 60,000 samples.

    Skewed clouds cost Student's interval a little: between 90 and 99 per cent instead of 95 are asked for.
    """
    truth = {key: score.value for key, score in by_name(metric, *both(60_000, 1)).items()}
    held: dict[Any, list[bool]] = {}
    for seed in range(300):
        for key, score in by_name(metric, *both(120, seed + 10)).items():
            if key in truth and score.low is not None and score.high is not None:
                held.setdefault(key, []).append(score.low <= truth[key] <= score.high)  # type: ignore[operator]
    assert held
    rates = {key: float(np.mean(hits)) for key, hits in held.items() if len(hits) > 200}
    assert min(rates.values()) >= 0.88, rates
    assert 0.92 <= np.mean(list(rates.values())) <= 0.99, rates


def test_a_mean_of_skewed_numbers_has_an_interval_that_reaches_further_where_they_do() -> None:
    """Of twenty numbers whose logarithm is normal Student's interval lies above the mean less often than below it."""
    random, true = np.random.default_rng(0), float(np.exp(0.5))
    held, plain = [], []
    for _ in range(400):
        x = random.lognormal(size=(20, 1))
        cloud = Cloud(("a",), np.zeros(1, int), x, np.arange(20), np.array([0, 20]))
        found = means(cloud, x[:, 0])
        assert found.skew[0] == pytest.approx(stats.skew(x[:, 0]) * (19 / 20) ** 1.5 / np.sqrt(20))
        for hits, skew in ((held, float(found.skew[0])), (plain, 0.0)):
            low, high = within(float(found.value[0]), float(found.error[0]), 20, 0.0, np.inf, skew)
            assert low is not None
            assert high is not None
            assert low <= found.value[0] <= high
            hits.append(low <= true <= high)
    assert np.mean(held) > np.mean(plain) + 0.02


# -- the probe ----------------------------------------------------------------------------------------


def seen(module: nn.Module, shape: tuple[int, ...] = (3, 8, 8), **fields: Any) -> dict[str, Tensor]:
    images = torch.rand(20, *shape, generator=torch.Generator().manual_seed(0))
    batch = Batch(tuple(map(str, range(20))), images, torch.zeros(20, dtype=torch.int64))
    classifier = Classifier(module)
    classifier.batch_size = 16
    with classifier.frozen():
        return dict(Features(**fields).observe(classifier, batch, images))


class Products(nn.Module):
    """A network without a single layer: matrix products of parameters, as an imported graph runs them."""

    def __init__(self, add: bool) -> None:
        super().__init__()
        self.one, self.two, self.add = (
            nn.Parameter(torch.randn(192, 12)),
            nn.Parameter(torch.randn(12, 4)),
            add,
        )
        self.bias = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        hidden = (x.flatten(1) @ self.one).relu()
        return torch.addmm(self.bias, hidden, self.two) if self.add else hidden @ self.two + self.bias


@pytest.mark.parametrize("add", [True, False])
def test_features_are_found_without_layers(add: bool) -> None:
    net = Products(add)
    found = seen(net, precision="float32")
    images = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(found["features"], (images.flatten(1) @ net.one).relu(), atol=1e-5)
    assert torch.equal(found["weights"], net.two.T)


def test_features_before_dropout_and_of_convolutional_heads() -> None:
    head = nn.Sequential(nn.Flatten(), nn.Linear(192, 9), nn.ReLU(), nn.Dropout(0.9), nn.Linear(9, 4))
    assert seen(head)["features"].shape == (20, 9)
    assert seen(head)["features"].dtype == torch.float16
    pooled = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    found = seen(pooled, precision="float32")
    bias = pooled[2].bias
    assert torch.allclose(
        found["features"] @ found["weights"].T + bias,
        pooled(torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))),
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten()), "no linear layer was seen"),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.Softmax(1)), "something changes them after it"),
        (
            nn.Sequential(
                nn.Flatten(),
                nn.Linear(192, 8),
                nn.Unflatten(1, (4, 2)),
                nn.AdaptiveMaxPool1d(1),
                nn.Flatten(),
            ),
            "gives 8 numbers, and the model 4 logits",
        ),
    ],
)
def test_where_there_are_no_features_it_says_why(module: nn.Module, why: str) -> None:
    with pytest.raises(NotObservable, match=why):
        seen(module)


def test_features_too_large_for_half_precision_are_refused_with_a_remedy() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    with pytest.raises(StudyError, match='set precision = "float32"'):
        _ = seen(nn.Sequential(nn.Flatten(), Scale(), net[1]))
    assert seen(nn.Sequential(nn.Flatten(), Scale(), net[1]), precision="float32")["features"].max() > 1e5


class Scale(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 1e6 * x


def test_features_of_timm_and_onnx(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    net = timm.create_model("resnet10t", num_classes=4)
    assert seen(net, (3, 32, 32))["features"].shape == (20, 512)
    shared = Path(__file__).parents[3] / "shared" / "models" / "cifar10-resnet-2b.onnx"
    pytest.importorskip("onnx")
    if not shared.is_file():
        pytest.skip("the ONNX file is not beside the repository")
    from classrob_onnx.model import OnnxModel

    model = OnnxModel(path=shared).load("cpu").module
    assert seen(model, (3, 32, 32))["features"].shape == (20, 100)


# -- a whole run --------------------------------------------------------------------------------------

PROBE = '\n[[probe]]\nuse = "features"\n'


def test_a_run_with_features_shows_them_class_by_class(study: Path, cli: Callable[..., Called]) -> None:
    study.write_text(study.read_text() + PROBE)
    out = study.parent / "runs" / "a"
    assert cli("run", study, "--out", out).code == 0
    rows = json.loads(cli("show", out, "--format", "json").out)
    names = {row["metric"].partition("/")[0] for row in rows}
    assert names >= {"within-scatter", "between-scatter", "silhouette", "centroid-margin", "knn-purity"}
    assert names >= {"weight-alignment", "drift", "drift-to", "centroid-distance-to"}
    drift = [row for row in rows if row["metric"] == "drift"]
    assert {(row["threat"], row["budget"]) for row in drift} == {("linf", 0.3), ("l2", 0.9)}
    assert {row["label"] for row in drift} > {None}
    assert all(row["low"] <= row["value"] <= row["high"] for row in drift)
    page = cli("report", out)
    assert page.code == 0
    assert "Where attacks move the features" in (out / "report.html").read_text()


def test_a_model_without_features_is_measured_all_the_same(study: Path, cli: Callable[..., Called]) -> None:
    net = "from torch import nn\ndef plain():\n    return nn.Sequential(nn.AvgPool2d(3), nn.Flatten())\n"
    (study.parent / "plain.py").write_text(net)
    text = study.read_text().replace('factory = "nets.py:curved"', 'factory = "plain.py:plain"')
    study.write_text(text + PROBE)
    out = study.parent / "runs" / "a"
    done = cli("run", study, "--out", out)
    assert done.code == 0
    assert done.err.count("probe 'features' records nothing: no linear layer was seen at work") == 1
    names = {row["metric"] for row in json.loads(cli("show", out, "--format", "json").out)}
    assert "accuracy" in names
    assert "silhouette" not in names
