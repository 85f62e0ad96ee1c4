"""The model `torch`: whatever module a function in a Python file returns, with weights from a file."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, Self, final

from pydantic import Field, model_validator

from classrob.fields import Code, File
from classrob.images import Fit
from classrob.live import Classifier
from classrob.parts import Model
from classrob_base.factory import function_at, module_of
from classrob_base.normalise import Channels, Mean, Normalised, Size, Std, agree
from classrob_base.rectifier import Rectified, Rectifier
from classrob_base.weights import put, state_of


@final
class TorchModel(Model):
    """A function in a Python file, and its weights.

    The function is called with `arguments` and returns an `nn.Module` that takes float32 [n, c, h, w]
    and returns logits [n, k]. Where `mean` and `std` are given, the module receives (x − mean) / std;
    otherwise it receives x in [0, 1]. Without `weights` it keeps those that it starts with, drawn from
    the seed. Images keep their size where `size` is not given, and their channels where neither `channels`
    nor a `mean` of three numbers says otherwise.
    """

    factory: Code = Field(description="the function (or class) that makes the module, 'file.py:function'")
    weights: File | None = Field(default=None, description="a .safetensors file, or a saved state_dict")
    arguments: dict[str, Any] = Field(default={}, description="keyword arguments for the function")
    mean: Mean = None
    std: Std = None
    size: Size = None
    channels: Channels = None
    rectifier: Rectifier = "relu"
    seed: int = Field(default=0, ge=0, description="of the first weights, where no file says otherwise")

    weights_in: ClassVar[str | None] = "weights"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        agree(self.mean, self.std)
        return self

    def suited(self, shape: tuple[int, int, int], classes: int, seed: int) -> Self:
        """The function's argument `classes` or `num_classes`, where it has one, and the seed, filled in."""
        fresh: dict[str, Any] = {} if "seed" in self.model_fields_set else {"seed": seed}
        try:
            takes = inspect.signature(function_at(self.factory)).parameters
        except (TypeError, ValueError):  # a callable that tells no signature
            takes = {}
        named = next((name for name in ("classes", "num_classes") if name in takes), None)
        if named is not None and named not in self.arguments:
            fresh["arguments"] = {**self.arguments, named: classes}
        return self.model_copy(update=fresh)

    def load(self, device: str) -> Classifier:
        """The module with its weights, in the mode in which the function returned it.

        Raises:
            StudyError: the function fails or returns no module, or the weights do not fit.
        """
        module = module_of(self.factory, self.arguments, self.seed)
        if self.weights is not None:
            put(state_of(self.weights), module, self.weights, f"'{self.factory}'")
        channels = self.channels
        if self.rectifier == "half-huber":
            module = Rectified(module)
        if self.mean is not None and self.std is not None:
            module = Normalised(module, self.mean, self.std)
            channels = channels or (3 if len(self.mean) == 3 else None)
        return Classifier(module.to(device), fit=Fit(size=self.size, channels=channels), device=device)
