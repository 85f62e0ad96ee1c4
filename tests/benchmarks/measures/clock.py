"""Times of contenders in turn, their spread, and rows of JSON."""

from __future__ import annotations

import gc
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

#: Reads a clock, in seconds.
Now = Callable[[], float]

#: The time that passes, and the processor's, which other programs hardly disturb; it adds up over threads.
CLOCKS: dict[str, Now] = {"wall": time.perf_counter, "processor": time.process_time}


class Took(NamedTuple):
    """What one attack of a suite took, and the share of images that stands after it."""

    seconds: float
    robust: float


def say(part: str, **row: Any) -> None:
    """Print one row at once, so that a run that is stopped has not been in vain."""
    print(json.dumps({"part": part, **row}), flush=True)


def timed(work: Callable[[], Any], now: Now = time.perf_counter) -> tuple[float, Any]:
    """Seconds of a call, and what it returned."""
    gc.collect()
    begin = now()
    result = work()
    return now() - begin, result


def in_turn(
    contenders: Mapping[str, Callable[[], Any]], rounds: int, now: Now = time.perf_counter
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Seconds of every contender in every round, and its last result; each round begins with another one."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    results: dict[str, Any] = {}
    names = list(contenders)
    for work in contenders.values():  # a warm-up
        work()
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            took, results[name] = timed(contenders[name], now)
            seconds[name].append(took)
    return seconds, results


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    found = sorted(values)
    named = {"median": statistics.median(found), "min": found[0], "max": found[-1]}
    return {name: float(f"{value:.4g}") for name, value in named.items()}


def over(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """The spread of the ratios, round by round."""
    return spread(a / b for a, b in zip(ours, theirs, strict=True))


def importable(part: str, names: Iterable[str]) -> dict[str, ModuleType]:
    """The adapters whose tool is installed; a row says so of every other one."""
    found: dict[str, ModuleType] = {}
    for name in names:
        try:
            found[name] = importlib.import_module(f"peers.{name}")
        except (ImportError, OSError, RuntimeError) as error:  # torchvision of another torch raises the last
            reason = " ".join(str(error).split())[:160]
            say(part, tool=name, skipped=reason)
            print(f"{name} is left out: {reason}", file=sys.stderr)
    return found
