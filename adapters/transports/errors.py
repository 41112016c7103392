"""The errors that pass between the modules of the transports."""

from engine.model.errors import LabRelayError


class NoSuchPortError(OSError):
    """No port, or more than one, has this name; the text says which."""


class LineError(OSError):
    """The line cannot be opened, or broke; the text is for people."""


class FolderError(LabRelayError):
    """The folder cannot be used just now; its text is for people, and names no file."""
