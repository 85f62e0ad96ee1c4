"""Time and memory of squared gradient norms of 128 images: one pass, a training step, a loop of images, vmap."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from real import SHARED
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from classrob_detectors.norms import GradientNorms
from classrob_onnx.model import OnnxModel

BATCH = 128
MODELS = ("cifar10-ae-resnet44-adv-train", "cifar10-ae-resnet44-all", "cifar10-resnet-2b")
WAYS = ("pass", "step", "loop", "vmap")


def main() -> None:
    """Print one JSON object a model: seconds of each way in turn, ratios round by round, and peak memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall")
    parser.add_argument("--alone", help="only run this way once, and print the process's peak memory")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    clock = time.perf_counter if given.clock == "wall" else time.process_time
    for name in given.models:
        ways = made(name)
        if given.alone:
            ways[given.alone]()
            print(peak())
            continue
        found: dict[str, Any] = {
            "model": name,
            "images": BATCH,
            "threads": given.threads,
            "clock": given.clock,
        }
        for way in ("pass", "step"):  # warm
            ways[way]()
        seconds = {way: [] for way in WAYS}
        for number in range(given.rounds):
            for way in WAYS if number == 0 else ("pass", "step", "loop"):
                seconds[way].append(timed(ways[way], clock))
        found["seconds"] = {way: spread(times) for way, times in seconds.items()}
        found["pass_over_step"] = spread(ratios(seconds["pass"], seconds["step"]))
        found["loop_over_pass"] = spread(ratios(seconds["loop"], seconds["pass"]))
        found["loop_over_step"] = spread(ratios(seconds["loop"], seconds["step"]))
        found["peak_mib"] = {way: memory(name, way, given.threads) for way in ("nothing", "pass", "step")}
        print(json.dumps(found))


def made(name: str) -> dict[str, Callable[[], object]]:
    """Every way to get norms of one batch by name, and an ordinary training step."""
    module = OnnxModel(path=SHARED / f"models/{name}.onnx").load("cpu").module.requires_grad_(True)
    images = torch.rand(BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    norms = GradientNorms(module, loss)
    norms(images[:2])  # what it learns once

    def step() -> None:
        module.zero_grad()
        loss(module(images)).mean().backward()

    def loop() -> Tensor:
        rows = []
        for image in images.split(1):
            module.zero_grad()
            loss(module(image)).sum().backward()
            rows.append([0.0 if p.grad is None else p.grad.square().sum() for p in module.parameters()])
        return torch.tensor(rows)

    def mapped() -> Tensor:
        parameters = {name: p.detach() for name, p in module.named_parameters()}
        each = vmap(grad(lambda chosen, image: one(module, chosen, image)), in_dims=(None, 0))
        parts = [each(parameters, part) for part in images.split(16)]
        return torch.cat(
            [torch.stack([g.reshape(len(g), -1).square().sum(1) for g in part.values()], 1) for part in parts]
        )

    return {
        "nothing": lambda: None,
        "pass": lambda: norms(images),
        "step": step,
        "loop": loop,
        "vmap": mapped,
    }


def one(module: nn.Module, parameters: dict[str, Tensor], image: Tensor) -> Tensor:
    """The loss of one image."""
    return loss(functional_call(module, parameters, (image[None],))).sum()


def loss(logits: Tensor) -> Tensor:
    """The binary cross-entropy against all ones."""
    return nn.functional.softplus(-logits).mean(1)


def timed(run: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds of one run."""
    begin = clock()
    run()
    return clock() - begin


def ratios(above: list[float], below: list[float]) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def spread(values: list[float]) -> list[float]:
    """Median, smallest, largest."""
    return [round(x, 4) for x in (statistics.median(values), min(values), max(values))]


def memory(name: str, way: str, threads: int) -> float:
    """Peak memory in MiB of a process that runs one way once."""
    command = [sys.executable, __file__, name, "--alone", way, "--threads", str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak() -> float:
    """The peak resident memory of this process in MiB (that of `getrusage` begins with the parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
