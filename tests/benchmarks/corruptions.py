"""Time the nineteen corruptions against imagecorruptions-imaug, and compare what they make of the same images.

    python tests/benchmarks/corruptions.py [--side 32] [--images 1000] [--only fog,jpeg] [--threads 2]

Both use the parameters for 224 pixels, the only ones that the reference has, and both end in what a model takes,
a float32 batch [n, c, h, w]. Ours begins there too; the reference takes and gives uint8 arrays, image by image, as a
data set has them, and with `--arrays` its clock stops at those. One JSON object a corruption, with seconds for all
images at all five severities, then one for the suite.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measures.clock import CLOCKS, in_turn, say, spread
from PIL import Image
from real import setting

from classrob.catalog import Catalog
from classrob.streams import Streams

#: Our names where the reference has others; elsewhere dashes for underscores are all.
THEIRS = {"elastic": "elastic_transform", "jpeg": "jpeg_compression"}

SEVERITIES = range(1, 6)


def pictures(count: int, side: int) -> np.ndarray:
    """The first CIFAR-10 test images, uint8 [n, side, side, 3]."""
    from classrob.subset import opened

    entry = setting("cifar")[1]
    fields = {k: v for k, v in entry.items() if k not in ("use", "name")} | {"limit": count}
    samples = opened(Catalog.installed().make("dataset", entry["use"], fields, Path()), "cifar")
    whole: list[np.ndarray] = []
    for index in range(count):
        picture: Any = samples.picture(index)
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        whole.append(np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)))
    return np.stack(whole)


def ours(threat: Any, images: torch.Tensor, streams: Streams) -> Iterator[torch.Tensor]:
    """What classrob makes of the images at each severity, float32 [n, c, h, w]."""
    for severity in SEVERITIES:
        yield threat.at(images, severity, streams)


def theirs(name: str, whole: np.ndarray) -> Iterator[list[Any]]:
    """What the reference makes of them, uint8 [h, w, c] each."""
    from imagecorruptions import corrupt  # pyright: ignore[reportMissingImports]

    for severity in SEVERITIES:
        yield [corrupt(image, severity=severity, corruption_name=name) for image in whole]


def batched(made: Callable[[], Iterator[list[Any]]]) -> Iterator[torch.Tensor]:
    """Arrays as a model takes them: float32 [n, c, h, w] in [0, 1]."""
    for arrays in made():
        levels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
        yield levels.to(torch.float32, memory_format=torch.contiguous_format).div_(255.0)


def used_up(made: Callable[[], Iterator[Any]]) -> Callable[[], None]:
    """All severities, each forgotten before the next one, as a model's batches are."""

    def work() -> None:
        for _ in made():
            pass

    return work


def main() -> None:
    """Print a row a corruption, and one for the suite."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--only", default="")
    parser.add_argument("--arrays", action="store_true", help="do not make batches of the reference's arrays")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    catalog = Catalog.installed()
    parts = [offer.component.name for offer in catalog.list("threat", "corruption/*")]
    names = [name for name in parts if name != "stored"]  # which reads arrays, and makes none
    whole = pictures(options.images, options.side)
    images = torch.from_numpy(np.ascontiguousarray(whole.transpose(0, 3, 1, 2))).float() / 255.0
    streams = Streams.keyed(0, "benchmark", map(str, range(len(whole))), "corruptions")
    sums = {"ours": 0.0, "theirs": 0.0}
    for name in options.only.split(",") if options.only else names:
        threat = catalog.make("threat", f"corruption/{name}", {"side": 224})
        their = THEIRS.get(name, name.replace("-", "_"))
        arrays = partial(theirs, their, whole)
        made = {
            "ours": partial(ours, threat, images, streams),
            "theirs": partial(batched, arrays),
        }
        apart = np.mean(
            [
                255.0 * float((a - b).abs().mean())
                for a, b in zip(made["ours"](), made["theirs"](), strict=True)
            ]
        )
        work = {who: used_up(one) for who, one in made.items()}
        if options.arrays:
            work["theirs"] = used_up(arrays)
        seconds, _ = in_turn(work, options.rounds, CLOCKS[options.clock])
        ratio = [b / a for a, b in zip(seconds["ours"], seconds["theirs"], strict=True)]
        say(
            name,
            side=options.side,
            images=len(whole),
            mean_levels_apart=round(float(apart), 3),
            **{k: spread(v) for k, v in seconds.items()},
            times_faster=spread(ratio),
        )
        for who, took in seconds.items():
            sums[who] += spread(took)["median"]
    total = {who: round(seconds, 3) for who, seconds in sums.items()}
    say(
        "suite",
        side=options.side,
        images=len(whole),
        **total,
        times_faster=round(sums["theirs"] / sums["ours"], 2),
    )


if __name__ == "__main__":
    main()
