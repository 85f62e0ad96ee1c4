"""The corruptions: what is published of them, what can be said of each without the reference, and their laws.

`tests/benchmarks/corruptions.py` compares them with the reference implementation, where that is installed.
"""

from __future__ import annotations

from collections import Counter
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from torch import Tensor

from classrob.catalog import Catalog
from classrob.errors import StudyError
from classrob.live import Batch
from classrob.plan import conditions
from classrob.streams import Streams
from classrob.study import make_study
from classrob_corruptions import draws, drops, glass
from classrob_corruptions.filters import blurred, disk, padded

NAMES = [
    "gaussian-noise",
    "shot-noise",
    "impulse-noise",
    "speckle-noise",
    "defocus-blur",
    "glass-blur",
    "motion-blur",
    "zoom-blur",
    "gaussian-blur",
    "snow",
    "frost",
    "fog",
    "spatter",
    "brightness",
    "contrast",
    "saturate",
    "elastic",
    "pixelate",
    "jpeg",
]

CATALOG = Catalog.installed()


def make(name: str, **fields: Any) -> Any:
    return CATALOG.make("threat", f"corruption/{name}", fields)


def streams(n: int, key: str = "test") -> Streams:
    return Streams.keyed(0, "test", map(str, range(n)), key)


def images(n: int = 6, channels: int = 3, height: int = 32, width: int = 32) -> Tensor:
    return (
        blurred(streams(n, "images").uniform(channels, height, width), 1.0).sub(0.3).mul(2.0).clamp(0.0, 1.0)
    )


def test_the_contract_names_them() -> None:
    found = {o.component.name for o in CATALOG.list("threat", "corruption/*")}
    assert found - {"stored"} == set(NAMES)  # that one reads what others made


@pytest.mark.parametrize("name", NAMES)
def test_any_size_and_one_channel_or_three(name: str) -> None:
    for channels, height, width in ((1, 28, 28), (3, 32, 48), (3, 9, 5), (1, 1, 1)):
        clean = images(2, channels, height, width)
        for severity in (1, 3, 5):
            found = make(name).at(clean, severity, streams(2))
            assert found.shape == clean.shape
            assert found.isfinite().all()
            assert float(found.min()) >= 0.0
            assert float(found.max()) <= 1.0


@pytest.mark.parametrize("name", NAMES)
def test_an_image_alone_is_corrupted_as_in_company(name: str) -> None:
    clean, own = images(), streams(6)
    together = make(name).at(clean, 4, own)
    for row in (0, 5):
        alone = make(name).at(clean[row : row + 1], 4, own.select(torch.tensor([row])))
        assert torch.allclose(alone, together[row : row + 1], atol=1e-5)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"saturate", "elastic"}))
def test_a_larger_severity_changes_more(name: str) -> None:
    clean = images(24)
    change = [float((make(name).at(clean, s, streams(24)) - clean).abs().mean()) for s in range(1, 6)]
    assert change[0] < change[-1]


def test_parameters_between_the_published_sides_follow_the_logarithm() -> None:
    threat = make("gaussian-noise")
    assert threat.parameters(5, 16, 32) == threat.parameters(5, 32, 32) == (0.10,)
    assert threat.parameters(5, 224, 224) == threat.parameters(5, 600, 400) == (0.38,)
    middle = round((32 * 224) ** 0.5)
    assert threat.parameters(5, middle, 300)[0] == pytest.approx(0.24, abs=0.01)
    assert make("gaussian-noise", side=224).parameters(5, 32, 32) == (0.38,)


def test_a_severity_is_a_whole_number() -> None:
    for budgets in ([0.5], [1, 6]):
        with pytest.raises(StudyError, match="whole number from 1 to 5"):
            make("fog", budgets=budgets)


def test_nothing_climbs_a_corruption() -> None:
    threat = {"use": "corruption/fog", "attack": "pgd"}
    study = make_study(
        {
            "name": "s",
            "model": [{"use": "digits/standard"}],
            "dataset": [{"use": "digits"}],
            "threat": [threat],
        }
    )
    from pathlib import Path

    with pytest.raises(StudyError, match="no slope to climb"):
        conditions(study, CATALOG, Path())


# -- against other implementations --------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.4, 1.0, 6.0])
def test_the_blur_is_scipys(sigma: float) -> None:
    clean = images(1, 1, 40, 33)
    theirs = ndimage.gaussian_filter(clean[0, 0].numpy().astype(float), sigma, mode="nearest", truncate=4.0)
    assert np.abs(blurred(clean, sigma)[0, 0].numpy() - theirs).max() < 1e-5


@pytest.mark.parametrize("radius", [0.3, 1.0, 3.0, 10.0])
def test_a_disk_is_a_correlation(radius: float) -> None:
    at = np.arange(-int(radius), int(radius) + 1)
    kernel = (at[:, None] ** 2 + at**2 <= radius**2).astype(float)
    clean = images(1, 1, 30, 41)
    theirs = ndimage.correlate(clean[0, 0].numpy().astype(float), kernel / kernel.sum(), mode="mirror")
    ours = disk(padded(clean, int(radius), "reflect"), radius)
    assert np.abs(ours[0, 0].numpy() - theirs).max() < 1e-4


def test_pixelate_is_pillows() -> None:
    """At a size without ties, where Pillow follows the rounding of its running sum."""
    clean = (images(2, 3, 64, 48) * 255).round() / 255
    for severity, share in zip(range(1, 6), (0.6, 0.5, 0.4, 0.3, 0.25), strict=True):
        ours = make("pixelate", side=224).at(clean, severity, streams(2))[1].permute(1, 2, 0).numpy() * 255
        whole = Image.fromarray((clean[1] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
        small = whole.resize((int(48 * share), int(64 * share)), Image.Resampling.BOX)
        theirs = np.asarray(small.resize((48, 64), Image.Resampling.NEAREST), dtype=float)
        assert np.abs(ours - theirs).mean() < 0.6
        assert np.abs(ours - theirs).max() <= 1.01


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width", "n"), [(32, 32, 3), (40, 27, 300), (224, 200, 3)])
def test_jpeg_is_a_file_of_pillows(channels: int, height: int, width: int, n: int) -> None:
    clean = images(n, channels, height, width)
    for severity, quality in enumerate((25, 18, 15, 10, 7), 1):
        ours = make("jpeg", side=224).at(clean, severity, streams(n))
        assert ours.dtype == torch.float32
        for image, found in zip(clean[-2:], ours[-2:], strict=True):
            levels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
            file = BytesIO()
            Image.fromarray(levels if channels == 3 else levels[..., 0]).save(file, "JPEG", quality=quality)
            theirs = np.asarray(Image.open(file)).reshape(levels.shape)
            assert np.abs(found.permute(1, 2, 0).numpy() * 255 - theirs).max() < 1e-4


def test_brightness_and_saturation_are_those_of_hsv() -> None:
    from colorsys import hsv_to_rgb, rgb_to_hsv

    clean = images(1, 3, 6, 6)
    clean[0, :, 0, 0], clean[0, :, 0, 1] = 0.0, 0.5  # black and grey have no hue
    brighter = make("brightness", side=224).at(clean, 2, streams(1))[0].permute(1, 2, 0).reshape(-1, 3)
    stronger = make("saturate", side=224).at(clean, 4, streams(1))[0].permute(1, 2, 0).reshape(-1, 3)
    pixels = clean[0].permute(1, 2, 0).reshape(-1, 3).double()
    for pixel, light, strong in zip(pixels.tolist(), brighter.tolist(), stronger.tolist(), strict=True):
        h, s, v = rgb_to_hsv(*pixel)
        assert light == pytest.approx(hsv_to_rgb(h, s, min(1.0, v + 0.2)), abs=1e-5)
        assert strong == pytest.approx(hsv_to_rgb(h, min(1.0, s * 5 + 0.1), v), abs=1e-4)


# -- chance -------------------------------------------------------------------------------------------


def test_draws_have_the_moments_and_the_spectrum_of_white_noise() -> None:
    drawn = draws.normal(streams(8), 101, 103)
    assert abs(float(drawn.mean())) < 4.0 / drawn.numel() ** 0.5
    assert abs(float(drawn.var()) - 1.0) < 4.0 * (2.0 / drawn.numel()) ** 0.5
    assert abs(float((drawn**4).mean()) - 3.0) < 4.0 * (96.0 / drawn.numel()) ** 0.5
    power = torch.fft.rfft2(drawn).abs().square().mean(0)[:, 1:50] / (101 * 103)
    assert abs(float(power[:50].mean()) - float(power[50:].mean())) < 0.1


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 255), st.sampled_from([3.0, 12.0, 60.0, 500.0]))
def test_counts_are_poisson(level: int, rate: float) -> None:
    grey = torch.full((4, 1, 60, 60), level / 255)
    drawn, mean = draws.counts(streams(4), grey, rate), rate * level / 255
    n = drawn.numel()
    assert abs(float(drawn.mean()) - mean) <= 5.0 * (mean / n) ** 0.5 + 1e-6
    fourth = mean + 2.0 * mean**2  # the variance of squared deviations
    assert abs(float(((drawn - mean) ** 2).mean()) - mean) <= 5.0 * (fourth / n) ** 0.5 + 1e-4


def test_impulses_are_half_salt_and_half_pepper() -> None:
    grey = torch.full((8, 3, 64, 64), 0.5)
    found = make("impulse-noise", side=224).at(grey, 5, streams(8))
    n = grey.numel()
    for value in (0.0, 1.0):
        share = float((found == value).float().mean())
        assert abs(share - 0.135) < 4.0 * (0.135 * 0.865 / n) ** 0.5


def test_glass_takes_what_a_loop_would() -> None:
    """The chain of places, followed at once, ends where copying pixel by pixel ends."""
    height, width, far = 14, 11, 2
    own = streams(1)
    found = glass.sources(own, height, width, far)[0].view(height, width)
    draw = draws.uniform(own, 2, height * width).mul(2 * far).long().clamp(max=2 * far - 1)[0] - far
    down, right = draw.view(2, height, width).tolist()
    place = np.arange(height * width).reshape(height, width)
    for y in range(height - far, far, -1):
        for x in range(width - far, far, -1):
            place[y, x] = place[y + down[y][x], x + right[y][x]]
    assert (found.numpy() == place).all()


def test_distances_are_euclidean() -> None:
    edges = streams(3, "edges").uniform(1, 30, 40) > 0.99
    ours = drops.distances(edges)
    for mask, found in zip(edges[:, 0].numpy(), ours[:, 0].numpy(), strict=True):
        theirs = ndimage.distance_transform_edt(~mask)
        assert np.abs(found - np.minimum(theirs, 20.0)).max() < 1e-4


def test_a_key_is_a_draw_and_random_search_tries_several() -> None:
    """The attack `random` breaks no fewer samples of a corruption than the corruption's own draw."""
    from classrob.judge import judge
    from classrob.testing.arena import arena, network

    where = arena(make("gaussian-noise", side=224), "noise", network())
    with where.classifier.frozen():
        alone = judge(where.classifier, where.space, where.batch, where.space.centre()).broken
        found = where.search(CATALOG.make("attack", "random", {"draws": 20}))
        several = judge(where.classifier, where.space, where.batch, found).broken
    assert (several | ~alone).all()
    assert int(several.sum()) > int(alone.sum())


# -- transformations ----------------------------------------------------------------------------------

SPACES = ("rotation-translation", "scale", "shear", "perspective", "brightness-contrast", "hue-saturation")


@pytest.mark.parametrize("name", [*SPACES, "gaussian-blur"])
def test_nothing_is_changed_at_the_centre_and_the_slope_is_the_true_one(name: str) -> None:
    threat = CATALOG.make("threat", f"transform/{name}", {})
    clean = images(2, 3, 12, 16)
    space = threat.open(Batch(("a", "b"), clean, torch.zeros(2, dtype=torch.int64)), None, streams(2))
    assert float((space.render(space.centre()) - clean).abs().max()) < 2e-5
    z = (0.3 * space.start(streams(2, "z"))).double().requires_grad_()
    weight = streams(2, "weight").normal(*clean.shape[1:]).double()

    def loss(at: Tensor) -> Tensor:
        return (threat.transform(0.4 * clean.double() + 0.3, at) * weight).sum()

    if name == "gaussian-blur":  # its waves are float32
        return
    slope = torch.autograd.grad(loss(z), z)[0]
    for row, column in ((0, 0), (1, threat.numbers - 1)):
        step = torch.zeros_like(z)
        step[row, column] = 1e-6
        with torch.no_grad():
            measured = (loss(z + step) - loss(z - step)) / 2e-6
        assert float(measured) == pytest.approx(float(slope[row, column]), rel=1e-3, abs=1e-3)


def test_a_quarter_turn_is_exact() -> None:
    threat = CATALOG.make("threat", "rotation-translation", {"degrees": 90.0})
    clean = images(1, 1, 9, 9)
    turned = threat.transform(clean, torch.tensor([[1.0, 0.0, 0.0]]))
    assert torch.allclose(turned, clean.rot90(1, (2, 3)), atol=1e-5)


def test_grey_has_no_hue() -> None:
    threat = CATALOG.make("threat", "hue-saturation", {})
    with pytest.raises(StudyError, match="three channels"):
        threat.transform(images(1, 1), torch.zeros(1, 2))


def test_a_grid_is_as_large_as_it_may_be() -> None:
    from classrob.testing.arena import arena, network

    grid = CATALOG.make("attack", "grid", {"steps": 5})
    for name, remedy in (("perspective", "fewer `steps`"), ("corruption/fog", "numbers to vary")):
        where = arena(CATALOG.make("threat", name, {}), name, network())
        with where.classifier.frozen(), pytest.raises(StudyError, match=remedy):
            where.search(grid)


def test_the_plates_of_ice_are_six_and_differ() -> None:
    from classrob_corruptions.ice import ice

    plates = ice(115, 32, 32)
    assert plates.shape[0] == 6
    assert len(Counter(round(float(p.mean()), 3) for p in plates)) >= 5
