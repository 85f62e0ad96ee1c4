"""The model family `timm/…`: an architecture of timm, with its own normalisation and input size."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, ClassVar, Self, final

import torch
from PIL import Image
from pydantic import Field, PositiveInt, model_validator
from torch import nn

from classrob.errors import StudyError, nearest, one_line
from classrob.fields import File
from classrob.images import Fit
from classrob.live import Classifier
from classrob.parts import Model
from classrob_base.normalise import Normalised, Size
from classrob_base.rectifier import Rectified, Rectifier
from classrob_base.weights import put, state_of


@final
class TimmModel(Model):
    """An architecture of timm (Wightman, PyTorch Image Models), with weights from a file or from the Hub.

    Images are resized, cropped and normalised as the architecture's data configuration says. Without
    `checkpoint` and `pretrained` the weights are random, drawn from the seed. With a `size` of your own images
    are resized to it without a crop.
    """

    architecture: str = Field(description="timm's name, with or without the tag of its weights")
    checkpoint: File | None = Field(default=None, description="a .safetensors file, or a saved state_dict")
    pretrained: bool = Field(
        default=False, description="fetch timm's weights from the Hub, where not yet cached"
    )
    num_classes: PositiveInt | None = Field(default=None, description="classes; default: the architecture's")
    size: Size = None
    rectifier: Rectifier = "relu"
    seed: int = Field(default=0, ge=0, description="of the first weights, where nothing loads them")

    weights_in: ClassVar[str | None] = "checkpoint"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.pretrained and self.checkpoint is not None:
            raise ValueError("`pretrained` and `checkpoint` are two sources of weights: give one")
        if "." in self.architecture and not self.pretrained and self.checkpoint is None:
            raise ValueError(
                f"'{self.architecture}' names weights, but nothing loads them: set `pretrained` or `checkpoint`, "
                "or leave the tag out for random weights"
            )
        return self

    @classmethod
    def members(cls) -> Iterable[str]:
        """Every architecture, and every architecture with the tag of weights that exist for it."""
        timm = _library()
        return [*timm.list_models(), *timm.list_models(pretrained=True)]

    def ingredients(self) -> Mapping[str, str]:
        """timm's version, which decides what an architecture is."""
        try:
            return {"timm": version("timm")}
        except PackageNotFoundError as error:
            raise _absent(error) from error

    def suited(self, shape: tuple[int, int, int], classes: int, seed: int) -> Self:
        """With so many outputs, and the seed, where these are not given."""
        fresh = {} if "seed" in self.model_fields_set else {"seed": seed}
        return self.model_copy(update=fresh | ({"num_classes": classes} if self.num_classes is None else {}))

    def load(self, device: str) -> Classifier:
        """The network behind its normalisation, as timm returns it.

        Raises:
            StudyError: timm cannot be imported, the name is unknown, or the weights cannot be had.
        """
        timm = _library()
        self._known(timm)
        module = self._made(timm)
        if self.checkpoint is not None:
            put(state_of(self.checkpoint), module, self.checkpoint, f"timm's '{self.architecture}'")
        config: dict[str, Any] = timm.data.resolve_model_data_config(module)
        channels, height, width = config["input_size"]
        filters = {name.lower() for name in Image.Resampling.__members__}
        fit = Fit(
            size=(height, width),
            channels=channels,
            crop=1.0 if self.size else float(config["crop_pct"]),
            interpolation=config["interpolation"] if config["interpolation"] in filters else "bicubic",
        )
        if self.rectifier == "half-huber":
            module = Rectified(module)
        normalised = Normalised(module, tuple(config["mean"]), tuple(config["std"]))
        return Classifier(normalised.to(device), fit=fit, device=device)

    def _known(self, timm: ModuleType) -> None:
        name, _, tag = self.architecture.partition(".")
        if not timm.is_model(name):
            raise StudyError(f"timm has no architecture '{name}'{nearest(name, timm.list_models())}")
        if tag and self.architecture not in (tagged := timm.list_models(f"{name}.*", pretrained=True)):
            hint = nearest(self.architecture, tagged) or f"; it has {', '.join(tagged[:4]) or 'none'}"
            raise StudyError(f"timm has no weights '{self.architecture}'{hint}")

    def _made(self, timm: ModuleType) -> nn.Module:
        more: dict[str, Any] = {} if self.num_classes is None else {"num_classes": self.num_classes}
        if self.size is not None:
            more["pretrained_cfg_overlay"] = {"input_size": (3, *self.size)}
            config = timm.get_pretrained_cfg(self.architecture)
            if config is not None and config.fixed_input_size:  # such as a transformer with learned positions
                more["img_size"] = self.size
        with torch.random.fork_rng(devices=[]), _without_retries_in_the_log():
            torch.default_generator.manual_seed(
                self.seed
            )  # what the weights do not set is the same every time
            try:
                return timm.create_model(self.architecture, pretrained=self.pretrained, **more)
            except OSError as error:  # what every failure of the network and of the Hub's client is
                raise StudyError(
                    f"the weights of timm's '{self.architecture}' cannot be fetched: use the network once, or give "
                    f"a file as `checkpoint` ({one_line(error)[:120]})"
                ) from error
            except Exception as error:  # timm raises what its architectures raise
                raise StudyError(
                    f"timm cannot make '{self.architecture}': {one_line(error)[:200]}"
                ) from error


def _library() -> ModuleType:
    try:
        importlib.import_module("timm.data")
        return importlib.import_module("timm")
    except (ImportError, RuntimeError, OSError) as error:  # a torchvision of another torch raises the latter
        raise _absent(error) from error


def _absent(error: Exception) -> StudyError:
    return StudyError(
        f"'timm/…' needs timm and torchvision ({one_line(error)[:120]}): install torch and torchvision from the "
        "same index, then timm"
    )


@contextmanager
def _without_retries_in_the_log() -> Iterator[None]:
    """The Hub's client warns at every retry; what comes of them is raised anyway."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
