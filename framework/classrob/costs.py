"""What it costs to score images: the time that each detector took, beside that of predictions of the same images.

Times are kept with a shard, as how it was run is, and never in a row: the same study gives the same rows at any speed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, ParamSpec, TypeVar, final

P = ParamSpec("P")
T = TypeVar("T")


class Cost(NamedTuple):
    """What scoring so many images took.

    Attributes:
        detector: what the study calls it; None for the model's own predictions.
        images: how many.
        seconds: by the clock. processor: of all threads of this process.
    """

    detector: str | None
    images: int
    seconds: float
    processor: float


@final
@dataclass
class Costs:
    """Times by detector, added up over the batches of a shard."""

    _found: dict[str | None, Cost] = field(default_factory=dict)

    def timed(
        self, detector: str | None, images: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What the work gives, which must be there when it returns, on whatever device it was computed."""
        begin, processor = time.perf_counter(), time.process_time()
        result = work(*args, **kwargs)
        seconds, processor = time.perf_counter() - begin, time.process_time() - processor
        before = self._found.get(detector, Cost(detector, 0, 0.0, 0.0))
        self._found[detector] = Cost(
            detector, before.images + images, before.seconds + seconds, before.processor + processor
        )
        return result

    def all(self) -> list[Cost]:
        """Every detector's, in the order in which they were first timed."""
        return list(self._found.values())
