"""The model `cnn`: a small CNN for any small images, fresh, or with the weights that a recipe has given it."""

from __future__ import annotations

from typing import ClassVar, Self, final

import torch
from pydantic import Field, PositiveInt
from safetensors import SafetensorError
from safetensors.torch import load_file

from classrob.errors import StudyError, one_line
from classrob.fields import File
from classrob.images import Fit
from classrob.live import Classifier
from classrob.parts import Model
from classrob_base.normalise import Channels, Size
from classrob_base.rectifier import Rectified, Rectifier
from classrob_zoo.nets import SmallCNN


@final
class CNN(Model):
    """A small CNN without normalisation layers; in training it takes the shape of the first image.

    With `weights` its layers are read from the file. Without, they are drawn from the seed, for images of
    28×28 grey pixels and ten classes where nothing else is said.
    """

    weights: File | None = Field(default=None, description="the .safetensors file")
    size: Size = None
    channels: Channels = None
    classes: PositiveInt | None = Field(default=None, description="how many; with `weights` the file says it")
    rectifier: Rectifier = "relu"
    seed: int = Field(default=0, ge=0, description="of the first weights, where no file says otherwise")

    weights_in: ClassVar[str | None] = "weights"

    def suited(self, shape: tuple[int, int, int], classes: int, seed: int) -> Self:
        """For images of this shape, so many classes, and weights from this seed, where fields say nothing."""
        fresh = {"channels": 1 if shape[0] == 1 else 3, "size": shape[1:], "classes": classes, "seed": seed}
        given = {name for name, value in self if value is not None} - {"seed"} | self.model_fields_set
        return self.model_copy(update={name: value for name, value in fresh.items() if name not in given})

    def load(self, device: str) -> Classifier:
        """The network, in train mode if it is fresh, otherwise in eval mode.

        Raises:
            StudyError: the file is not readable, or holds the weights of something else.
        """
        size = self.size
        if self.weights is not None:
            module = self._read().eval()
        else:
            height, width = size = size or (28, 28)
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(self.seed)
                module = SmallCNN.of_shape((self.channels or 1, height, width), self.classes or 10)
        fit = Fit(size=size, channels=module.stem.in_channels)
        whole = Rectified(module) if self.rectifier == "half-huber" else module
        return Classifier(whole.to(device), fit=fit, device=device)

    def _read(self) -> SmallCNN:
        assert self.weights is not None
        try:
            state = load_file(self.weights)
            module = SmallCNN.of_state(state)
            module.load_state_dict(state)
        except (SafetensorError, OSError, KeyError, RuntimeError) as error:
            raise StudyError(f"{self.weights} does not hold a small CNN: {one_line(error)[:200]}") from error
        return module
