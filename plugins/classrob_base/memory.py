"""The model and the data set `memory`: a network and images that are in this process already."""

from __future__ import annotations

import copy
from typing import final

from pydantic import Field
from torch import nn

from classrob.errors import StudyError
from classrob.live import Classifier, Samples
from classrob.memory import Held
from classrob.parts import Dataset, Model
from classrob_base.arrays import ArraySamples


@final
class ModelInMemory(Model):
    """A network that `classrob.evaluate` was given; a study file cannot name one."""

    module: Held = Field(description="the network, from classrob.evaluate")

    def load(self, device: str) -> Classifier:
        """The network itself where it is on the device, else a copy of it there.

        Raises:
            StudyError: it is no torch.nn.Module.
        """
        module = self.module.value
        if not isinstance(module, nn.Module):
            raise StudyError(f"must be a torch.nn.Module, not a {type(module).__name__}")
        tensors = [*module.parameters(), *module.buffers()]
        if any(tensor.device.type != device.partition(":")[0] for tensor in tensors):
            module = copy.deepcopy(module).to(device)
        return Classifier(module, device=device)


@final
class ImagesInMemory(Dataset):
    """Images and labels that `classrob.evaluate` was given; a study file cannot name them. An id is a place."""

    samples: Held = Field(description="images and labels, from classrob.evaluate")

    def open(self) -> Samples:
        """All images."""
        images, labels, classes = self.samples.value
        return ArraySamples(images, labels, classes)
