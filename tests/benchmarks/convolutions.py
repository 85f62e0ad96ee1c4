"""The gradient of a first convolution: torch's own against that in blocks of pixels, in turn.

python tests/benchmarks/first_convolution.py [--threads N] [--rounds N]
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
    "mnist-convex": (1, 16, 4, 2, 1, 28, 128),
    "LeNet": (1, 32, 5, 1, 2, 28, 128),
    "cifar10-resnet-2b": (3, 8, 3, 2, 1, 32, 128),
    "a ResNet for CIFAR-10": (3, 16, 3, 1, 1, 32, 128),
    "a ResNet for CIFAR-10, wide": (3, 64, 3, 1, 1, 32, 128),
    "a ResNet for ImageNet": (3, 64, 7, 2, 3, 224, 8),
    "a vision transformer": (3, 192, 16, 16, 0, 224, 8),
}


def layer(
    images: torch.Tensor, weight: torch.Tensor, stride: int, padding: int, blocked: bool
) -> Callable[[], Any]:
    """What computes the gradient in the images; the forward pass, the same for both, is done."""
    with LeanConvolutions() if blocked else nullcontext():
        found = F.conv2d(images, weight, None, stride, padding)
    back = torch.randn_like(found)
    return lambda: torch.autograd.grad(found, images, back, retain_graph=True)


def main() -> None:
    """One row a layer: milliseconds of both, and blocked over torch's own, round by round."""
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
            name: layer(images, weight, stride, padding, blocked)
            for name, blocked in (("torch", False), ("blocked", True))
        }
        seconds, _ = in_turn(ways, arguments.rounds)
        say(
            "first convolution",
            where=where,
            images=n,
            threads=arguments.threads,
            **{name: spread(1e3 * one for one in found) for name, found in seconds.items()},
            ratio=over(seconds["blocked"], seconds["torch"]),
        )


if __name__ == "__main__":
    main()
