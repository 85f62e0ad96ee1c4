"""A model as it is against the forms that searches run it in: time of a gradient and of a forward pass, in turn.

python tests/benchmarks/forms.py [--threads N] [--rounds N] [--batch N] [--models …]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from measures.clock import in_turn, over, say, spread
from measures.subject import Subject
from peers.bare import gradient

from classrob.live import Classifier

#: Passes a turn.
CALLS = 10


def main() -> None:
    """One row a model, form and kind of pass: microseconds an image, and over the model as it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--models", nargs="+", default=["mnist", "cifar"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for which in arguments.models:
        measure(Subject.of(which, 512), arguments.batch, arguments.rounds)


def measure(subject: Subject, size: int, rounds: int) -> None:
    """The model as it is, in the form of a search, and that in bfloat16."""
    tuning = subject.tuning
    plain = replace(subject.classifier, channels_last=False, lean=False, batch_size=size, _twins={})
    lean = replace(plain, channels_last=tuning.channels_last, lean=tuning.lean)
    forms = {"as it is": plain, "of a search": lean.twin(), "of a search in bfloat16": lean.twin("bfloat16")}
    batch = subject.widest(size)

    def forward(form: Classifier) -> None:
        with torch.no_grad():
            form(batch.images)

    def often(work: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: [work() for _ in range(CALLS)]

    ways = {
        "gradient": lambda form: gradient(form, batch.images, batch.labels),
        "forward pass": forward,
    }
    for kind, way in ways.items():
        with plain.frozen():
            seconds, _ = in_turn({n: often(partial(way, f)) for n, f in forms.items()}, rounds)
        for name, found in seconds.items():
            say(
                "forms",
                model=subject.which,
                form=name,
                what=kind,
                batch=size,
                threads=torch.get_num_threads(),
                microseconds=spread(1e6 * one / size / CALLS for one in found),
                ratio=over(found, seconds["as it is"]),
            )


if __name__ == "__main__":
    main()
