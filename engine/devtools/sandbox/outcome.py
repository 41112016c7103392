"""How the sandbox says no: a status and an OperationOutcome. The text names places and rules, never values."""

from typing import Any


class RefusalError(Exception):
    """The request is not taken.

    Attributes:
        status: the HTTP status.
        code: the issue's code (FHIR value set issue-type).
        place: where, as ``Bundle.entry[3].resource.status``; empty if it is about the whole request.
    """

    def __init__(self, status: int, code: str, text: str, place: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text
        self.place = place

    def inside(self, place: str) -> "RefusalError":
        """The same, seen from further outside."""
        return RefusalError(self.status, self.code, self.text, f"{place}.{self.place}" if self.place else place)

    def outcome(self) -> dict[str, Any]:
        return outcome(self.code, self.text, self.place)


def outcome(code: str, text: str, place: str = "", severity: str = "error") -> dict[str, Any]:
    """An OperationOutcome with one issue."""
    issue: dict[str, Any] = {"severity": severity, "code": code, "diagnostics": text}
    if place:
        issue["expression"] = [place]
    return {"resourceType": "OperationOutcome", "issue": [issue]}
