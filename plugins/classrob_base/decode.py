"""An encoded image to a PIL image, with every way that decoding fails brought to `ValueError`."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

from PIL import Image


def decoded(source: Path | BytesIO) -> Image.Image:
    """The image of a file or of encoded bytes, read to its end.

    Raises:
        ValueError: no image, an unknown format, damaged, or too large to be meant seriously.
        OSError: the file cannot be read.
    """
    try:
        with Image.open(source) as image:
            image.load()  # a truncated file shows only here
            return image
    except (SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise ValueError(f"not a readable image: {error}") from error
    except Image.UnidentifiedImageError as error:  # its own text holds the address of a buffer in memory
        raise ValueError("not an image in a format that Pillow knows") from error
