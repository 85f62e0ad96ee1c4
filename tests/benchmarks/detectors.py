"""What detectors cost an image, and confounding gradients the published way, by vmap, by pytorch-ood, and in one pass."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measures.clock import CLOCKS, in_turn, over, say, spread, timed
from real import SHARED, setting
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from classrob.catalog import Catalog
from classrob.errors import NotObservable
from classrob.live import Batch, Classifier
from classrob.scorer import Reference
from classrob.streams import Streams
from classrob_base.parquet import Parquet
from classrob_detectors.norms import GradientNorms

#: So many images are mapped at once: single images' gradients of all weights have to fit into memory.
FEW = 16

#: Fields without which a detector cannot be made, or not be compared.
FIELDS: dict[str, dict[str, Any]] = {
    "pytorch-ood/ViM": {"options": {"d": 5}},
    "pytorch-ood/KNN": {"options": {"k": 10}},
    "pytorch-ood/DICE": {"options": {"p": 0.7}},
}


def main() -> None:
    """Print one row of JSON a way of getting gradient norms, and one a detector."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "models", nargs="*", default=["mnist", "cifar"], help="as tests/benchmarks/real.py has them"
    )
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--reference", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="processor")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")
    for which in given.models:
        entry, data = setting(which)
        model = Catalog.installed().make("model", entry["use"], _fields(entry))
        classifier = model.load("cpu")
        train = Path(data["path"]).with_name("train.parquet")
        reference = Reference(*_reference(_read(train, given.reference, classifier)))
        images = _read(Path(data["path"]), given.images, classifier).images
        say("setting", model=entry["name"], **vars(given) | {"models": which})
        gradients(entry["name"], classifier, images, given)
        detectors(entry["name"], classifier, reference, images, given)


def _fields(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in ("use", "name")}


def _read(path: Path, n: int, classifier: Classifier) -> Batch:
    samples = Parquet(path=path, limit=n, stratify=True).open()
    batch, _ = samples.read(range(len(samples)), classifier.fit)
    assert batch is not None, f"no image of {path} can be read"
    return batch


def _reference(batch: Batch) -> tuple[Batch, dict[str, Batch], Streams]:
    return batch, {}, Streams.keyed(0, "benchmark", batch.ids, "")


# -- confounding gradients ----------------------------------------------------------------------------


def gradients(name: str, classifier: Classifier, images: Tensor, given: argparse.Namespace) -> None:
    """Squared gradient norms of all images against all ones, in each way."""
    module = classifier.module.eval().requires_grad_(True)
    ours = GradientNorms(module, loss)
    few = images[:FEW]
    ways: dict[str, Callable[[], Any]] = {
        "training step": lambda: step(module, images),
        "one pass": lambda: ours(images),
        "an image at a time": lambda: alone(module, images),
        "vmap": lambda: mapped(module, few),
    }
    try:
        from pytorch_ood.detector import GradUncertainty
    except (ImportError, OSError, RuntimeError) as error:  # a torchvision of another torch raises the last
        say("gradients", model=name, way="pytorch-ood", skipped=" ".join(str(error).split())[:160])
    else:
        theirs = GradUncertainty(module)
        ways["pytorch-ood"] = lambda: theirs.predict(few)
    seconds, found = in_turn(ways, given.rounds, CLOCKS[given.clock])
    counts = {way: len(few if way in ("vmap", "pytorch-ood") else images) for way in ways}
    each = {way: [1000 * t / counts[way] for t in took] for way, took in seconds.items()}
    for way, took in each.items():
        row: dict[str, Any] = {"milliseconds": spread(took), "over_one_pass": over(took, each["one pass"])}
        if way in ("an image at a time", "vmap"):
            wanted = found["one pass"][: counts[way]]
            far = (found[way] - wanted).abs() / wanted.abs().clamp_min(1e-12)
            row["largest_difference"] = float(f"{float(far.max()):.2g}")
        say("gradients", model=name, way=way, n=counts[way], **row)
    module.zero_grad(set_to_none=True)
    module.requires_grad_(False)


def loss(logits: Tensor) -> Tensor:
    """The binary cross-entropy against all ones, the mean over classes."""
    return nn.functional.softplus(-logits).mean(1)


def step(module: nn.Module, images: Tensor) -> None:
    """An ordinary training step's forward and backward pass."""
    module.zero_grad()
    loss(module(images)).mean().backward()


def alone(module: nn.Module, images: Tensor) -> Tensor:
    """As published: a backward pass an image, and the norm of every tensor's gradient."""
    rows = []
    for image in images.split(1):
        module.zero_grad()
        loss(module(image)).sum().backward()
        rows.append([0.0 if p.grad is None else float(p.grad.square().sum()) for p in module.parameters()])
    return torch.tensor(rows)


def mapped(module: nn.Module, images: Tensor) -> Tensor:
    """Single images' gradients by `torch.func`, all at once."""
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def one(chosen: dict[str, Tensor], image: Tensor) -> Tensor:
        return loss(functional_call(module, chosen, (image[None],))).sum()

    columns = vmap(grad(one), in_dims=(None, 0))(parameters, images).values()
    return torch.stack([g.reshape(len(g), -1).square().sum(1) for g in columns], 1)


# -- detectors ----------------------------------------------------------------------------------------


def detectors(
    name: str, classifier: Classifier, reference: Reference, images: Tensor, given: argparse.Namespace
) -> None:
    """Seconds to fit each installed detector, and its time an image, beside that of a prediction."""
    catalog, now = Catalog.installed(), CLOCKS[given.clock]
    parts = [o.name for o in catalog.list("detector") if "*" not in o.name]
    try:
        parts += [o.name for o in catalog.list("detector", "pytorch-ood/*")]
    except Exception as error:  # whatever the bridge cannot do here is no reason to measure nothing
        print(f"pytorch-ood is left out: {error}", file=sys.stderr)
    ways: dict[str, Callable[[], Any]] = {"prediction": lambda: classifier(images)}
    fits: dict[str, float] = {}
    with classifier.frozen(), torch.no_grad():
        for part in parts:
            detector = catalog.make("detector", part, FIELDS.get(part, {}))
            try:
                fits[part], scorer = timed(lambda one=detector: one.fit(classifier, reference), now)
                scorer.score(images)
            except NotObservable as error:
                say("detectors", model=name, detector=part, skipped=str(error))
                continue
            ways[part] = lambda one=scorer: one.score(images)
        seconds, _ = in_turn(ways, given.rounds, now)
    for part, took in seconds.items():
        row = {"milliseconds": spread(1000 * t / len(images) for t in took)}
        if part != "prediction":
            row["over_prediction"] = over(took, seconds["prediction"])
            row["fit_seconds"] = round(fits[part], 3)
        say("detectors", model=name, detector=part, n=len(images), reference=len(reference.batch), **row)


if __name__ == "__main__":
    if not SHARED.is_dir():
        sys.exit(f"this benchmark needs the folder {SHARED} with the models and images that it measures")
    main()
