"""What is published of the common corruptions: their families, and AlexNet's errors, by which others are divided.

Hendrycks and Dietterich (2019), ImageNet-C. The mean corruption error is that of fifteen corruptions; the
four others were held back for validation.
"""

from __future__ import annotations

from typing import Final

#: The severities that exist.
SEVERITIES: Final = (1.0, 2.0, 3.0, 4.0, 5.0)

#: The fifteen corruptions in their four families, and the four held back.
FAMILIES: Final = {
    "noise": ("gaussian-noise", "shot-noise", "impulse-noise"),
    "blur": ("defocus-blur", "glass-blur", "motion-blur", "zoom-blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic", "pixelate", "jpeg"),
    "extra": ("speckle-noise", "gaussian-blur", "spatter", "saturate"),
}

#: The name under which a study asks for the published figures.
ALEXNET: Final = "alexnet"

#: AlexNet's top-1 error on ImageNet, as it is commonly quoted: not looked up in the paper. `relative-mce` rests on it.
CLEAN: Final = 0.435

#: AlexNet's top-1 errors on ImageNet-C, each the mean over five severities (github.com/hendrycks/robustness).
ERRORS: Final = {
    "gaussian-noise": 0.886428,
    "shot-noise": 0.894468,
    "impulse-noise": 0.922640,
    "defocus-blur": 0.819880,
    "glass-blur": 0.826268,
    "motion-blur": 0.785948,
    "zoom-blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic": 0.646056,
    "pixelate": 0.717840,
    "jpeg": 0.606500,
    "speckle-noise": 0.845388,
    "gaussian-blur": 0.787108,
    "spatter": 0.717512,
    "saturate": 0.658248,
}
