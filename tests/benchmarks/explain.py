"""Maps per second of the processor against Captum, on the same model and images, on one thread.

    python tests/benchmarks/explain.py [REPEATS]

The two take turns, and each one's fastest run counts: one after the other, whoever comes second is seen to be faster
by up to a tenth. Where both compute the same thing, the largest difference of their maps stands beside their speed.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from classrob import Classifier
from classrob_explain.cam import Cam, GradCam
from classrob_explain.gradients import InputGradient, IntegratedGradients, SmoothGrad

warnings.simplefilter("ignore")
from captum import attr  # noqa: E402

N, STEPS, SAMPLES = 64, 20, 16


class Net(nn.Module):
    """Six convolutions on 32×32 colour images, their mean over places, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 32, 64, 64, 128, 128)
        layers: list[nn.Module] = []
        for i, (narrow, wide) in enumerate(itertools.pairwise(widths)):
            layers += [
                nn.Conv2d(narrow, wide, 3, 2 if i in (2, 4) else 1, 1, bias=False),
                nn.BatchNorm2d(wide),
                nn.ReLU(),
            ]
        self.body, self.pool, self.head = nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.body(x)).flatten(1))


def seconds(makers: list[Callable[[], Tensor]], repeats: int) -> list[tuple[float, Tensor]]:
    """Of each the fastest of several runs, in turns that begin with another each time, and what it made."""
    found = [make().detach() for make in makers]
    best = [float("inf")] * len(makers)
    for turn in range(repeats):
        for i in (range(len(makers)), reversed(range(len(makers))))[turn % 2]:
            start = time.process_time()
            makers[i]()
            best[i] = min(best[i], time.process_time() - start)
    return list(zip(best, found, strict=True))


def main(repeats: int) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = Net().eval().requires_grad_(False)
    classifier = Classifier(net, batch_size=N)
    images, labels = torch.rand(N, 3, 32, 32), torch.arange(N) % 10

    def ours(
        explainer: Cam | GradCam | InputGradient | IntegratedGradients | SmoothGrad,
    ) -> Callable[[], Tensor]:
        return lambda: explainer.explain(classifier, images, labels)

    def theirs(tool: attr.Attribution, **more: object) -> Callable[[], Tensor]:
        return lambda: tool.attribute(images.clone().requires_grad_(), target=labels, **more)

    noisy = {"nt_type": "smoothgrad", "nt_samples": SAMPLES, "stdevs": 0.15, "nt_samples_batch_size": 1}
    pairs: list[tuple[str, Callable[[], Tensor], Callable[[], Tensor] | None, bool]] = [
        ("input-gradient", ours(InputGradient()), theirs(attr.Saliency(net), abs=False), True),
        (
            f"integrated-gradients, {STEPS} steps",
            ours(IntegratedGradients(steps=STEPS)),
            theirs(
                attr.IntegratedGradients(net), n_steps=STEPS, method="riemann_right", internal_batch_size=N
            ),
            True,
        ),
        ("grad-cam", ours(GradCam()), theirs(attr.LayerGradCam(net, net.body), relu_attributions=True), True),
        (
            f"smoothgrad, {SAMPLES} draws",
            ours(SmoothGrad(samples=SAMPLES)),
            theirs(attr.NoiseTunnel(attr.Saliency(net)), **noisy),
            False,
        ),
        ("cam", ours(Cam()), None, False),
    ]
    print(json.dumps({"images": [N, 3, 32, 32], "threads": 1, "repeats": repeats}))
    with classifier.frozen():
        for name, mine, other, same in pairs:
            (own, map_), *others = seconds([mine] if other is None else [mine, other], repeats)
            row: dict[str, object] = {"explanation": name, "classrob maps/s": round(N / own)}
            for far, theirs_ in others:
                row |= {"captum maps/s": round(N / far), "ratio": round(far / own, 2)}
                if same:
                    off = (map_ - theirs_).abs().max() / theirs_.abs().max()
                    row["largest difference"] = float(f"{float(off):.2g}")
            print(json.dumps(row))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
