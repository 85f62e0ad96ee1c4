"""A validation error as one line that a person can act on."""

from __future__ import annotations

from pydantic import ValidationError

from classrob.errors import nearest


def explain(error: ValidationError, known: list[str]) -> str:
    """A validation error's first fault as one line, with the nearest known name for an unknown key."""
    faults = error.errors(include_url=False)
    strangers = [fault for fault in faults if fault["type"] == "extra_forbidden"]
    fault = (strangers or faults)[0]  # a misspelt key also leaves the right one missing: say the cause
    path = ".".join(str(step) for step in fault["loc"] if not str(step).startswith("function-"))
    match fault["type"]:
        case "extra_forbidden":
            listed = ", ".join(known) or "it takes none"
            return f"unknown key '{path}'{nearest(str(fault['loc'][-1]), known)} (known: {listed})"
        case "missing":
            return f"'{path}' is required"
        case "value_error":
            reason = str(fault.get("ctx", {}).get("error", fault["msg"]))
            return f"{path}: {reason}" if path else reason
        case _:
            value = repr(fault["input"])
            return f"{path}: {fault['msg'][0].lower()}{fault['msg'][1:]}, not {value[:60]}"
