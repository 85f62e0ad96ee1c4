"""The strategy for many budgets: the smallest distance first, then a suite just below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from pydantic import Field

from classrob.ensemble import Ensemble, Member
from classrob.space import Space
from classrob_lp.autoattack import NEEDS, Precision, Version, suite
from classrob_lp.minimum_norm import MinimumNorm


@final
class Curve(Ensemble):
    """A minimum-norm search, then AutoAttack at the largest budget below the distance that it found.

    Downwards only while that succeeds: a sample costs one search, one failed suite and a few quick
    successes, however many budgets there are.
    """

    needs = NEEDS
    version: Version = Field(default="standard", description="of AutoAttack")
    precision: Precision = Field(
        default="float32", description="of the search; what it finds is always judged in float32"
    )

    def attacks(self, classes: int, space: Space) -> Sequence[Member]:
        """The scout, then the suite."""
        scout = Member("minimum-norm", MinimumNorm(precision=self.precision), scout=True)
        return [scout, *suite(self.version, classes, space, self.precision)]
