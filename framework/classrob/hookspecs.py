"""Every hook, in the order a run meets it.

The declaring hooks take nothing and return components. The observing hooks run in the driver
process only; what they return is ignored, so an observer cannot change a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from classrob.component import Component
    from classrob.plan import Plan
    from classrob.records import Outcome

hookspec = pluggy.HookspecMarker("classrob")
hookimpl = pluggy.HookimplMarker("classrob")


@hookspec
def classrob_models() -> Sequence[Component]:  # pyright: ignore[reportReturnType]
    """The models that the plugin offers."""


@hookspec
def classrob_datasets() -> Sequence[Component]:  # pyright: ignore[reportReturnType]
    """The data sets that the plugin offers."""


@hookspec
def classrob_threats() -> Sequence[Component]:  # pyright: ignore[reportReturnType]
    """The threat models that the plugin offers."""


@hookspec
def classrob_attacks() -> Sequence[Component]:  # pyright: ignore[reportReturnType]
    """The attacks that the plugin offers."""


@hookspec
def classrob_certifiers() -> Sequence[Component]:  # pyright: ignore[reportReturnType]
    """The certifiers that the plugin offers."""


@hookspec
def classrob_probes() -> Sequence[Component]:  # pyright: ignore[reportReturnType]
    """The probes that the plugin offers."""


@hookspec
def classrob_detectors() -> Sequence[Component]:  # pyright: ignore[reportReturnType]
    """The detectors that the plugin offers."""


@hookspec
def classrob_metrics() -> Sequence[Component]:  # pyright: ignore[reportReturnType]
    """The metrics that the plugin offers."""


@hookspec
def classrob_explainers() -> Sequence[Component]:  # pyright: ignore[reportReturnType]
    """The explainers that the plugin offers."""


@hookspec
def classrob_generators() -> Sequence[Component]:  # pyright: ignore[reportReturnType]
    """The generators that the plugin offers."""


@hookspec
def classrob_recipes() -> Sequence[Component]:  # pyright: ignore[reportReturnType]
    """The training recipes that the plugin offers."""


@hookspec
def classrob_executors() -> Sequence[Component]:  # pyright: ignore[reportReturnType]
    """The executors that the plugin offers."""


@hookspec
def classrob_run_started(plan: Plan) -> None:
    """A run begins; `plan` holds its conditions and shards, done ones included."""


@hookspec
def classrob_shard_finished(outcome: Outcome) -> None:
    """A shard's outcome, failed or not, has been written to the store."""


@hookspec
def classrob_run_finished(failed: int) -> None:
    """A run ended; `failed` counts the shards that failed in it."""
