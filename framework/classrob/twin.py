"""A model in the form that a search runs through fastest; it differs from the model by rounding."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn


class _Innermost(torch.autograd.Function):
    """Images with the channels innermost; the gradient comes back as the images lay.

    Otherwise every operation of a search that combines it with images would take three times as long.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0].contiguous()


class Twin(nn.Module):
    """A model's fast form: channels innermost where that pays, in lower precision where asked for."""

    def __init__(self, module: nn.Module, precision: str, channels_last: bool) -> None:
        super().__init__()
        self.low, self.channels_last = precision == "bfloat16", channels_last
        self.module = copy.deepcopy(module).requires_grad_(False).eval()
        self.whole = copy.deepcopy(self.module).bfloat16() if self.low else None
        if channels_last:
            self.module = self.module.to(memory_format=torch.channels_last)
            self.whole = self.whole and self.whole.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images, in the type that comes out."""
        if self.channels_last:
            images = cast(Tensor, _Innermost.apply(images))
        if self.whole is not None:
            try:
                return self.whole(images.bfloat16())
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:  # an operation mixes types: then torch chooses for each, which is slower
                self.whole = None
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.low):
            return self.module(images)
