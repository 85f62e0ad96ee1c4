"""Ways to look robust without being so, each wrapped round a real trained model of the digits; and that model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from classrob_zoo.digits.models import StandardDigits


def trained() -> nn.Module:
    """The built-in model `digits/standard`, about 99 % right."""
    return StandardDigits().load("cpu").module


class Wrapped(nn.Module):
    """A trained network and what pretends to defend it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = trained()


class Quantised(Wrapped):
    """Pixels are rounded to five levels: no gradient passes."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net((4 * x).round() / 4)


class Saturated(Wrapped):
    """Logits so large that the softmax is exactly one, and the gradient of the cross-entropy exactly zero."""

    def forward(self, x: Tensor) -> Tensor:
        return 1000.0 * self.net(x)


class Preprocessed(Wrapped):
    """A median filter in NumPy, as a pipeline of image files would have it."""

    def forward(self, x: Tensor) -> Tensor:
        import scipy.ndimage

        smooth = scipy.ndimage.median_filter(x.detach().cpu().numpy(), size=(1, 1, 2, 2))
        return self.net(torch.from_numpy(smooth).to(x))


class Resized(Wrapped):
    """Every pass gives the image a size of its own, and puts it somewhere."""

    def forward(self, x: Tensor) -> Tensor:
        size, right, down = torch.rand(3) * torch.tensor([0.3, 0.2, 0.2]) + torch.tensor([0.9, -0.1, -0.1])
        frame = torch.stack([torch.stack([size, 0 * size, right]), torch.stack([0 * size, size, down])])
        grid = F.affine_grid(frame.to(x).expand(len(x), 2, 3), list(x.shape), align_corners=False)
        return self.net(F.grid_sample(x, grid, align_corners=False))


class Shattered(Wrapped):
    """The image runs through a steep, shallow wave: the values hardly change, the slopes are noise."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + 0.02 * torch.sin(3000.0 * x))


class Stepped(Wrapped):
    """Smooth stairs that are level at the sixteen grey values of the images, and only there."""

    def forward(self, x: Tensor) -> Tensor:
        step = (16 * x).floor()
        rise = 16 * x - step
        return self.net((step + rise * rise * (3 - 2 * rise)) / 16)


class Detached(Wrapped):
    """The features are taken off the graph; what is left of the gradient is a faint bias of no use."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.detach()) + 1e-6 * F.pad(x.mean((2, 3)), (0, 9))


class Ungraphed(Wrapped):
    """The whole network runs without a graph."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.net(x)


class Clipped(Wrapped):
    """Logits are cut to a narrow range: beyond it, nothing changes."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).clamp(-1.0, 1.0) + 1e-4 * self.net(x).detach()


class Noisy(Wrapped):
    """Noise on the logits, drawn anew in every pass."""

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        return logits + 2.0 * torch.randn_like(logits)


class Neighbourly(Wrapped):
    """The mean of the batch's larger part is taken off: honest on few images, and no two batches agree."""

    def forward(self, x: Tensor) -> Tensor:
        rest = x[16:].mean() if len(x) > 16 else x.new_zeros(())
        return self.net(x) * (1.0 + 0.1 * rest)


DEFENCES = (
    Quantised,
    Saturated,
    Preprocessed,
    Resized,
    Shattered,
    Stepped,
    Detached,
    Ungraphed,
    Clipped,
    Noisy,
    Neighbourly,
)
