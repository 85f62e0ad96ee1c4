"""Processor time of `classrob --help` and `classrob plugins` against a bare `import click`, whole processes in turn."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

CASES = {
    "import click": ["-c", "import click"],
    "classrob --help": ["-m", "classrob", "--help"],
    "classrob plugins": ["-m", "classrob", "plugins"],
}
RUNS = 15


def seconds(arguments: list[str]) -> float:
    """User and system time of one child process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the smallest and the median time of each case, and the ratios to the first."""
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(RUNS):
        for name, arguments in CASES.items():
            times[name].append(seconds(arguments))
    base = sorted(times["import click"])
    rows = [
        {
            "case": name,
            "min_s": round(min(found), 4),
            "median_s": round(sorted(found)[RUNS // 2], 4),
            "ratio_of_medians": round(sorted(found)[RUNS // 2] / base[RUNS // 2], 2),
        }
        for name, found in times.items()
    ]
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
