"""The errors of the tools for developers."""

from engine.model.errors import LabRelayError


class PrototypeError(LabRelayError):
    """The prototype of a benchmark cannot be run, or gave no figures; the text says why."""


class DroppedError(ConnectionError):
    """The simulator broke the line off on purpose."""


class WrongAnswerError(LabRelayError):
    """An answer of the host to an analyzer that asked for orders; the words say what is wrong with it."""


class MalformedError(LabRelayError):
    """Not JSON, or JSON that cannot be written again; the text says what is wrong and quotes nothing."""


class RefusalError(LabRelayError):
    """The sandbox does not take a request.

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


class GatewayRefusalError(LabRelayError):
    """The simulated ABDM gateway does not take a request.

    Attributes:
        code: NHA's, as ``ABDM-1006``; empty: the answer has no body.
        rule: the violation that is noted with it; empty: the caller did nothing wrong.
        detail: for the list of violations.
    """

    def __init__(self, code: str, message: str = "", *, status: int = 400, rule: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.rule = rule
        self.detail = detail
