"""AutoAttack: its authors' code against classrob's and its bfloat16 twin, time and verdict of every image."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from itertools import combinations
from typing import Any

import torch
from peers.bare import gradient
from peers.task import Task, predicted

from classrob.catalog import Catalog
from measures.clock import Now, importable, say, timed
from measures.clocked import Clock, ClockedEnsemble, Counting, took
from measures.subject import Subject, stands

#: An attack and a certifier, which proves what it can before anything is attacked.
OURS = {
    f"classrob{low}{certified}": (attack, certifier)
    for low, attack in (("", "autoattack"), (" bfloat16", "autoattack-bfloat16"))
    for certified, certifier in (("", None), (" certified", "crown"))
}

#: The same as whole runs from nothing, by as many processes as there are threads.
RUNS = {f"{name}, a whole run": parts for name, parts in OURS.items()}

#: The share that CROWN certifies at 2/255 on all test images; no attack may leave fewer standing.
CERTIFIED = 0.2688

#: Repeats of a bare pass.
PASSES = 40


def options(parser: argparse.ArgumentParser) -> None:
    """Budget, tools and seeds."""
    parser.add_argument("--model", default="cifar")
    parser.add_argument("--budget", default="2/255")
    parser.add_argument("--limit", type=int, default=500)
    tools = ("reference", *OURS, *RUNS)
    usual = ["reference", "classrob", "classrob bfloat16"]
    parser.add_argument("--tools", nargs="+", choices=tools, default=usual)
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="the order of the tools turns with it"
    )
    parser.add_argument("--batch", type=int, default=500, help="of the reference")


def measure(arguments: argparse.Namespace) -> None:
    """One row a tool and seed, and one a pair of rows: the images whose verdicts differ."""
    subject = Subject.of(arguments.model, arguments.limit)
    rates: dict[str, float] = {}
    missing = "reference" in arguments.tools and not importable("autoattack", ["reference"])
    tools = [tool for tool in arguments.tools if tool != "reference" or not missing]
    standing: dict[tuple[str, int], set[int]] = {}
    for turn, seed in enumerate(arguments.seeds):
        first = turn % max(1, len(tools))
        for tool in tools[first:] + tools[:first]:
            work = {"reference": partial(reference, batch=arguments.batch)}.get(tool) or partial(
                ours if tool in OURS else whole, tool=tool
            )
            task = partial(work, subject, arguments.budget, seed=seed, now=arguments.now)
            if (
                tool != "reference"
            ):  # tuned before the clock runs; the reference first, in a process as it comes
                rates = rates or bare(subject)
            seconds, row = timed(task, arguments.now)
            rates = rates or bare(subject)
            standing[tool, seed] = set(row["stands"])
            bare_forwards = row["forwards"] - row["gradients"]
            floor = row["gradients"] * rates["gradient"] + bare_forwards * rates["forward"]
            say(
                "autoattack",
                tool=tool,
                seed=seed,
                model=arguments.model,
                budget=arguments.budget,
                images=len(subject.batch),
                threads=torch.get_num_threads(),
                clock=arguments.clock,
                seconds=round(seconds, 2),
                floor_seconds=round(floor / 1e6, 2),
                certified=CERTIFIED if (arguments.model, arguments.budget) == ("cifar", "2/255") else None,
                **row,
            )
    for a, b in combinations(standing, 2):
        differ = sorted(standing[a] ^ standing[b])
        say("verdicts", a=list(a), b=list(b), differ=len(differ), images=differ)


def reference(subject: Subject, budget: str, batch: int, seed: int, now: Now) -> dict[str, Any]:
    """The authors' code, called as they say, the weights as the model has them."""
    from peers import reference as peer

    module = Counting(subject.classifier.module).eval()
    task = Task(float(Fraction(budget)), 100, batch)
    standing, attacks = peer.standard(module, subject.batch.images, subject.batch.labels, task, seed, now)
    return {
        "batch": batch,
        "robust": round(float(standing.float().mean()), 4),
        "attacks": {name: [round(one.seconds, 2), one.robust] for name, one in attacks.items()},
        "gradients": module.backwards,
        "forwards": module.forwards,
        "stands": standing.nonzero()[:, 0].tolist(),
    }


def ours(subject: Subject, budget: str, tool: str, seed: int, now: Now) -> dict[str, Any]:
    """A sweep of one budget."""
    name, certifier = OURS[tool]
    clock, attack = Clock(now), Catalog.installed().make("attack", name, {})
    clocked = ClockedEnsemble(inner=attack, clock=clock)
    ledger = subject.sweep(clocked, "autoattack", (float(Fraction(budget)),), seed, certifier)
    standing = stands(ledger)
    return {
        "batch": subject.tuning.batch_size,
        "robust": round(float(standing.float().mean()), 4),
        "attacks": {name: list(one) for name, one in took(ledger, clock).items()},
        "proven": int((ledger.basis[:, 0] == "certified").sum()),
        "gradients": int(ledger.spent.sum()),
        "forwards": int(ledger.queries.sum()),
        "stands": standing.nonzero()[:, 0].tolist(),
    }


def whole(subject: Subject, budget: str, tool: str, seed: int, now: Now) -> dict[str, Any]:
    """What `classrob run --workers` does; passes are not counted here, they are those of the sweep."""
    workers, (name, certifier) = torch.get_num_threads(), RUNS[tool]
    standing = subject.run({"use": name}, (float(Fraction(budget)),), workers, seed, certifier)[0]
    return {
        "workers": workers,
        "robust": round(float(standing.float().mean()), 4),
        "attacks": {},
        "gradients": 0,
        "forwards": 0,
        "stands": standing.nonzero()[:, 0].tolist(),
    }


def bare(subject: Subject) -> dict[str, float]:
    """Microseconds an image of a gradient and of a forward pass, as the model is, at the tuned batch size."""
    module, size = subject.classifier.module, subject.tuning.batch_size
    batch = subject.widest(size)

    def best(work: Callable[[], Any]) -> float:
        return round(1e6 * min(timed(work)[0] for _ in range(PASSES)) / size, 2)

    with subject.classifier.frozen():
        rates = {
            "gradient": best(lambda: gradient(module, batch.images, batch.labels)),
            "forward": best(lambda: predicted(module, batch.images, size)),
        }
    say("rates", model=subject.which, batch=size, threads=torch.get_num_threads(), **rates)
    return rates
