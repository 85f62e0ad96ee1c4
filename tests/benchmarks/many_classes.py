"""Time and memory of `classrob show` and `classrob report` on 1,000 classes, 50,000 images and 16 budgets."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from report.synthetic import write_large

COMMANDS = (["show"], ["show", "--format", "json"], ["show", "--format", "csv"], ["report"])
RUNS = 3


def measured(arguments: list[str]) -> dict[str, float]:
    """One child process: wall-clock and processor seconds, and the most memory it held."""
    start = time.perf_counter()
    with open(os.devnull, "wb") as nowhere:
        child = subprocess.Popen([sys.executable, "-m", "classrob", *arguments], stdout=nowhere)
        _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"classrob {' '.join(arguments)} failed")
    return {
        "wall_s": round(time.perf_counter() - start, 2),
        "processor_s": round(usage.ru_utime + usage.ru_stime, 2),
        "memory_mib": round(usage.ru_maxrss / 1024),
    }


def main() -> None:
    """Print, for each command, the run of the median time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=50000)
    parser.add_argument("--budgets", type=int, default=16)
    parser.add_argument("--write", type=Path, help="only write the run's store, into this folder")
    size = parser.parse_args()
    if size.write:
        write_large(size.write, size.classes, size.samples, size.budgets)
        return
    with tempfile.TemporaryDirectory() as folder:
        # in a process of its own: a child's peak of memory begins at that of its parent
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--write", folder], check=True)
        rows = []
        for command in COMMANDS:
            runs = [measured([*command[:1], folder, *command[1:]]) for _ in range(RUNS)]
            rows.append(
                {"command": " ".join(["classrob", *command])}
                | sorted(runs, key=lambda r: r["wall_s"])[RUNS // 2]
            )
        store, page = Path(folder, "run.sqlite"), Path(folder, "report.html")
        sizes = {
            "store_mib": round(store.stat().st_size / 2**20),
            "page_mib": round(page.stat().st_size / 2**20, 1),
        }
    print(json.dumps({"commands": rows, **sizes}, indent=1))


if __name__ == "__main__":
    main()
