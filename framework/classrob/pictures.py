"""Pictures of judged samples for the report: original, perturbed, and what lies between them."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from classrob.ledger import Ledger
from classrob.records import Example
from classrob.sweep import Sweep


@torch.no_grad()
def example(sweep: Sweep, ledger: Ledger, row: int) -> Example:
    """The pictures of a row that the ledger kept, at the smallest budget that broke it."""
    level, z = ledger.kept[row]
    index = torch.tensor([row], device=sweep.batch.labels.device)
    space = sweep.space.select(index)
    original = sweep.batch.images[row]
    perturbed = space.render(z[None])[0].clamp(0.0, 1.0)
    difference = perturbed - original
    peak = float(difference.abs().max())
    gain = 0.5 / peak if peak else 1.0
    distance = ledger.distance[row, level]
    return Example(
        sample=sweep.batch.ids[row],
        label=int(sweep.batch.labels[row]),
        predicted=int(ledger.predicted[row, level]),
        budget=sweep.budgets[level] if sweep.budgets else None,
        distance=None if np.isnan(distance) else float(distance),
        original=png(original),
        perturbed=png(perturbed),
        difference=png(0.5 + gain * difference),
        gain=gain,
    )


def png(image: Tensor) -> bytes:
    """A float [c, h, w] image in [0, 1] as PNG, 8 bits a channel; for looking at, not for measuring."""
    pixels = (image.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
