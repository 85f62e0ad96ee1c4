"""Checks paired with what they check: what the command line runs and what pytest parametrises."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from classrob.catalog import Catalog
from classrob.errors import UsageError, nearest
from classrob.testing.check import Check, checks
from classrob.testing.subject import PluginSubject, Subject, subjects
from classrob.testing.verdict import Result


@dataclass(frozen=True)
class Case:
    """One check of one subject."""

    check: Check
    subject: Subject | PluginSubject

    @property
    def name(self) -> str:
        """`attack/respects_the_budget[sign/sign]`."""
        return f"{self.check.id}[{self.subject.name}]"

    def run(self) -> Result:
        """The verdict."""
        return self.check(self.subject)


def cases(found: Iterable[Subject | PluginSubject]) -> Iterator[Case]:
    """Every check of every subject."""
    for subject in found:
        kinds = ("plugin",) if subject.kind == "plugin" else ("part", subject.kind)
        for kind in kinds:
            for check in checks(kind):
                yield Case(check, subject)


def parametrised(
    reference: str, fields: Mapping[str, Mapping[str, Any]], expected_failures: Mapping[str, str]
) -> Callable[..., None]:
    """The pytest function of `classrob.testing.conformance`."""
    import pytest  # only here: the command line does without

    found = list(cases(subjects(reference, Catalog.installed(), fields)))
    names = [case.name for case in found]
    for name in expected_failures:
        if name not in names:
            raise UsageError(f"expected failure '{name}' is no case of '{reference}'{nearest(name, names)}")

    def marked(case: Case) -> Any:
        reason = expected_failures.get(case.name)
        return pytest.param(
            case, id=case.name, marks=[pytest.mark.xfail(reason=reason, strict=True)] if reason else []
        )

    @pytest.mark.parametrize("case", [marked(case) for case in found])
    def test_conformance(case: Case) -> None:
        """The part keeps the promise."""
        result = case.run()
        if result.result == "skipped":
            pytest.skip(result.reason)
        assert result.result == "ok", f"{result.case}: {result.reason}"

    return test_conformance
