"""The random corruptions against imagecorruptions-imaug: moments, spectrum, and the mean error of three networks.

What the reference makes of the first 200 test images of CIFAR-10 was recorded by
`python tests/benchmarks/record_corruptions.py tests/plugins/recorded_corruptions.npz` (imagecorruptions-imaug 1.1.5).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from classrob.catalog import Catalog
from classrob.streams import Streams

from .corrupted import NAMES, RANDOM, SEVERITIES, SHARED, predictions, statistics

CATALOG = Catalog.installed()
RECORDED = Path(__file__).with_name("recorded_corruptions.npz")
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the images and models in {SHARED}")

#: How far apart means may lie beyond sampling error: in grey levels, and in the logarithm of power.
LEVELS, POWER = 1.0 / 255, 0.1


@lru_cache(maxsize=1)
def images() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The clean images, float32 [200, 3, 32, 32], and their labels."""
    from classrob.subset import opened

    path = SHARED / "data" / "cifar10" / "test.parquet"
    samples = opened(CATALOG.make("dataset", "parquet", {"path": str(path), "limit": 200}), "cifar10")
    pictures = np.stack([np.asarray(samples.picture(i)) for i in range(200)])
    clean = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)).astype(np.float32) / 255
    return clean, np.array([samples.label(i) for i in range(200)])


def ours(name: str, severity: int) -> np.ndarray[Any, Any]:
    """The images as the published program gives them: cut to 8 bits."""
    threat = CATALOG.make("threat", f"corruption/{name}", {"side": 224})
    streams = Streams.keyed(0, "reference", map(str, range(200)), "test")
    made = threat.at(torch.from_numpy(images()[0]), severity, streams).numpy()
    return np.floor(made * 255 + 1e-3).astype(np.float32) / 255


@pytest.mark.parametrize("name", RANDOM)
def test_moments_spectrum_and_errors_are_those_of_the_reference(name: str) -> None:
    """Paired by image: no mean difference beyond four standard errors and a small tolerance."""
    clean, label = images()
    far: list[str] = []
    with np.load(RECORDED) as recorded:
        if f"{name}/{SEVERITIES[0]}" not in recorded:
            pytest.skip(f"the reference's {name} no longer runs")
        for severity in SEVERITIES:
            made = ours(name, severity)
            apart = statistics(made, clean) - recorded[f"{name}/{severity}"]
            mean, error = apart.mean(0), apart.std(0) / np.sqrt(len(apart))
            for what, d, e in zip(NAMES, mean, error, strict=True):
                if abs(d) > 4 * e + (POWER if what.startswith("change") else LEVELS):
                    far.append(f"severity {severity}: {what} is {d:+.4f} apart, standard error {e:.4f}")
            if severity == SEVERITIES[1]:
                theirs = recorded[f"{name}/{severity}/said"] != label
                mine = predictions(made) != label
                for k, (one, other) in enumerate(zip(mine, theirs, strict=True)):
                    only, also = int((one & ~other).sum()), int((other & ~one).sum())
                    if abs(only - also) > 3 * np.sqrt(only + also) + 1:
                        far.append(f"network {k}: {only} errors here alone, {also} there alone")
    assert far == []
