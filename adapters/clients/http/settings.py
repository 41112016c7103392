"""Settings that several destinations share: the peer's address, our credentials, and the authorities to trust."""

from pathlib import Path
from typing import Protocol


class Address(Protocol):
    host: str
    port: int


class Secret(Protocol):
    """A place that a secret is read from, each time it is needed: a rotated one is picked up."""

    def reveal(self) -> str: ...


class BasicAuth(Protocol):
    user: str
    password: Secret


class Tls(Protocol):
    """PEM files: the authorities that we trust (None: the system's), our certificate and its key."""

    ca: Path | None
    cert: Path | None
    key: Path | None
