"""The rows of attacks.py as tables of Markdown."""

from __future__ import annotations

import argparse
import fileinput
import json
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

Row = dict[str, Any]


def options(parser: argparse.ArgumentParser) -> None:
    """Files of rows."""
    parser.add_argument("files", nargs="*", help="what the other commands printed; default: standard input")


def measure(arguments: argparse.Namespace) -> None:
    """Print a table a part."""
    with fileinput.input(arguments.files, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines if line.startswith("{")]
    for part, table in TABLES.items():
        if found := [row for row in rows if row["part"] == part and "skipped" not in row]:
            print(f"\n{part}\n")
            table(found)
    for row in rows:
        if "skipped" in row:
            print(f"\n{row['part']}: {row.get('tool', row.get('form'))} is left out: {row['skipped']}")


def _print(head: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
    for cells in (head, ["---"] * len(head), *lines):
        print("| " + " | ".join(str(cell) for cell in cells) + " |")


def _s(found: dict[str, float] | None) -> str:
    return "" if found is None else f"{found['median']:.3g} ({found['min']:.3g} … {found['max']:.3g})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _environment(rows: Sequence[Row]) -> None:
    names = [name for name in rows[0] if name != "part"]
    _print(names, list(dict.fromkeys(tuple(row[name] for name in names) for row in rows)))


def _floor(rows: Sequence[Row]) -> None:
    head = ["model", "threads", "batch", "what", "µs a gradient", "over the floor"]
    _print(
        head,
        [
            (r["model"], r["threads"], r["batch"], r["tool"], _s(r["microseconds"]), _s(r["over_floor"]))
            for r in rows
        ],
    )


def _pgd(rows: Sequence[Row]) -> None:
    head = [
        "model, budget",
        "attack, steps",
        "threads",
        "tool",
        "batch",
        "robust",
        "seconds",
        "over bare passes",
    ]
    _print(
        [*head, "times faster than the fastest peer"],
        [
            (
                f"{r['model']}, {r['budget']}",
                f"{r['attack']}, {r['steps']}" + (", correct only" if r["only_correct"] else ""),
                r["threads"],
                r["tool"],
                r["batch"],
                _percent(r["robust"]) if "robust" in r else "",
                _s(r["seconds"]),
                _s(r.get("over_bare")),
                _s(r.get("times_faster")) if r["tool"].startswith("classrob") else "",
            )
            for r in rows
        ],
    )


def _autoattack(rows: Sequence[Row]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row["attacks"]))
    base = {(r["threads"], r["seed"]): r["seconds"] for r in rows if r["tool"] == "reference"}
    head = [
        "tool, seed",
        "threads",
        "robust",
        "seconds",
        "share of the reference's",
        "over bare passes",
        *names,
    ]
    lines = []
    for r in rows:
        whole = base.get((r["threads"], r["seed"]))
        lines.append(
            (
                f"{r['tool']}, {r['seed']}",
                r["threads"],
                _percent(r["robust"]),
                f"{r['seconds']:.1f}",
                f"{r['seconds'] / whole:.3f}" if whole else "",
                f"{r['seconds'] / r['floor_seconds']:.2f}" if r["floor_seconds"] else "",
                *(
                    f"{one[0]:.1f}, {_percent(one[1])}" if one else ""
                    for one in (r["attacks"].get(n) for n in names)
                ),
            )
        )
    _print(head, lines)
    print()
    standing = {f"{r['tool']}, {r['seed']}, {r['threads']} threads": set(r["stands"]) for r in rows}
    pairs = [(a, b, len(standing[a] ^ standing[b])) for a, b in combinations(standing, 2)]
    _print(["one", "the other", "images that differ"], pairs)


def _curve(rows: Sequence[Row]) -> None:
    head = ["tool", "threads", "budgets", "seconds", "gradients", "forward passes", "robust"]
    _print(
        head,
        [
            (
                r["tool"],
                r["threads"],
                len(r["budgets"]) if len(r["budgets"]) > 1 else r["budgets"][0],
                f"{r['seconds']:.1f}",
                f"{r['gradients']:,}" if r["forwards"] else "",
                f"{r['forwards']:,}" if r["forwards"] else "",
                " … ".join(_percent(x) for x in dict.fromkeys((r["robust"][0], r["robust"][-1]))),
            )
            for r in rows
        ],
    )


def _compile(rows: Sequence[Row]) -> None:
    head = [
        "model",
        "threads",
        "batch",
        "form",
        "seconds to compile",
        "eager, µs",
        "compiled, µs",
        "compiled / eager",
    ]
    _print(
        head,
        [
            (
                r["model"],
                r["threads"],
                r["batch"],
                r["form"],
                r["compile_seconds"],
                _s(r["microseconds"]["eager"]),
                _s(r["microseconds"]["compiled"]),
                _s(r["compiled_over_eager"]),
            )
            for r in rows
        ],
    )


TABLES: dict[str, Callable[[Sequence[Row]], None]] = {
    "environment": _environment,
    "floor": _floor,
    "pgd": _pgd,
    "autoattack": _autoattack,
    "curve": _curve,
    "compile": _compile,
}
