"""What a gate has checked, as the JUnit XML that build servers show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from classrob.reading.requirement import Checked, Requirement

#: What XML 1.0 cannot hold, escaped or not.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(groups: Sequence[tuple[Requirement, Sequence[Checked]]], name: str) -> bytes:
    """One test suite a requirement, one test case a row; UTF-8 with its declaration.

    As `junit-10.xsd` has it, the schema by which Jenkins' xUnit plugin reads such files (MIT licence).
    """
    every = [one for _, checked in groups for one in checked]
    whole = _counts(f"classrob gate {name}", every)
    del whole["skipped"]  # the schema has it of single suites alone
    root = ElementTree.Element("testsuites", whole)
    for requirement, checked in groups:
        suite = ElementTree.SubElement(root, "testsuite", _counts(requirement.text, checked))
        for one in checked:
            attributes = {
                "name": _clean(title(one)),
                "classname": _clean(f"{name}.{requirement.metric}"),
                "time": "0",
            }
            case = ElementTree.SubElement(suite, "testcase", attributes)
            if one.state != "met":
                text = _clean(said(one))
                failure = ElementTree.SubElement(case, "failure", {"message": text, "type": one.state})
                failure.text = f"{_clean(requirement.text)}\n{text}"
    ElementTree.indent(root)
    return ElementTree.tostring(root, "utf-8", xml_declaration=True)


def title(one: Checked) -> str:
    """The row that was looked at, in words."""
    if (row := one.row) is None:
        return one.requirement.text
    budget = None if row.budget is None else f"{row.budget:.6g}"
    label = "all classes" if row.label is None else row.label
    names = (row.model, row.dataset, row.threat, budget, row.attack, label)
    return " · ".join(name for name in names if name is not None)


def said(one: Checked) -> str:
    """What was found there, with its interval and sample size."""
    if (row := one.row) is None:
        return "no row matches"
    if one.measured is None:
        return f"undefined (n = {row.n})"
    ends = ", ".join("unknown" if end is None else f"{end:.4g}" for end in (row.low, row.high))
    value = "undefined" if row.value is None else f"{row.value:.4g}"
    short = "" if one.short is None else f", misses {one.requirement.number:.4g} by {one.short:.4g}"
    return f"{value} [{ends}], n = {row.n}{short}"


def _counts(name: str, checked: Sequence[Checked]) -> dict[str, str]:
    failures = sum(one.state != "met" for one in checked)
    counts = {"tests": len(checked), "failures": failures, "errors": 0, "skipped": 0, "time": 0}
    return {"name": _clean(name), **{key: str(n) for key, n in counts.items()}}


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("�", text)
