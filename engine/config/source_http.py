"""The part of a ``source:`` block for messages that other systems post over HTTP, each in a request of its own.

source: {kind: http, listen: "127.0.0.1:8700"}
source: {kind: http, listen: "0.0.0.0:8700", tls: {cert: c.pem, key: k.pem}, auth: {bearer: {token: "${HIS_TOKEN}"}}}

Other machines reach it only with TLS and with proof of who sends: a port of HTTP is found by every scanner.
"""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from engine.config.tls import ServerTls
from engine.config.values import Address, Duration, Model, Networks, SecretName, Text, Whole
from engine.model.units import HostPort


class BearerToken(Model):
    """A token that the sender shows with each request (RFC 6750)."""

    token: SecretName
    """The token, by name only."""


class SenderAuth(Model):
    """How a sender proves who it is."""

    bearer: BearerToken
    """A fixed token, as `Authorization: Bearer ...`."""


class HttpPart(Model):
    """Messages posted over HTTP, one in each request (`docs/http.md`)."""

    transport: Literal["http"] = "http"
    """How bytes come: `http`."""

    link: Literal["whole"] = "whole"
    """`whole`: the body of a request is read at once, and answered when its messages are durable."""

    format: Literal["hl7v2"] = "hl7v2"
    """Content of the requests: `hl7v2`; one message, or a batch."""

    listen: Address
    """Address to listen on; port 0 takes any free one. Beyond this machine only with `tls`, and with `auth` or
    `tls: client_ca`."""

    path: Text = Field(default="/", pattern=r"^/[!-~]*$")
    """Path of the address to post to, as `/results`; any other is not found."""

    allow: Networks = ()
    """Addresses and networks that may connect, as `10.1.2.3` or `10.1.2.0/24`; others are ended at once and counted.
    By default any."""

    tls: ServerTls | None = None
    """TLS; with `client_ca`, mutual TLS."""

    auth: SenderAuth | None = None
    """How senders prove who they are. Without it every program of this machine may send."""

    max_connections: Whole = Field(default=32, ge=1, le=10_000)
    """Connections at once; one more takes the place of the one that has been idle longest."""

    request_timeout: Duration = Field(default=30.0, gt=0, le=600)
    """Longest time for the head of a request, and again for its body."""

    @property
    def address(self) -> HostPort:
        """Where it listens."""
        return self.listen

    @property
    def place(self) -> str:
        return str(self.listen)

    @model_validator(mode="after")
    def _protected(self) -> Self:
        if self.listen.is_loopback:
            return self
        if self.tls is None:
            raise PydanticCustomError(
                "http",
                "other machines reach this address, and results would come in clear; add tls, or listen on 127.0.0.1",
            )
        if self.auth is None and self.tls.client_ca is None:
            raise PydanticCustomError(
                "http", "any machine that reaches this address could send results; add auth, or tls: client_ca"
            )
        return self
