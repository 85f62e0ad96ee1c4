"""How different a judged image looks from the one that it was made of: LPIPS, by the authors' own package.

Zhang, Isola, Efros, Shechtman and Wang, "The unreasonable effectiveness of deep features as a perceptual metric"
(CVPR 2018).
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate

from classrob.errors import StudyError, one_line
from classrob.fields import File
from classrob.identity import file_digest
from classrob.live import Batch, Classifier
from classrob.parts import Probe
from classrob_base.weights import state_of

#: So many pairs of images are compared at once.
_AT_ONCE = 32


@final
class Perceptual(Probe):
    """Column `lpips`, the perceptual distance of a judged image from the unperturbed one; `image-l2` beside it.

    LPIPS compares the features of a network that was trained on ImageNet. The package has what stands on top of
    them; the network's own weights are a file that you bring, and nothing is downloaded. Under the threat `latent`
    the unperturbed image is the image itself, so the decay of its code counts too. `image-l2` is the root of the
    mean squared difference, pixels in [0, 1].
    """

    backbone: File = Field(
        description="torchvision's weights of the network, such as alexnet-owt-7be5be79.pth, or as .safetensors"
    )
    net: Literal["alex", "vgg", "squeeze"] = Field(
        default="alex", description="the network: AlexNet, VGG-16, or SqueezeNet 1.1"
    )
    size: int = Field(
        default=64,
        ge=64,
        description="smaller images are enlarged so that their shorter side has so many pixels",
    )

    def observe(self, classifier: Classifier, batch: Batch, rendered: Tensor) -> Mapping[str, Tensor]:
        """Both distances, [n] each.

        Raises:
            StudyError: lpips is not installed, or the file holds the weights of another network.
        """
        measure = _measure(self.net, self.backbone, file_digest(self.backbone), classifier.device)
        apart = (rendered - batch.images).flatten(1)
        pairs = zip(batch.images.split(_AT_ONCE), rendered.split(_AT_ONCE), strict=True)
        with torch.no_grad():
            found = [measure(*(self._shown(x) for x in pair), normalize=True).flatten() for pair in pairs]
        return {"lpips": torch.cat(found), "image-l2": apart.norm(dim=1) / math.sqrt(apart.shape[1])}

    def _shown(self, images: Tensor) -> Tensor:
        """As the network wants them: in colour, and not too small."""
        height, width = images.shape[2:]
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        if (least := min(height, width)) < self.size:
            larger = round(height * self.size / least), round(width * self.size / least)
            images = interpolate(images, size=larger, mode="bicubic").clamp(0.0, 1.0)
        return images


@lru_cache(maxsize=4)
def _measure(net: str, path: Path, content: str, device: str) -> nn.Module:
    """The package's module with the file's weights; `content` is what the file holds."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library, about what it calls
            lpips: Any = importlib.import_module("lpips")
            with torch.random.fork_rng(devices=[]):
                module: nn.Module = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    except (ImportError, OSError) as error:
        raise StudyError(
            f"lpips cannot be used: pip install 'classrob[perceptual]' ({one_line(error)})"
        ) from error
    features: nn.Module = module.get_submodule("net")
    # the package cuts torchvision's `features` into slices: `slice2.3.weight` is `features.3.weight`
    wanted = {name: f"features.{name.partition('.')[2]}" for name in features.state_dict()}
    state = state_of(path)
    try:
        features.load_state_dict({name: state[theirs] for name, theirs in wanted.items()})
    except (KeyError, RuntimeError) as error:
        raise StudyError(
            f"{path} does not hold torchvision's weights of '{net}': {one_line(error)[:200]}"
        ) from error
    return module.to(device).eval().requires_grad_(False)
