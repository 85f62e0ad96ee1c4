"""A batch and a network that refuse to be read where an attack has not declared the need."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from classrob.errors import PluginError
from classrob.live import Batch


class Undeclared(PluginError):
    """An attack looks at what it does not declare in `needs`."""


class VeiledBatch(Batch):
    """A batch of which some fields must not be read."""

    hidden: frozenset[str]

    @classmethod
    def over(cls, batch: Batch, needs: frozenset[str]) -> VeiledBatch:
        """The batch with what `needs` does not name hidden: `labels`, and `images` for `pixels`."""
        veiled = cls(batch.ids, batch.images, batch.labels)
        hidden = {field for field, need in (("labels", "labels"), ("images", "pixels")) if need not in needs}
        object.__setattr__(veiled, "hidden", frozenset(hidden))
        return veiled

    def __getattribute__(self, name: str) -> Any:
        if name in ("labels", "images") and name in vars(self).get("hidden", ()):
            need = "pixels" if name == "images" else name
            raise Undeclared(f"it reads batch.{name}, but `needs` does not hold '{need}'")
        return super().__getattribute__(name)

    def select(self, index: Tensor) -> Batch:
        """Some rows, as veiled as these."""
        values = vars(self)
        chosen = Batch(values["ids"], values["images"], values["labels"]).select(index)
        veiled = VeiledBatch(chosen.ids, chosen.images, chosen.labels)
        object.__setattr__(veiled, "hidden", values["hidden"])
        return veiled


class VeiledModule(nn.Module):
    """A network that refuses to be called, or to be differentiated, where `needs` does not say so."""

    def __init__(self, module: nn.Module, needs: frozenset[str]) -> None:
        super().__init__()
        self.module, self.needs = module, needs

    def forward(self, images: Tensor) -> Tensor:
        """The network's logits.

        Raises:
            Undeclared: neither logits nor gradients are declared.
        """
        if not self.needs & {"logits", "gradients"}:
            raise Undeclared("it asks for logits, but `needs` does not hold 'logits'")
        logits = self.module(images)
        return logits if "gradients" in self.needs else _Barrier.apply(logits)


class _Barrier(torch.autograd.Function):
    """The identity, without a way back."""

    @staticmethod
    def forward(ctx: Any, *args: Tensor) -> Tensor:
        """The logits as they are."""
        return args[0].clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        """Refuse."""
        raise Undeclared("it differentiates the model, but `needs` does not hold 'gradients'")
