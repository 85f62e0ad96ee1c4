"""The real models and images that the benchmarks run on, and a study run in a temporary folder."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
SHARED = TESTS.parents[1] / "shared"


#: The networks of MNIST by their name here: the factory in tests/nets.py and the file of weights.
NETWORKS = {
    "mnist": ("mnist_cnn", "mnist-convex-eps0.1.pth"),
    "mnist-interp": ("mnist_interp_small", "mnist-interp-small-normal.safetensors"),
    "mnist-latent": ("mnist_latent_arch0", "mnist-latent-arch0-plain.safetensors"),
}


def setting(which: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model and data entries of a study: `cifar`, or one of `NETWORKS` (the last two have no defence)."""
    if not SHARED.is_dir():
        sys.exit(f"this benchmark needs the folder {SHARED} with the models and images that it measures")
    if which in NETWORKS:
        factory, weights = NETWORKS[which]
        model = {
            "use": "torch",
            "name": "mnist-convex" if which == "mnist" else which,
            "factory": f"{TESTS / 'nets.py'}:{factory}",
            "weights": str(SHARED / "models" / weights),
        }
        return model, {
            "use": "parquet",
            "name": "mnist",
            "path": str(SHARED / "data" / "mnist" / "test.parquet"),
        }
    model = {
        "use": "onnx",
        "name": "cifar10-resnet-2b",
        "path": str(SHARED / "models" / "cifar10-resnet-2b.onnx"),
        "mean": [0.4914, 0.4822, 0.4465],
        "std": [0.2471, 0.2435, 0.2616],
    }
    return model, {
        "use": "parquet",
        "name": "cifar10",
        "path": str(SHARED / "data" / "cifar10" / "test.parquet"),
    }


def judged(data: dict[str, Any], query: str) -> list[tuple[Any, ...]]:
    """Run a study and ask its store, `judgement` being the view of all rows."""
    import sqlite3

    from classrob.run import run
    from classrob.study import make_study

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "alone" / "run"
        run(make_study({"name": "benchmark", "pictures": 0, **data}), Path(folder), out)
        with sqlite3.connect(out / "run.sqlite") as db:
            return db.execute(query).fetchall()
