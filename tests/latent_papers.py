"""The generators and classifiers that the latent-space paper's authors trained, and a study on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from classrob.catalog import Catalog
from classrob.reading.results import Results
from classrob.reading.score import Row, scores
from classrob.run import run
from classrob.study import make_study

NETS = Path(__file__).with_name("nets.py")


def wgan(shared: Path) -> dict[str, Any]:
    """The ten generators of MNIST's digits, as a study writes them."""
    weights = shared / "models" / "mnist-latent-wgan-generators.safetensors"
    return {
        "use": "classwise",
        "factory": f"{NETS}:mnist_wgan_generator",
        "weights": str(weights),
        "code": [64],
    }


def arch0(shared: Path, name: str) -> dict[str, Any]:
    """A classifier of architecture 0, as a study writes it."""
    weights = shared / "models" / f"mnist-latent-arch0-{name}.safetensors"
    return {"use": "torch", "name": name, "factory": f"{NETS}:mnist_latent_arch0", "weights": str(weights)}


def rows_of(data: dict[str, Any], folder: Path) -> list[Row]:
    """Run a study given as data, in a folder; its rows."""
    study = make_study({"name": "latent", "pictures": 0, **data})
    assert run(study, folder, folder / "run") == 0
    with Results.open(folder / "run") as results:
        return scores(results, Catalog.installed())
