"""The connection to a ray cluster, the library behind it, and how the cluster is shared out."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

from classrob.errors import PluginError, StudyError, one_line

#: Bytes that a cluster of ours may keep for objects; shards and outcomes are small and need hardly any.
OBJECTS = 100_000_000
#: What ray leaves in the environment of a process that connects, and what we set for a cluster of ours.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}
_LEFT = ("RAY_AUTH_MODE", "PYTHONBREAKPOINT")


@dataclass(frozen=True)
class Sharing:
    """How many actors there are, and what each gets: torch's threads, and reserved CPUs and GPUs."""

    workers: int
    threads: int
    cpus: int
    gpus: float


def library() -> ModuleType:
    """The library ray.

    Raises:
        PluginError: it is not installed, or does not import.
    """
    try:
        # Read at import only: the nodes' own messages would else go to standard output, log_to_driver or not.
        with _environment({"RAY_DEDUP_LOGS_SKIP_REGEX": "."}):
            import ray
            import ray.exceptions
    except ImportError as error:
        why = f"the library ray ({error})"
        raise PluginError(f"executor 'ray' needs {why}: pip install \"classrob[ray]\"") from error
    return ray


@contextmanager
def connected(address: str | None) -> Iterator[ModuleType]:
    """The library, connected; what was connected or started here ends with the block, and nothing else.

    Raises:
        PluginError: the cluster cannot be reached, or none can be started.
    """
    ray = library()
    if ray.is_initialized():  # the caller's own connection: theirs to configure and to end
        yield ray
        return
    ours = address is None or address == "local"
    where = "start a cluster here" if ours else f"reach the cluster at '{address}'"
    with _environment(_QUIET if ours else {}):
        try:
            if address is not None:
                _knock(address)
            with _termination():
                ray.init(
                    address=address or "local",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **({"include_dashboard": False, "object_store_memory": OBJECTS} if ours else {}),
                )
        except Exception as error:  # ray raises whatever its network, files and processes raise
            ray.shutdown()
            raise PluginError(f"executor 'ray' cannot {where}: {one_line(error)[:300]}") from error
        try:
            yield ray
        finally:
            ray.shutdown()


def sharing(ray: ModuleType, workers: int | None, device: str) -> Sharing:
    """How the cluster is shared out; more workers than CPUs, or than GPUs, share what there is.

    Raises:
        StudyError: the device is one GPU by number.
    """
    if device.startswith("cuda:"):
        raise StudyError(f"device '{device}': ray hands out the GPUs itself; take device = \"cuda\"")
    total: dict[str, float] = ray.cluster_resources()
    cpus = max(1, int(total.get("CPU", 1)))
    gpus = int(total.get("GPU", 0)) if device == "cuda" else 0
    count = workers or gpus or cpus
    # A part that fits a whole number of times into one GPU, or else an actor could wait for ever.
    part = math.floor(10_000 / math.ceil(count / gpus)) / 10_000 if gpus else 0
    return Sharing(count, max(1, cpus // count), 1 if count <= cpus else 0, part)


def _knock(address: str) -> None:
    """Fail at once where nobody listens; ray itself would try for a quarter of an hour."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for a while; what is set already, and what ray sets meanwhile, does not stay."""
    before = {name: os.environ.get(name) for name in (*values, *_LEFT)}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _termination() -> Iterator[None]:
    """Put back what SIGTERM did before ray took it; a driver that dies of it takes its cluster along."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)
