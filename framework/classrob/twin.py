"""A model in the form that a search runs through fastest; it differs from the model by rounding."""

from __future__ import annotations

import copy
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

#: What is called with an input and the weights of a layer.
LAYERS = frozenset({F.linear, F.conv1d, F.conv2d, F.conv3d, torch.matmul, Tensor.matmul, Tensor.__matmul__})


class Twin(nn.Module):
    """A model's fast form: channels innermost where that pays, in lower precision where asked for.

    In bfloat16 the channels go innermost wherever the model takes it: its kernels know no other order.
    """

    def __init__(self, module: nn.Module, precision: str, channels_last: bool) -> None:
        super().__init__()
        self.low, self.channels_last = precision == "bfloat16", channels_last
        self.module = copy.deepcopy(module).requires_grad_(False).eval()
        self.whole = copy.deepcopy(self.module).bfloat16() if self.low else None
        self.innermost = True
        if channels_last:
            self.module = self.module.to(memory_format=torch.channels_last)
        self.whole = self.whole and self.whole.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images, in the type that comes out."""
        while self.whole is not None:
            try:
                if not self.innermost:
                    return self.whole(images.bfloat16())
                with _Entered(innermost=True):
                    return self.whole(images)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                if self.innermost:  # it views an activation as rows of numbers, or its calls are not seen
                    self.whole = self.whole.to(memory_format=torch.contiguous_format)
                    self.innermost = False
                else:  # an operation mixes types: then torch chooses for each, which is slower
                    self.whole = None
        with (
            torch.autocast(images.device.type, torch.bfloat16, enabled=self.low),
            _Entered(self.channels_last),
        ):
            return self.module(images)


@final
class _Entered(TorchFunctionMode):
    """Inside `with _Entered(innermost):` a layer takes what it is given in its weights' type and order.

    So what comes before the first layer, a normalisation, works on images as they are: in another order it
    would take ten times as long.
    """

    def __init__(self, innermost: bool) -> None:
        super().__init__()
        self.innermost = innermost

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """One call of the network."""
        if func in LAYERS and len(args) > 1:
            x, weight, *rest = args
            if weight.dtype == torch.bfloat16:
                x = x.to(weight.dtype)
            if self.innermost and func is F.conv2d and x.ndim == 4 and x.stride(1) != 1:
                x = cast(Tensor, _Innermost.apply(x))
            args = (x, weight, *rest)
        return func(*args, **(kwargs or {}))


class _Innermost(torch.autograd.Function):
    """Images with the channels innermost; the gradient comes back as the images lay.

    Otherwise every operation of a search that combines it with images would take three times as long.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor) -> Tensor:
        return images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0].contiguous()
