"""What a random search asks next: several queries of a row at a time, as if none of them were a gain.

Late in a search hardly one is. So the few rows of a long search fill the network's calls, and what is looked at in
vain costs less than calls on fewer images. Nothing rests on what lies behind a gain, and it is asked again.
"""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor

from classrob.live import ROWS
from classrob.rows import Live
from classrob.search import State
from classrob.streams import Streams
from classrob_lp.losses import margin

#: A row asks one query, and one more for so many since its last gain.
LULL = 4


class Outcome(NamedTuple):
    """What m queries of n rows came to.

    Attributes:
        gains: bool [m], the first gain of each row. logits: [n, k], there, or of a row's last query.
        looks: int64 [n], the queries up to there. state: the margin and the lull of each row, [n].
    """

    gains: Tensor
    logits: Tensor
    looks: Tensor
    state: State


@final
class Asked(NamedTuple):
    """The queries of a step, those of a row next to each other.

    Attributes:
        row, age: int64 [m], whose each one is, and its number in the walk.
        first, depth: int64 [n], where those of a row begin, and how many there are.
    """

    row: Tensor
    age: Tensor
    first: Tensor
    depth: Tensor

    @classmethod
    def of(cls, live: Live, lull: Tensor, steps: int) -> Asked:
        """As many as there is room for, and as the `lull` [n] since the last gain makes worth while."""
        open_ = live.open()
        n, most = max(1, int(open_.sum())), (steps - live.age) * open_
        # A look costs less than padding.
        depth = (1 + lull // LULL).clamp_(ROWS // n, max(1, live.room // n)).minimum(most)
        count = int(depth.sum())
        if (spare := -count % ROWS) <= live.room - count:
            more = depth < most
            depth += more & (more.cumsum(0) <= spare)
        row, first = torch.repeat_interleave(depth), depth.cumsum(0) - depth
        age = (live.age - first)[row] + torch.arange(len(row), device=row.device)
        return cls(row, age, first, depth)

    def streams(self, live: Live) -> Streams:
        """One a query."""
        return live.streams.select(self.row).fork(self.age)

    def outcome(self, live: Live, state: State, images: Tensor) -> Outcome:
        """Look at the images [m, …] of all. To gain is to come nearer to a wrong class, or to have one."""
        logits = live.ahead(images)
        found = margin(logits, live.labels[self.row])
        gains = (found > state["margin"][self.row]) | (found >= 0.0)
        number = torch.arange(len(gains), device=gains.device)
        best = torch.full_like(self.first, len(gains))
        best.scatter_reduce_(0, self.row, torch.where(gains, number, len(gains)), "amin")
        gained = best < len(gains)
        looks = torch.where(gained, best - self.first + 1, self.depth)
        decisive = (self.first + looks - 1).clamp_min_(0)
        kept: State = {
            "margin": torch.where(gained, found[decisive], state["margin"]),
            "lull": torch.where(gained, 0, state["lull"] + looks),
        }
        return Outcome(number == best[self.row], logits[decisive], looks, kept)
