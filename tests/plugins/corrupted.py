"""What is compared of corrupted images: moments, the spectrum of the change, and the errors of three networks."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from classrob.catalog import Catalog

SHARED = Path(__file__).parents[3] / "shared"
RANDOM = (
    *("gaussian-noise", "shot-noise", "impulse-noise", "speckle-noise", "motion-blur"),
    *("snow", "frost", "fog", "spatter", "elastic"),
)
SEVERITIES = (1, 3, 5)
NAMES = ("mean", "deviation", "change 1", "change 2", "change 3", "change 4")
MODELS: tuple[dict[str, Any], ...] = (
    {"path": "cifar10-resnet-2b.onnx", "mean": [0.4914, 0.4822, 0.4465], "std": [0.2471, 0.2435, 0.2616]},
    {"path": "cifar10-ae-resnet44-adv-train.onnx"},
    {"path": "cifar10-ae-resnet44-all.onnx"},
)


def statistics(images: np.ndarray[Any, Any], clean: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """[n, 6]: mean and deviation of each image [n, c, h, w], and the logarithm of its change's power in four bands."""
    change = (images - clean).mean(1)
    power = np.abs(np.fft.fft2(change)) ** 2
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(size) for size in change.shape[1:]], indexing="ij"))
    edges = (0.03, 0.12, 0.25, 0.37, 0.75)
    bands = [
        np.log(power[:, (frequency >= low) & (frequency < high)].mean(1) + 1e-6)
        for low, high in pairwise(edges)
    ]
    return np.stack([images.mean((1, 2, 3)), images.std((1, 2, 3)), *bands], 1)


@lru_cache(maxsize=1)
def classifiers() -> list[Any]:
    """The three networks."""
    paths = [{**fields, "path": str(SHARED / "models" / fields["path"])} for fields in MODELS]
    return [Catalog.installed().make("model", "onnx", fields).load("cpu") for fields in paths]


def predictions(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What the networks say of images [n, c, h, w], [3, n]."""
    said: list[np.ndarray[Any, Any]] = []
    for classifier in classifiers():
        with classifier.frozen(), torch.no_grad():
            said.append(classifier(torch.from_numpy(np.ascontiguousarray(images))).argmax(1).numpy())
    return np.stack(said).astype(np.int8)
