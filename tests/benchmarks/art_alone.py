"""What it costs that an attack of ART which draws random numbers is called for one image at a time.

    python tests/benchmarks/art_alone.py [--images 64] [--repeats 3]

Each attack searches the same images of a small network in one call, which is unlawful where it draws (a result
would depend on its neighbours), and one by one. JSON: the quickest of the repeats in seconds, and their ratio.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time

import torch
from torch import nn

from classrob.catalog import Catalog
from classrob.live import Batch, Classifier
from classrob.streams import Streams
from classrob_art.offer import offer_of
from classrob_art.search import Search
from classrob_art.seclusion import Dice
from classrob_lp.balls import LinfBall

ATTACKS = {
    "projected-gradient-descent": {"max_iter": 20},
    "auto-projected-gradient-descent": {"max_iter": 20, "nb_random_init": 1},
    "square-attack": {"max_iter": 100},
    "deep-fool": {"max_iter": 10},
}


class Blind:
    """A `Dice` that sees no draw."""

    def rolled(self) -> bool:
        return False


def network() -> nn.Module:
    """Three convolutions for 32×32 colour images, ten classes, random weights."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inside, outside, stride in ((3, 32, 1), (32, 64, 2), (64, 64, 2)):
        layers += [nn.Conv2d(inside, outside, 3, stride, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 64, 10))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    streams = Streams.keyed(0, "d", map(str, range(arguments.images)), "c")
    images, classifier = streams.uniform(3, 32, 32), Classifier(network())
    with torch.no_grad():
        labels = classifier(images).argmax(1)
    batch = Batch(tuple(map(str, range(len(images)))), images, labels)
    space = LinfBall(torch.full((len(images),), 8 / 255), images)
    Dice.rolled = Blind.rolled  # type: ignore[method-assign, assignment]
    rows = {}
    for name, fields in ATTACKS.items():
        part = Catalog.installed().make("attack", f"art/{name}", fields)
        values = {key: value for key, value in part if key != "algorithm"}
        seconds = {}
        for together in (True, False):
            offer = dataclasses.replace(offer_of(name), row_by_row=together)
            times = []
            for _ in range(arguments.repeats):
                with classifier.frozen():
                    begin = time.perf_counter()
                    Search(offer, values, classifier, space, batch, streams).run()
                    times.append(time.perf_counter() - begin)
            seconds["together" if together else "alone"] = round(min(times), 2)
        rows[name] = seconds | {"ratio": round(seconds["alone"] / seconds["together"], 2)}
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
