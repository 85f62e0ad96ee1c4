"""The generator `fitted`: one that is trained on a data set when it is first asked for, and kept."""

from __future__ import annotations

from typing import Annotated, cast, final

from pydantic import Field

from classrob.decoder import Decoder
from classrob.nested import Nested
from classrob.parts import Dataset, Generator, Recipe
from classrob.training.kept import kept
from classrob_latent.vae import VAE
from classrob_latent.variational import Variational


@final
class Fitted(Generator):
    """A generator that a recipe trains on a data set, in seconds to minutes, as `classrob train` does.

    The weights stay in the user's cache folder, under the identity of recipe, generator and data. A training that
    was stopped goes on where it was.
    """

    dataset: Annotated[Dataset, Nested("dataset")] = Field(
        description="what it is trained on, such as { use = 'digits', split = 'train' }"
    )
    generator: Annotated[Generator, Nested("generator")] = Field(
        default=VAE(), description="what is trained: one that reads its weights from a file"
    )
    recipe: Annotated[Recipe, Nested("recipe")] = Field(
        default=Variational(), description="how; one that trains generators"
    )

    def load(self, device: str) -> Decoder:
        """The network, from the cache or trained now.

        Raises:
            StudyError: recipe, generator and data do not suit each other, or an image cannot be read.
        """
        return cast(Decoder, kept("generator", self.recipe, self.generator, self.dataset, device))
