"""The small reference network: a plain CNN for small images of any shape and any number of classes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Self, final

from torch import Tensor, nn

#: Features after the stem, and after every stage that halves the sides.
STEM, WIDTH, HIDDEN = 32, 64, 128
#: Stages are added until the shorter side is not above this.
SIDE = 4


@final
class SmallCNN(nn.Module):
    """Convolutions and ReLUs, without normalisation layers or dropout, so that train and eval mode agree.

    Takes float32 [n, channels, h, w] in [0, 1], returns logits [n, classes]. `flat` is how many features
    reach the two linear layers.
    """

    def __init__(self, channels: int, stages: int, flat: int, classes: int) -> None:
        super().__init__()
        widths = [STEM] + [WIDTH] * stages
        self.stem = nn.Conv2d(channels, STEM, 3, padding=1)
        self.stages = nn.Sequential(*(_stage(a, b) for a, b in pairwise(widths)))
        self.hidden = nn.Linear(flat, HIDDEN)
        self.head = nn.Linear(HIDDEN, classes)

    @classmethod
    def of_shape(cls, shape: tuple[int, int, int], classes: int) -> Self:
        """A network with fresh weights for images [channels, height, width]."""
        channels, height, width = shape
        stages = 0
        while min(height, width) > SIDE:
            height, width, stages = -(-height // 2), -(-width // 2), stages + 1
        return cls(channels, stages, (WIDTH if stages else STEM) * height * width, classes)

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor]) -> Self:
        """A network whose weights have the shapes of a saved one.

        Raises:
            KeyError: the state is not of such a network.
        """
        stages = sum(name.startswith("stages.") and name.endswith(".0.weight") for name in state)
        flat, classes = state["hidden.weight"].shape[1], state["head.weight"].shape[0]
        return cls(state["stem.weight"].shape[1], stages, flat, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, classes]."""
        features = self.stages(self.stem(images).relu())
        return self.head(self.hidden(features.flatten(1)).relu())


def _stage(width: int, wider: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, wider, 3, stride=2, padding=1), nn.ReLU())
