"""A model in the form that a search runs through fastest; it differs from the model by rounding."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from classrob.blocks import FEW
from classrob.convolutions import Convolution, LeanConvolutions, innermost
from classrob.scalings import Kept, Scalings

#: What is called with an input and the weights of a layer.
LAYERS = frozenset({F.linear, F.conv1d, F.conv2d, F.conv3d, torch.matmul, Tensor.matmul, Tensor.__matmul__})
#: Positive parts, and whether a call by that name writes over what it is given.
RECTIFIERS = {torch.relu: False, Tensor.relu: False, F.relu: False, torch.relu_: True, Tensor.relu_: True}
#: What makes rows of numbers of an activation.
VIEWS = frozenset({torch.flatten, Tensor.flatten, torch.reshape, Tensor.reshape})


class Twin(nn.Module):
    """A model's fast form: channels innermost where that pays, in lower precision where asked for.

    In bfloat16 the channels go innermost wherever the model takes it: its kernels know no other order.
    """

    def __init__(self, module: nn.Module, precision: str, channels_last: bool, lean: bool = False) -> None:
        super().__init__()
        self.low, self.channels_last, self.lean = precision == "bfloat16", channels_last, lean
        if self.low or channels_last:  # else the model's own weights will do
            module = copy.deepcopy(module).requires_grad_(False).eval()
        self.module = module
        self.kept = Kept()
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
                    with self._lean(images):
                        return self.whole(images.bfloat16())
                with _Form(True, self._scalings(images)):
                    return self.whole(images)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                if self.innermost:  # it views an activation as rows of numbers, or its calls are not seen
                    self.whole = self.whole.to(memory_format=torch.contiguous_format)
                    self.innermost = False
                else:  # an operation mixes types: then torch chooses for each, which is slower
                    self.whole = None
        if not self.low:
            with _Form(self.channels_last, self._scalings(images)):
                return self.module(images)
        with (
            torch.autocast(images.device.type, torch.bfloat16),
            _Form(self.channels_last, None),
            self._lean(images),
        ):
            return self.module(images)

    def _scalings(self, images: Tensor) -> Scalings | None:
        return Scalings(images, self.kept) if self.lean and images.ndim == 4 else None

    def _lean(self, images: Tensor) -> AbstractContextManager[Any]:
        return LeanConvolutions() if self.lean and images.requires_grad else nullcontext()


@final
class _Form(TorchFunctionMode):
    """Inside `with _Form(innermost, scalings):` a model runs over some images in its fast form.

    A layer takes what it is given in its weights' type and order. So what comes before the first layer, a
    normalisation, works on images as they are: in another order it would take ten times as long. Where the form is
    lean, with `scalings`, the normalisation goes into that layer's weights, and convolutions are lean.
    """

    def __init__(self, innermost: bool, scalings: Scalings | None) -> None:
        super().__init__()
        self.innermost, self.scalings = innermost, scalings

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """One call of the network."""
        kwargs = kwargs or {}
        if self.scalings is not None and self.scalings.concern(args, kwargs):
            if (result := self.scalings.waits(func, args, kwargs)) is not None:
                return result
            if func is F.conv2d and (result := self._first(args, kwargs)) is not None:
                return result
            given = self.scalings.given
            args, kwargs = given(func, args), dict(given(func, kwargs))
        if func in LAYERS:
            return self._layer(func, args, kwargs)
        if func in RECTIFIERS and (result := _rectified(func, *args, **kwargs)) is not None:
            return result
        if self.innermost and func in VIEWS and args and args[0].requires_grad:
            args = (_ordered(args[0]), *args[1:])
        return func(*args, **kwargs)

    def _layer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if len(args) > 1:
            x, weight, *rest = args
            if weight.dtype == torch.bfloat16:
                x = x.to(weight.dtype)
            if self.innermost and func is F.conv2d and x.ndim == 4 and x.stride(1) != 1:
                x = cast(Tensor, _Innermost.apply(x))
            args = (x, weight, *rest)
            if self.scalings and func is F.conv2d and (call := Convolution.of(*args, **kwargs)) is not None:
                return call.leaner(self.scalings.kept.kernels(weight))
        return func(*args, **kwargs)

    def _first(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        """A convolution of the images themselves, or of what stands for them scaled; None where it is no such thing.

        In bfloat16 its values are computed in float32: it sees three channels, for which other kernels gain nothing,
        and a pixel's change is lost in the rounding of the pixel.
        """
        assert self.scalings is not None
        call = Convolution.of(*args, **kwargs)
        if call is None or call.weight.shape[1] > FEW:
            return None
        low = call.weight.dtype if call.weight.dtype != self.scalings.images.dtype else None
        if self.innermost and low is None:
            return None
        return self.scalings.folded(call, low)


def _rectified(
    func: Any,
    input: Tensor,  # noqa: A002 (torch's own name, by which it may be called)
    inplace: bool = False,
) -> Tensor | None:
    """The positive part of bfloat16 as that of whole numbers, which have the same sign: a fifth of the time.

    None where it is another type, or a gradient goes back through it.
    """
    if input.dtype != torch.bfloat16 or (input.requires_grad and torch.is_grad_enabled()):
        return None
    bits = input.view(torch.int16)
    if not (inplace or RECTIFIERS[func]):
        return bits.clamp_min(0).view(input.dtype)
    bits.clamp_min_(0)
    return input


class _Innermost(torch.autograd.Function):
    """Images with the channels innermost; the gradient comes back as the images lay.

    Otherwise every operation of a search that combines it with images would take three times as long.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor) -> Tensor:
        return innermost(images)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0].contiguous()


def _ordered(x: Tensor) -> Tensor:
    """x; the gradient of an activation with the channels innermost comes back in that order."""
    return cast(Tensor, _Ordered.apply(x)) if x.ndim == 4 and x.stride(1) == 1 else x


class _Ordered(torch.autograd.Function):
    """Two tensors that lie in different orders take four times as long to combine."""

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor) -> Tensor:
        return images.view_as(images)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return innermost(grad_outputs[0])
