"""The generator `fitted`: a small one that is trained on any set of small images, once, and kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, final

import click
import platformdirs
import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from classrob.decoder import Decoder
from classrob.errors import StudyError, one_line
from classrob.identity import identity
from classrob.images import Fit
from classrob.nested import Nested
from classrob.parts import Dataset, Generator
from classrob.subset import opened
from classrob_latent.vae import ClassVAE, Decoding, Encoding, Schedule, fit

#: Images of more numbers than these are no small ones: two fully connected layers make nothing of them.
NUMBERS = 12_288


@final
class Fitted(Generator):
    """A class-conditional variational autoencoder, trained on a data set in seconds to minutes, and kept.

    It has an encoder and a standard normal prior. The weights stay in the user's cache folder, under the
    identity of fields, data and source.
    """

    dataset: Annotated[Dataset, Nested("dataset")] = Field(
        description="what it is trained on, such as { use = 'digits', split = 'train' }"
    )
    code: int = Field(default=16, ge=1, description="numbers of a code")
    hidden: int = Field(default=256, ge=1, description="width of the layers")
    steps: int = Field(default=2000, ge=1, description="of training")
    batch: int = Field(default=64, ge=1, description="images a step")
    rate: float = Field(default=0.002, gt=0, description="Adam's, falling to 0")
    prior: float = Field(
        default=0.1, gt=0, description="weight of the codes' distance from the prior: smaller, sharper images"
    )
    seed: int = Field(default=0, ge=0, description="of the first weights, and of the order of the images")

    def ingredients(self) -> Mapping[str, str]:
        """PyTorch's version, whose kernels decide the last bits."""
        return {"torch": version("torch")}

    def load(self, device: str) -> Decoder:
        """The network, from the cache or trained now.

        Raises:
            StudyError: an image cannot be read, or the images are of several shapes, or large.
        """
        path = Path(platformdirs.user_cache_dir("classrob")) / f"generator-{identity(self)}.safetensors"
        found = _read(path)
        if found is None:
            images, labels, classes = _images(self.dataset)
            schedule = Schedule(self.steps, self.batch, self.rate, self.seed, self.prior)
            net = fit(images, labels, classes, self.code, self.hidden, schedule)
            found = net, (images.shape[1], images.shape[2], images.shape[3])
            _write(path, *found)
        net, shape = found
        decoder = Decoder(Decoding(net, shape), (net.middle.out_features // 2,), shape, net.classes)
        decoder.encoder = Encoding(net).eval().requires_grad_(False)
        return decoder.to(device)


def _images(dataset: Dataset) -> tuple[Tensor, Tensor, int]:
    """All images, all labels, and the number of classes."""
    name = type(dataset).__name__.lower()
    samples = opened(dataset, name)
    batch, broken = samples.read(range(len(samples)), Fit())
    for sample, reason in broken.items():
        raise StudyError(f"a generator is fitted to every image, but '{sample}' cannot be read: {reason}")
    assert batch is not None
    if batch.images[0].numel() > NUMBERS:
        raise StudyError(
            f"images of {list(batch.images.shape[1:])} are too large for 'fitted', which is for small ones: "
            "bring a generator from a file"
        )
    return batch.images, batch.labels, len(samples.classes)


def _read(path: Path) -> tuple[ClassVAE, tuple[int, int, int]] | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            about: Mapping[str, str] = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (it is no mapping)
        channels, height, width = map(int, about["shape"].split("x"))
        net = ClassVAE.of_state(state)
        if not all(bool(torch.isfinite(weight).all()) for weight in state.values()):
            raise ValueError("a weight is not finite")
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        click.echo(f"{path} is damaged ({one_line(error)}) and is made again", err=True)
        return None
    return net.eval(), (channels, height, width)


def _write(path: Path, net: ClassVAE, shape: tuple[int, int, int]) -> None:
    """Whole or not at all: other processes read and write the same file."""
    state = {key: value.contiguous() for key, value in net.state_dict().items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            save_file(state, Path(folder) / path.name, {"shape": "x".join(map(str, shape))})
            os.replace(Path(folder) / path.name, path)
    except (OSError, SafetensorError) as error:
        click.echo(f"the fitted generator cannot be kept: {one_line(error)}", err=True)
