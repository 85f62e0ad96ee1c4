"""Small regions stretched and shifted: every pixel looked up a little beside its place."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from classrob.streams import Streams
from classrob_corruptions import draws
from classrob_corruptions.corruption import Corruption
from classrob_corruptions.filters import blurred


@final
class Elastic(Corruption):
    """An elastic deformation; the parameters are shares of the side.

    How far the noise moves a pixel before it is smoothed, the deviation of the Gaussian that smooths it,
    and how far the corners of a triangle move in the random affine map that goes before. The parameters
    for 224 pixels are those of the package imagecorruptions, which has no affine map.
    """

    small: ClassVar = (
        (0.0, 0.0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    )
    large: ClassVar = (
        (0.0625, 0.01, 0.0),
        (0.08125, 0.01, 0.0),
        (0.10625, 0.01, 0.0),
        (0.125, 0.01, 0.0),
        (0.15, 0.01, 0.0),
    )

    def corrupt(self, images: Tensor, parameters: tuple[float, ...], streams: Streams) -> Tensor:
        """The affine map, then the displacement; linear between pixels, mirrored at the border."""
        far, smooth, corners = parameters
        height, width = images.shape[2:]
        side = min(height, width)
        if corners > 0:
            draw = streams.fork("corners").uniform(3, 2)
            places = _affine((2.0 * draw - 1.0) * (corners * side), height, width)
            images = looked_up(images, places, mirror_last=False)
        if far > 0:
            noise = draws.uniform(streams, 2, height, width).mul_(2.0).sub_(1.0)
            moved = blurred(noise, smooth * side, truncate=3.0, border="symmetric").mul_(far * side)
            places = moved.permute(0, 2, 3, 1) + pixels(height, width, images.device)
            images = looked_up(images, places, mirror_last=True)
        return images


def pixels(height: int, width: int, device: torch.device) -> Tensor:
    """Where each pixel is, float32 [h, w, 2]: x, then y."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    return torch.stack([x, y], -1).to(torch.float32)


def looked_up(images: Tensor, places: Tensor, mirror_last: bool) -> Tensor:
    """The images [n, c, h, w] at places [n, h, w, 2] (x, y in pixels), mirrored with or without the last pixel."""
    size = places.new_tensor([images.shape[3], images.shape[2]])
    grid = (
        (2.0 * places + 1.0) / size - 1.0 if mirror_last else 2.0 * places / (size - 1.0).clamp_min(1.0) - 1.0
    )
    return grid_sample(images, grid, "bilinear", "reflection", align_corners=not mirror_last)


def _affine(moves: Tensor, height: int, width: int) -> Tensor:
    """Where each pixel comes from, [n, h, w, 2], when a triangle's corners [n, 3, 2] move so far."""
    y, x, reach = height // 2, width // 2, min(height, width) // 3
    corners = moves.new_tensor([[x + reach, y + reach], [x + reach, y - reach], [x - reach, y - reach]])
    ones = torch.ones_like(moves[..., :1])
    back = torch.linalg.lstsq(torch.cat([corners + moves, ones], 2), corners.expand(moves.shape)).solution
    here = pixels(height, width, moves.device)
    return torch.cat([here, torch.ones_like(here[..., :1])], 2) @ back[:, None]
