"""A server that LabRelay speaks to over HTTP: its address, how we log in there, and whom we trust."""

from collections.abc import Iterator

from engine.config.destinations.destination_auth import AuthConfig
from engine.config.reading.values import Flag, HttpUrl, Model
from engine.config.reading.yaml_nodes import KeyPath
from engine.config.tls import ConnectTls


class HttpServer(Model):
    """Settings of destinations and of sources that ask a server over HTTP."""

    url: HttpUrl
    """Address of the service."""

    auth: AuthConfig | None = None
    """How to log in."""

    tls: ConnectTls | None = None
    """Trust and client certificate for https."""

    gzip: Flag = False
    """Compress requests, and ask for compressed answers; only where the server is known to take it."""

    @property
    def place(self) -> str:
        return self.url

    @property
    def any_process(self) -> bool:
        # Some servers end a client's token when they give it another one: only one process may ask for tokens.
        return self.auth is None or self.auth.oauth2 is None

    def in_clear(self) -> Iterator[tuple[KeyPath, str]]:
        """Secrets that would go to another machine without TLS: the key that says so, and a sentence."""
        return iter(()) if self.auth is None else self.auth.in_clear(self.url)
