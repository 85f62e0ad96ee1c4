"""Gradients of convolutions in what they are given: torch's own against the lean ones, in turn.

python tests/benchmarks/convolutions.py [--threads N] [--rounds N]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from measures.clock import in_turn, over, say, spread
from torch.nn import functional as F

from classrob.convolutions import LeanConvolutions
from classrob.heap import keep_freed_memory

#: Where it stands: channels, filters, kernel, stride, padding, pixels along a side, images.
LAYERS = {
    "the first of mnist-convex": (1, 16, 4, 2, 1, 28, 128),
    "the first of LeNet": (1, 32, 5, 1, 2, 28, 128),
    "the first of cifar10-resnet-2b": (3, 8, 3, 2, 1, 32, 128),
    "the first of a ResNet for CIFAR-10": (3, 16, 3, 1, 1, 32, 128),
    "the first of a wide ResNet for CIFAR-10": (3, 64, 3, 1, 1, 32, 128),
    "the first of a ResNet for ImageNet": (3, 64, 7, 2, 3, 224, 8),
    "the first of a vision transformer": (3, 192, 16, 16, 0, 224, 8),
    "the second of cifar10-resnet-2b": (8, 16, 3, 2, 1, 16, 128),
    "a shortcut of cifar10-resnet-2b": (8, 16, 1, 2, 0, 16, 128),
    "a shortcut of a ResNet for CIFAR-10": (16, 32, 1, 2, 0, 32, 128),
    "a shortcut of a ResNet-18 for ImageNet": (64, 128, 1, 2, 0, 56, 8),
    "a shortcut of a ResNet-50 for ImageNet": (512, 1024, 1, 2, 0, 28, 8),
}

#: Gradients a turn: alone, one would find cold caches and sleeping threads.
CALLS = 10


def layer(
    images: torch.Tensor, weight: torch.Tensor, stride: int, padding: int, lean: bool
) -> Callable[[], Any]:
    """What computes the gradient in the images; the forward pass, the same for both, is done."""
    with LeanConvolutions() if lean else nullcontext():
        found = F.conv2d(images, weight, None, stride, padding)
    back = torch.randn_like(found)

    def gradients() -> None:
        for _ in range(CALLS):
            torch.autograd.grad(found, images, back, retain_graph=True)

    return gradients


def main() -> None:
    """One row a layer: milliseconds of both, and lean over torch's own, round by round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=11)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    for where, (channels, filters, kernel, stride, padding, side, n) in LAYERS.items():
        images = torch.rand(n, channels, side, side).requires_grad_()
        weight = torch.randn(filters, channels, kernel, kernel)
        ways = {
            name: layer(images, weight, stride, padding, lean)
            for name, lean in (("torch", False), ("lean", True))
        }
        seconds, _ = in_turn(ways, arguments.rounds)
        say(
            "convolution",
            where=where,
            images=n,
            threads=arguments.threads,
            **{name: spread(1e3 * one / CALLS for one in found) for name, found in seconds.items()},
            ratio=over(seconds["lean"], seconds["torch"]),
        )


if __name__ == "__main__":
    main()
