"""The errors that pass between the modules of the transports."""

from collections.abc import Mapping

from engine.model.errors import LabRelayError


class NoSuchPortError(OSError):
    """No port, or more than one, has this name; the text says which."""


class LineError(OSError):
    """The line cannot be opened, or broke; the text is for people."""


class FolderError(LabRelayError):
    """The folder cannot be used just now; its text is for people, and names no file."""


class SearchError(LabRelayError):
    """A server cannot be searched just now; its text is for people, and names no resource."""


class RequestError(LabRelayError):
    """A request that is not taken; the text is for the person at the sender's side, without content.

    Attributes:
        status: of HTTP, from 400 on.
        headers: of the answer, beside its own.
        fault: kind of the `engine.model.link_events.LinkFault` that it counts as; empty: as none.
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None, fault: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers or {}
        self.fault = fault
