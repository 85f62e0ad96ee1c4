"""Smallest distances and processor time of minimum-norm and of the peers' attacks, on the same images in one process."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from real import setting
from torch import Tensor

from classrob.catalog import Catalog
from classrob.live import Batch, Classifier, Meter
from classrob.streams import Streams
from classrob.subset import opened

#: Threat, order of the norm, and a budget beyond every distance.
NORMS = {"linf": (torch.inf, 1.0), "l2": (2.0, 60.0), "l1": (1.0, 1000.0)}
#: Module, class and fields of what the peers offer for each norm; the slow ones only with --slow.
PEERS: dict[str, list[tuple[str, str, dict[str, Any], bool]]] = {
    "linf": [
        ("foolbox.attacks", "LInfFMNAttack", {}, False),
        ("foolbox.attacks", "LinfDeepFoolAttack", {}, False),
        ("foolbox.attacks", "LInfFMNAttack", {"steps": 1000}, True),
        ("art.attacks.evasion", "CarliniLInfMethod", {}, True),
    ],
    "l2": [
        ("foolbox.attacks", "L2FMNAttack", {}, False),
        ("foolbox.attacks", "DDNAttack", {}, False),
        ("foolbox.attacks", "L2DeepFoolAttack", {}, False),
        ("foolbox.attacks", "DDNAttack", {"steps": 1000}, True),
        ("foolbox.attacks", "L2CarliniWagnerAttack", {"steps": 1000}, True),
        ("foolbox.attacks", "L2BrendelBethgeAttack", {"steps": 200}, True),
        ("art.attacks.evasion", "DeepFool", {}, True),
        ("art.attacks.evasion", "CarliniL2Method", {}, True),
    ],
    "l1": [
        ("foolbox.attacks", "L1FMNAttack", {}, False),
        ("foolbox.attacks", "EADAttack", {"steps": 1000}, True),
        ("foolbox.attacks", "L1FMNAttack", {"steps": 1000}, True),
    ],
}
BATCH = 64

#: Images in, attacked images out.
Attack = Callable[[Batch], Tensor]


def main() -> None:
    """Print one JSON object a model, norm and attack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow", action="store_true", help="also what takes a hundred times longer")
    parser.add_argument("--norms", nargs="+", choices=NORMS, default=list(NORMS))
    parser.add_argument("--models", nargs="+", default=["cifar", "mnist"])
    parser.add_argument("--steps", nargs="+", type=int, default=[10, 30, 100])
    arguments = parser.parse_args()
    os.environ["ART_DATA_PATH"] = tempfile.mkdtemp()  # ART writes a folder when it is imported
    torch.set_num_threads(1)
    catalog = Catalog.installed()
    for which in arguments.models:
        model, data = (
            {k: v for k, v in entry.items() if k not in ("use", "name")} for entry in setting(which)
        )
        uses = [entry["use"] for entry in setting(which)]
        classifier: Classifier = catalog.make("model", uses[0], model, Path()).load("cpu")
        classifier.batch_size = BATCH
        samples = opened(catalog.make("dataset", uses[1], {**data, "limit": arguments.limit}, Path()), which)
        batch, _ = samples.read(range(arguments.limit), classifier.fit)
        assert batch is not None
        for norm in arguments.norms:
            attacks = {f"minimum-norm {k} steps": ours(catalog, classifier, norm, k) for k in arguments.steps}
            for module, name, fields, slow in PEERS[norm]:
                if slow <= arguments.slow and (peer := theirs(classifier, module, name, fields)) is not None:
                    label = " ".join([module.split(".")[0], name, *(f"{k}={v}" for k, v in fields.items())])
                    attacks[label] = peer
            for row in compare(classifier, batch, norm, attacks, arguments.rounds):
                print(json.dumps({"model": which, "norm": norm, "images": len(batch), **row}), flush=True)


def compare(
    classifier: Classifier, batch: Batch, norm: str, attacks: dict[str, Attack], rounds: int
) -> list[dict[str, Any]]:
    """All attacks in turn, in every round in another order; processor seconds and distances of each."""
    seconds: dict[str, list[float]] = {name: [] for name in attacks}
    found: dict[str, Tensor] = {}
    broken_down: dict[str, str] = {}
    for turn in range(rounds):
        names = list(attacks)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            if name in broken_down:
                continue
            begin = time.process_time()
            try:
                images = attacks[name](batch)
            except Exception as error:  # a peer's failure is a result of its own
                broken_down[name] = f"{type(error).__name__}: {error}"[:200]
                continue
            seconds[name].append(time.process_time() - begin)
            found[name] = distances(classifier, batch, images.detach(), NORMS[norm][0])
    rows: list[dict[str, Any]] = [{"attack": name, "failed": why} for name, why in broken_down.items()]
    for name, distance in found.items():
        hit = distance[distance.isfinite()]
        rows.append(
            {
                "attack": name,
                "median": round(float(distance.median()), 5),
                "mean of found": round(float(hit.mean()), 5),
                "not found": int(distance.isinf().sum()),
                "seconds": round(statistics.median(seconds[name]), 2),
                "spread": [round(min(seconds[name]), 2), round(max(seconds[name]), 2)],
            }
        )
    return rows


@torch.no_grad()
def distances(classifier: Classifier, batch: Batch, images: Tensor, order: float) -> Tensor:
    """Each image's distance, 0 where the model errs anyway, inf where the attacked image is classified right."""
    with classifier.frozen():
        clean = classifier(batch.images).argmax(1) != batch.labels
        wrong = classifier(images.clamp(0, 1)).argmax(1) != batch.labels
    distance = (images - batch.images).flatten(1).norm(p=order, dim=1)
    return torch.where(clean, 0.0, torch.where(wrong, distance, torch.inf))


def ours(catalog: Catalog, classifier: Classifier, norm: str, steps: int) -> Attack:
    """The attack as a study runs it, but for the judge."""
    attack = catalog.make("attack", "minimum-norm", {"steps": steps})
    threat = catalog.make("threat", norm, {"budgets": [NORMS[norm][1]]})

    def run(batch: Batch) -> Tensor:
        streams = Streams.keyed(0, "d", batch.ids, "c")
        space = threat.open(batch, classifier, streams)
        classifier.meter = Meter.of(len(batch))
        with classifier.frozen():
            images = space.render(attack.search(classifier, space, batch, streams, None))
        classifier.meter = None
        return images

    return run


def theirs(classifier: Classifier, module: str, name: str, fields: dict[str, Any]) -> Attack | None:
    """A peer's attack with its own defaults but for `fields`; None, and a line, where it is not installed."""
    library = module.split(".")[0]
    if importlib.util.find_spec(library) is None or (
        "BrendelBethge" in name and importlib.util.find_spec("numba") is None
    ):
        print(json.dumps({"attack": f"{library} {name}", "absent": True}), flush=True)
        return None
    kind = getattr(importlib.import_module(module), name)
    network = classifier.module.eval()
    if library == "foolbox":
        model = importlib.import_module("foolbox").PyTorchModel(network, bounds=(0, 1), device="cpu")

        def run(batch: Batch) -> Tensor:
            parts = zip(batch.images.split(BATCH), batch.labels.split(BATCH), strict=True)
            return torch.cat([kind(**fields)(model, x, y, epsilons=None)[1] for x, y in parts])
    else:
        wrapper = importlib.import_module("art.estimators.classification").PyTorchClassifier

        def run(batch: Batch) -> Tensor:
            with torch.no_grad():
                classes = network(batch.images[:8]).shape[1]
            estimator = wrapper(
                network,
                loss=torch.nn.CrossEntropyLoss(),
                input_shape=tuple(batch.images.shape[1:]),
                nb_classes=classes,
                clip_values=(0.0, 1.0),
                device_type="cpu",
            )
            attack = kind(estimator, batch_size=BATCH, verbose=False, **fields)
            return torch.from_numpy(attack.generate(batch.images.numpy(), batch.labels.numpy()))

    return run


if __name__ == "__main__":
    main()
