"""Images turned, shifted, scaled, sheared, or seen from aside: pixels looked up elsewhere, linearly between them."""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from classrob_corruptions.transform.space import Transformation

#: What lies beyond the border: black, the last pixel, or the image mirrored.
Beyond = Literal["zeros", "border", "reflection"]

BEYOND = "what lies beyond the border: zeros (black), border (the last pixel) or reflection"


def looked_up(images: Tensor, grid: Tensor, beyond: Beyond) -> Tensor:
    """The images at places of a grid [n, h, w, 2] in [−1, 1]."""
    return grid_sample(images, grid, "bilinear", beyond, align_corners=False)


def affine(images: Tensor, matrix: Tensor, shift: Tensor, beyond: Beyond) -> Tensor:
    """The images where a pixel p comes from matrix · p + shift.

    Args:
        images: [n, c, h, w].
        matrix: [n, 2, 2], in pixels from the middle, x before y.
        shift: [n, 2], in shares of width and height.
        beyond: what lies beyond the border.
    """
    height, width = images.shape[2:]
    aspect = matrix.new_tensor([[1.0, height / width], [width / height, 1.0]])
    theta = torch.cat([matrix * aspect, 2.0 * shift[:, :, None]], 2)
    return looked_up(images, affine_grid(theta, list(images.shape), align_corners=False), beyond)


def square(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Matrices [n, 2, 2] of four columns of numbers [n]."""
    return torch.stack([torch.stack([a, b], 1), torch.stack([c, d], 1)], 1)


@final
class RotationTranslation(Transformation):
    """An image turned about its middle and shifted (Engstrom et al., 2019)."""

    numbers: ClassVar[int] = 3

    degrees: float = Field(default=30.0, gt=0, le=180, description="the largest turn, at budget 1")
    shift: float = Field(default=0.1, gt=0, le=1, description="the largest shift, as a share of the side")
    beyond: Beyond = Field(default="zeros", description=BEYOND)

    def transform(self, images: Tensor, z: Tensor) -> Tensor:
        """Turned by the first number, shifted by the other two."""
        angle = torch.deg2rad(self.degrees * z[:, 0])
        turn = square(angle.cos(), -angle.sin(), angle.sin(), angle.cos())
        return affine(images, turn, self.shift * z[:, 1:], self.beyond)


@final
class Scale(Transformation):
    """An image enlarged or reduced about its middle."""

    numbers: ClassVar[int] = 1

    factor: float = Field(default=1.5, gt=1, le=10, description="the largest enlargement, and reduction")
    beyond: Beyond = Field(default="zeros", description=BEYOND)

    def transform(self, images: Tensor, z: Tensor) -> Tensor:
        """Enlarged by the factor to the power of the number."""
        size = self.factor ** -z[:, 0]
        nothing = torch.zeros_like(size)
        return affine(images, square(size, nothing, nothing, size), z.new_zeros(len(z), 2), self.beyond)


@final
class Shear(Transformation):
    """An image slanted sideways and upwards."""

    numbers: ClassVar[int] = 2

    slant: float = Field(default=0.3, gt=0, lt=1, description="pixels sideways for a pixel up, at most")
    beyond: Beyond = Field(default="zeros", description=BEYOND)

    def transform(self, images: Tensor, z: Tensor) -> Tensor:
        """Slanted by both numbers at once."""
        one, (across, up) = torch.ones_like(z[:, 0]), (self.slant * z).unbind(1)
        return affine(images, square(one, across, up, one), z.new_zeros(len(z), 2), self.beyond)


@final
class Perspective(Transformation):
    """An image seen from aside: each of its corners is looked up elsewhere, and lines stay lines."""

    numbers: ClassVar[int] = 8

    shift: float = Field(
        default=0.1, gt=0, lt=0.5, description="how far a corner moves, in shares of the side"
    )
    beyond: Beyond = Field(default="zeros", description=BEYOND)

    def transform(self, images: Tensor, z: Tensor) -> Tensor:
        """Each corner's place moved by two numbers."""
        corners = z.new_tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
        places = corners + 2.0 * self.shift * z.view(-1, 4, 2)
        homography = _through(corners, places)
        identity = torch.eye(2, 3, device=z.device, dtype=z.dtype).expand(len(z), 2, 3)
        grid = affine_grid(identity, list(images.shape), align_corners=False)
        seen = torch.cat([grid, torch.ones_like(grid[..., :1])], 3) @ homography.transpose(1, 2)[:, None]
        return looked_up(images, seen[..., :2] / seen[..., 2:], self.beyond)


def _through(corners: Tensor, places: Tensor) -> Tensor:
    """The projective maps [n, 3, 3] that take corners [4, 2] to places [n, 4, 2]: eight linear equations each."""
    n = len(places)
    point = torch.cat([corners, torch.ones_like(corners[:, :1])], 1).expand(n, 4, 3)
    nothing, x, y = torch.zeros_like(point), places[..., :1], places[..., 1:]
    first = torch.cat([point, nothing, -x * corners], 2)
    second = torch.cat([nothing, point, -y * corners], 2)
    found = torch.linalg.solve(torch.cat([first, second], 1), torch.cat([x, y], 1))[..., 0]
    return torch.cat([found, torch.ones_like(found[:, :1])], 1).view(n, 3, 3)
