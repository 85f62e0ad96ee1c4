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

#: A program with a cluster of its own: it says where that is, and once told to go on it calls classrob.
HEAD = """
import sys
from classrob.cli import main
from classrob_ray.cluster import connected

with connected(None) as ray:
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.readline()
    try:
        main()
    finally:
        assert ray.is_initialized(), "classrob has ended a connection that it did not make"
assert not ray.is_initialized()
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

LOCAL = """
[[threat]]
use = "linf"
name = "local file"
budgets = [0.1]
attack = "./deadly.py:Sign"
"""


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """This environment without a cluster of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "token"}


@pytest.fixture(scope="module")
def head(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A program that brings its cluster up while the first test goes on."""
    command = [sys.executable, "-c", HEAD, "check", "ray/ray", "--set", "workers=2"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=environment, text=True, stdin=pipe, stdout=pipe, stderr=pipe
    ) as program:
        yield program
        program.kill()  # its cluster goes with it


def called(folder: Path, environment: dict[str, str], *arguments: str) -> Called:
    command = [sys.executable, "-m", "classrob", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    return Called(done.returncode, done.stdout, done.stderr)


@needs_ray
def test_a_killed_actor_costs_its_shard_and_the_same_command_again_brings_it(
    study: Path, environment: dict[str, str], head: subprocess.Popen[str], cli: Callable[..., Called]
) -> None:
    (study.parent / "deadly.py").write_text(DEADLY)
    study.write_text(study.read_text() + LOCAL)
    (study.parent / "armed").touch()
    command = ("run", study.name, "--executor", "ray", "--workers", "2", "--set", "shard_size=12", "--out")

    first = called(study.parent, environment, *command, "rays/run")  # on a cluster of its own
    assert (first.code, first.out) == (1, "")
    begin, failed, end = first.err.splitlines()
    assert begin == "0 shards done, 16 to do on cpu"
    assert failed.startswith("failed: samples ")
    assert "its ray actor died (killed, or out of memory" in failed
    assert end.startswith("1 shards failed")

    assert head.stdout is not None
    there = environment | {"RAY_ADDRESS": head.stdout.readline().strip()}
    again = called(study.parent, there, *command, "rays/run")  # on one that others use too
    assert (again.code, again.out) == (0, "")
    assert again.err.startswith("15 shards done, 1 to do on cpu\ndone: ")

    assert cli("run", study, "--out", study.parent / "reference" / "run").code == 0
    same(rows(study.parent / "rays" / "run"), rows(study.parent / "reference" / "run"))


@needs_ray
def test_it_keeps_an_executors_promises_in_a_program_that_is_connected(head: subprocess.Popen[str]) -> None:
    out, err = head.communicate("go on\n", timeout=120)
    assert head.returncode == 0, out + err
    assert out.count("ok      executor/") == 4, out
    assert err == "9 kept, 0 broken, 0 skipped\n"


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
