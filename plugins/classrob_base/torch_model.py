"""The model `torch`: whatever module a function in a Python file returns, with weights from a file."""

from __future__ import annotations

from typing import Any, Self, final

from pydantic import Field, model_validator

from classrob.fields import Code, File
from classrob.images import Fit
from classrob.live import Classifier
from classrob.parts import Model
from classrob_base.factory import module_of
from classrob_base.normalise import Channels, Mean, Normalised, Size, Std, agree
from classrob_base.weights import put, state_of


@final
class TorchModel(Model):
    """A function in a Python file, and its weights.

    The function is called with `arguments` and returns an `nn.Module` that takes float32 [n, c, h, w]
    and returns logits [n, k]. Where `mean` and `std` are given, the module receives (x − mean) / std;
    otherwise it receives x in [0, 1]. Without `weights` it keeps those that it starts with, drawn from
    seed 0. Images keep their size where `size` is not given, and their channels where neither `channels`
    nor a `mean` of three numbers says otherwise.
    """

    factory: Code = Field(description="the function (or class) that makes the module, 'file.py:function'")
    weights: File | None = Field(default=None, description="a .safetensors file, or a saved state_dict")
    arguments: dict[str, Any] = Field(default={}, description="keyword arguments for the function")
    mean: Mean = None
    std: Std = None
    size: Size = None
    channels: Channels = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        agree(self.mean, self.std)
        return self

    def load(self, device: str) -> Classifier:
        """The module with its weights, in the mode in which the function returned it.

        Raises:
            StudyError: the function fails or returns no module, or the weights do not fit.
        """
        module = module_of(self.factory, self.arguments)
        if self.weights is not None:
            put(state_of(self.weights), module, self.weights, f"'{self.factory}'")
        channels = self.channels
        if self.mean is not None and self.std is not None:
            module = Normalised(module, self.mean, self.std)
            channels = channels or (3 if len(self.mean) == 3 else None)
        return Classifier(module.to(device), fit=Fit(size=self.size, channels=channels), device=device)
