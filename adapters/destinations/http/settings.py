"""What several destinations read from their YAML blocks: where the peer is, who we are, and whom we trust."""

from pathlib import Path
from typing import Protocol


class Address(Protocol):
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


class Secret(Protocol):
    """A place that a secret is read from, each time it is needed: a rotated one is picked up."""

    def reveal(self) -> str: ...


class BasicAuth(Protocol):
    @property
    def user(self) -> str: ...
    @property
    def password(self) -> Secret: ...


class Tls(Protocol):
    """PEM files: the authorities that we trust (None: the system's), our certificate and its key."""

    @property
    def ca(self) -> Path | None: ...
    @property
    def cert(self) -> Path | None: ...
    @property
    def key(self) -> Path | None: ...
