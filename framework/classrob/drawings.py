"""Explanations of the pictured samples: of the image, of what an attack made of it, and what changed between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from classrob.errors import NotExplainable
from classrob.ledger import Ledger
from classrob.named import Named
from classrob.parts import Explainer
from classrob.pictures import png
from classrob.records import Drawing
from classrob.sweep import Sweep

#: Maps are enlarged to the image's size, but no picture is wider or higher than this.
SIDE = 160


@torch.no_grad()
def drawings(sweep: Sweep, ledger: Ledger, explainers: Sequence[Named[Explainer]]) -> Iterator[Drawing]:
    """What each explainer says of the samples that the ledger kept pictures of, for the true class."""
    rows = sorted(ledger.kept)
    if not rows or not explainers:
        return
    index = torch.tensor(rows, device=sweep.batch.labels.device)
    batch, space = sweep.batch.select(index), sweep.space.select(index)
    images = space.render(torch.stack([ledger.kept[row][1] for row in rows])).clamp(*space.box)
    for explainer in explainers:
        try:
            pair = [explainer.part.explain(sweep.classifier, x, batch.labels) for x in (batch.images, images)]
        except NotExplainable:  # the preflight has said so
            continue
        for i, row in enumerate(rows):
            budget = sweep.budgets[ledger.kept[row][0]] if sweep.budgets else None
            clean, moved = (one[i].float() for one in pair)
            if explainer.part.changes_images:
                shown = [png(batch.images[i] + clean), png(images[i] + moved), _grey(moved - clean)]
            else:
                size = (min(SIDE, batch.images.shape[2]), min(SIDE, batch.images.shape[3]))
                peak = max(float(clean.sum(0).abs().max()), float(moved.sum(0).abs().max()))
                shown = [_heat(clean, peak, size), _heat(moved, peak, size), _heat(moved - clean, None, size)]
            yield Drawing(batch.ids[i], budget, explainer.name, *shown)


def _heat(map_: Tensor, peak: float | None, size: tuple[int, int]) -> bytes:
    """A map [c', h', w'], summed over channels: white at 0, red above and blue below, full at `peak`."""
    flat = map_.sum(0)
    top = float(flat.abs().max()) if peak is None else peak
    share = (flat / top if top else flat)[None, None]
    share = interpolate(share, size, mode="bilinear", align_corners=False)[0, 0]
    red, blue = share.clamp(0, 1), (-share).clamp(0, 1)
    return png(torch.stack([1 - blue, 1 - red - blue, 1 - red]))


def _grey(change: Tensor) -> bytes:
    """A change around mid-grey, stretched to the full range."""
    peak = float(change.abs().max())
    return png(0.5 + (0.5 / peak if peak else 1.0) * change)
