"""The model `cnn`: the small CNN that a recipe has trained, from the file in which it was saved."""

from __future__ import annotations

from typing import final

from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file

from classrob.errors import StudyError, one_line
from classrob.fields import File
from classrob.images import Fit
from classrob.live import Classifier
from classrob.parts import Model
from classrob_zoo.nets import SmallCNN


@final
class TrainedCNN(Model):
    """The small CNN of a recipe, from its saved weights; its shape is read from them."""

    weights: File = Field(description="the .safetensors file")

    def load(self, device: str) -> Classifier:
        """The network, in eval mode.

        Raises:
            StudyError: the file is not readable, or holds the weights of something else.
        """
        try:
            state = load_file(self.weights)
            module = SmallCNN.of_state(state)
            module.load_state_dict(state)
        except (SafetensorError, OSError, KeyError, RuntimeError) as error:
            raise StudyError(f"{self.weights} does not hold a small CNN: {one_line(error)[:200]}") from error
        return Classifier(module.to(device).eval(), fit=Fit(channels=module.stem.in_channels), device=device)
