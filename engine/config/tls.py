"""The ``tls:`` of a source that listens, of the page, and of a connection that we open."""

from typing import Self

from pydantic import model_validator

from engine.config.reading.values import FilePath, Model, Texts


class ServerTls(Model):
    """TLS of a listening source, and of the page."""

    cert: FilePath
    """PEM file with our certificate and its chain."""

    key: FilePath
    """PEM file with its private key."""

    client_ca: FilePath | None = None
    """PEM file with the authorities whose client certificates are accepted; given, one is demanded."""

    client_names: Texts = ()
    """Names of which a client's certificate must have one, as written there: DNS name, address, URI or email among
    its alternative names, or its common name. By default each certificate of `client_ca` may use the channel."""

    @model_validator(mode="after")
    def _names_of_clients(self) -> Self:
        if self.client_names and self.client_ca is None:
            raise ValueError("client_names needs client_ca: without it no certificate is asked for")
        return self


class ConnectTls(Model):
    """TLS where we open the connection."""

    ca: FilePath | None = None
    """PEM file with the authorities to trust; without it, the system's."""

    cert: FilePath | None = None
    """PEM file with our client certificate, where one is asked."""

    key: FilePath | None = None
    """PEM file with the private key of `cert`."""

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key go together; give both or neither")
        return self
