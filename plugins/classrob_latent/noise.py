"""The threat `latent-noise`: one random image near each, by noise in its code; nobody searches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

from pydantic import Field
from torch import Tensor

from classrob.decoder import Decoder
from classrob.fields import Budgets
from classrob.live import Batch, Classifier
from classrob.nested import Nested
from classrob.parts import Generator, Threat
from classrob.space import Keyed, Space, Telling
from classrob.streams import Streams
from classrob_latent.codes import Encoding, codes_of, fitted
from classrob_latent.loaded import loaded


@final
class LatentNoise(Threat):
    """The image of (code + budget · z)/√(1 + budget²), z standard normal: as likely under the prior as the code is.

    One draw an image and budget, so that over images the accuracy is the mean of the paper's local latent
    noise accuracy, with the interval of a plain rate; attack `random` takes the worst of several draws.
    """

    nested: ClassVar[bool] = False
    gradients: ClassVar[bool] = False

    budgets: Budgets = Field(default=(0.25, 0.5, 0.75, 1.0), description="magnitudes of the noise")
    generator: Annotated[Generator, Nested("generator")] = Field(description="in whose codes the noise is")
    restarts: int = Field(default=4, ge=1, description="searches for a code, where there is no encoder")
    steps: int = Field(default=40, ge=1, description="of Adam in each of them")
    rate: float = Field(default=0.1, gt=0, description="of Adam")

    def open(self, batch: Batch, classifier: Classifier, streams: Streams) -> Space:
        """The noise around each image's code, with the image's own key."""
        generator = loaded(self.generator, classifier.device)
        codes = codes_of(generator, batch, Encoding(self.restarts, self.steps, self.rate))
        magnitude = batch.images.new_full((len(batch),), self.budgets[-1])
        key = streams.to(batch.images.device).keys[:, None]
        return Noisy(magnitude, key, batch.images, batch.labels, codes.code, codes.drawn, generator.decoder)


@final
@dataclass(frozen=True)
class Noisy(Telling, Keyed):
    """Codes with noise, whose magnitude is the budget."""

    images: Tensor
    labels: Tensor
    code: Tensor
    drawn: Tensor
    decoder: Decoder

    def render(self, z: Tensor) -> Tensor:
        """The images of the noisy codes."""
        noise = Streams(z[:, 0]).normal(*self.code.shape[1:])
        size = self.budget.reshape(-1, *[1] * (self.code.ndim - 1))
        codes = (self.code + size * noise) / (1.0 + size.square()).sqrt()
        return fitted(self.decoder(codes, self.labels), tuple(self.images.shape[1:]))

    def tell(self, classifier: Classifier, z: Tensor) -> Mapping[str, Tensor]:
        """`latent-noise`, the magnitude; `latent-noise-drawn`, 1 where the code is the image's own."""
        return {"latent-noise": self.budget.float(), "latent-noise-drawn": self.drawn.float()}
