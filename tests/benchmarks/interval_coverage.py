"""How often each interval that the report prints holds the truth: true values that are known, samples drawn from them.

One JSON object an interval: its coverage, the standard error of that, and by cases the lowest and the highest.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.host.test_spread import TRUTHS, sizes, world
from tests.plugins.test_classwise_metrics import SHAPES, SMOOTH, plain_area, scored, verdicts
from tests.plugins.test_differences import conditions
from tests.plugins.test_structure import STRUCTURE, both, by_name

from classrob.statistics import ranks
from classrob.statistics.ranks import correlations
from classrob.statistics.smallest import smallest
from classrob.statistics.spread import measures, spread
from classrob_classwise.area import area
from classrob_classwise.differences import POWER, WeakClasses
from classrob_classwise.distances import quantile
from classrob_classwise.rankings import RankPersistence, agreement

#: The name of an interval, the case, and for every draw whether it held the truth.
Found = Iterator[tuple[str, str, bool]]
Random = np.random.Generator


def classes(random: Random, draws: int, ks: tuple[int, ...] = (2, 10, 20), prefix: str = "") -> Found:
    """The worst class, the gap, the standard deviation and the Gini coefficient."""
    names = [prefix + name for name in ("worst class", "gap", "deviation", "gini")]
    for k, kind, (shape, truth) in product(ks, ("20", "50", "unequal"), TRUTHS.items()):
        true, n = truth(k), sizes(kind, k)
        wanted = [true.min(), *measures(true)]
        for _ in range(draws):
            hits = random.binomial(n, true)
            ends = [smallest(hits, n), *(one[1:] for one in spread(hits, n))]
            for name, value, (low, high) in zip(names, wanted, ends, strict=True):
                yield name, f"{k} {kind} {shape}", low - 1e-9 <= value <= high + 1e-9


def many(random: Random, draws: int) -> Found:
    """The same of three hundred classes and of a thousand."""
    yield from classes(random, max(1, draws // 10), (300, 1000), "many classes: ")


def agreements(random: Random, draws: int) -> Found:
    """Accuracy with CFPS, true correlations from −0.9 to 0.9."""
    cases = product((4, 5, 10, 20), (20, 100), (-0.9, -0.5, 0.0, 0.5, 0.9), ((0.3, 0.9), (0.75, 0.98)))
    for k, n, correlation, span in cases:
        for _ in range(draws):
            matrix = world(random, k, correlation, *span)
            counts = np.stack([random.multinomial(n, row) for row in matrix])
            right = matrix.diagonal()
            true = correlations(np.stack([right, matrix.sum(0) - right], 1))[0, 1]
            hits = counts.diagonal()
            _, low, high = agreement(hits, np.full(k, n), counts.sum(0) - hits)
            yield (
                f"cfps agreement, {_few(k)}",
                f"{k} {n} {correlation} {span}",
                low - 1e-9 <= true <= high + 1e-9,
            )


def three(random: Random, draws: int) -> Found:
    """Of three classes, were there an interval: how often it holds the truth, and how often it leaves nothing out."""
    few, ranks.FEW = ranks.FEW, 3
    cases = product((20, 100), (-0.9, -0.5, 0.0, 0.5, 0.9), ((0.3, 0.9), (0.75, 0.98)))
    for n, correlation, span in cases:
        for _ in range(draws):
            matrix = world(random, 3, correlation, *span)
            counts = np.stack([random.multinomial(n, row) for row in matrix])
            right, hits = matrix.diagonal(), counts.diagonal()
            true = correlations(np.stack([right, matrix.sum(0) - right], 1))[0, 1]
            _, low, high = agreement(hits, np.full(3, n), counts.sum(0) - hits)
            case = f"{n} {correlation} {span}"
            yield "three classes, if there were an interval", case, low - 1e-9 <= true <= high + 1e-9
            yield "three classes, the whole range (no coverage)", case, high - low > 2 - 1e-9
    ranks.FEW = few


def persistence(random: Random, draws: int) -> Found:
    """Ranks under two and three threats, under which the same samples are hard."""
    cases = product((4, 5, 10, 20), (2, 3), (20, 100), (0.0, 0.5, 0.8), ((0.3, 0.6), (0.6, 0.38)))
    for k, m, n, correlation, (least, span) in cases:
        label = np.repeat(np.arange(k), n)
        for _ in range(draws):
            z = random.standard_normal((m, k))
            z[1:] = correlation * z[0] + np.sqrt(1 - correlation**2) * z[1:]
            true = least + span / (1 + np.exp(-1.7 * z))
            common, own = random.standard_normal(k * n), random.standard_normal((m, k * n))
            right = stats.norm.cdf(np.sqrt(0.5) * (common + own)) < true[:, label]
            found = scored(RankPersistence(), conditions(dict(zip("abc", right, strict=False)), label, k))
            pairs = correlations(true.T)
            whole = (1 + (m - 1) * pairs[np.triu_indices(m, 1)].mean()) / m
            for name, score, value in (
                ("pairs", found[None, "rank-persistence/a/b"], pairs[0, 1]),
                ("all", found[None, "rank-persistence"], whole),
            ):
                held = (score.low or 0) - 1e-9 <= value <= (score.high or 0) + 1e-9
                yield f"rank persistence, {name}, {_few(k)}", f"{k} {m} {n} {correlation} {least}", held


def _few(k: int) -> str:
    return f"{k} classes" if k < 10 else "ten and more classes"


def samples(random: Random, draws: int) -> Found:
    """How many samples it takes to tell a class from the others, where that is printed: where it is not yet told."""
    for k, n, rate, apart in product((2, 10), (20, 50, 100), (0.5, 0.8), (0.05, 0.1, 0.2)):
        true = np.full(k, rate)
        true[0] -= apart
        label = np.repeat(np.arange(k), n)
        variance = true[0] * (1 - true[0]) + rate * (1 - rate) / (k - 1)
        reach = stats.norm.ppf(1 - 0.05 / k / 2) + stats.norm.ppf(POWER)
        wanted = reach**2 * variance / apart**2
        for _ in range(draws):
            predicted = np.where(random.random(k * n) < true[label], label, (label + 1) % k)
            found = scored(WeakClasses(), verdicts(label.tolist(), predicted.tolist(), k))
            if (score := found.get(("c0", "samples-needed"))) is not None:
                held = (score.low or 0) <= wanted <= (np.inf if score.high is None else score.high)
                yield "samples needed", f"{k} {n} {rate} {apart}", held


def distances(random: Random, draws: int) -> Found:
    """Areas, and quantiles of distances that are all different."""
    for n, (shape, draw) in product((20, 100), SHAPES.items()):
        population = draw(random, 1_000_000)
        true = plain_area(population, 0.1)
        shares = (0.1, 0.25, 0.5, 0.75, 0.9) if shape in SMOOTH else ()
        places = np.quantile(population, shares, method="inverted_cdf")
        for _ in range(draws):
            drawn = draw(random, n)
            _, low, high = area(drawn, 1.0, 0.1)
            yield "area", f"{n} {shape}", low - 1e-9 <= true <= high + 1e-9
            for share, place in zip(shares, places, strict=True):
                _, least, most = quantile(drawn, share, 1e9)
                yield (
                    "quantiles",
                    f"{n} {shape} {share}",
                    (least or 0) <= place <= (np.inf if most is None else most),
                )


def features(random: Random, draws: int) -> Found:
    """The metrics of features, of three skewed clouds; the truth is that of 200,000 samples."""
    for metric in STRUCTURE:
        truth = {key: score.value for key, score in by_name(metric, *both(200_000, 1)).items()}
        for size in (120, 600):
            for seed in random.integers(1 << 32, size=draws).tolist():
                for key, score in by_name(metric, *both(size, seed)).items():
                    if (
                        (true := truth.get(key)) is not None
                        and score.low is not None
                        and score.high is not None
                    ):
                        yield (
                            f"features: {type(metric).__name__}",
                            f"{size} {key}",
                            score.low <= true <= score.high,
                        )


PARTS: dict[str, Callable[[Random, int], Found]] = {
    one.__name__: one for one in (classes, many, agreements, three, persistence, samples, distances, features)
}


def main() -> None:
    """Print what each part finds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="*", default=[], help=", ".join(PARTS))
    parser.add_argument("--draws", type=int, default=100, help="of every case")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for part in arguments.part or PARTS:
        held: dict[str, dict[str, list[bool]]] = {}
        for name, case, inside in PARTS[part](np.random.default_rng(arguments.seed), arguments.draws):
            held.setdefault(name, {}).setdefault(case, []).append(bool(inside))
        for name, cases in held.items():
            every = [inside for case in cases.values() for inside in case]
            means = {case: float(np.mean(inside)) for case, inside in cases.items()}
            mean = float(np.mean(every))
            found = {
                "interval": name,
                "coverage": round(mean, 4),
                "error": round(float(np.sqrt(mean * (1 - mean) / len(every))), 4),
                "draws": len(every),
                "lowest": [round(min(means.values()), 3), min(means, key=lambda case: means[case])],
                "highest": [round(max(means.values()), 3), max(means, key=lambda case: means[case])],
            }
            print(json.dumps(found, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
