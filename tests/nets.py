"""The architectures of the real models beside the project, as factories for the model `torch`."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def mnist_cnn() -> nn.Module:
    """Wong and Kolter's small MNIST network (ICML 2018)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1568, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


class Unit(nn.Module):
    """Two times convolution, ReLU and instance normalisation; then halved sides and dropout."""

    def __init__(self, narrow: int, wide: int, dropout: float) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(narrow, wide, 3, padding=1),
            nn.ReLU(),
            nn.InstanceNorm2d(wide, affine=True),
            nn.Conv2d(wide, wide, 3, padding=1),
            nn.ReLU(),
            nn.InstanceNorm2d(wide, affine=True),
            nn.MaxPool2d(2),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class LatentNet(nn.Module):
    """MNISTNet, architecture 0, of "Metrics and methods … with generative models"; works in [−1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.ZeroPad2d(4),
            Unit(1, 8, 0.2),
            Unit(8, 16, 0.3),
            Unit(16, 32, 0.4),
            nn.Flatten(),
            nn.Linear(512, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(2.0 * x - 1.0)


def mnist_latent_arch0() -> nn.Module:
    """The classifier of the latent-space metrics, in eval mode."""
    return LatentNet().eval()


class InterpSmall(nn.Module):
    """ "Small" of "Proper Network Interpretability Helps Adversarial Robustness" (ICML 2020).

    Its first weights are the authors': normal, of a standard deviation of 1/√(inputs of a unit), and no biases. Those
    of PyTorch are smaller by √3 a layer, and a network without normalisation learns from them far more slowly.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 4, 2, 1)
        self.conv2 = nn.Conv2d(16, 32, 4, 2, 1)
        self.conv3 = nn.Conv2d(32, 100, 7, padding=3)
        self.linear = nn.Linear(100, 10, bias=False)
        for layer in (self.conv1, self.conv2, self.conv3, self.linear):
            nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(torch.relu(self.conv1(x)))
        return self.linear(self.conv3(torch.relu(x)).mean((2, 3)))


def mnist_interp_small() -> nn.Module:
    """The smallest classifier of the interpretability paper."""
    return InterpSmall()


class InterpFolded(InterpSmall):
    """The same network, a tenth of the work: nothing bends after `conv3`, so it and `linear` are one convolution.

    The mean over the places of its outputs, which are the class activation maps, are the logits.
    """

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        kernel = torch.einsum("kc,cdhw->kdhw", self.linear.weight, self.conv3.weight)
        bias = self.linear.weight @ self.conv3.bias
        return nn.functional.conv2d(x, kernel, bias, padding=3).mean((2, 3))


def mnist_interp_small_folded() -> nn.Module:
    """The smallest classifier of the interpretability paper, as fast as it can be."""
    return InterpFolded()


class WganUnit(nn.Module):
    """Twice the side, then two convolutions; the last of a generator ends without ReLU."""

    def __init__(self, wide: int, narrow: int, last: bool) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(wide, narrow, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(narrow, narrow, 3, padding=1),
            nn.Identity() if last else nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class WganGenerator(nn.Module):
    """One class's generator of the latent-space metrics' MNIST study: 64 numbers to 28×28 pixels in (−1, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(64, 512),
            nn.Unflatten(1, (32, 4, 4)),
            WganUnit(32, 16, last=False),
            WganUnit(16, 8, last=False),
            WganUnit(8, 1, last=True),
        )

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.model(z)[:, :, 2:-2, 2:-2] / 2)


def mnist_wgan_generator() -> nn.Module:
    """The generator of one digit."""
    return WganGenerator()
