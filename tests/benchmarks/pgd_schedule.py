"""What PGD finds with fixed steps and with steps that shrink from one budget to none, at equal cost."""

from __future__ import annotations

import argparse
import json

from real import judged, setting

QUERY = (
    "SELECT budget, sum(correct), count(*), sum(spent) FROM judgement WHERE threat = 'linf' GROUP BY budget"
)


def main() -> None:
    """Print one JSON object a model, budget and schedule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=500)
    arguments = parser.parse_args()
    for which, budgets in (("mnist", [0.1, 0.16, 0.2]), ("cifar", ["2/255", "4/255", "8/255"])):
        model, data = setting(which)
        for steps in (20, 100):
            for name, size in (("shrinking", None), ("fixed 2.5/steps", 2.5 / steps), ("fixed 0.25", 0.25)):
                attack = {"use": "pgd", "steps": steps} | ({} if size is None else {"step_size": size})
                for budget in budgets:
                    threat = {"use": "linf", "budgets": [budget], "attack": attack}
                    entry = {**data, "limit": arguments.limit}
                    ((_, correct, n, spent),) = judged(
                        {"model": [model], "dataset": [entry], "threat": [threat]}, QUERY
                    )
                    row = {"model": model["name"], "budget": budget, "steps": steps, "schedule": name}
                    print(json.dumps({**row, "robust": correct, "n": n, "gradients": spent}), flush=True)


if __name__ == "__main__":
    main()
