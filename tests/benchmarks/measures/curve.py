"""A curve of sixteen budgets against one budget of the authors' AutoAttack."""

from __future__ import annotations

import argparse
from fractions import Fraction
from functools import partial
from typing import Any

import torch

from classrob.catalog import Catalog
from measures.clock import Now, importable, say, timed
from measures.clocked import Clock, ClockedEnsemble
from measures.subject import Subject, stands
from measures.suites import reference

BUDGETS = ("1/2550", *(f"{i}/510" for i in range(2, 17)))


def options(parser: argparse.ArgumentParser) -> None:
    """Tools, and the reference's budgets."""
    parser.add_argument("--model", default="cifar")
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument(
        "--precisions", nargs="*", default=["float32", "bfloat16"], help="of classrob's curve"
    )
    parser.add_argument(
        "--runs", nargs="*", default=["float32"], help="precisions of whole runs, a process for each thread"
    )
    parser.add_argument(
        "--reference",
        nargs="*",
        default=["2/255"],
        help="budgets, one by one; 1/2550 is its dearest of the sixteen",
    )
    parser.add_argument("--batch", type=int, default=500, help="of the reference")


def measure(arguments: argparse.Namespace) -> None:
    """One row a tool and precision, or a tool and budget."""
    subject = Subject.of(arguments.model, arguments.limit)
    same: dict[str, Any] = {
        "model": arguments.model,
        "images": len(subject.batch),
        "threads": torch.get_num_threads(),
        "clock": arguments.clock,
    }
    for precision in arguments.precisions:
        assert subject.tuning.batch_size, "found before the clock runs"
        seconds, row = timed(partial(curve, subject, precision, arguments.now), arguments.now)
        tool = "classrob" if precision == "float32" else f"classrob {precision}"
        say("curve", tool=tool, **same, budgets=list(BUDGETS), seconds=round(seconds, 2), **row)
    for precision in arguments.runs:
        seconds, row = timed(partial(whole, subject, precision), arguments.now)
        tool = "classrob, a whole run" if precision == "float32" else f"classrob {precision}, a whole run"
        say("curve", tool=tool, **same, budgets=list(BUDGETS), seconds=round(seconds, 2), **row)
    if arguments.reference and importable("curve", ["reference"]):
        for budget in arguments.reference:
            work = partial(reference, subject, budget, arguments.batch, 0, arguments.now)
            seconds, row = timed(work, arguments.now)
            row |= {"robust": [row["robust"]], "stands": None}
            say("curve", tool="reference", **same, budgets=[budget], seconds=round(seconds, 2), **row)


def curve(subject: Subject, precision: str, now: Now) -> dict[str, Any]:
    """All budgets in one sweep."""
    clock, attack = Clock(now), Catalog.installed().make("attack", "curve", {"precision": precision})
    budgets = tuple(float(Fraction(budget)) for budget in BUDGETS)
    ledger = subject.sweep(ClockedEnsemble(inner=attack, clock=clock), "curve", budgets)
    return {
        "robust": [round(float(stands(ledger, level).float().mean()), 4) for level in range(len(budgets))],
        "attacks": {name: round(seconds, 2) for name, seconds in clock.seconds.items()},
        "gradients": int(ledger.spent.sum()),
        "forwards": int(ledger.queries.sum()),
        "refuted": int((ledger.basis == "refuted").sum()),
    }


def whole(subject: Subject, precision: str) -> dict[str, Any]:
    """What `classrob run --workers` does; its passes are those of the sweep."""
    budgets = tuple(float(Fraction(budget)) for budget in BUDGETS)
    attack = {"use": "curve", "precision": precision}
    standing = subject.run(attack, budgets, torch.get_num_threads())
    robust = [round(float(share), 4) for share in standing.float().mean(1)]
    return {"robust": robust, "attacks": {}, "gradients": 0, "forwards": 0, "refuted": 0}
