"""How many threads a model is worth: all of them, or one where sharing out costs more than it brings.

Small networks run no faster on several threads, and far slower when the processor has other work, since
the threads wait for each other. So one step of a search is timed both ways, once a model.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from classrob.live import Batch, Classifier

#: Several threads must take at most this share of the time of one.
WORTH = 0.75


def worth(classifier: Classifier, batch: Batch) -> int:
    """The number of threads for a classifier, from its own forward and backward passes."""
    most = torch.get_num_threads()
    if most == 1 or batch.images.device.type != "cpu":
        return most
    images = batch.images[: classifier.batch_size]

    def seconds(threads: int) -> float:
        with limited(threads):
            times = []
            for _ in range(3):  # the first is a warm-up
                begin = time.perf_counter()
                x = images.clone().requires_grad_()
                torch.autograd.grad(classifier(x).sum(), x)
                times.append(time.perf_counter() - begin)
        return min(times[1:])

    return most if seconds(most) <= WORTH * seconds(1) else 1


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """That many threads inside, as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
