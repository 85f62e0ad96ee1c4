"""The models of other people, which mask nothing: what a study of them looks like, and what its audit found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from classrob.audit.run import audit
from classrob.audit.stored import Audit
from classrob.run import run
from classrob.study import make_study

NETS = Path(__file__).parents[1] / "nets.py"

#: Model → its factory in tests/nets.py, and its file.
MNIST = {
    "convex": ("mnist_cnn", "mnist-convex-eps0.1.pth"),
    "interp-normal": ("mnist_interp_small", "mnist-interp-small-normal.safetensors"),
    "interp-adv": ("mnist_interp_small", "mnist-interp-small-adv.safetensors"),
    "interp-int": ("mnist_interp_small", "mnist-interp-small-int.safetensors"),
    "interp-int2adv": ("mnist_interp_small", "mnist-interp-small-int2adv.safetensors"),
    "latent-plain": ("mnist_latent_arch0", "mnist-latent-arch0-plain.safetensors"),
    "latent-oneepoch": ("mnist_latent_arch0", "mnist-latent-arch0-oneepoch.safetensors"),
    "latent-robust": ("mnist_latent_arch0", "mnist-latent-arch0-robust.safetensors"),
}

#: Model → what it takes besides its path, and its file.
CIFAR: dict[str, tuple[dict[str, Any], str]] = {
    "resnet-2b": (
        {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2471, 0.2435, 0.2616]},
        "cifar10-resnet-2b.onnx",
    ),
    "resnet44-adv-train": ({}, "cifar10-ae-resnet44-adv-train.onnx"),
    "resnet44-all": ({}, "cifar10-ae-resnet44-all.onnx"),
}


def models(shared: Path, names: list[str]) -> list[dict[str, Any]]:
    """The model entries of a study."""
    found: list[dict[str, Any]] = []
    for name in names:
        if name in MNIST:
            factory, file = MNIST[name]
            entry = {"use": "torch", "factory": f"{NETS}:{factory}", "weights": str(shared / "models" / file)}
        else:
            fields, file = CIFAR[name]
            entry = {"use": "onnx", "path": str(shared / "models" / file), **fields}
        found.append({**entry, "name": name})
    return found


def images(shared: Path, source: str, limit: int) -> dict[str, Any]:
    """The data entry of a study: the first images of `mnist` or `cifar10`."""
    return {"use": "parquet", "path": str(shared / "data" / source / "test.parquet"), "limit": limit}


def audited(
    folder: Path,
    entries: list[dict[str, Any]],
    data: dict[str, Any],
    budgets: list[Any],
    n: int,
    seed: int = 0,
) -> Audit:
    """Run a small study under `linf` by a short PGD, and audit it on so many images."""
    threat = {"use": "linf", "budgets": budgets, "attack": {"use": "pgd", "steps": 2}}
    study = {
        "name": "honest",
        "seed": seed,
        "pictures": 0,
        "model": entries,
        "dataset": [data],
        "threat": [threat],
    }
    assert run(make_study(study), folder, folder / "run") == 0
    return audit(folder / "run", n)
