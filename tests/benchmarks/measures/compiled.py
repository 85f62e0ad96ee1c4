"""A compiled model's gradient against the same model's as it is: seconds to compile, and what it saves."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from peers.bare import gradient
from torch import Tensor, nn

from classrob.live import Batch, Twin
from measures.clock import in_turn, over, say, spread, timed
from measures.subject import Subject


def options(parser: argparse.ArgumentParser) -> None:
    """Models and repeats."""
    parser.add_argument("--models", nargs="+", default=["mnist", "cifar"])
    parser.add_argument("--passes", type=int, default=20, help="gradients of a batch that are timed together")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--batch", type=int, help="default: as tuned")


def measure(arguments: argparse.Namespace) -> None:
    """One row a model, layout and precision."""
    for which in arguments.models:
        subject = Subject.of(which, 256)
        size = arguments.batch or subject.tuning.batch_size
        batch = subject.widest(size)
        with subject.classifier.frozen():
            for name, eager in forms(subject.classifier.module).items():
                say("compile", model=which, form=name, **compare(eager, batch, arguments))


def compare(eager: nn.Module, batch: Batch, arguments: argparse.Namespace) -> dict[str, Any]:
    """One form of a model, as it is and compiled."""
    torch.compiler.reset()
    fast, images = torch.compile(eager, dynamic=False), len(batch) * arguments.passes

    def passes(module: Callable[[Tensor], Tensor], times: int = arguments.passes) -> None:
        for _ in range(times):
            gradient(module, batch.images, batch.labels)

    try:
        compiling, _ = timed(lambda: passes(fast, 1), arguments.now)
    except (RuntimeError, OSError) as error:  # most often no C++ compiler
        return {"skipped": " ".join(str(error).split())[:160]}
    seconds, _ = in_turn(
        {"eager": lambda: passes(eager), "compiled": lambda: passes(fast)}, arguments.repeats, arguments.now
    )
    return {
        "batch": len(batch),
        "threads": torch.get_num_threads(),
        "compile_seconds": round(compiling, 1),
        "microseconds": {name: spread(1e6 * s / images for s in found) for name, found in seconds.items()},
        "compiled_over_eager": over(seconds["compiled"], seconds["eager"]),
    }


def forms(module: nn.Module) -> dict[str, nn.Module]:
    """The model as it is, and as a search runs it."""
    return {
        "as it is": module,
        "channels last": Twin(module, "float32", channels_last=True),
        "bfloat16, channels last": Twin(module, "bfloat16", channels_last=True),
    }
