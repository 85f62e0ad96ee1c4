"""An attack from images to robust accuracy: predictions, search and verdicts, tool against tool."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from peers.task import STEP, Task
from torch import Tensor

from classrob.catalog import Catalog
from measures.clock import importable, in_turn, over, say, spread, timed
from measures.subject import Subject, stands

PEERS = ("bare", "reference", "torchattacks", "foolbox", "art")

#: Where about half of the images that are classified rightly fall; and where all do, without a defence.
BUDGETS = {"cifar": "5/255", "mnist": "0.17", "mnist-interp": "0.3", "mnist-latent": "0.3"}

#: Fewer steps than the peers get: at equal robust accuracy, how many does it take?
FEWER = (3, 5, 10, 20, 40)

#: Steps of the trial that finds a peer's best batch size.
TRIAL = 5


def options(parser: argparse.ArgumentParser) -> None:
    """One model and attack; which tools, and how often."""
    parser.add_argument("--model", choices=BUDGETS, default="cifar")
    parser.add_argument("--attack", choices=("pgd", "apgd-ce"), default="pgd")
    parser.add_argument("--budget", help="default: by model")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument(
        "--only-correct", action="store_true", help="peers attack only what is classified rightly"
    )


def measure(arguments: argparse.Namespace) -> None:
    """One row a tool: seconds, robust accuracy, and how many times faster than the fastest peer."""
    subject = Subject.of(arguments.model, arguments.limit)
    budget = float(Fraction(arguments.budget or BUDGETS[arguments.model]))
    task = Task(budget, arguments.steps, only_correct=arguments.only_correct)
    contenders, batches = _peers(subject, task, arguments)
    theirs = [name for name in contenders if not name.startswith("bare")]
    ours = _ours(subject, task, arguments.attack)
    modes = [(w, w.requires_grad) for w in subject.classifier.module.parameters()]
    try:
        seconds, results = in_turn({**contenders, **ours}, arguments.repeats, arguments.now)
    finally:
        for weight, required in modes:
            weight.requires_grad_(required)
    fastest = min(theirs, key=lambda name: spread(seconds[name])["median"]) if theirs else None
    same = {
        "model": arguments.model,
        "attack": arguments.attack,
        "budget": arguments.budget or BUDGETS[arguments.model],
        "steps": arguments.steps,
        "images": len(subject.batch),
        "threads": torch.get_num_threads(),
        "clock": arguments.clock,
        "only_correct": arguments.only_correct,
    }
    for name, found in seconds.items():
        row: dict[str, Any] = {"tool": name, "seconds": spread(found)}
        row["batch"] = batches.get(name, subject.tuning.batch_size)
        if not name.startswith("bare"):
            row["robust"] = round(float(results[name].float().mean()), 4)
            if fastest is not None:
                row["as_strong"] = bool(results[name].sum() <= results[fastest].sum())
        if "bare frozen" in seconds:
            row["over_bare"] = over(found, seconds["bare frozen"])
        if fastest is not None:
            row |= {"fastest_peer": fastest, "times_faster": over(seconds[fastest], found)}
        say("pgd", **same, **row)


def _peers(
    subject: Subject, task: Task, arguments: argparse.Namespace
) -> tuple[dict[str, Callable[[], Tensor]], dict[str, int]]:
    """The peers, with the weights as they are and frozen, each with its best batch size of those asked for."""
    module, images, labels = subject.classifier.module, subject.batch.images, subject.batch.labels
    contenders: dict[str, Callable[[], Tensor]] = {}
    batches: dict[str, int] = {}
    for tool, peer in importable("pgd", arguments.peers).items():
        if (attack := peer.ATTACKS.get(arguments.attack)) is None:
            say("pgd", tool=tool, skipped=f"it has no {arguments.attack}")
            continue
        for frozen in (True,) if tool == "bare" else (False, True):

            def work(task: Task, attack: Any = attack, frozen: bool = frozen) -> Tensor:
                module.eval().requires_grad_(not frozen)
                return attack(module, images, labels, task)

            name = f"{tool} frozen" if frozen else tool
            batches[name] = size = _best(work, task, arguments)
            contenders[name] = partial(work, replace(task, batch=size))
    return contenders, batches


def _best(work: Callable[[Task], Tensor], task: Task, arguments: argparse.Namespace) -> int:
    """The batch size that is fastest in two short trials."""
    trials = [replace(task, steps=min(TRIAL, task.steps), batch=size) for size in arguments.batches]
    took = [min(timed(partial(work, trial), arguments.now)[0] for _ in range(2)) for trial in trials]
    return arguments.batches[took.index(min(took))]


def _ours(subject: Subject, task: Task, attack: str) -> dict[str, Callable[[], Tensor]]:
    """Sweeps of one budget with a tuned batch size, and a whole run from nothing."""
    catalog = Catalog.installed()
    variants: dict[str, dict[str, Any]] = {"classrob": {}, "classrob bfloat16": {"precision": "bfloat16"}}
    variants |= {f"classrob, {steps} steps": {"steps": steps} for steps in FEWER if steps < task.steps}
    if attack == "pgd":
        variants["classrob, the peers' step"] = {"step_size": STEP / task.steps}

    def swept(fields: dict[str, Any]) -> Callable[[], Tensor]:
        part = catalog.make("attack", attack, {"steps": task.steps, **fields})
        return lambda: stands(subject.sweep(part, attack, (task.budget,)))

    found = {name: swept(fields) for name, fields in variants.items()}
    entry = {"use": attack, "steps": task.steps}
    found["classrob, a whole run"] = lambda: subject.run(entry, (task.budget,))[0]
    assert subject.tuning.batch_size, "found before the clock runs, as the peers' batch sizes are"
    return found
