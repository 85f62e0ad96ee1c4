"""What the recipes come to on two small sets, by training and measuring from scratch.

python tests/benchmarks/recipes.py mnist [--only NAME,…]   robust accuracy in the ℓ∞ ball, the short recipe
python tests/benchmarks/recipes.py ara [--seeds N]         areas under the accuracy, on the digits

A line of JSON a training; with --keep DIR weights and checkpoints stay, and a second call goes on from them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.real import SHARED
from tests.nets import mnist_interp_small_folded

import classrob
from classrob.catalog import Catalog
from classrob.images import Fit
from classrob.subset import opened
from classrob_base.digits import Digits
from classrob_base.parquet import Parquet
from classrob_base.torch_model import TorchModel
from classrob_zoo.explanations import descended
from classrob_zoo.model import CNN

#: The short recipe on MNIST: the first 20,000 images, 8 epochs, the ball growing from epoch 0.5 to 4.
SHORT = {
    "epochs": 8,
    "batch": 100,
    "lr": 0.002,
    "schedule": "constant",
    "weight_decay": 0.0,
}
BALL = {"budget": 0.3, "steps": 8, "stride": 0.06, "still": 0.5, "rise": 3.5}
MNIST: dict[str, tuple[str, dict[str, Any]]] = {
    "standard": ("standard", {}),
    "pgd-adversarial": ("pgd-adversarial", BALL),
    "trades": ("trades", BALL | {"beta": 1.0}),
    "int-one-class": ("interpretability-aware", BALL | {"variant": "int-one-class"}),
    "int": ("interpretability-aware", BALL | {"variant": "int"}),
    "int-adv": ("interpretability-aware", BALL | {"variant": "int-adv"}),
    "int2": ("interpretability-aware", BALL | {"variant": "int2"}),
    "int2-adv": ("interpretability-aware", BALL | {"variant": "int2-adv"}),
    "ig-norm": ("ig-norm", BALL),
    "ig-norm-sum": ("ig-norm", BALL | {"form": "sum"}),
}
#: On the digits: a small ball for `pgd-adversarial`, and a target for `ae-regularised` that suits an easy set.
ARA: dict[str, tuple[str, dict[str, Any]]] = {
    "standard": ("standard", {}),
    "pgd-adversarial": ("pgd-adversarial", {}),
    "ae-regularised": ("ae-regularised", {"target": 0.5, "epochs": 40}),
}


def main() -> None:
    """Train and measure; print as it comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["mnist", "ara"])
    parser.add_argument("--only")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test", type=int, default=1000, help="images measured, of MNIST")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of every recipe")
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    changes = {name: json.loads(value) for name, _, value in (one.partition("=") for one in args.set)}
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = mnist if args.what == "mnist" else ara
        for row in run(args, args.keep or Path(folder), changes):
            print(json.dumps(row), flush=True)


def mnist(args: argparse.Namespace, folder: Path, changes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Accuracy at 0, 0.1, 0.2, 0.3 by 100 steps of PGD from a random start, on the first test images."""
    train = Parquet(path=SHARED / "data/mnist/train.parquet", limit=20_000)
    test = images(Parquet(path=SHARED / "data/mnist/test.parquet", limit=args.test))
    factory = f"{Path(__file__).parents[1] / 'nets.py'}:mnist_interp_small"
    for name in args.only.split(",") if args.only else MNIST:
        use, fields = MNIST[name]
        recipe = Catalog.installed().make("recipe", use, SHORT | fields | changes)
        trained, seconds = made(recipe, TorchModel(factory=factory), train, folder / name)
        module = mnist_interp_small_folded()  # the same network, measured in a tenth of the time
        module.load_state_dict(trained.classifier.module.state_dict())
        attack = {"use": "pgd", "steps": 100, "random_start": True}
        threat = {"use": "linf", "budgets": [0.1, 0.2, 0.3], "attack": attack}
        run = classrob.evaluate(module, test, [threat], metrics=["accuracy"], progress=False, exhaustive=True)
        found = {
            str(row.budget or 0): [row.value, row.low, row.high, row.n]
            for row in run.rows
            if row.label is None and row.metric == "accuracy"
        }
        yield {"recipe": name, "seconds": seconds, "accuracy": found}


def ara(args: argparse.Namespace, folder: Path, changes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Areas under the accuracy over RMSE, above chance: 400 steps that add up to 4, not cut to [0, 1]."""
    x, y = images(Digits(split="test"))
    for name in args.only.split(",") if args.only else ARA:
        use, fields = ARA[name]
        for seed in range(args.seeds):
            recipe = Catalog.installed().make("recipe", use, fields | changes | {"seed": seed})
            trained, seconds = made(recipe, CNN(), Digits(split="train"), folder / f"{name}-{seed}")
            with trained.classifier.frozen() as classifier:
                offset = descended(classifier.module, x, y, 4.0, 400, True)
                with torch.no_grad():
                    right = classifier(x).argmax(1) == y
            size = offset.square().mean((1, 2, 3)).sqrt()
            late = int((right & (size == 0)).sum())  # never misclassified on the way: there should be none
            value, low, high = area(size, 10)
            yield {
                "recipe": name,
                "seed": seed,
                "seconds": seconds,
                "accuracy": float(right.float().mean()),
                "ara": value,
                "low": low,
                "high": high,
                "n": len(x),
                "never broken": late,
                **{name: value for name, value in trained.history[-1].values.items() if name != "rate"},
            }


def made(recipe: Any, model: Any, data: Any, folder: Path) -> tuple[classrob.Trained, dict[str, float]]:
    """The training; its seconds on the clock, and of the processor in this call (one thread)."""
    begin = time.process_time()
    course = classrob.Course(
        folder=folder, marked=lambda mark: print(f"# {folder.name} {mark}", file=sys.stderr)
    )
    trained = recipe.train(model, data, course)
    seconds = {"clock": trained.history[-1].seconds, "processor": time.process_time() - begin}
    return trained, {name: round(value, 1) for name, value in seconds.items()}


def area(sizes: Tensor, classes: int) -> tuple[float, float, float]:
    """∫ max(0, accuracy(r) − 1 / classes) dr and the 95 % interval of 2,000 bootstraps over images."""

    def of(distances: np.ndarray) -> float:
        ordered = np.sort(distances)
        width = np.diff(ordered, prepend=0.0)
        standing = 1.0 - np.arange(len(ordered)) / len(ordered)
        return float((width * np.clip(standing - 1.0 / classes, 0.0, None)).sum())

    values = sizes.numpy()
    draws = np.random.default_rng(0)
    again = [of(draws.choice(values, len(values))) for _ in range(2000)]
    low, high = np.quantile(again, [0.025, 0.975])
    return of(values), float(low), float(high)


def images(dataset: Any) -> tuple[Tensor, Tensor]:
    """All images [n, 1, h, w] and labels of a data set."""
    samples = opened(dataset, "data")
    batch, _ = samples.read(range(len(samples)), Fit())
    assert batch is not None
    return batch.images, batch.labels


if __name__ == "__main__":
    main()
