"""What `crown` costs an image that stands, and how many it certifies, on two networks of others."""

from __future__ import annotations

import argparse

import torch
from measures.clock import CLOCKS, say, timed
from measures.subject import Subject, stands

from classrob.catalog import Catalog
from classrob.streams import Streams

#: Budgets at which others have certified these networks.
BUDGETS = {"cifar": 2 / 255, "mnist": 0.1}


def main() -> None:
    """Print one JSON object a network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=500, help="images of each data set")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--models", nargs="+", choices=BUDGETS, default=list(BUDGETS))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for which in arguments.models:
        measure(Subject.of(which, arguments.limit), BUDGETS[which], arguments.clock)


def measure(subject: Subject, budget: float, clock: str) -> None:
    """Certify the images that stand a hundred steps of Auto-PGD; as a sweep does, but for the batches' sizes."""
    catalog, classifier = Catalog.installed(), subject.classifier
    attacked = subject.sweep(catalog.make("attack", "apgd-ce", {"steps": 100}), "apgd-ce", (budget,))
    batch = subject.batch.select(stands(attacked))
    threat = catalog.make("threat", "linf", {"budgets": (budget,)})
    space = threat.open(batch, classifier, Streams.keyed(0, subject.which, batch.ids, "proof"))
    crown = catalog.make("certifier", "crown", {})
    few = torch.arange(min(4, len(batch)))
    with classifier.frozen():
        crown.certify(classifier, space.select(few), batch.select(few))  # a warm-up
        seconds, sure = timed(lambda: crown.certify(classifier, space, batch), CLOCKS[clock])
    say(
        subject.which,
        budget=round(budget, 5),
        images=len(subject.batch),
        tried=len(batch),
        certified=int(sure.sum()),
        seconds_an_image=round(seconds / len(batch), 4),
        clock=clock,
        threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    main()
