"""How drops shine: edges by Canny, the distance to them, its histogram levelled, lit from one side.

What ImageNet-C's recipe asks of OpenCV, for batches in torch. Distances are exact where OpenCV's are within
2 %.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from classrob_corruptions.filters import padded

#: Canny's thresholds, in sums of absolute Sobel derivatives of grey levels.
WEAK, STRONG = 50.0, 150.0

#: Distances from this one on count as this one.
FAR = 20


def shine(drops: Tensor) -> Tensor:
    """How bright each pixel is lit, whole numbers from 0 to 255; `drops` [n, 1, h, w] are such numbers too."""
    depth = mean3(distances(edges(drops))).floor_()
    return mean3(lit(levelled(depth)).clamp_(0.0, 255.0)).round_()


def lit(depth: Tensor) -> Tensor:
    """The relief of a depth [n, 1, h, w] in light from the lower right."""
    wide = padded(depth, 1, "reflect")
    height, width = depth.shape[2:]

    def at(y: int, x: int) -> Tensor:
        return wide[:, :, 1 + y : 1 + y + height, 1 + x : 1 + x + width]

    level = depth + at(0, 1) + at(1, 0) - at(-1, 0) - at(0, -1)
    return level.add_(at(1, 1) - at(-1, -1), alpha=2.0)


def mean3(images: Tensor) -> Tensor:
    """The mean of three by three pixels."""
    wide = padded(images, 1, "reflect")
    rows = wide[:, :, :-2] + wide[:, :, 1:-1] + wide[:, :, 2:]
    return (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:]).div_(9.0)


def edges(images: Tensor) -> Tensor:
    """Canny's edges (1986), bool [n, 1, h, w]: ridges of the slope, followed from strong ones through weak ones."""
    wide = padded(images, 1, "nearest")
    down = wide[:, :, 2:] - wide[:, :, :-2]
    right = wide[..., 2:] - wide[..., :-2]
    gy = (down[..., :-2] + down[..., 2:]).add_(down[..., 1:-1], alpha=2.0)
    gx = (right[:, :, :-2] + right[:, :, 2:]).add_(right[:, :, 1:-1], alpha=2.0)
    slope = gx.abs().add_(gy.abs())
    around = pad(slope, (1, 1, 1, 1))
    line = around.shape[3]
    place = (around.view(-1) > WEAK).nonzero()[
        :, 0
    ]  # few pixels have a slope at all: only they are looked at
    inner = (slope.view(-1) > WEAK).nonzero()[:, 0]
    gx, gy, flat = gx.view(-1)[inner], gy.view(-1)[inner], around.view(-1)
    steep, step = gy.abs() / gx.abs(), torch.where(gx * gy < 0, line - 1, line + 1)
    step = torch.where(
        steep < math.tan(math.pi / 8), 1, torch.where(steep > math.tan(3 * math.pi / 8), line, step)
    )
    here, before, after = flat[place], flat[place - step], flat[place + step]
    straight = (step == 1) | (step == line)
    place = place[(here > before) & ((here > after) | ((here == after) & straight))]
    ridge = torch.zeros_like(around, dtype=torch.bool)
    ridge.view(-1)[place] = True
    found = ridge & (around > STRONG)
    while True:
        rows = found[:, :, :-2] | found[:, :, 1:-1] | found[:, :, 2:]
        grown = pad((rows[..., :-2] | rows[..., 1:-1] | rows[..., 2:]), (1, 1, 1, 1)) & ridge
        if torch.equal(grown, found):
            return found[:, :, 1:-1, 1:-1]
        found = grown


def distances(edges: Tensor) -> Tensor:
    """How far the nearest edge is from each pixel, at most `FAR`: along the line, then across the lines."""
    height, width = edges.shape[2:]
    x = torch.arange(width, device=edges.device, dtype=torch.float32)
    nothing = torch.full_like(x, -2.0 * FAR)
    left = x - torch.where(edges, x, nothing).cummax(3).values
    right = x - torch.where(edges.flip(3), x, nothing).cummax(3).values
    line = torch.minimum(left, right.flip(3)).clamp_(max=FAR).square_()
    nearest = line.clone()
    for step in range(1, min(FAR, height)):
        lifted = line + step**2
        torch.minimum(nearest[:, :, step:], lifted[:, :, :-step], out=nearest[:, :, step:])
        torch.minimum(nearest[:, :, :-step], lifted[:, :, step:], out=nearest[:, :, :-step])
    return nearest.clamp_(max=FAR**2).sqrt_()


def levelled(depth: Tensor) -> Tensor:
    """The histogram of whole numbers from 0 to `FAR` spread evenly over 0 to 255, the smallest at 0."""
    bins = depth.flatten(1).long()
    counts = torch.zeros(len(depth), FAR + 1, device=depth.device).scatter_add_(
        1, bins, torch.ones_like(depth).flatten(1)
    )
    first = torch.where(counts > 0, counts.cumsum(1) == counts, False).to(counts.dtype)
    smallest = (counts * first).amax(1, keepdim=True)
    room = depth[0].numel() - smallest
    spread = ((counts.cumsum(1) - smallest) * (255.0 / room.clamp_min(1.0))).round_().clamp_min_(0.0)
    table = torch.where(room > 0, spread, torch.arange(FAR + 1, device=depth.device, dtype=torch.float32))
    return table.gather(1, bins).view(depth.shape)
