"""An ensemble whose members' seconds are noted, and a module whose passes are counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, final

from pydantic import Field
from torch import Tensor, nn

from classrob.ensemble import Ensemble, Member
from classrob.ledger import Ledger
from classrob.live import Batch, Classifier
from classrob.parts import Attack
from classrob.space import Space
from classrob.streams import Streams
from measures.clock import Now, Took


@final
class Clock:
    """Seconds by name, on one clock."""

    def __init__(self, now: Now) -> None:
        self.now = now
        self.seconds: dict[str, float] = {}

    def add(self, name: str, seconds: float) -> None:
        """Add to a name's seconds."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


@final
class Clocked(Attack):
    """Another attack; how long it searched is noted."""

    batches_itself: ClassVar[bool] = True

    inner: Any = Field(description="the attack, which batches itself")
    called: str = Field(description="what its seconds are noted under")
    clock: Any = Field(description="where they are noted")

    def search(
        self, classifier: Classifier, space: Space, batch: Batch, streams: Streams, start: Tensor | None
    ) -> Tensor:
        """What the other attack finds."""
        begin = self.clock.now()
        found = self.inner.search(classifier, space, batch, streams, start)
        self.clock.add(self.called, self.clock.now() - begin)
        return found


@final
class ClockedEnsemble(Ensemble):
    """Another ensemble, its members clocked."""

    inner: Any = Field(description="the ensemble")
    clock: Any = Field(description="where seconds are noted")

    def attacks(self, classes: int, space: Space) -> Sequence[Member]:
        """The other ensemble's members under their own names, so that their streams are the same."""
        return [
            member._replace(attack=Clocked(inner=member.attack, called=member.name, clock=self.clock))
            for member in self.inner.attacks(classes, space)
        ]


def took(ledger: Ledger, clock: Clock) -> dict[str, Took]:
    """What each member took, and the share of samples that stands after it, at a ledger's only budget."""
    at_last = (ledger.labels.numpy() == ledger.predicted[:, 0]).nonzero()[0].tolist()
    broken = [(i, one.attack) for (i, *_), one in ledger.tried.items() if one.predicted != one.label]
    standing = set(at_last) | {i for i, _ in broken}
    found: dict[str, Took] = {}
    for name, seconds in clock.seconds.items():
        standing -= {i for i, attack in broken if attack == name}
        found[name] = Took(round(seconds, 2), round(len(standing) / len(ledger.labels), 4))
    return found


@final
class Counting(nn.Module):
    """Counts the images that pass through another module, forwards and backwards."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.forwards, self.backwards = module, 0, 0

    def forward(self, images: Tensor) -> Tensor:
        """What the other module says."""
        n = len(images)
        self.forwards += n
        logits = self.module(images)
        if logits.requires_grad:
            logits.register_hook(lambda _: self._back(n))
        return logits

    def _back(self, n: int) -> None:
        self.backwards += n
