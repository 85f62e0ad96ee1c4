"""Images that are scaled channel by channel: that waits for the convolution behind it, and goes into its weights.

A normalisation is two passes through memory forwards and one back, of which a small network's gradient feels every
one. The same products are summed in another order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, final

import torch
from torch import Tensor
from torch.nn import functional as F

from classrob.blocks import Kernels
from classrob.convolutions import Convolution

#: What a call of each function does to its first argument by its second.
_KINDS: Mapping[Any, str] = {
    getattr(owner, name + place): name
    for name in ("add", "sub", "mul", "div")
    for owner, place in ((torch, ""), (Tensor, ""), (Tensor, "_"))
}
_SEVERAL = frozenset({list, tuple, torch.Size})
#: What tells nothing of a tensor's values.
_METADATA = frozenset(
    {Tensor.size, Tensor.dim, Tensor.__len__, Tensor.is_floating_point, Tensor.is_contiguous}
) | {
    getattr(Tensor, name).__get__
    for name in ("shape", "ndim", "dtype", "device", "layout", "requires_grad", "is_cuda", "is_leaf")
}


#: What was done: its kind, and the number or constant it was done with.
Done = tuple[tuple[str, Any], ...]


class Scaled(NamedTuple):
    """A tensor that stands for images to which something was done."""

    stand_in: Tensor
    done: Done

    def affine(self, images: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Scale and shift [c] or [1], None for 1 and 0."""
        scale: Tensor | None = None
        shift: Tensor | None = None
        for kind, value in self.done:
            by = (
                value.detach().flatten().to(images)
                if isinstance(value, Tensor)
                else images.new_full((1,), value)
            )
            match kind:
                case "add":
                    shift = by if shift is None else shift + by
                case "sub":
                    shift = -by if shift is None else shift - by
                case "mul":
                    scale, shift = by if scale is None else scale * by, None if shift is None else shift * by
                case _:
                    scale, shift = (
                        1 / by if scale is None else scale / by,
                        None if shift is None else shift / by,
                    )
        return scale, shift

    def versions(self) -> list[int]:
        """They grow where a constant is written into."""
        return [value._version for _, value in self.done if isinstance(value, Tensor)]


class Folded(NamedTuple):
    """A convolution of scaled images, as one of the images."""

    call: Convolution
    done: Done
    versions: list[int]
    weight: Tensor
    bias: Tensor | None
    offset: Tensor | None
    kernels: Kernels

    @classmethod
    def of(cls, call: Convolution, scaled: Scaled) -> Folded:
        """The scale goes into the weights, and the shift into an offset [1, o, …]."""
        images, (scale, shift) = call.images, scaled.affine(call.images)
        weight = call.weight.to(images.dtype).contiguous()  # their order decides that of the result
        bias, offset = call.bias if call.bias is None else call.bias.to(weight.dtype), None
        if shift is not None:  # beyond the border it stays 0
            constant = shift[:, None, None].expand(1, *images.shape[1:])
            offset, bias = F.conv2d(constant, weight, bias, call.stride, call.padding), None
        if scale is not None:
            weight = weight * scale[:, None, None]
        nothing = call._replace(images=images.detach()[:0])  # of the images, only the shape is remembered
        return cls(nothing, scaled.done, _versions(call, scaled), weight, bias, offset, {})

    def serves(self, call: Convolution, scaled: Scaled) -> bool:
        """Is it still the same call?"""
        mine = self.call
        return (
            mine.weight is call.weight
            and mine.bias is call.bias
            and mine[3:] == call[3:]
            and mine.images.shape[1:] == call.images.shape[1:]
            and mine.images.dtype == call.images.dtype
            and len(self.done) == len(scaled.done)
            and all(_same(*pair) for pair in zip(self.done, scaled.done, strict=True))
            and self.versions == _versions(call, scaled)
        )


def _versions(call: Convolution, scaled: Scaled) -> list[int]:
    bias = [] if call.bias is None else [call.bias._version]
    return [call.weight._version, *bias, *scaled.versions()]


def _same(one: tuple[str, Any], other: tuple[str, Any]) -> bool:
    tensors = isinstance(one[1], Tensor) or isinstance(other[1], Tensor)
    return one[0] == other[0] and bool(one[1] is other[1] if tensors else one[1] == other[1])


@dataclass
class Kept:
    """What a form keeps from one call to the next, by the identity of the weights; changed weights are seen."""

    folded: dict[int, Folded] = field(default_factory=dict)
    ordered: dict[int, tuple[Tensor, int, Kernels]] = field(default_factory=dict)

    def kernels(self, weight: Tensor) -> Kernels:
        """Some weights in other orders."""
        known = self.ordered.get(id(weight))
        if known is None or known[0] is not weight or known[1] != weight._version:
            known = self.ordered[id(weight)] = weight, weight._version, {}
        return known[2]


@final
class Scalings:
    """What is done to some images [n, c, h, w], channel by channel, before they come to a convolution.

    A tensor that stands for scaled images holds the images themselves. Whatever looks at its values but a
    convolution is given the scaled ones first.

    Args:
        kept: what is kept of earlier calls.
    """

    def __init__(self, images: Tensor, kept: Kept) -> None:
        self.images, self.kept = images, kept
        self._waiting = {id(images): Scaled(images, ())}
        self._done: dict[int, Tensor] = {}

    def concern(self, args: Iterable[Any], kwargs: Mapping[str, Any] | None = None) -> bool:
        """Is a call given any of the images, or what stands for them scaled?"""
        for one in args:
            if id(one) in self._waiting or (type(one) in _SEVERAL and self.concern(one)):
                return True
        return kwargs is not None and len(kwargs) > 0 and self.concern(kwargs.values())

    def waits(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
        """What stands for the result of one more scaling; None where a call is none."""
        known = self._waiter(args[0]) if args else None
        if known is None or kwargs or len(args) != 2:
            return None
        if func is Tensor.to and args[1] == self.images.dtype:
            return known.stand_in
        if func not in _KINDS or not self._of_channels(args[1]):
            return None
        in_place = func.__name__.endswith("_")
        stand_in = known.stand_in if in_place else self.images.view_as(self.images)
        self._waiting[id(stand_in)] = Scaled(stand_in, (*known.done, (_KINDS[func], args[1])))
        return stand_in

    def folded(self, call: Convolution, dtype: torch.dtype | None) -> Tensor | None:
        """A convolution of scaled images as one of the images; None where it is given anything else.

        `dtype` is as in `Convolution.leaner`. The weights may be of another type than the images.
        """
        known = self._waiter(call.images)
        if known is None:
            return None
        call = call._replace(images=self.images)
        if (kept := self.kept.folded.get(id(call.weight))) is None or not kept.serves(call, known):
            kept = self.kept.folded[id(call.weight)] = Folded.of(call, known)
        return call._replace(weight=kept.weight, bias=kept.bias).leaner(kept.kernels, kept.offset, dtype)

    def given(self, func: Any, value: Any) -> Any:
        """Arguments of a call with the scaled images in place of what stands for them."""
        if func in _METADATA:
            return value
        match value:
            case Tensor() if id(value) in self._waiting:
                return self._scaled(value)
            case list() | tuple() if type(value) in _SEVERAL and self.concern(value):
                return type(value)(self.given(func, one) for one in value)
            case dict():
                return {key: self.given(func, one) for key, one in value.items()}
        return value

    def _waiter(self, value: Any) -> Scaled | None:
        """What is known of a tensor that nobody has looked at yet; from then on it is like any other."""
        return None if id(value) in self._done else self._waiting.get(id(value))

    def _scaled(self, stand_in: Tensor) -> Tensor:
        """Computed once, so that whoever writes into it does so for all."""
        known = self._waiting[id(stand_in)]
        if not known.done:
            return stand_in
        if id(stand_in) not in self._done:
            scale, shift = known.affine(self.images)
            scale = self.images.new_ones(1) if scale is None else scale
            shift = self.images.new_zeros(1) if shift is None else shift
            self._done[id(stand_in)] = torch.addcmul(shift[:, None, None], self.images, scale[:, None, None])
        return self._done[id(stand_in)]

    def _of_channels(self, value: Any) -> bool:
        """Is it a number, or a constant that has one a channel?"""
        if isinstance(value, int | float):
            return True
        if not isinstance(value, Tensor) or value.requires_grad or not value.is_floating_point():
            return False
        c, shape = self.images.shape[1], value.shape
        return (
            len(shape) <= 4
            and value.numel() in (1, c)
            and (value.numel() == 1 or tuple(shape[-3:]) == (c, 1, 1))
        )
