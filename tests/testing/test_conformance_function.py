"""`classrob.testing.conformance`: what a package's own tests see."""

from __future__ import annotations

import subprocess
import sys

import pytest

from classrob.errors import UsageError
from classrob.testing import conformance

from .test_check_command import RUDE, SIGN

TEST = """
from classrob.testing import conformance

test_good = conformance("./sign.py:Sign")
test_rude = conformance("./rude.py:Sign")
test_forgiven = conformance(
    "./rude.py:Sign",
    expected_failures={
        "attack/leaves_no_trace[./rude.py:Sign]": "known, to be repaired",
        "part/is_frozen[./rude.py:Sign]": "expected, but does not fail",
    },
)
"""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The outcome of every case of a package's tests, by its name."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "sign.py").write_text(SIGN)
    (folder / "rude.py").write_text(RUDE)
    (folder / "test_conformance.py").write_text(TEST)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-v",
        "--no-header",
        "test_conformance.py",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("test_conformance.py::")]
    return {line[0].partition("::")[2]: line[1] for line in lines}


def test_every_promise_is_a_case_with_a_readable_name(verdicts: dict[str, str]) -> None:
    good = {name: verdict for name, verdict in verdicts.items() if name.startswith("test_good")}
    assert good["test_good[attack/respects_the_budget[./sign.py:Sign]]"] == "PASSED"
    assert good["test_good[part/describes_its_fields[./sign.py:Sign]]"] == "SKIPPED"
    assert set(good.values()) == {"PASSED", "SKIPPED"}


def test_a_broken_promise_is_a_failed_case(verdicts: dict[str, str]) -> None:
    assert verdicts["test_rude[attack/leaves_no_trace[./rude.py:Sign]]"] == "FAILED"
    assert verdicts["test_rude[part/is_frozen[./rude.py:Sign]]"] == "PASSED"


def test_an_expected_failure_is_expected_and_strict(verdicts: dict[str, str]) -> None:
    assert verdicts["test_forgiven[attack/leaves_no_trace[./rude.py:Sign]]"] == "XFAIL"
    assert verdicts["test_forgiven[part/is_frozen[./rude.py:Sign]]"] == "FAILED"


def test_an_expected_failure_of_no_case_is_refused() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'attack/leaves_no_trace\[lp/pgd\]'"):
        conformance("lp/pgd", expected_failures={"attack/leaves_no_traces[lp/pgd]": "a typing error"})
