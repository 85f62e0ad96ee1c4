"""How near the honest models come to setting off a sign of the audit, over several seeds.

python tests/benchmarks/honest.py [mnist|cifar10|MODEL,…] [--seeds N] [--images N] [--budgets B,…]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.audit.honest import CIFAR, MNIST, audited, images, models
from tests.benchmarks.real import SHARED

BUDGETS = {"mnist": "0.05,0.1,0.2", "cifar10": "1/255,2/255,4/255"}


def main() -> None:
    """Audit every model at every seed, which draws other images; print each sign's share, and what fired."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", nargs="?", default="mnist", help="a data set, or models of one")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--budgets")
    args = parser.parse_args()
    sources = {"mnist": list(MNIST), "cifar10": list(CIFAR)}
    names: list[str] = sources.get(args.which) or args.which.split(",")
    source = "mnist" if names[0] in MNIST else "cifar10"
    budgets = (args.budgets or BUDGETS[source]).split(",")
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    looks = fired = 0
    for seed in range(args.first, args.first + args.seeds):
        with tempfile.TemporaryDirectory() as folder:
            data = images(SHARED, source, 5 * args.images)
            values = [b if "/" in b else float(b) for b in budgets]
            made = audited(Path(folder), models(SHARED, names), data, values, args.images, seed)
        for found in made.findings:
            if found.overall is None:
                continue
            looks += 1
            fired += found.state == "fired"
            row = counts[found.model, found.sign]
            row[0] += found.overall.hits
            row[1] += found.overall.n
            row[2] += found.state == "fired"
        for cost in made.costs:
            print(f"# seed {seed}: {cost}", file=sys.stderr, flush=True)
    shares = [
        {"model": model, "sign": sign, "hits": hits, "n": n, "share": round(hits / n, 4), "fired": times}
        for (model, sign), (hits, n, times) in counts.items()
    ]
    seen = [share for share in shares if share["hits"]]
    print(json.dumps({"seeds": args.seeds, "looks": looks, "fired": fired, "shares above 0": seen}, indent=1))


if __name__ == "__main__":
    main()
