"""What the host's tests share: the command line in this process, and a small study that runs in a second."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

NETS = '''
import torch
from torch import nn

def linear():
    """Four classes, told apart by the brightest quarter of the image."""
    net = nn.Sequential(nn.AvgPool2d(3), nn.Flatten(), nn.Linear(4, 4))
    with torch.no_grad():
        net[2].weight.copy_(8 * torch.eye(4))
        net[2].bias.zero_()
    return net

class Curved(nn.Module):
    """The same four classes behind a small convolution, so that gradients bend."""
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.head = linear()
        with torch.no_grad():
            self.conv.weight.copy_(torch.randn(4, 1, 3, 3, generator=generator))
            self.conv.bias.copy_(torch.randn(4, generator=generator))
    def forward(self, x):
        return self.head(x + 0.2 * torch.relu(self.conv(x)).mean(1, keepdim=True))

def curved():
    return Curved()
'''

STUDY = """
name = "tiny"
shard_size = 16

[[model]]
use = "torch"
name = "curved"
factory = "nets.py:curved"

[[dataset]]
use = "arrays"
name = "quarters"
path = "data.npz"

[[threat]]
use = "linf"
budgets = [0.02, 0.05, 0.1, 0.2, 0.3]
attack = { use = "pgd", steps = 8, restarts = 2, random_start = true }

[[threat]]
use = "l2"
budgets = [0.3, 0.9]
attack = { use = "pgd", steps = 6, momentum = 0.5, loss = "margin" }
"""


@dataclass(frozen=True)
class Called:
    """What a command did: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    """Call the command line in this process."""

    def call(*arguments: str | Path) -> Called:
        from classrob.cli import main

        monkeypatch.setattr(sys, "argv", ["classrob", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return Called(int(stop.value.code or 0), captured.out, captured.err)

    return call


def quarters(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """n grey 6×6 images with one bright quarter each: uint8 [n, 6, 6], labels [n]."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    images = 0.35 + 0.3 * torch.rand(n, 6, 6, generator=generator)
    for i, label in enumerate(labels.tolist()):
        row, column = divmod(label, 2)
        images[i, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3] += 0.12
    return (images.clamp(0, 1) * 255).to(torch.uint8).numpy(), labels.numpy()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with a study that runs in about a second: 48 samples, two threats, one small network."""
    images, labels = quarters(48)
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    (tmp_path / "nets.py").write_text(NETS)
    path = tmp_path / "tiny.toml"
    path.write_text(STUDY)
    return path
