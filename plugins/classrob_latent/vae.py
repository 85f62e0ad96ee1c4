"""The generator `vae`: a small one for any small images, fresh, or with the weights that a recipe has given it."""

from __future__ import annotations

import math
from typing import ClassVar, Self, final

import torch
from pydantic import Field, PositiveInt
from safetensors import SafetensorError
from safetensors.torch import load_file

from classrob.decoder import Decoder
from classrob.errors import StudyError, one_line
from classrob.fields import File
from classrob.parts import Generator
from classrob_latent.nets import ClassVAE, Encoding

#: Images of more numbers than these are no small ones: two fully connected layers make nothing of them.
NUMBERS = 12_288


@final
class VAE(Generator):
    """A class-conditional variational autoencoder of fully connected layers; in training it takes the data's shape.

    It has an encoder and a standard normal prior. Without `weights` its layers are drawn from the seed, for images
    of 28×28 grey pixels and ten classes where nothing else is said.
    """

    weights: File | None = Field(default=None, description="the .safetensors file that `classrob train` made")
    shape: tuple[PositiveInt, PositiveInt, PositiveInt] | None = Field(
        default=None, description="of an image: channels, height, width"
    )
    classes: PositiveInt | None = Field(default=None, description="how many")
    code: PositiveInt = Field(default=16, description="numbers of a code")
    hidden: PositiveInt = Field(default=256, description="width of the layers")
    seed: int = Field(default=0, ge=0, description="of the first weights, where no file says otherwise")

    weights_in: ClassVar[str | None] = "weights"

    def suited(self, shape: tuple[int, int, int], classes: int, seed: int) -> Self:
        """For images of this shape, so many classes, and weights from this seed, where fields say nothing."""
        fresh = {"shape": shape, "classes": classes, "seed": seed}
        given = {name for name, value in self if value is not None} - {"seed"} | self.model_fields_set
        return self.model_copy(update={name: value for name, value in fresh.items() if name not in given})

    def load(self, device: str) -> Decoder:
        """The network.

        Raises:
            StudyError: the images are large; the file is not readable, or holds the weights of something else.
        """
        shape, classes = self.shape or (1, 28, 28), self.classes or 10
        if math.prod(shape) > NUMBERS:
            raise StudyError(
                f"images of {list(shape)} are too large for the generator 'vae', which is for small ones: "
                "bring a generator from a file"
            )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            net = ClassVAE(shape, classes, self.code, self.hidden)
        if self.weights is not None:
            try:
                net.load_state_dict(load_file(self.weights))
            except (SafetensorError, OSError, RuntimeError) as error:
                raise StudyError(
                    f"{self.weights} does not hold a generator 'vae' of these fields: {one_line(error)[:200]}"
                ) from error
        return Decoder(net, (self.code,), shape, classes, encoder=Encoding(net)).to(device)
