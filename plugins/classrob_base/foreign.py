"""What lets an attack of another library run here: counted, seeded, quiet, and each sample for itself."""

from __future__ import annotations

import inspect
import logging
import random
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from classrob.errors import PluginError, nearest, one_line
from classrob.live import ROWS, Classifier
from classrob.streams import Streams

#: What a library raises when it cannot go on; the errors of classrob, and unknown ones, pass through.
FAULTS = (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, RuntimeError)
FAULTS = (*FAULTS, TypeError, ValueError)


class Network(nn.Module):
    """A frozen classifier as the module that a library expects; what it asks is counted.

    A few images go through the model as they are. That is sound as long as all of them belong to one
    sample, and up to five times cheaper than filling them up to `ROWS` as a classifier does.
    """

    def __init__(self, classifier: Classifier, device: torch.device, alone: bool) -> None:
        super().__init__()
        self.classifier, self.alone = classifier, alone
        # Libraries look for the device of a model at its first weight.
        self.place = nn.Parameter(torch.empty(0, device=device), requires_grad=False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Logits float32 [n, k]."""
        n = len(images)
        if not self.alone or n >= ROWS:
            return self.classifier(images)
        logits = self.classifier.module(images).float()
        if (meter := self.classifier.meter) is not None:
            meter.charge(meter.forwards, n)
            if logits.requires_grad:
                logits.register_hook(lambda _: meter.charge(meter.backwards, n))
        return logits


def calls(budget: Tensor, alone: bool, one_budget: bool) -> Iterator[Tensor]:
    """The rows of each call: one by one; or together, those of equal budgets where a call takes only one."""
    rows = torch.arange(len(budget), device=budget.device)
    if alone:
        yield from rows.split(1)
    elif one_budget:
        yield from (rows[budget == value] for value in budget.unique())
    else:
        yield rows


@contextmanager
def call(classifier: Classifier, streams: Streams, rows: Tensor) -> Iterator[int]:
    """One call of a library for some rows; yields its seed, in 0 … 2³¹ − 1, which follows from their streams.

    Inside, Python's, NumPy's and torch's own generators start at the seed, passes are charged to the rows,
    what is printed goes to standard error, and warnings are not shown. Afterwards everything is as it was.
    """
    seed = int(streams.keys[rows].sum()) & 0x7FFFFFFF
    meter, python, numpy = classifier.meter, random.getstate(), np.random.get_state()
    before = None if meter is None else meter.rows
    root, nowhere = logging.getLogger(), logging.NullHandler()
    devices = [streams.keys.device] if streams.keys.is_cuda else []
    with torch.random.fork_rng(devices), warnings.catch_warnings(), redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        root.addHandler(nowhere)  # without any, `logging.info` installs one for good
        try:
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            if meter is not None:
                meter.rows = rows.cpu() if before is None else before[rows.cpu()]
            yield seed
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            root.removeHandler(nowhere)
            if meter is not None:
                meter.rows = before


def checked(what: str, made: Callable[..., Any], options: Mapping[str, Any], ours: Collection[str]) -> None:
    """Look whether options suit a constructor, but for the parameters that are `ours` to fill.

    Raises:
        ValueError: one is unknown, ours or missing; one line with the nearest known name.
    """
    parameters = inspect.signature(made).parameters
    known = [n for n, one in parameters.items() if n not in ours and one.kind is not one.VAR_KEYWORD]
    for name in options:
        if name in ours and name in parameters:
            raise ValueError(f"{what}: option '{name}' is set by the study, its threat and its model")
        if name not in known:
            listed = ", ".join(known) or "it takes none"
            raise ValueError(f"{what} has no option '{name}'{nearest(name, known)} (known: {listed})")
    for name in known:
        if parameters[name].default is inspect.Parameter.empty and name not in options:
            raise ValueError(f"{what} requires the option '{name}'")


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Inside, a library's error becomes one line.

    Raises:
        PluginError: the library cannot go on. An error for want of memory stays what it is.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except FAULTS as error:
        raise PluginError(f"{what} cannot go on: {one_line(error)[:240]}") from error
