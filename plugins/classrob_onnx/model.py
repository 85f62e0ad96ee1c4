"""The model `onnx`: the classifier that an ONNX file holds, as a differentiable PyTorch module."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.metadata import version
from types import ModuleType
from typing import Any, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from classrob.errors import StudyError, one_line
from classrob.fields import File
from classrob.identity import file_digest
from classrob.images import Fit
from classrob.live import Classifier
from classrob.parts import Model
from classrob_base.normalise import Channels, Mean, Size, Std, agree
from classrob_onnx.graph import Graph


@final
class OnnxModel(Model):
    """An ONNX file as a PyTorch module, with gradients.

    The graph's input is (x − mean) / std where `mean` and `std` are given, else x in [0, 1]; channels
    first or last, or flat. `size` and `channels` are the file's own where it names them. A file exported
    for a batch of one takes batches of any size: its graph is mapped over the images, so each sees
    exactly what was exported.
    """

    path: File = Field(description="the .onnx file")
    mean: Mean = None
    std: Std = None
    size: Size = None
    channels: Channels = None
    output: str | None = Field(
        default=None, description="which output holds the logits, if there are several"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        agree(self.mean, self.std)
        return self

    def ingredients(self) -> Mapping[str, str]:
        """The library's version, and the files beside the model that hold its larger tensors."""
        onnx = _library()
        tensors = _parsed(onnx, self, whole=False).graph.initializer
        keys = {pair.value for one in tensors for pair in one.external_data if pair.key == "location"}
        files = {name: self.path.parent / name for name in sorted(keys)}
        return {"onnx": version("onnx")} | {name: file_digest(p) for name, p in files.items() if p.is_file()}

    def load(self, device: str) -> Classifier:
        """The graph, in eval mode.

        Raises:
            StudyError: onnx is not installed, the file is damaged, or holds what cannot be imported.
        """
        onnx = _library()
        model = _parsed(onnx, self, whole=True)
        try:
            graph = Graph(onnx, model, self.output)
        except StudyError as error:
            raise StudyError(f"{self.path}: {error}") from None
        module = OnImages(graph, self.mean, self.std)
        height, width, channels = module.expected()
        size = self.size or (None if height is None or width is None else (height, width))
        fit = Fit(size=size, channels=self.channels or channels)
        return Classifier(module.to(device).eval(), fit=fit, device=device)


def _library() -> ModuleType:
    try:
        import onnx
        import onnx.inliner
        import onnx.numpy_helper
    except ImportError as error:
        raise StudyError(f"'onnx' models need the library onnx ({error}): install classrob[onnx]") from error
    return onnx


def _parsed(onnx: ModuleType, part: OnnxModel, whole: bool) -> Any:
    try:
        model = onnx.load(part.path, load_external_data=whole)
        return onnx.inliner.inline_local_functions(model) if whole and model.functions else model
    except Exception as error:  # protobuf, onnx and the file system each raise types of their own
        raise StudyError(f"{part.path} is not a readable ONNX file: {one_line(error)[:200]}") from error


@final
class OnImages(nn.Module):
    """A graph behind what brings images to its input: normalisation, layout, and its fixed batch."""

    mean: Tensor
    std: Tensor

    def __init__(self, graph: Graph, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> None:
        super().__init__()
        self.graph = graph
        self.normalised = mean is not None
        self.register_buffer("mean", torch.tensor(mean or (0.0,), dtype=torch.float32)[:, None, None])
        self.register_buffer("std", torch.tensor(std or (1.0,), dtype=torch.float32)[:, None, None])
        shape = graph.shape
        self.whole: bool | None = None
        self.last = len(shape) == 4 and shape[1] not in (1, 3) and shape[3] in (1, 3)

    def expected(self) -> tuple[int | None, int | None, int | None]:
        """Height, width and channels of the images that the graph takes; None where it leaves them open."""
        shape = self.graph.shape
        if len(shape) != 4:
            return None, None, None
        height, width, channels = shape[1:] if self.last else (shape[2], shape[3], shape[1])
        return height, width, channels if channels in (1, 3) else None

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, k] of images [n, c, h, w] in [0, 1]."""
        x = (images - self.mean).div_(self.std) if self.normalised else images
        if self.last:
            x = x.permute(0, 2, 3, 1)
        shape = self.graph.shape
        if len(shape) not in (0, 4) and None not in shape[1:]:
            x = x.reshape(len(x), *(size or -1 for size in shape[1:]))
        batch = shape[0] if shape else None
        if batch is None or self._whole(batch, x):
            return self.graph(x)
        # The file is for so many images and says so somewhere inside; vmap shows it no others.
        groups = -(-len(x) // batch)
        full = torch.cat([x, x[:1].expand(groups * batch - len(x), *x.shape[1:])])
        logits = torch.vmap(self.graph)(full.reshape(groups, batch, *x.shape[1:]))
        return logits.reshape(groups * batch, math.prod(logits.shape[2:]))[: len(x)]

    def _whole(self, batch: int, x: Tensor) -> bool:
        """Does the graph take several batches at once, and give each what it gives it alone? Tried once.

        Most files name their batch and hold nothing that depends on it; those run much faster whole.
        """
        if self.whole is not None:
            return self.whole
        parts = torch.cat([x[:1], 1.0 - x[:1], 0.5 * x[:1]]).repeat_interleave(batch, 0).detach()
        with torch.no_grad():
            alone = torch.cat([self.graph(part) for part in parts.split(batch)])
            try:
                together = self.graph(parts)
            except (RuntimeError, StudyError):  # a reshape that names the batch, most likely
                together = alone.new_zeros(0)
        same = together.shape == alone.shape and torch.allclose(together, alone, rtol=1e-4, atol=1e-5)
        self.whole = same
        return same
