"""Models that break one promise each, and one that keeps all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from classrob import Classifier, Fit, Model

from .broken import Breaks, also


class Net(nn.Module):
    """A linear network with a buffer."""

    state: Tensor

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.linear = nn.Linear(16, outputs)
        self.register_buffer("state", torch.zeros(()))
        with torch.no_grad():
            self.linear.weight.copy_(torch.linspace(-1.0, 1.0, 16 * outputs).sin().reshape(outputs, 16))

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1))


class Honest(Model):
    """A linear network."""

    def load(self, device: str) -> Classifier:
        with torch.random.fork_rng(devices=[]):
            return Classifier(self.net(), fit=Fit((4, 4), 1), device=device)

    def net(self) -> nn.Module:
        return Net()


class OneLogit(Honest):
    """One logit for two classes."""

    def net(self):
        return Net(1)


class Infinite(Honest):
    """Logits that overflow."""

    def net(self):
        class Overflows(Net):
            def forward(self, images):
                return super().forward(images) * torch.tensor([1.0, 1.0, float("inf")])

        return Overflows()


class NeverSleeps(Honest):
    """A layer that ignores eval mode."""

    def net(self):
        class Awake(Net):
            def train(self, mode: bool = True):
                return super().train(True)

        return Awake()


class Noisy(Honest):
    """Noise on the logits."""

    def net(self):
        class Noise(Net):
            def forward(self, images):
                return super().forward(images) + torch.rand(len(images), 3)

        return Noise()


class Detached(Honest):
    """No way back from the logits to the image."""

    def net(self):
        class Cut(Net):
            def forward(self, images):
                return super().forward(images).detach()

        return Cut()


class Rounded(Honest):
    """A gradient that is zero everywhere."""

    def net(self):
        class Round(Net):
            def forward(self, images):
                return super().forward((4.0 * images).round())

        return Round()


class Sociable(Honest):
    """Logits relative to the batch."""

    def net(self):
        class Centred(Net):
            def forward(self, images):
                return super().forward(images - images.mean(0, keepdim=True))

        return Centred()


class Counts(Honest):
    """Counts its calls in a buffer."""

    def net(self):
        class Counting(Net):
            def forward(self, images):
                logits = super().forward(images)
                self.state.add_(1.0)
                return logits

        return Counting()


class MarksItsWork(Honest):
    """Sets a buffer while it works, and forgets that a layer may fail."""

    def net(self):
        class Marking(Net):
            def forward(self, images):
                self.state.fill_(1.0)
                logits = super().forward(images)
                self.state.fill_(0.0)
                return logits

        return Marking()


_EQUAL = also("repeats_itself", "treats_each_image_alone", "lets_the_gradient_through")

BROKEN = {
    "gives_logits": [Breaks("model", OneLogit), Breaks("model", Infinite, _EQUAL)],
    "evaluates_in_eval_mode": [Breaks("model", NeverSleeps)],
    "repeats_itself": [Breaks("model", Noisy, also("treats_each_image_alone"))],
    "lets_the_gradient_through": [Breaks("model", Detached), Breaks("model", Rounded)],
    "treats_each_image_alone": [Breaks("model", Sociable)],
    "is_unchanged_by_use": [Breaks("model", Counts)],
    "is_unchanged_by_a_failure": [Breaks("model", MarksItsWork)],
}
