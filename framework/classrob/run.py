"""A run is plan − store: what is missing is computed, what is there is kept, and it can be stopped anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from classrob.catalog import Catalog
from classrob.environment import environment
from classrob.errors import StoreError
from classrob.parts import Executor
from classrob.plan import Plan
from classrob.preflight import preflight
from classrob.reading.results import STORE
from classrob.records import Outcome, Shard
from classrob.store import Store
from classrob.study import Study
from classrob.worker import Worker


@dataclass(frozen=True)
class Observer:
    """What a run tells while it goes on; the defaults listen to nothing.

    `note` takes a line people should see; `started` the plan, the shards to do, how many were done and
    how many were taken over from sibling runs; `finished` each outcome after it is in the store.
    """

    note: Callable[[str], None] = lambda line: None
    started: Callable[[Plan, list[Shard], int, int], None] = lambda plan, todo, done, adopted: None
    finished: Callable[[Outcome], None] = lambda outcome: None


def run(
    study: Study,
    base: Path,
    out: Path,
    *,
    executor: str = "local",
    options: dict[str, Any] | None = None,
    reuse: bool = True,
    observer: Observer | None = None,
) -> int:
    """Compute what is missing of a study into the store in `out`; returns how many shards failed.

    Args:
        base: where relative paths of the study start.
        executor: a reference; `options` are its fields.
        reuse: take finished shards of equal content from the runs in folders beside `out`.

    Raises:
        StudyError, PluginError: found before the store is touched.
        StoreError: the store cannot be used, or another process is writing to it.
    """
    observer = observer or Observer()
    catalog = Catalog.installed()
    plan = Plan.of(study, catalog, base)
    pool: Executor = catalog.make("executor", executor, options or {}, base, "--executor")
    worker = Worker(study, base)
    path = out / STORE
    todo, done = _todo(path, plan)
    siblings = _siblings(out, todo) if reuse else {}
    fresh = {s.condition for s in todo if s.key not in siblings}
    notes: dict[str, list[str]] = {}
    keys = [condition.key(study) for condition in plan.conditions]
    for note in preflight(worker, fresh):
        observer.note(note.text)
        notes[note.text] = sorted({keys[index] for index in note.about})
    for line, about in _noted({path, *siblings.values()}).items():
        if line not in notes and not set(keys).isdisjoint(about):  # of what was measured before
            notes[line] = about
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / "run.lock", timeout=0), Store.open(path, write=True) as store:
            return _compute(store, plan, worker, pool, catalog, siblings, notes, done, observer, base)
    except Timeout:
        raise StoreError(f"another process is running in {out}; wait for it, or take another --out") from None


def _compute(
    store: Store,
    plan: Plan,
    worker: Worker,
    pool: Executor,
    catalog: Catalog,
    siblings: dict[str, Path],
    notes: dict[str, list[str]],
    done: int,
    observer: Observer,
    base: Path,
) -> int:
    meta = {
        "study": plan.study.model_dump(mode="json"),
        "base": str(base),
        "environment": environment(),
        "notes": notes,
    }
    store.begin(plan, meta)
    adopted = 0
    for path in sorted(set(siblings.values())):
        with Store.open(path) as other:
            adopted += store.adopt(other, [key for key, place in siblings.items() if place == path])
    todo = store.missing(plan.shards)
    observer.started(plan, todo, done, adopted)
    catalog.manager.hook.classrob_run_started(plan=plan)
    failed = 0
    with closing(pool.run(worker, todo)) as outcomes:
        for outcome in outcomes:
            store.add(outcome)
            failed += outcome.error is not None
            catalog.manager.hook.classrob_shard_finished(outcome=outcome)
            observer.finished(outcome)
    catalog.manager.hook.classrob_run_finished(failed=failed)
    return failed


def _todo(path: Path, plan: Plan) -> tuple[list[Shard], int]:
    """The shards that a store lacks, and how many it has; reading only."""
    if not path.exists():
        return list(plan.shards), 0
    with Store.open(path) as store:
        todo = store.missing(plan.shards)
    return todo, len(plan.shards) - len(todo)


def _noted(paths: Iterable[Path]) -> dict[str, list[str]]:
    """The notes of earlier runs in stores that exist, with the content addresses of the conditions they are about."""
    found: dict[str, list[str]] = {}
    for path in sorted(paths):
        if path.exists():
            with Store.open(path) as store:
                for line, about in store.notes().items():
                    found[line] = [*found.get(line, []), *about]
    return found


def _siblings(out: Path, todo: list[Shard]) -> dict[str, Path]:
    """Where runs beside this one have finished shards that it needs."""
    wanted = {shard.key for shard in todo}
    found: dict[str, Path] = {}
    for path in sorted(out.resolve().parent.glob(f"*/{STORE}")) if wanted else ():
        if path.parent == out.resolve():
            continue
        try:
            with Store.open(path) as store:
                found |= dict.fromkeys((wanted - found.keys()) & store.done(), path)
        except StoreError:
            continue  # somebody else's file, or a version we do not read: nothing to take over
    return found
