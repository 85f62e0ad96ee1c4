"""Shards on a ray cluster, of one machine or many; this module only declares the executor."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_executors() -> list[Component]:
    """The executor that hands shards to a cluster."""
    return [
        Component("ray", "classrob_ray.executor:RayExecutor", "a ray cluster, this machine's or a given one")
    ]
