"""The conformance kit: what a part promises by being of its kind, as checks that anyone can run.

`classrob check REF` runs them from the command line, `conformance(REF)` in a package's own tests.
Importing this package loads nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["conformance"]


def conformance(
    reference: str,
    *,
    fields: Mapping[str, Mapping[str, Any]] | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> Callable[..., None]:
    """A pytest function with one case for every promise of a part, or of all parts of a plugin.

    Write `test_conformance = classrob.testing.conformance("sign")`; a case is then called
    `attack/respects_the_budget[sign/sign]`.

    Args:
        reference: a plugin (`sign`), a part (`sign/sign`) or a class in a file (`./sign.py:Sign`).
        fields: by the part's full name, the fields that have no default.
        expected_failures: by the case's name, the reason why it fails. Strict: one that passes, or
            that names no case, is an error.

    Raises:
        ClassrobError: the reference or an expected failure names nothing.
    """
    from classrob.testing.cases import parametrised

    return parametrised(reference, fields or {}, expected_failures or {})
