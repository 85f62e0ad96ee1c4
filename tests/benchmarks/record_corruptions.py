"""Record statistics of imagecorruptions-imaug's random corruptions, which `tests/plugins/test_reference.py` compares with.

    python tests/benchmarks/record_corruptions.py tests/plugins/recorded_corruptions.npz

Of the first 200 test images of CIFAR-10 at 32 pixels, with the parameters for 224, the only ones that the reference
has. It draws from NumPy's own generator, seeded with 0.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from corruptions import THEIRS, pictures

sys.path.insert(0, str(Path(__file__).parents[1]))
from plugins.corrupted import RANDOM, SEVERITIES, predictions, statistics


def main() -> None:
    """Write an array for each corruption and severity: [200, statistics], and [models, 200] of predictions."""
    from imagecorruptions import corrupt  # pyright: ignore[reportMissingImports]

    warnings.simplefilter("ignore")
    whole = pictures(200, 32)
    found: dict[str, Any] = {}
    for name in RANDOM:
        for severity in SEVERITIES:
            np.random.seed(0)
            their = THEIRS.get(name, name.replace("-", "_"))
            try:
                made = [corrupt(image, severity=severity, corruption_name=their) for image in whole]
            except Exception as error:  # some of the reference's no longer run
                print(name, severity, type(error).__name__, error)
                continue
            levels = np.stack(made).transpose(0, 3, 1, 2).astype(np.float32) / 255
            clean = whole.transpose(0, 3, 1, 2).astype(np.float32) / 255
            found[f"{name}/{severity}"] = statistics(levels, clean).astype(np.float32)
            found[f"{name}/{severity}/said"] = predictions(levels)
    np.savez_compressed(sys.argv[1], **found)


if __name__ == "__main__":
    main()
