"""The latent-space metrics on the authors' own weights, against the figures that are published or recomputed.

Buzhinsky, Nerinovsky and Tripakis (Machine Learning 112, 2023), MNIST, architecture 0, classifiers `plain` and
`robust` (trained with noise). A stronger search finds smaller severities and breaks more; the other figures agree
within sampling error. The whole table: `python tests/benchmarks/latent.py table`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from classrob.catalog import Catalog
from classrob.images import Fit
from classrob.live import Classifier
from classrob.reading.score import Row
from classrob.streams import Streams

from ..latent_papers import arch0, rows_of, wgan

#: Shares that are classified right: clean, under noise of 0.8 in pixels from −1 to 1, generated (LGA), and decayed.
PUBLISHED = {"plain": (0.9921, 0.8527, 0.9868, 0.9961), "robust": (0.9909, 0.9834, 0.9829, 0.9947)}
#: Mean severity (LAGS) and its standard deviation over images, and the share that withstands 0.3 (LAGA).
SEVERITY, SPREAD, STANDS = 0.3423, 0.2062, 0.4467


def value(rows: list[Row], metric: str, **rest: Any) -> float:
    (row,) = [
        r
        for r in rows
        if (r.metric, r.label) == (metric, None) and all(getattr(r, k) == v for k, v in rest.items())
    ]
    assert row.value is not None
    return row.value


def near(seen: float, published: float, n: int) -> bool:
    """Within three standard errors of n samples, and of the published figure's own rounding."""
    return abs(seen - published) <= 3 * math.sqrt(published * (1 - published) / n) + 1e-3


@pytest.mark.parametrize("name", PUBLISHED)
def test_accuracy_clean_and_under_noise(name: str, shared: Path) -> None:
    """Noise is added to every fifth image without cutting, as published; the host's own pixels would be cut."""
    catalog = Catalog.installed()
    path = shared / "data" / "mnist" / "test.parquet"
    samples = catalog.make("dataset", "parquet", {"path": path}).open()
    batch, _ = samples.read(range(0, 10_000, 5), Fit())
    assert batch is not None
    fields = {k: v for k, v in arch0(shared, name).items() if k not in ("use", "name")}
    model: Classifier = catalog.make("model", "torch", fields).load("cpu")
    clean, noisy, *_ = PUBLISHED[name]
    draw = Streams.keyed(0, "noise", batch.ids, "").normal(1, 28, 28)
    with model.frozen(), torch.no_grad():
        for images, published in ((batch.images, clean), (batch.images + 0.4 * draw, noisy)):
            right = float((model(images).argmax(1) == batch.labels).float().mean())
            assert near(right, published, 2000)


def test_accuracy_on_generated_and_on_decayed_images(shared: Path, tmp_path: Path) -> None:
    """LGA, and at the centre of the search, the code decayed by noise of 1; of 1,000 images."""
    models = [arch0(shared, name) for name in PUBLISHED]
    data = {
        "model": models,
        "dataset": [{"use": "generated", "generator": wgan(shared), "count": 1000}],
        "threat": [{"use": "latent", "generator": wgan(shared), "budgets": [0.3], "attack": "none"}],
        "metric": [{"use": "source-accuracy"}],
    }
    rows = rows_of(data, tmp_path)
    for name, (_, _, generated, decayed) in PUBLISHED.items():
        assert near(value(rows, "LGA", model=name), generated, 1000)
        assert near(value(rows, "decayed-accuracy", model=name), decayed, 1000)


def test_severity_is_at_most_the_published_one(shared: Path, tmp_path: Path) -> None:
    """LAGS and LAGA of 30 generated images, for both classifiers, by three walks of `minimum-norm`."""
    models = [arch0(shared, name) for name in PUBLISHED]
    attack = {"use": "minimum-norm", "restarts": 3}
    data = {
        "model": models,
        "dataset": [{"use": "generated", "generator": wgan(shared), "count": 30}],
        "threat": [{"use": "latent", "generator": wgan(shared), "attack": attack}],
        "metric": [{"use": "latent-severity"}, {"use": "latent-accuracy"}],
    }
    rows = rows_of(data, tmp_path)
    for name in PUBLISHED:
        assert value(rows, "LAGS", model=name) <= SEVERITY + 3 * SPREAD / math.sqrt(30)
        assert value(rows, "LAGA", model=name, budget=0.3) <= STANDS + 3 * math.sqrt(0.25 / 30)
        assert value(rows, "LAGA", model=name, budget=2.5) == 0.0
