"""The generator `diffusers`: an autoencoder of diffusers from a folder, the one inside of latent diffusion models."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, final

import torch
from pydantic import Field
from torch import Tensor, nn

from classrob.decoder import Decoder
from classrob.errors import StudyError, one_line
from classrob.fields import File
from classrob.parts import Generator


@final
class Diffusers(Generator):
    """An autoencoder of diffusers (`AutoencoderKL`, `AutoencoderTiny`, `VQModel`) as `save_pretrained` leaves it.

    Only the folder's files are read; nothing is downloaded, no code in it is run. Codes are scaled by the model's
    `scaling_factor`, which brings them to about the size of standard normal ones; but those make no images, so there
    is no prior. It knows nothing of classes.
    """

    folder: File = Field(
        description="with config.json and weights in .safetensors, or a pipeline that has a `vae`"
    )
    size: tuple[int, int] = Field(description="height and width of the images, in pixels")

    def ingredients(self) -> Mapping[str, str]:
        """The library's version."""
        try:
            return {"diffusers": version("diffusers")}
        except PackageNotFoundError:
            return {}

    def load(self, device: str) -> Decoder:
        """The autoencoder, in eval mode.

        Raises:
            StudyError: diffusers is not installed, or the folder holds no autoencoder of it that takes such images.
        """
        module = _read(self.folder)
        channels = int(module.config.get("in_channels", 3))
        scale = float(module.config.get("scaling_factor") or 1.0)
        encoder, decoder = _Encoder(module, scale), _Decoder(module, scale)
        try:
            with torch.no_grad():
                code = encoder(torch.zeros(1, channels, *self.size), torch.zeros(1, dtype=torch.int64))
                image = decoder(code, torch.zeros(1, dtype=torch.int64))
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise StudyError(
                f"{self.folder} takes no images of {self.size}: {one_line(error)[:200]}"
            ) from error
        if image.shape != (1, channels, *self.size):
            raise StudyError(f"{self.folder} makes {list(image.shape[1:])} of images of {self.size}")
        made = Decoder(
            decoder, tuple(code.shape[1:]), (channels, *self.size), None, prior=False, encoder=encoder
        )
        return made.to(device)


def _read(folder: Path) -> Any:
    if not (folder / "config.json").is_file() and (folder / "vae").is_dir():
        folder = folder / "vae"
    try:
        name = json.loads((folder / "config.json").read_text("utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{folder} has no config.json of diffusers: {one_line(error)[:200]}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library, about itself
            diffusers = importlib.import_module("diffusers")
    except ImportError as error:
        raise StudyError(
            f"diffusers cannot be imported: pip install 'classrob[diffusers]' ({one_line(error)})"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = getattr(diffusers, name).from_pretrained(
                folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False
            )
    except Exception as error:  # the library raises whatever its files make it
        raise StudyError(f"{folder} cannot be loaded by diffusers: {one_line(error)[:200]}") from error
    if not {"encode", "decode"} <= set(dir(module)):
        raise StudyError(f"{folder} holds a {name}, which is no autoencoder")
    return module.float()


class _Encoder(nn.Module):
    """Images in [0, 1] to scaled codes; of a distribution, its mode."""

    def __init__(self, module: Any, scale: float) -> None:
        super().__init__()
        self.module, self.scale = module, scale

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        encoded = self.module.encode(2.0 * images - 1.0)
        spread = getattr(encoded, "latent_dist", None)
        return self.scale * (encoded.latents if spread is None else spread.mode())


class _Decoder(nn.Module):
    """Scaled codes to images in [0, 1]."""

    def __init__(self, module: Any, scale: float) -> None:
        super().__init__()
        self.module, self.scale = module, scale

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        return (0.5 * self.module.decode(codes / self.scale).sample + 0.5).clamp(0.0, 1.0)
