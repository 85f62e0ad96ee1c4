"""The threat `latent`: images of codes near that of an image, in the codes of a generative model.

Buzhinsky, Nerinovsky and Tripakis, "Metrics and methods for robustness evaluation of neural networks with
generative models" (Machine Learning 112, 2023; arXiv 2003.01993).
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, final

from pydantic import Field

from classrob.fields import Budgets
from classrob.live import Batch, Classifier
from classrob.nested import Nested
from classrob.parts import Generator, Threat
from classrob.space import Space
from classrob.streams import Streams
from classrob_latent.codes import Encoding, codes_of
from classrob_latent.loaded import loaded
from classrob_latent.space import CodeBall


def kept(noise: float) -> float:
    """What a code keeps of itself under latent noise: 1/√(1 + noise²), one minus the paper's decay factor."""
    return 1.0 / math.sqrt(1.0 + noise * noise)


@final
class Latent(Threat):
    """Images of the codes near that of an image; distances are scaled norms, ‖shift‖₂/√n, as of the paper.

    Around the decayed code, which is the mean of (code + noise · z)/√(1 + noise²), z standard normal. A data
    set `generated` brings the codes of its images along; those of other images are found by the generator's
    encoder or, where it has none, by gradient descent. Colour and size are those that the model takes.
    """

    default_attack: ClassVar[str] = "latent/latent-search"

    budgets: Budgets = Field(
        default=(0.3, 2.5), description="ascending, scaled norms; the paper's bound, and its largest radius"
    )
    generator: Annotated[Generator, Nested("generator")] = Field(description="whose codes are searched")
    noise: float = Field(
        default=1.0,
        ge=0,
        description="magnitude of the latent noise whose mean is the centre; 0: the code itself",
    )
    restarts: int = Field(default=4, ge=1, description="searches for a code, where there is no encoder")
    steps: int = Field(default=40, ge=1, description="of Adam in each of them")
    rate: float = Field(default=0.1, gt=0, description="of Adam")
    tolerance: float = Field(
        default=0.7,
        gt=0,
        description="a code is poor whose image is further off than this share of the image's own spread",
    )

    def open(self, batch: Batch, classifier: Classifier, streams: Streams) -> Space:
        """The ball around each image's decayed code.

        Raises:
            StudyError: the generator cannot be loaded, or does not know a class.
        """
        generator = loaded(self.generator, classifier.device)
        codes = codes_of(generator, batch, Encoding(self.restarts, self.steps, self.rate))
        return CodeBall(
            batch.images.new_full((len(batch),), self.budgets[-1]),
            batch.images,
            batch.labels,
            codes.code,
            codes.error,
            codes.drawn,
            generator.decoder,
            kept(self.noise),
            self.tolerance,
        )
