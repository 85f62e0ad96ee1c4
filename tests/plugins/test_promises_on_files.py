"""The parts that need a file keep the promises of their kinds, on files made here; timm's on one of its nets."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ..host.conftest import NETS, Called, cli, quarters

__all__ = ["cli"]  # the fixture


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """One small data set in every layout, a network as a file, and its weights."""
    images, labels = quarters(24)
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    (tmp_path / "nets.py").write_text(NETS)
    cells = []
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / "folder" / f"class {label}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        cells.append({"bytes": path.read_bytes(), "path": path.name})
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"image": cells, "label": labels}), tmp_path / "data.parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("reference", "fields"),
    [
        ("base/arrays", {"path": "data.npz"}),
        ("base/folder", {"path": "folder"}),
        ("base/parquet", {"path": "data.parquet"}),
        ("base/torch", {"factory": "nets.py:curved", "size": [6, 6], "channels": 1}),
    ],
)
def test_it_keeps_its_promises(
    reference: str,
    fields: dict[str, object],
    files: Path,
    cli: Callable[..., Called],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(files)
    settings = [part for name, value in fields.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    called = cli("check", reference, *settings, "--format", "json")
    states = json.loads(called.out)
    assert called.code == 0, called.out
    assert len(states) > 10


def test_an_onnx_file_keeps_its_promises(shared: Path, cli: Callable[..., Called]) -> None:
    pytest.importorskip("onnx")
    path = shared / "models" / "cifar10-resnet-2b.onnx"
    called = cli("check", "onnx/onnx", "--set", f'path="{path}"')
    assert called.code == 0, called.out


def test_a_timm_net_keeps_its_promises(tmp_path: Path, cli: Callable[..., Called]) -> None:
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"timm does not import here: {error}")
    torch.manual_seed(0)
    net = timm.create_model("test_resnet.r160_in1k", pretrained=False)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    called = cli("check", "timm/test_resnet.r160_in1k", "--set", f'checkpoint="{tmp_path / "net.pth"}"')
    assert called.code == 0, called.out
    assert "torch" in sys.modules
