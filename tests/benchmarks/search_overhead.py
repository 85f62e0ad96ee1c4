"""Time a gradient evaluation of the search loop against bare forward and backward passes, in turn."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import torch
from real import setting

from classrob.catalog import Catalog
from classrob.live import Batch, Classifier, Meter
from classrob.streams import Streams
from classrob.subset import opened

STEPS, ROUNDS, IMAGES = 20, 7, 128


def main() -> None:
    """Print one JSON object a model: the ratio's median and spread over the rounds."""
    catalog = Catalog.installed()
    for which, budget in (("mnist", 0.05), ("cifar", 1 / 2550)):
        model, data = (
            {k: v for k, v in entry.items() if k not in ("use", "name")} for entry in setting(which)
        )
        uses = [entry["use"] for entry in setting(which)]
        classifier: Classifier = catalog.make("model", uses[0], model, Path()).load("cpu")
        samples = opened(catalog.make("dataset", uses[1], {**data, "limit": IMAGES}, Path()), which)
        batch, _ = samples.read(range(IMAGES), classifier.fit)
        assert batch is not None
        ratios = [ratio(classifier, batch, budget, catalog) for _ in range(ROUNDS)]
        found = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
        print(json.dumps({"model": which, "search_over_floor": {k: round(v, 3) for k, v in found.items()}}))


def ratio(classifier: Classifier, batch: Batch, budget: float, catalog: Catalog) -> float:
    """Seconds a row and gradient of the search, over those of bare passes at the same batch size."""
    attack = catalog.make("attack", "pgd", {"steps": STEPS})
    threat = catalog.make("threat", "linf", {"budgets": [budget]})
    streams = Streams.keyed(0, "d", batch.ids, "c")
    with classifier.frozen():
        begin = time.perf_counter()
        bare = 0
        for _ in range(STEPS):
            for images, labels in zip(batch.images.split(64), batch.labels.split(64), strict=True):
                images = images.clone().requires_grad_()
                loss = torch.nn.functional.cross_entropy(classifier.module(images), labels, reduction="sum")
                torch.autograd.grad(loss, images)
                bare += len(images)
        floor = (time.perf_counter() - begin) / bare
        classifier.batch_size, classifier.meter = 64, Meter.of(len(batch))
        begin = time.perf_counter()
        attack.search(classifier, threat.open(batch, classifier, streams), batch, streams, None)
        spent = int(classifier.meter.backwards.sum())
        return (time.perf_counter() - begin) / spent / floor


if __name__ == "__main__":
    main()
