"""Time and memory of squared gradient norms of 128 images: one pass, a training step, a loop of images, vmap.

A pass is timed as every batch but the first costs; `first` is the first, with what is learnt once about a network.
`needed` is how fast this machine would have to multiply for a pass to be twenty times faster than the loop, with
nothing but the forward pass and the gradients of activations to compute, which every exact method needs; `matmul`
is how fast it multiplies two matrices.
"""

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
from torch.utils.flop_counter import FlopCounterMode

from classrob_detectors.norms import GradientNorms
from classrob_onnx.model import OnnxModel

BATCH = 128
MODELS = (
    "cifar10-ae-resnet44-adv-train",
    "cifar10-ae-resnet44-all",
    "cifar10-resnet-2b",
    "resnet-20x16",
    "resnet-8x4",
)
WAYS = ("pass", "step", "step innermost", "loop")


def main() -> None:
    """Print one JSON object a model: seconds of each way in turn, ratios round by round, and peak memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "models",
        nargs="*",
        default=MODELS,
        help="a file of models, or resnet-DEPTHxWIDTH of He et al. for CIFAR",
    )
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
        found["first"] = round(timed(ways["first"], clock), 4)
        for way in WAYS[:-1]:  # warm
            ways[way]()
        seconds = {way: [] for way in WAYS}
        rates: list[float] = []
        for _ in range(given.rounds):
            for way in WAYS:
                seconds[way].append(timed(ways[way], clock))
            rates.append(multiplied(clock))
        seconds["vmap"] = [timed(ways["vmap"], clock)]
        found["seconds"] = {way: spread(times) for way, times in seconds.items()}
        for above, below in (
            ("pass", "step"),
            ("loop", "pass"),
            ("loop", "step"),
            ("pass", "step innermost"),
        ):
            found[f"{above}_over_{below}".replace(" ", "_")] = spread(ratios(seconds[above], seconds[below]))
        work = operations(name)
        found["gflops"] = {
            "step": spread([work["step"] / t for t in seconds["step"]]),
            "needed": spread([20 * work["without weights"] / t for t in seconds["loop"]]),
            "matmul": spread(rates),
        }
        found["peak_mib"] = {way: memory(name, way, given.threads) for way in ("nothing", "pass", "step")}
        print(json.dumps(found))


def made(name: str) -> dict[str, Callable[[], object]]:
    """Every way to get norms of one batch by name, and an ordinary training step."""
    module, images = network(name), pictures()
    innermost = images.to(memory_format=torch.channels_last)
    norms = GradientNorms(module, loss)
    norms(images[:2])  # what it learns once

    def step(images: Tensor) -> None:
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
        "first": lambda: GradientNorms(module, loss)(images),
        "pass": lambda: norms(images),
        "step": lambda: step(images),
        "step innermost": lambda: step(innermost),
        "loop": loop,
        "vmap": mapped,
    }


def pictures() -> Tensor:
    """The batch."""
    return torch.rand(BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def network(name: str) -> nn.Module:
    """A network of a file, or a residual one of He et al. (2015, section 4.2) with 6 n + 2 layers, at random."""
    if not name.startswith("resnet-"):
        module = OnnxModel(path=SHARED / f"models/{name}.onnx").load("cpu").module
        return module.requires_grad_(True)
    torch.manual_seed(0)
    depth, width = map(int, name.removeprefix("resnet-").split("x"))
    blocks: list[nn.Module] = [
        nn.Conv2d(3, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]
    inside = width
    for stage in range(3):
        for block in range((depth - 2) // 6):
            outside = width << stage
            blocks.append(Block(inside, outside, 2 if stage and not block else 1))
            inside = outside
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, 10)).eval()


class Block(nn.Module):
    """Two convolutions and what came in, or every other pixel of it with channels of zeros."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.stride, self.more = stride, outside - inside
        self.first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outside) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Images of the same number, or half as many pixels a side."""
        y = self.norms[1](self.second(self.norms[0](self.first(x)).relu()))
        x = nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return (x + y).relu()


def operations(name: str) -> dict[str, float]:
    """Thousand millions of multiplications and additions of a training step, and of one without its weights."""
    found = {}
    for what, weights in (("step", True), ("without weights", False)):
        module, images = network(name).requires_grad_(weights), pictures().requires_grad_(not weights)
        with FlopCounterMode(display=False) as counter:
            loss(module(images)).mean().backward()
        found[what] = counter.get_total_flops() / 1e9
    return found


def multiplied(clock: Callable[[], float], size: int = 2048) -> float:
    """Thousand millions of multiplications and additions a second of a product of two square matrices."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    return 2e-9 * size**3 / min(timed(lambda: a @ b, clock) for _ in range(5))


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
