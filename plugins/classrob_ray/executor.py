"""The executor `ray`: shards on a ray cluster, an actor for every worker."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from itertools import chain
from typing import Self, final

from pydantic import Field, model_validator

from classrob.parts import Executor
from classrob.records import Outcome, Shard
from classrob.worker import Worker
from classrob_ray.cluster import connected, library, sharing
from classrob_ray.crew import Crew


@final
class RayExecutor(Executor):
    """Computes shards on a ray cluster: a given one, or one that is started here and ends with the run.

    Only names cross: the study, its folder and the positions of samples. Every worker reads data, models
    and local files itself, so they must lie under the same paths on every machine of the cluster, where
    classrob and the study's plugins must be installed too.
    """

    workers: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="actors; unless given, one per CPU of the cluster, or per GPU for a study on cuda",
    )
    address: str | None = Field(
        default=None,
        description="a running cluster, such as 'auto' or 'host:6379'; unless given, the variable "
        "RAY_ADDRESS, and without that a cluster is started here",
    )

    @model_validator(mode="after")
    def _installed(self) -> Self:
        library()  # a run without ray ends here, before it has touched its store
        return self

    def run(self, worker: Worker, shards: Iterable[Shard]) -> Generator[Outcome, None, None]:
        """Outcomes as they finish; at most two shards an actor wait in line.

        Raises:
            PluginError: the cluster cannot be reached or started, or its workers lack classrob.
            StudyError: the study names one GPU, where ray hands them out.
        """
        waiting = iter(shards)
        for first in waiting:  # without shards there is nothing to start
            with connected(self.address or os.environ.get("RAY_ADDRESS") or None) as ray:
                crew = Crew(ray, worker, sharing(ray, self.workers, worker.study.device))
                try:
                    yield from crew.outcomes(chain([first], waiting))
                finally:
                    crew.dismiss()
