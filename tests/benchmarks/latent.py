"""The latent-space metrics on the authors' weights: their table again, and time against their one-image search."""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file as load_weights
from torch import Tensor

from classrob.catalog import Catalog
from classrob.decoder import Decoder
from classrob.images import Fit
from classrob.judge import judge
from classrob.live import Batch, Classifier, Samples
from classrob.loading import load_file
from classrob.parts import Attack
from classrob.reading.results import Results
from classrob.reading.score import scores
from classrob.run import run
from classrob.statistics.intervals import rate
from classrob.streams import Streams
from classrob.study import make_study
from classrob_latent.codes import drawn
from classrob_latent.search import LatentSearch
from classrob_latent.space import CodeBall, scaled
from classrob_latent.threat import kept
from classrob_lp.minimum_norm import MinimumNorm

ROOT = Path(__file__).parents[2]
NETS = ROOT / "tests" / "nets.py"
MODELS = ROOT.parent / "shared" / "models"
DATA = ROOT.parent / "shared" / "data"

GENERATOR = {
    "use": "classwise",
    "factory": f"{NETS}:mnist_wgan_generator",
    "weights": str(MODELS / "mnist-latent-wgan-generators.safetensors"),
    "code": [64],
}


def classifier(name: str) -> dict[str, Any]:
    """The entry of one of the authors' classifiers."""
    weights = str(MODELS / f"mnist-latent-arch0-{name}.safetensors")
    return {"use": "torch", "name": name, "factory": f"{NETS}:mnist_latent_arch0", "weights": weights}


def main() -> None:
    """Print one JSON object a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    modes = parser.add_subparsers(dest="mode", required=True)
    table = modes.add_parser("table", help="LGA, LAGS, LAGA and image-space severity of several classifiers")
    table.add_argument("--count", type=int, default=600, help="generated images, and real ones")
    table.add_argument("--models", nargs="+", default=["plain", "robust"])
    table.add_argument("--attack", default="latent-search")
    table.add_argument("--restarts", type=int, default=12)
    table.add_argument("--out", type=Path, help="keep the runs here, so that the same command resumes them")
    right = modes.add_parser(
        "accuracy", help="shares that are right: clean, under noise of 0.8, generated, decayed"
    )
    right.add_argument("--count", type=int, default=10_000, help="test images, and generated ones")
    right.add_argument("--models", nargs="+", default=["oneepoch", "plain", "robust"])
    speed = modes.add_parser("speed", help="time an image and severity of each search, and of the authors'")
    speed.add_argument("--count", type=int, default=100, help="generated images")
    speed.add_argument("--alone", type=int, default=20, help="so many of them by the authors' search")
    speed.add_argument("--model", default="plain")
    speed.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    if given.mode == "table":
        with tempfile.TemporaryDirectory() as folder:
            tabulate(given, given.out or Path(folder))
    elif given.mode == "accuracy":
        accuracies(given)
    else:
        torch.set_num_threads(given.threads)
        compare(given)


# -- the table ----------------------------------------------------------------------------------------


def tabulate(given: argparse.Namespace, folder: Path) -> None:
    """Two studies, one of generated images and one of real ones, and how far classifiers are apart in each."""
    models = [classifier(name) for name in given.models]
    attack = {"use": given.attack, "restarts": given.restarts}
    latent = {
        "name": "latent",
        "model": models,
        "dataset": [{"use": "generated", "generator": GENERATOR, "count": given.count}],
        "threat": [{"use": "latent", "generator": GENERATOR, "attack": attack}],
        "metric": [
            {"use": m} for m in ("latent-severity", "latent-accuracy", "source-accuracy", "latent-shift")
        ],
    }
    pixels = {
        "name": "pixels",
        "model": models,
        "dataset": [{"use": "parquet", "path": str(DATA / "mnist" / "test.parquet"), "limit": given.count}],
        "threat": [
            {"use": "l2", "budgets": [8.4], "attack": {"use": "minimum-norm"}},
            {"use": "linf", "budgets": [0.6], "attack": {"use": "minimum-norm"}},
        ],
        "metric": [{"use": "mean-distance"}],
    }
    for data in (latent, pixels):
        out = folder / data["name"]
        run(make_study({"pictures": 0, "shard_size": 25, **data}), ROOT, out)
        with Results.open(out) as results:
            for row in scores(results, Catalog.installed()):
                if row.label is None:
                    print(json.dumps(row.as_dict()), flush=True)
            for threat in data["threat"]:
                distances = {m: _distances(results, m, threat["use"]) for m in given.models}
                for other in given.models[1:]:
                    _apart(threat["use"], given.models[0], other, distances)


def _distances(results: Results, model: str, threat: str) -> np.ndarray:
    """Each sample's smallest distance, at most the largest budget, in the samples' order."""
    (condition,) = [c for c in results.conditions if (c.model, c.threat) == (model, threat)]
    table = results.table(condition)
    found = np.full(int(table.numbers.max()) + 1, condition.budgets[-1])
    broken = table["predicted"] != table["label"]
    np.minimum.at(found, table.numbers[broken], table["distance"][broken])
    return found


def _apart(threat: str, one: str, other: str, distances: dict[str, np.ndarray]) -> None:
    """The difference of two classifiers' severities on the same samples, and their ratio, with 95 % intervals."""
    pair = np.stack([distances[one], distances[other]])
    draws = np.random.default_rng(0).integers(0, pair.shape[1], (4000, pair.shape[1]))
    means = pair[:, draws].mean(2)
    ends = [float(x) for x in np.quantile(means[1] / means[0], [0.025, 0.975])]
    gap = pair[1] - pair[0]
    half = 1.96 * gap.std(ddof=1) / math.sqrt(len(gap))
    said = {"threat": threat, "severity": f"{other} against {one}", "n": len(gap)}
    said |= {
        "difference": float(gap.mean()),
        "low": float(gap.mean() - half),
        "high": float(gap.mean() + half),
    }
    print(json.dumps({**said, "ratio": float(means[1].mean() / means[0].mean()), "ratio low, high": ends}))


# -- accuracy -----------------------------------------------------------------------------------------


def accuracies(given: argparse.Namespace) -> None:
    """What each classifier gets right, with intervals; noise is added without cutting, as published."""
    catalog = Catalog.installed()
    models: dict[str, Classifier] = {
        name: catalog.make(
            "model", "torch", {k: v for k, v in classifier(name).items() if k not in ("use", "name")}
        ).load("cpu")
        for name in given.models
    }
    real = catalog.make("dataset", "parquet", {"path": str(DATA / "mnist" / "test.parquet")}).open()
    made = catalog.make("dataset", "generated", {"generator": GENERATOR, "count": given.count}).open()
    decoder = catalog.make("generator", "classwise", {k: v for k, v in GENERATOR.items() if k != "use"}).load(
        "cpu"
    )
    hits: Counter[tuple[str, str]] = Counter()
    total: Counter[str] = Counter()
    for first in range(0, given.count, 256):
        images = dict(_images(real, made, decoder, range(first, min(given.count, first + 256))))
        for what, (x, labels) in images.items():
            total[what] += len(labels)
            for name, model in models.items():
                with model.frozen(), torch.no_grad():
                    hits[name, what] += int((model(x).argmax(1) == labels).sum())
    for (name, what), seen in hits.items():
        n = total[what]
        low, high = rate(seen, n)
        print(
            json.dumps({"model": name, "images": what, "right": seen / n, "low": low, "high": high, "n": n})
        )


def _images(
    real: Samples, made: Samples, decoder: Decoder, rows: range
) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Images and labels by what they are; pixels run from 0 to 1, so that the paper's noise of 0.8 is 0.4."""
    batch, _ = real.read(rows, Fit())
    assert batch is not None
    yield "clean", (batch.images, batch.labels)
    noise = Streams.keyed(0, "noise", batch.ids, "").normal(*batch.images.shape[1:])
    yield "noise 0.8", (batch.images + 0.4 * noise, batch.labels)
    batch, _ = made.read(rows, Fit())
    assert batch is not None
    yield "generated (LGA)", (batch.images, batch.labels)
    with torch.no_grad():
        yield "decayed", (decoder(kept(1.0) * drawn(decoder, batch.ids), batch.labels), batch.labels)


# -- speed --------------------------------------------------------------------------------------------


def compare(given: argparse.Namespace) -> None:
    """Processor seconds an image and mean severity, by each search on the same images."""
    catalog = Catalog.installed()
    data = catalog.make("dataset", "generated", {"generator": GENERATOR, "count": given.count})
    model: Classifier = catalog.make(
        "model", "torch", {k: v for k, v in classifier(given.model).items() if k not in ("use", "name")}
    ).load("cpu")
    threat = catalog.make("threat", "latent", {"generator": GENERATOR, "budgets": [2.5]})
    batch, _ = data.open().read(range(given.count), Fit())
    assert batch is not None
    streams = Streams.keyed(0, "speed", batch.ids, "")
    model.batch_size = 128
    with model.frozen():
        space = threat.open(batch, model, streams)
        few = torch.arange(min(given.alone, given.count))
        seconds, found = alone(model, space.select(few), batch.select(few), PAPER)
        print(
            json.dumps(
                {
                    "search": "one image at a time, as published",
                    "n": len(few),
                    "seconds an image": seconds,
                    "severity": float(found.mean()),
                }
            ),
            flush=True,
        )
        for name, attack in SEARCHES.items():
            begin = time.process_time()
            z = attack.search(model, space, batch, streams, None)
            took = (time.process_time() - begin) / given.count
            verdict = judge(model, space, batch, z)
            distance = torch.where(verdict.broken, verdict.distance, space.budget)
            said = {
                "search": name,
                "n": given.count,
                "seconds an image": took,
                "times faster": seconds / took,
            }
            few_of = {
                "severity of the first": float(distance[few].mean()),
                "severity": float(distance.mean()),
            }
            print(json.dumps({**said, **few_of}), flush=True)


SEARCHES: dict[str, Attack] = {
    "latent-search": LatentSearch(),
    "latent-search, 4 walks": LatentSearch(restarts=4),
    "minimum-norm": MinimumNorm(),
    "minimum-norm, 2 walks": MinimumNorm(restarts=2),
    "minimum-norm, 4 walks": MinimumNorm(restarts=4),
}

#: The paper's parameters for MNIST: largest radius, steps, share of a step, walks.
PAPER = (2.5, 50, 0.05, 12)


def alone(
    model: Classifier, space: CodeBall, batch: Batch, how: tuple[float, int, float, int]
) -> tuple[float, Tensor]:
    """The authors' procedure as section 2.2 of the notes has it: each image by itself, each walk after the other.

    Returns:
        processor seconds an image, and the smallest norms found [n].
    """
    draws = torch.Generator().manual_seed(0)
    begin = time.process_time()
    norms = [_one(model, space, row, how, draws) for row in range(len(batch))]
    return (time.process_time() - begin) / len(batch), torch.tensor(norms)


def _one(
    model: Classifier, space: CodeBall, row: int, how: tuple[float, int, float, int], draws: torch.Generator
) -> float:
    radius, steps, share, walks = how
    label, net = int(space.labels[row]), model.module
    decode: Callable[[Tensor], Tensor] = _decoder_of(space, label)
    centre, nearest = space.shrunk * space.code[row : row + 1], math.inf
    for _ in range(walks):
        direction = torch.randn(centre.shape, generator=draws)
        shift = radius * float(torch.rand((), generator=draws)) * direction / scaled(direction)
        for _ in range(steps):
            shift = shift.detach().requires_grad_()
            likely = net(decode(centre + shift)).softmax(1)[0]
            gap = torch.cat([likely[:label], likely[label + 1 :]]).max() - likely[label]
            if float(gap.detach()) > 0:
                nearest = radius = min(radius, float(scaled(shift.detach())))
                break
            (slope,) = torch.autograd.grad(gap, shift)
            moved = shift.detach() + radius * share * slope / scaled(slope).clamp_min(1e-20)
            shift = moved * min(1.0, radius / float(scaled(moved)))
    return nearest if math.isfinite(nearest) else how[0]


def _decoder_of(space: CodeBall, label: int) -> Callable[[Tensor], Tensor]:
    """One class's network by itself, as the authors call it."""
    net = _network(label)
    return lambda z: (net(z) + 1) / 2


@cache
def _network(label: int) -> torch.nn.Module:
    net = vars(load_file(str(NETS)))["mnist_wgan_generator"]()
    state = load_weights(GENERATOR["weights"])
    net.load_state_dict({k.partition(".")[2]: v for k, v in state.items() if k.startswith(f"{label}.")})
    return net.eval().requires_grad_(False)


if __name__ == "__main__":
    main()
