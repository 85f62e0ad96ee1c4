"""The table of confounding gradients on digits over several trainings, each read by five folds of all test images."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from classrob_detectors.confounding import Norms
from classrob_detectors.labels import Kind, Variant, confounding
from classrob_detectors.learned import TwoLayers
from plugins.test_confounding import TABLE, area, outliers, trained

FOLDS, HIDDEN = 5, 32
VARIANTS: tuple[tuple[Kind, Variant], ...] = (("ones", "sigmoid"), ("zeros", "sigmoid"), ("ones", "softmax"))


def main() -> None:
    """Print one row of JSON a set of outliers: for every column mean, smallest and largest over the trainings."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trainings", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, dict[str, list[float]]] = {what: {} for what in TABLE}
    right: list[float] = []
    for seed in range(given.trainings):
        classifier, x, y = trained(seed, given.batch_size)
        with torch.no_grad():
            right.append(float((classifier(x).argmax(1) == y).float().mean()))
        sets = {"": x, **{what: outliers(what, classifier, x, y) for what in TABLE}}
        with classifier.frozen(), torch.no_grad():
            columns = {"1 - msp": {name: -classifier(one).softmax(1).amax(1) for name, one in sets.items()}}
            for what in TABLE:
                found[what].setdefault("1 - msp", []).append(
                    area(columns["1 - msp"][""], columns["1 - msp"][what])
                )
            for label, variant in VARIANTS:
                norms = Norms(classifier, confounding(label, 10, 2, 0), variant)
                squares = {name: norms(one) for name, one in sets.items()}
                for what in TABLE:
                    row, head = found[what], f"{label}, {variant}"
                    row.setdefault(f"{head}: sum", []).append(area(squares[""].sum(1), squares[what].sum(1)))
                    row.setdefault(f"{head}: learned", []).append(folded(squares[""], squares[what]))
    for what, row in found.items():
        spread = {head: [round(f(v), 3) for f in (statistics.mean, min, max)] for head, v in row.items()}
        print(
            json.dumps({"outliers": what, "trainings": given.trainings, "accuracy": right, **spread}),
            flush=True,
        )


def folded(inside: Tensor, outside: Tensor) -> float:
    """The mean AUROC of detectors that learned from four fifths of the pairs, on the fifth that they did not see."""
    fold = torch.arange(len(inside)) % FOLDS
    each = []
    for k in range(FOLDS):
        seen, fresh = fold != k, fold == k
        network = TwoLayers.fitted(inside[seen], outside[seen], HIDDEN, 0)
        each.append(area(network(inside[fresh]), network(outside[fresh])))
    return statistics.mean(each)


if __name__ == "__main__":
    main()
