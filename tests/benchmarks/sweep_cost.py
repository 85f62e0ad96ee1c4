"""Gradient evaluations of sixteen budgets against the dearest single one, and where accuracies differ.

`single` runs each budget as a study of its own; `exhaustive` is the sweep that implies nothing.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from real import judged, setting

QUERY = """SELECT budget, sum(spent), sum(correct) FROM judgement WHERE threat = 'linf' GROUP BY budget"""


def main() -> None:
    """Print one JSON object a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    for which, budgets in (
        ("mnist", [i / 50 for i in range(1, 17)]),
        ("cifar", [f"{i}/510" for i in range(1, 17)]),
    ):
        model, data = setting(which)
        attack = {"use": "pgd", "steps": arguments.steps}

        def study(
            budgets: list[Any], model: Any = model, data: Any = data, attack: Any = attack, **more: Any
        ) -> dict[str, Any]:
            threat = {"use": "linf", "budgets": budgets, "attack": attack}
            return {
                "model": [model],
                "dataset": [{**data, "limit": arguments.limit}],
                "threat": [threat],
                **more,
            }

        swept = judged(study(budgets), QUERY)
        exhaustive = judged(study(budgets, exhaustive=True), QUERY)
        single = [row for budget in budgets for row in judged(study([budget]), QUERY)]
        dearest = max(spent for _, spent, _ in single)
        print(
            json.dumps(
                {
                    "model": model["name"],
                    "images": arguments.limit,
                    "steps": arguments.steps,
                    "sweep": sum(spent for _, spent, _ in swept),
                    "dearest_single_budget": dearest,
                    "ratio": round(sum(spent for _, spent, _ in swept) / dearest, 3),
                    "all_single_budgets": sum(spent for _, spent, _ in single),
                    "correct_minus_exhaustive": [a[2] - b[2] for a, b in zip(swept, exhaustive, strict=True)],
                    "correct_minus_single": [a[2] - b[2] for a, b in zip(swept, single, strict=True)],
                }
            )
        )


if __name__ == "__main__":
    main()
