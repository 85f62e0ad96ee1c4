"""`classrob.heap`: what a process has freed, it does not get from the system again."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, resource, torch
from classrob.heap import keep_freed_memory

def step():
    return [torch.ones(2_000_000) for _ in range(6)]

def faults():
    step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before, kept = faults(), keep_freed_memory()
print(json.dumps([before, kept, faults()]))
"""


def ran(**more: str) -> tuple[int, bool, int]:
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "LD_PRELOAD", "GLIBC"))
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=environment | more
    )
    before, kept, after = json.loads(done.stdout)
    return before, kept, after


@pytest.mark.skipif(sys.platform == "win32", reason="there is no `resource` on Windows")
def test_steps_of_the_same_size_get_no_new_pages() -> None:
    before, kept, after = ran()
    if not kept:
        pytest.skip("the C library is not glibc")
    assert before > 100
    assert after < before / 20


@pytest.mark.skipif(sys.platform == "win32", reason="there is no `resource` on Windows")
def test_an_environment_that_says_how_to_allocate_is_left_alone() -> None:
    assert ran(MALLOC_ARENA_MAX="2")[1] is False
