"""Time of a gradient in the search loop over that of bare passes at the same batch size and threads."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from peers.bare import gradient

from classrob.catalog import Catalog
from classrob.live import Meter, Twin
from classrob.streams import Streams
from measures.clock import in_turn, over, say, spread
from measures.subject import Subject

#: So small a budget that nothing is found: every step is taken, on a full batch.
BUDGET = 1e-6


def options(parser: argparse.ArgumentParser) -> None:
    """Models, steps and repeats."""
    parser.add_argument("--models", nargs="+", default=["mnist", "cifar"])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--batch", type=int, help="default: as tuned")


def measure(arguments: argparse.Namespace) -> None:
    """One row a model and contender."""
    for which in arguments.models:
        subject = Subject.of(which, 512)
        size = arguments.batch or subject.tuning.batch_size
        contenders, gradients = _contenders(subject, size, arguments.steps)
        with subject.classifier.frozen():
            seconds, _ = in_turn(contenders, arguments.repeats, arguments.now)
        each = {n: [1e6 * s / gradients[n] for s in found] for n, found in seconds.items()}
        for name, found in each.items():
            row = {"microseconds": spread(found), "over_floor": over(found, each["floor"])}
            say("floor", model=which, tool=name, batch=size, threads=torch.get_num_threads(), **row)


def _contenders(
    subject: Subject, size: int, steps: int
) -> tuple[dict[str, Callable[[], Any]], dict[str, int]]:
    """What is timed, and how many gradients of one image each computes."""
    classifier, batch, catalog = subject.classifier, subject.widest(size), Catalog.installed()
    classifier.batch_size = size
    space = catalog.make("threat", "linf", {"budgets": [BUDGET]}).open(batch, classifier, None)
    streams = Streams.keyed(0, subject.which, map(str, range(size)), "floor")
    contenders: dict[str, Callable[[], Any]] = {}
    gradients: dict[str, int] = {}

    def bare(name: str, module: torch.nn.Module) -> None:
        def passes() -> None:
            for _ in range(steps):
                gradient(module, batch.images, batch.labels)

        contenders[name], gradients[name] = passes, steps * size

    def searched(name: str, attack: Any) -> None:
        def search() -> int:
            meter = classifier.meter = Meter.of(size)
            attack.search(classifier, space, batch, streams, None)
            classifier.meter = None
            return int(meter.backwards.sum())

        contenders[name], gradients[name] = search, search()
        assert gradients[name] >= steps * size, f"{name}: images were found within a budget of {BUDGET}"

    bare("floor", classifier.module)
    bare("floor, channels last", Twin(classifier.module, "float32", channels_last=True))
    for name in ("pgd", "apgd-ce"):
        for precision in ("float32", "bfloat16"):
            fields = {"steps": steps, "precision": precision}
            searched(
                name if precision == "float32" else f"{name} bfloat16", catalog.make("attack", name, fields)
            )
    return contenders, gradients
