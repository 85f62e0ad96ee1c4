"""The executor `ray`: on real clusters of this machine, always from other processes, as people call it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest

from classrob.errors import StudyError
from classrob_ray.cluster import Sharing, sharing

from ..host.conftest import Called
from ..host.test_resume import rows, same

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs the library ray: classrob[ray]")

#: A cluster that lasts until its standard input ends; it says where it is.
HEAD = """
import sys, ray
here = ray.init(
    address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000
)
print(here.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""

#: A program that is connected already when it calls classrob, and must still be afterwards.
CONNECTED = """
import sys, ray
from classrob.cli import main
ray.init(log_to_driver=False, logging_level="ERROR")
try:
    main()
finally:
    assert ray.is_initialized()
"""

#: One signed step; the first process that takes it while the file `armed` exists dies of it.
DEADLY = '''
import os, signal
from pathlib import Path
import classrob
import torch
from torch.nn.functional import cross_entropy

ARMED = Path(__file__).with_name("armed")

class Sign(classrob.Attack):
    """One step along the steepest direction."""

    def search(self, classifier, space, batch, streams, start):
        try:
            ARMED.unlink()
        except FileNotFoundError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
        z = space.centre().requires_grad_()
        loss = cross_entropy(classifier(space.render(z)), batch.labels, reduction="sum")
        (slope,) = torch.autograd.grad(loss, z)
        return space.move(z, slope, 1.0)
'''


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """This environment without a cluster of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="module")
def running(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment of a process beside a running cluster."""
    environment = environment | {"RAY_AUTH_MODE": "token"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", HEAD], env=environment, text=True, **pipes) as head:
        assert head.stdin is not None
        assert head.stdout is not None
        yield environment | {"RAY_ADDRESS": head.stdout.readline().strip()}
        head.stdin.close()
        head.wait(60)


def called(folder: Path, environment: dict[str, str], *arguments: str) -> Called:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Called(done.returncode, done.stdout, done.stderr)


@needs_ray
def test_it_keeps_an_executors_promises_in_a_program_that_is_connected(
    tmp_path: Path, running: dict[str, str]
) -> None:
    done = called(tmp_path, running, "-c", CONNECTED, "check", "ray/ray", "--set", "workers=2")
    assert done.code == 0, done.out
    assert done.err == "9 kept, 0 broken, 0 skipped\n"


@needs_ray
def test_a_killed_actor_costs_its_shard_and_the_same_command_again_brings_it(
    study: Path, environment: dict[str, str], running: dict[str, str], cli: Callable[..., Called]
) -> None:
    (study.parent / "deadly.py").write_text(DEADLY)
    study.write_text(study.read_text() + '\n[[threat]]\nuse = "linf"\nname = "local file"\nbudgets = [0.1]\n')
    study.write_text(study.read_text() + 'attack = "./deadly.py:Sign"\n')
    (study.parent / "armed").touch()
    command = (
        "-m",
        "classrob",
        "run",
        study.name,
        "--executor",
        "ray",
        "--workers",
        "2",
        "--set",
        "shard_size=12",
        "--out",
    )

    first = called(study.parent, environment, *command, "rays/run")  # on a cluster of its own
    assert (first.code, first.out) == (1, "")
    begin, failed, end = first.err.splitlines()
    assert begin == "0 shards done, 16 to do on cpu"
    assert failed.startswith("failed: samples ")
    assert "its ray actor died (killed, or out of memory" in failed
    assert end.startswith("1 shards failed")

    again = called(study.parent, running, *command, "rays/run")
    assert (again.code, again.out) == (0, "")
    assert again.err.startswith("15 shards done, 1 to do on cpu\ndone: ")

    assert cli("run", study, "--out", study.parent / "reference" / "run").code == 0
    same(rows(study.parent / "rays" / "run"), rows(study.parent / "reference" / "run"))


@needs_ray
def test_a_cluster_that_is_not_there_is_said_at_once(
    study: Path, cli: Callable[..., Called], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    done = cli("run", study, "--out", study.parent / "out", "--executor", "ray")
    assert (done.code, done.out) == (4, "")
    assert f"error: executor 'ray' cannot reach the cluster at '{address}': ConnectionRefused" in done.err
    assert done.err.count("\n") == 2


def test_without_ray_a_run_ends_before_it_begins(
    study: Path, cli: Callable[..., Called], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = cli("run", study, "--out", study.parent / "out", "--executor", "ray")
    assert (done.code, done.out) == (4, "")
    assert done.err.endswith('pip install "classrob[ray]"\n')
    assert done.err.count("\n") == 1
    assert not (study.parent / "out").exists()


@pytest.mark.parametrize(
    ("total", "workers", "device", "share"),
    [
        ({"CPU": 8.0}, None, "cpu", Sharing(8, 1, 1, 0)),
        ({"CPU": 8.0}, 3, "cpu", Sharing(3, 2, 1, 0)),
        ({"CPU": 1.0}, 2, "cpu", Sharing(2, 1, 0, 0)),  # else the second would wait for ever
        ({"CPU": 8.0, "GPU": 2.0}, None, "cpu", Sharing(8, 1, 1, 0)),
        ({"CPU": 8.0, "GPU": 2.0}, None, "cuda", Sharing(2, 4, 1, 1.0)),
        ({"CPU": 8.0, "GPU": 2.0}, 3, "cuda", Sharing(3, 2, 1, 0.5)),  # two thirds of a GPU fit only once
        ({"CPU": 8.0, "GPU": 1.0}, 6, "cuda", Sharing(6, 1, 1, 0.1666)),
        ({"CPU": 8.0}, 2, "cuda", Sharing(2, 4, 1, 0)),
    ],
)
def test_a_cluster_is_shared_out_so_that_every_actor_finds_room(
    total: dict[str, float], workers: int | None, device: str, share: Sharing
) -> None:
    ray = cast(ModuleType, SimpleNamespace(cluster_resources=lambda: total))
    assert sharing(ray, workers, device) == share


def test_a_gpu_by_number_is_refused() -> None:
    with pytest.raises(StudyError, match='take device = "cuda"'):
        sharing(cast(ModuleType, SimpleNamespace()), None, "cuda:1")
