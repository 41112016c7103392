"""Refusals of the sandbox: a status and an OperationOutcome. The text names places and rules, never values."""

from typing import Any


def outcome(code: str, text: str, place: str = "", severity: str = "error") -> dict[str, Any]:
    """An OperationOutcome with one issue."""
    issue: dict[str, Any] = {"severity": severity, "code": code, "diagnostics": text}
    if place:
        issue["expression"] = [place]
    return {"resourceType": "OperationOutcome", "issue": [issue]}
