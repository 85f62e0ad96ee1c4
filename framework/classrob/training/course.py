"""What a recipe is handed for one training, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from classrob.decoder import Decoder
    from classrob.live import Classifier
    from classrob.parts import Trainable


@dataclass(frozen=True)
class Mark:
    """What was measured when an epoch ended: its number, seconds since the start, and values by name.

    `values` holds `loss` (its mean over the epoch), `rate` (of learning), with images kept apart
    `held-out loss` and `held-out accuracy`, and what the recipe remembers.
    """

    epoch: int
    seconds: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class Course:
    """Where and how one training runs; nothing of it is the recipe's own.

    Attributes:
        device: where the network is trained.
        threads: of the processor; one gives the same sums on any machine.
        held_out: the share of every class that is kept from training, and measured after each epoch.
        folder: where checkpoints are; a training that finds one of its own goes on from it. None: no checkpoints.
        interval: seconds between checkpoints.
        each_epoch: is there one at each epoch's end too?
        marked: is told of each epoch that ends, after its checkpoint is written.
    """

    device: str = "cpu"
    threads: int = 1
    held_out: float = 0.0
    folder: Path | None = None
    interval: float = 60.0
    each_epoch: bool = True
    marked: Callable[[Mark], None] = lambda mark: None


@dataclass(frozen=True)
class Trained:
    """What came out.

    Attributes:
        model: with the file of weights in its field `weights_in`, it loads the same network.
        network: a classifier, or a generator in memory; in eval mode.
        history: a mark an epoch; empty where the recipe knows no epochs.
        learned: how many images it learned from.
        held_out: how many were kept apart, for the marks.
    """

    model: Trainable
    network: Classifier | Decoder
    history: tuple[Mark, ...] = field(default=())
    learned: int = 0
    held_out: int = 0

    @property
    def classifier(self) -> Classifier:
        """The network of a recipe that trains classifiers."""
        return cast("Classifier", self.network)
