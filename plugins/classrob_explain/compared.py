"""How far two maps of the same image are apart, and whether they put the same places first."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor


def l1(clean: Tensor, moved: Tensor) -> Tensor:
    """Sum of absolute differences over a map's places, [n]."""
    return (moved - clean).abs().flatten(1).sum(1)


def l2(clean: Tensor, moved: Tensor) -> Tensor:
    """Euclidean norm of the difference, [n]."""
    return (moved - clean).flatten(1).norm(dim=1)


NORMS = {"l1": l1, "l2": l2}


def extent(clean: Tensor) -> Tensor:
    """A map's range, largest minus smallest, [n]; 1 where it is flat, so that nothing is divided by 0."""
    flat = clean.flatten(1)
    wide = flat.amax(1) - flat.amin(1)
    return torch.where(wide > 0, wide, 1.0)


def kendall(clean: Tensor, moved: Tensor) -> Tensor:
    """Kendall's τ of two maps' places, corrected for ties (τ-b), [n]; 0 where one of the maps is flat."""
    from scipy.stats import kendalltau

    pairs = zip(clean.flatten(1).cpu().numpy(), moved.flatten(1).cpu().numpy(), strict=True)
    found = [
        0.0 if np.ptp(one) == 0 or np.ptp(other) == 0 else float(cast(Any, kendalltau(one, other)).statistic)
        for one, other in pairs
    ]
    return torch.tensor(found, dtype=torch.float32, device=clean.device)


def top(map_: Tensor, k: int) -> Tensor:
    """bool like the map: its k largest places (all, where there are fewer)."""
    flat = map_.flatten(1)
    chosen = torch.zeros_like(flat, dtype=torch.bool)
    return chosen.scatter(1, flat.topk(min(k, flat.shape[1]), dim=1).indices, True).view_as(map_)


def agreement(clean: Tensor, moved: Tensor, k: int) -> Tensor:
    """Share of the k largest places of one map that are among those of the other, [n]."""
    both = top(clean, k) & top(moved, k)
    return both.flatten(1).sum(1) / min(k, clean[0].numel())
