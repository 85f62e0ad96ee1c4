"""A network watched while it runs: affine operations with ReLUs between them, or a reason why it is not.

Every call that touches a value computed from the image is looked up by name. Whatever is not known to
be affine or made of ReLUs ends the trace, and so does everything that hides from it: code without
gradients, values read back into Python, compiled parts, hooks, random numbers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, cast, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from classrob_lp.crown.operations import (
    ADDITIVE,
    FIRST,
    METADATA,
    MONOTONE,
    MULTILINEAR,
    NUMBERS,
    RANDOM,
    in_place,
    name_of,
    tensors_in,
)


class NotTraceable(Exception):
    """The network does something else; the message says what, as the end of a sentence."""


class Box(NamedTuple):
    """Where a traced value lies while the image moves: each element within `radius` of `middle`."""

    middle: Tensor
    radius: Tensor

    @classmethod
    def between(cls, low: Tensor, high: Tensor) -> Box:
        """The box of a lower and an upper bound."""
        return cls((low + high) / 2, (high - low) / 2)

    def ends(self) -> tuple[Tensor, Tensor]:
        """Lower and upper bound."""
        return self.middle - self.radius, self.middle + self.radius


#: Pre-activations and their box → what stands for their positive parts, and its box.
Relu = Callable[[Tensor, Box | None], tuple[Tensor, Box | None]]


@final
class Trace(TorchFunctionMode):
    """Inside `with Trace(relu, x, box):` every ReLU of values computed from x is `relu`'s.

    Intervals go along: what is known of a value's box follows from those before it.

    Args:
        relu: called for each. x: the images; they require a gradient, and the weights do not.
        box: where they may lie; None where no intervals are wanted.
    """

    def __init__(self, relu: Relu, x: Tensor, box: Box | None) -> None:
        super().__init__()
        self.relu = relu
        self._moving = {id(x): x}  # held, so that no other tensor takes an id over
        self._boxes: dict[int, Box] = {} if box is None else {id(x): box}

    def follows(self, x: Any) -> bool:
        """Was it computed from the images, by calls that were all understood?"""
        return id(x) in self._moving

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """One call of the network."""
        kwargs = kwargs or {}
        name = name_of(func)
        tensors = list(tensors_in((args, kwargs)))
        moving = [one for one in tensors if self.follows(one)]
        if any(one.requires_grad and not self.follows(one) for one in tensors):
            raise NotTraceable(f"values reach {name} by a way that cannot be followed")
        if name in RANDOM:
            raise NotTraceable(f"it draws random numbers ({name})")
        if not moving or name in METADATA:
            return func(*args, **kwargs)
        box: Box | list[Box] | None = None
        if name.removesuffix("_") == "relu" and moving[0] is args[0]:
            result, box = self.relu(args[0], self._boxes.get(id(args[0])))
        elif (clipped := self._clipped(name, args, kwargs)) is not None:
            result, box = clipped, self._boxes.get(id(clipped))
        else:
            self._admit(func, name, args, kwargs, moving)
            box = self._spread(func, name, args, kwargs, moving)
            result = func(*args, **kwargs)
        if in_place(name) or kwargs.get("inplace"):
            self._forget(args[0])
            result = result if result is args[0] else _written(args[0], result)
        return self._follow(result, box, name, moving[0].dtype)

    def _follow(self, result: Any, box: Box | list[Box] | None, name: str, dtype: torch.dtype) -> Any:
        boxes = box if isinstance(box, list) else [box]
        for i, one in enumerate(tensors_in(result)):
            if not one.requires_grad or one.dtype != dtype:
                raise NotTraceable(f"{name} gives values without a gradient, or of another type")
            self._moving[id(one)] = one
            if i < len(boxes) and (known := boxes[i]) is not None:
                self._boxes[id(one)] = known
        return result

    def _forget(self, written: Tensor) -> None:
        """Drop the boxes of all that shares memory with a tensor that is written into."""
        place = written.untyped_storage().data_ptr()
        for key, one in self._moving.items():
            if one.untyped_storage().data_ptr() == place:
                self._boxes.pop(key, None)

    def _admit(
        self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], moving: list[Tensor]
    ) -> None:
        """Raise unless a call is affine in the values that move."""
        first = bool(args) and args[0] is moving[0]
        alone = len(moving) == 1
        known = name in ADDITIVE or name in MONOTONE or (name in MULTILINEAR and alone)
        if not known and not (name in FIRST and alone and first):
            raise NotTraceable(f"it computes {name}, neither affine nor made of ReLUs")
        if kwargs.get("out") is not None or (in_place(name) and not first):
            raise NotTraceable(f"{name} writes into a tensor that cannot be followed")
        if name in FIRST and inspect.isfunction(func):
            given = inspect.signature(func).bind(*args, **kwargs)
            given.apply_defaults()
            if given.arguments.get("training"):
                raise NotTraceable(f"{name} is in training mode")
        if kwargs.get("rounding_mode") is not None:
            raise NotTraceable(f"{name} rounds")

    @torch.no_grad()
    def _spread(
        self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], moving: list[Tensor]
    ) -> Box | list[Box] | None:
        """The boxes of an affine call's results, from those of the values that move.

        The middle goes the way of the values. Of the radius, the call itself says how far it carries one,
        once every factor is made positive and what it adds is taken off again.
        """
        if any(id(one) not in self._boxes for one in moving):
            return None

        def replaced(value: Any, part: Callable[[Box], Tensor], constant: Callable[[Any], Any]) -> Any:
            match value:
                case Tensor() if self.follows(value):
                    return part(self._boxes[id(value)]).clone()
                case Tensor() if value.is_floating_point():
                    return constant(value)
                case list():
                    return [replaced(one, part, constant) for one in value]
                case tuple():
                    return tuple(replaced(one, part, constant) for one in value)
                case int() | float() if name.strip("_") in NUMBERS:
                    return constant(value)
            return value

        def called(part: Callable[[Box], Tensor], constant: Callable[[Any], Any]) -> list[Tensor]:
            names = {key: replaced(value, part, constant) for key, value in kwargs.items()}
            return list(tensors_in(func(*(replaced(one, part, constant) for one in args), **names)))

        middles = called(lambda box: box.middle, lambda value: value)
        if name in ADDITIVE:
            if kwargs:
                return None
            terms = [replaced(one, lambda box: box.radius, lambda value: 0.0 * value) for one in args]
            radii = [sum(terms[1:], terms[0]) + torch.zeros_like(middles[0])]
        else:
            far = called(lambda box: box.radius, abs)
            near = called(lambda box: torch.zeros_like(box.radius), abs)
            radii = [(one - other).abs() for one, other in zip(far, near, strict=True)]
        return [Box(*pair) for pair in zip(middles, radii, strict=True)]

    def _clipped(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        """A piecewise linear activation, made of ReLUs; None where a call is no such thing."""
        x, rest = args[0] if args else None, args[1:]
        if not isinstance(x, Tensor) or not self.follows(x):
            return None
        match name.removesuffix("_"):
            case "leaky_relu":
                slope = rest[0] if rest else kwargs.get("negative_slope", 0.01)
                if not 0 <= slope <= 1:
                    return None
                with self:
                    return slope * x + (1 - slope) * torch.relu(x)
            case "relu6":
                return self._between(x, 0.0, 6.0)
            case "clamp_min":
                return self._between(x, rest[0] if rest else kwargs["min"], None)
            case "clamp_max":
                return self._between(x, None, rest[0] if rest else kwargs["max"])
            case "clamp" | "clip":
                low = rest[0] if rest else kwargs.get("min")
                high = rest[1] if len(rest) > 1 else kwargs.get("max")
                return self._between(x, low, high)
            case "hardtanh":
                low = rest[0] if rest else kwargs.get("min_val", -1.0)
                high = rest[1] if len(rest) > 1 else kwargs.get("max_val", 1.0)
                return self._between(x, low, high)
        return None

    def _between(self, x: Tensor, low: Any, high: Any) -> Tensor | None:
        if self.follows(low) or self.follows(high):
            return None
        with self:
            x = x if low is None else torch.relu(x - low) + low
            return x if high is None else high - torch.relu(high - x)


def _written(place: Tensor, value: Tensor) -> Tensor:
    """A tensor that takes a value over."""
    return place.copy_(value) if place._is_view() else cast(Tensor, _Written.apply(place, value))


class _Written(torch.autograd.Function):
    """Unlike `copy_` it passes no zeros to what is written over: they would be carried to the image."""

    @staticmethod
    def forward(ctx: Any, place: Tensor, value: Tensor) -> Tensor:
        ctx.mark_dirty(place)
        ctx.set_materialize_grads(False)
        return place.copy_(value)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[None, Tensor | None]:
        return None, grad_outputs[0]


def refuse_hidden(module: nn.Module) -> None:
    """Raise for what runs where no call is seen: scripted and compiled parts.

    Raises:
        NotTraceable: there is one.
    """
    for part in module.modules():
        if isinstance(part, torch.jit.ScriptModule) or type(part).__name__ == "OptimizedModule":
            raise NotTraceable("a part of it is compiled or scripted")
