"""What all tests share: the real data and models that lie beside the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before anything imports torch: the networks of the tests are so small that threads wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and models beside the repository; the test is skipped where it is absent."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the real data and models in a folder 'shared' beside the repository")
    return folder
