"""A run is plan − store: whatever the batches, shards, workers and accidents, the same rows, once each."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Called

COLUMNS = "model, dataset, threat, attack, sample, label, budget, predicted, basis, margin, distance, proposed, spent, queries"


def rows(folder: Path) -> list[tuple[object, ...]]:
    """Every judgement of a run, in a fixed order."""
    with sqlite3.connect(folder / "run.sqlite") as db:
        return db.execute(
            f"SELECT {COLUMNS} FROM judgement ORDER BY model, threat, sample, budget"
        ).fetchall()


def same(ours: list[tuple[object, ...]], theirs: list[tuple[object, ...]]) -> None:
    """Equal rows; floating-point columns to 1e-5 relative."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one[:9] == other[:9]
        for x, y in zip(one[9:12], other[9:12], strict=True):
            assert x == y or x == pytest.approx(y, rel=1e-5, abs=1e-9)
        assert one[12:] == other[12:]


@pytest.fixture
def reference(study: Path, cli: Callable[..., Called]) -> list[tuple[object, ...]]:
    """The rows of an undisturbed run, in a folder that no other run would look into."""
    folder = study.parent / "reference" / "run"
    assert cli("run", study, "--out", folder).code == 0
    return rows(folder)


def test_every_sample_has_one_row_a_budget(reference: list[tuple[object, ...]]) -> None:
    keys = [(r[0], r[2], r[4], r[6]) for r in reference]
    assert len(keys) == len(set(keys)) == 48 * (1 + 5 + 2)


@pytest.mark.parametrize(
    "changes", [["batch_size=1"], ["batch_size=7"], ["batch_size=256"], ["shard_size=5"], ["shard_size=48"]]
)
def test_slicing_changes_nothing(
    changes: list[str], study: Path, reference: list[tuple[object, ...]], cli: Callable[..., Called]
) -> None:
    folder = study.parent / "other" / "run"
    assert cli("run", study, "--out", folder, *[a for c in changes for a in ("--set", c)]).code == 0
    same(rows(folder), reference)


def test_another_seed_changes_something(
    study: Path, reference: list[tuple[object, ...]], cli: Callable[..., Called]
) -> None:
    """Else the comparisons above could not fail."""
    folder = study.parent / "other" / "run"
    assert cli("run", study, "--out", folder, "--set", "seed=1").code == 0
    assert rows(folder) != reference


def test_two_workers_write_the_same_rows(
    study: Path, reference: list[tuple[object, ...]], cli: Callable[..., Called]
) -> None:
    folder = study.parent / "other" / "run"
    assert cli("run", study, "--out", folder, "--workers", "2").code == 0
    same(rows(folder), reference)


def _start(study: Path, folder: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "classrob", "run", str(study), "--out", str(folder), *more]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)


def test_killed_five_times_and_resumed(study: Path, reference: list[tuple[object, ...]]) -> None:
    """SIGKILL at random moments after the first shard; what a kill leaves is whole shards only."""
    folder = study.parent / "killed" / "run"
    small = ["--set", "shard_size=2"]
    random_ = random.Random(0)
    kills = 0
    while kills < 5:
        process = _start(study, folder, *small)
        before = _shards(folder)
        while _shards(folder) == before and process.poll() is None:
            time.sleep(0.005)
        time.sleep(random_.uniform(0, 0.05))
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        with sqlite3.connect(folder / "run.sqlite") as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            halves = (
                "SELECT count(*) FROM shard s WHERE NOT EXISTS (SELECT 1 FROM record r WHERE r.shard = s.id)"
            )
            assert db.execute(halves).fetchone() == (0,)
            assert _shards(folder) > before, "a finished shard was lost"
    assert kills == 5, "the run ended before it was killed five times"
    assert _start(study, folder, *small).wait(120) == 0
    same(rows(folder), reference)


def _shards(folder: Path) -> int:
    try:
        with sqlite3.connect(f"file:{folder / 'run.sqlite'}?mode=ro", uri=True) as db:
            return db.execute("SELECT count(*) FROM shard").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def test_a_killed_driver_takes_its_workers_along(study: Path) -> None:
    folder = study.parent / "killed" / "run"
    process = _start(study, folder, "--workers", "2", "--set", "shard_size=1")
    while not _shards(folder):
        assert process.poll() is None
        time.sleep(0.02)
    group = os.getpgid(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("worker processes outlived their driver by 20 s")


DEADLY = '''
import os
import signal
from pathlib import Path

import classrob


class Deadly(classrob.Attack):
    """Kills its own process at sample 20, once."""

    def search(self, classifier, space, batch, streams, start):
        marker = Path(__file__).with_name("died")
        if "20" in batch.ids and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return space.centre()
'''


def test_a_worker_that_dies_costs_a_few_shards_and_the_same_command_brings_them(
    study: Path, cli: Callable[..., Called]
) -> None:
    (study.parent / "deadly.py").write_text(DEADLY)
    folder = study.parent / "out"
    command = ["run", study, "--out", folder, "--workers", "2", "--set", "shard_size=4"]
    command += ["--set", 'threat.0.attack.use="./deadly.py:Deadly"', "--set", "threat.0.budgets=[0.1]"]
    for field in ("steps", "restarts", "random_start"):
        study.write_text(re.sub(rf", {field} = (8|2|true)", "", study.read_text(), count=1))
    first = cli(*command)
    assert first.code == 1, first.err
    assert "its worker process died" in first.err
    assert "Traceback" not in first.err
    assert 1 <= 36 - _shards(folder) <= 4, "at most what stood in line: two shards a process"
    assert cli(*command).code == 0
    assert _shards(folder) == 36


def test_interrupt_prints_the_command_that_resumes(study: Path) -> None:
    folder = study.parent / "run of mine"
    command = [
        sys.executable,
        "-m",
        "classrob",
        "run",
        str(study),
        "--out",
        str(folder),
        "--set",
        "shard_size=1",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not _shards(folder):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert f"Resume with: classrob run {study} --out '{folder}' --set shard_size=1" in errors


def test_the_same_command_again_has_nothing_to_do(study: Path, cli: Callable[..., Called]) -> None:
    folder = study.parent / "out"
    assert cli("run", study, "--out", folder).code == 0
    before = rows(folder)
    again = cli("run", study, "--out", folder)
    assert "0 to do" in again.err
    assert rows(folder) == before


def test_runs_of_equal_content_share_their_shards(study: Path, cli: Callable[..., Called]) -> None:
    first, second, third = (study.parent / "runs" / name for name in ("first", "second", "third"))
    assert cli("run", study, "--out", first).code == 0
    renamed = cli("run", study, "--out", second, "--set", 'name="renamed"', "--set", 'model.0.name="other"')
    assert "taken over" in renamed.err
    assert "0 to do" in renamed.err
    assert [r[1:] for r in rows(second)] == [r[1:] for r in rows(first)]
    changed = cli("run", study, "--out", third, "--set", "threat.0.attack.steps=9")
    assert "6 taken over" in changed.err  # the unperturbed images and the other threat, three shards each
    assert "3 to do" in changed.err


def test_a_changed_file_is_computed_again(study: Path, cli: Callable[..., Called]) -> None:
    folder = study.parent / "out"
    assert cli("run", study, "--out", folder).code == 0
    nets = study.parent / "nets.py"
    nets.write_text(nets.read_text().replace("8 * torch.eye(4)", "4 * torch.eye(4)"))
    assert "9 to do" in cli("run", study, "--out", folder).err
    images = study.parent / "data.npz"
    shutil.copy(images, study.parent / "copy.npz")
    assert "0 to do" in cli("run", study, "--out", folder, "--set", 'dataset.0.path="copy.npz"').err


def test_a_larger_limit_keeps_what_is_there(study: Path, cli: Callable[..., Called]) -> None:
    folder = study.parent / "out"
    assert cli("run", study, "--out", folder, "--set", "dataset.0.limit=32").code == 0
    assert "6 shards done" in (again := cli("run", study, "--out", folder)).err, again.err
    assert "3 to do" in again.err


def test_only_one_process_writes(study: Path, cli: Callable[..., Called]) -> None:
    from filelock import FileLock

    folder = study.parent / "out"
    folder.mkdir()
    with FileLock(folder / "run.lock"):
        called = cli("run", study, "--out", folder)
    assert (called.code, called.err.count("\n")) == (5, 1)
    assert "another process" in called.err
