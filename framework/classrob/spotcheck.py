"""The seeded share of implied and of proven verdicts that a sweep attacks directly, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self, final

import numpy as np

from classrob.judge import Verdict
from classrob.ledger import Ledger
from classrob.streams import Streams


@final
@dataclass
class SpotChecks:
    """Which levels of which samples are to be attacked although a larger one speaks for them.

    They may be attacked before it is known what the larger one says, beside what is at work anyway: a check of
    what turns out to be settled otherwise says nothing new.

    Attributes:
        waiting: bool [n, levels], drawn and not attacked yet.
        proven: bool [n, levels], those of them that a certificate speaks for.
        noted: samples, levels and verdicts of those that were.
    """

    waiting: np.ndarray
    proven: np.ndarray
    noted: list[tuple[np.ndarray, np.ndarray, Verdict]] = field(default_factory=list)

    @classmethod
    def drawn(cls, streams: Streams, levels: int, share: float) -> Self:
        """A share of all samples and levels; the draw is the sample's own."""
        waiting = streams.fork("spot-check").uniform(levels).cpu().numpy() < share
        return cls(waiting, np.zeros_like(waiting))

    def expect(self, samples: np.ndarray, levels: np.ndarray) -> None:
        """These are to be attacked although a certificate speaks for them."""
        self.proven[samples, levels] = self.waiting[samples, levels] = True

    def due(self, implied: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Samples and levels of what waits and is proven or, bool [n, levels], implied."""
        samples, levels = np.nonzero(self.waiting & (self.proven | implied))
        return samples, levels

    def note(self, samples: np.ndarray, levels: np.ndarray, verdict: Verdict) -> None:
        """They were attacked."""
        self.waiting[samples, levels] = False
        self.noted.append((samples, levels, verdict))

    def broken(self) -> np.ndarray:
        """bool [n, levels]: what a check has broken."""
        found = np.zeros_like(self.waiting)
        for samples, levels, verdict in self.noted:
            found[samples, levels] = verdict.broken.numpy()
        return found

    def enter(self, ledger: Ledger) -> None:
        """Confirm or refute what is implied; what stood by an attack of its own and breaks by a check is found."""
        for samples, levels, verdict in self.noted:
            for k, (i, level) in enumerate(zip(samples.tolist(), levels.tolist(), strict=True)):
                broken = bool(verdict.broken[k])
                if ledger.basis[i, level] == "implied":
                    ledger.write(verdict, k, i, level, "refuted" if broken else "confirmed")
                elif broken and ledger.basis[i, level] == "stood":
                    ledger.write(verdict, k, i, level, "found")
