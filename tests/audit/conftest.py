"""The command line of the host's tests, and the broken defences run and audited once for all tests."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from classrob.audit.run import audit
from classrob.audit.stored import Audit
from classrob.audit.tally import Finding
from classrob.run import run
from classrob.study import make_study

from ..host.conftest import cli, study
from .defences import DEFENCES

__all__ = ["cli", "study"]

#: The model that the defences are wrapped round, alone: the honest one among them.
HONEST = "trained"


@dataclass(frozen=True)
class Broken:
    """The run of all defences, and what its audit found."""

    folder: Path
    audit: Audit

    def finding(self, model: str, sign: str) -> Finding:
        """One sign of one model."""
        (one,) = [f for f in self.audit.findings if (f.model, f.sign) == (model, sign)]
        return one

    def fired(self, model: str) -> set[str]:
        """The signs that fired for a model."""
        return {f.sign for f in self.audit.findings if f.model == model and f.state == "fired"}


@pytest.fixture(scope="session")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Broken:
    """Three images of every digit, one budget: enough for what a defence does to all images."""
    base = tmp_path_factory.mktemp("defences")
    shutil.copy(Path(__file__).parent / "defences.py", base)
    names = [cls.__name__ for cls in DEFENCES] + [HONEST]
    for name in names:  # a file each, since a model's identity is the content of its file
        (base / f"{name}.py").write_text(f"from defences import {name} as model\n")
    study = make_study(
        {
            "name": "broken",
            "pictures": 0,
            "model": [{"use": "torch", "name": name, "factory": f"{name}.py:model"} for name in names],
            "dataset": [{"use": "digits", "limit": 30, "stratify": True}],
            "threat": [{"use": "linf", "budgets": [0.2], "attack": {"use": "pgd", "steps": 2}}],
        }
    )
    run(study, base, base / "run")
    return Broken(base / "run", audit(base / "run", 30))
