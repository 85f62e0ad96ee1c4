"""LPIPS as a probe: the figures of a computation that is not the package's, and one clear line where it cannot be."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from classrob.catalog import Catalog
from classrob.errors import StudyError
from classrob.live import Batch, Classifier
from classrob.table import Observed, Table
from classrob.testing.cases import cases
from classrob.testing.subject import subjects
from classrob_latent.looks import PerceptualDistance
from classrob_latent.perceptual import Perceptual

#: Before which of AlexNet's layers its five features end, and what its inputs are normalised by (in [−1, 1]).
ENDS, SHIFT, SCALE = (2, 5, 8, 10, 12), (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of torchvision's AlexNet, its classifier left out."""
    models = pytest.importorskip("torchvision.models", exc_type=ImportError)
    pytest.importorskip("lpips", exc_type=ImportError)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = models.alexnet(weights=None).state_dict()
    path = tmp_path_factory.mktemp("weights") / "alexnet.safetensors"
    save_file({name: weight for name, weight in state.items() if name.startswith("features")}, path)
    return path


def pairs(channels: int = 3, side: int = 70) -> tuple[Batch, Tensor]:
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(5, channels, side, side, generator=draw)
    other = (images + 0.2 * torch.randn(images.shape, generator=draw)).clamp(0, 1)
    return Batch(tuple("abcde"), images, torch.zeros(5, dtype=torch.int64)), other


def observed(part: Perceptual, batch: Batch, rendered: Tensor) -> dict[str, Tensor]:
    return dict(part.observe(Classifier(nn.Identity()), batch, rendered))


def by_hand(path: Path, one: Tensor, other: Tensor) -> Tensor:
    """LPIPS 0.1 from torchvision's own layers with the file's weights, and the package's file of layers on top."""
    import lpips
    from safetensors.torch import load_file
    from torchvision.models import alexnet

    net = alexnet(weights=None).eval()
    net.load_state_dict(load_file(path), strict=False)
    heads = torch.load(
        Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth", "cpu", weights_only=True
    )
    shift, scale = (torch.tensor(x)[:, None, None] for x in (SHIFT, SCALE))
    x, y = ((2 * image - 1 - shift) / scale for image in (one, other))
    total, begin = torch.zeros(len(one)), 0
    with torch.no_grad():
        for i, end in enumerate(ENDS):
            x, y = (net.features[begin:end](z) for z in (x, y))
            apart = (normalize(x, dim=1) - normalize(y, dim=1)).square()
            total += (heads[f"lin{i}.model.1.weight"] * apart).sum(1).mean((1, 2))
            begin = end
    return total


def test_it_is_lpips_of_the_files_weights(backbone: Path) -> None:
    batch, other = pairs()
    found = observed(Perceptual(backbone=backbone), batch, other)
    assert torch.allclose(found["lpips"], by_hand(backbone, batch.images, other), rtol=1e-4)
    assert torch.allclose(found["image-l2"], (other - batch.images).flatten(1).square().mean(1).sqrt())
    assert float(observed(Perceptual(backbone=backbone), batch, batch.images)["lpips"].abs().max()) == 0.0


def test_small_grey_images_are_enlarged_and_coloured(backbone: Path) -> None:
    batch, other = pairs(channels=1, side=8)
    found = observed(Perceptual(backbone=backbone), batch, other)["lpips"]
    large = [
        interpolate(x.expand(-1, 3, -1, -1), size=(64, 64), mode="bicubic").clamp(0, 1)
        for x in (batch.images, other)
    ]
    assert torch.allclose(found, by_hand(backbone, *large), rtol=1e-4)


def test_it_keeps_a_probes_promises(backbone: Path) -> None:
    given = {"latent/perceptual": {"backbone": str(backbone)}}
    results = [one.run() for one in cases(subjects("latent/perceptual", Catalog.installed(), given))]
    assert {one.result for one in results} == {"ok"}, [one for one in results if one.result != "ok"]


def made(**fields: Any) -> Perceptual:
    return Catalog.installed().make("probe", "perceptual", fields, Path.cwd())


def test_without_weights_or_package_it_is_one_line(
    backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, other = pairs()
    with pytest.raises(StudyError, match="backbone") as error:
        made()
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(StudyError, match="no such file"):
        made(backbone="alexnet.pth")
    with pytest.raises(StudyError, match="does not hold torchvision's weights of 'squeeze'"):
        observed(made(backbone=str(backbone), net="squeeze"), batch, other)
    save_file({"features.0.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(StudyError, match="does not hold torchvision's weights of 'alex'"):
        observed(made(backbone=str(tmp_path / "other.safetensors")), batch, other)
    monkeypatch.setitem(sys.modules, "lpips", None)
    save_file({"x": torch.zeros(1)}, tmp_path / "fresh.safetensors")
    with pytest.raises(StudyError, match=r"pip install 'classrob\[perceptual\]'"):
        observed(made(backbone=str(tmp_path / "fresh.safetensors")), batch, other)


def test_its_metric_is_a_mean_of_images_that_fool_the_model() -> None:
    columns = {
        "sample": np.arange(4),
        "label": np.array([0, 0, 1, 1]),
        "predicted": np.array([1, 1, 1, 0]),
    }
    told = {"lpips": [0.1, 0.3, 9.0], "image-l2": [0.2, 0.2, 9.0]}
    at = np.array([0, 1, 2, -1])
    seen = {name: Observed(np.array(values, np.float32), at) for name, values in told.items()}
    table = Table(("a", "b"), 0.5, columns, observed=seen)
    scores = {(s.label, s.name): s for s in PerceptualDistance().compute(table, table)}
    assert scores[None, "perceptual-distance"].value == pytest.approx(0.2)
    assert scores[None, "image-distance"].n == 2
    assert ("b", "image-distance") not in scores
