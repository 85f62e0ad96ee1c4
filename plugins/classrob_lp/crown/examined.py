"""Does a network treat images one by one, all alike, and twice in the same way?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from classrob_lp.crown.supports import ROWS, straight
from classrob_lp.crown.traced import Box, NotTraceable, Trace

MIXES = "it does not treat images one by one"


def examine(module: nn.Module, image: Tensor, logits: Tensor) -> None:
    """Run the network on copies of an image [1, c, h, w], whose logits [1, k] are known.

    Between its ReLUs it is affine with constants, so what is seen here holds for every image.

    Raises:
        NotTraceable: its rows are not treated alike, one sees another, or the logits are others now.
    """

    def alike(pre: Tensor, box: Box | None) -> tuple[Tensor, None]:
        if len(pre) != ROWS or not pre.detach().allclose(pre[:1].detach(), 1e-4, 1e-5):
            raise NotTraceable(MIXES)
        return straight(pre), None

    rows = image.detach().repeat(ROWS, 1, 1, 1).requires_grad_()
    with torch.enable_grad():
        copy = rows.clone()
        with (trace := Trace(alike, copy, None)):
            found = module(copy)
    if not trace.follows(found):
        raise NotTraceable("its logits come by a way that cannot be followed")
    (mixed,) = torch.autograd.grad(found[0].sum(), rows)
    if found.shape[:1] != (ROWS,) or mixed[1:].any():
        raise NotTraceable(MIXES)
    if not found.detach().allclose(logits, 1e-3, 1e-4):
        raise NotTraceable("it says something else when it is asked again")
