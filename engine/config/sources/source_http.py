"""The part of a ``source:`` block for messages that other systems post over HTTP, each in a request of its own.

source: {kind: http, listen: "127.0.0.1:8700"}
source: {kind: http, listen: "0.0.0.0:8700", tls: {cert: c.pem, key: k.pem}, auth: {bearer: {token: "${HIS_TOKEN}"}}}

Other machines reach it only with TLS and with proof of who sends: a port of HTTP is found by every scanner.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from engine.config.reading.values import Address, Duration, Model, Networks, SecretName, Text, Whole, Words
from engine.config.tls import ServerTls
from engine.model.texts.units import HostPort

PLACE = re.compile(r"\{([^{}]*)\}")
HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")


def _header(name: str) -> str:
    if not HEADER.fullmatch(name):
        raise ValueError("expected the name of a header, as X-Signature")
    return name


def _path(text: str) -> str:
    if not re.fullmatch(r"/[!-~]*", text) or "?" in text or "#" in text:
        raise ValueError("expected a path without a query, as /results")
    return text


HeaderName = Annotated[str, AfterValidator(_header), Words("name of a header")]
UrlPath = Annotated[str, AfterValidator(_path), Words("text")]


class BearerToken(Model):
    """A token that the sender shows with each request (RFC 6750)."""

    token: SecretName
    """The token, by name only."""


class BodySignature(Model):
    """A signature (HMAC) with each request, over its body and, where the sender gives one, its time."""

    secret: SecretName
    """The key that we share with the sender, by name only."""

    signature: HeaderName = "X-Signature"
    """Header with the signature; several in it are separated by blanks, and one of them must be right."""

    timestamp: HeaderName | None = None
    """Header with the time, in seconds or milliseconds since 1970. It must be a part of `signed`."""

    signed: Text = "{body}"
    """The text that the sender signs: `{body}`, `{timestamp}`, and names of other headers in braces, as
    `"{timestamp}.{body}"` or `"{webhook-id}.{timestamp}.{body}"`."""

    algorithm: Literal["sha256", "sha512"] = "sha256"
    """The hash of the HMAC."""

    encoding: Literal["hex", "base64"] = "hex"
    """How the signature is written."""

    prefix: str = ""
    """Text before the signature, as `sha256=`."""

    window: Duration = Field(default=300.0, gt=0, le=3600)
    """How far the time of a request may be from ours, before or after."""

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        names = PLACE.findall(self.signed)
        if names.count("body") != 1 or not all(name == "timestamp" or HEADER.fullmatch(name) for name in names):
            raise ValueError("signed has {body} once, and names of headers in braces, as {timestamp}.{body}")
        if ("timestamp" in names) != (self.timestamp is not None):
            raise ValueError(
                "timestamp and {timestamp} in signed go together; a time that is not signed proves nothing"
            )
        return self


class SenderAuth(Model):
    """How a sender proves who it is. Exactly one of the kinds."""

    bearer: BearerToken | None = None
    """A fixed token, as `Authorization: Bearer ...`."""

    hmac: BodySignature | None = None
    """A signature with each request."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.bearer is None) == (self.hmac is None):
            raise ValueError("give exactly one way to prove who sends: bearer or hmac")
        return self


class HttpPart(Model):
    """Messages posted over HTTP, one in each request (`docs/connecting.md`)."""

    transport: Literal["http"] = "http"
    """How bytes come: `http`."""

    link: Literal["whole"] = "whole"
    """`whole`: the body of a request is read at once, and answered when its messages are durable."""

    format: Literal["hl7v2", "json", "fhir"] = "hl7v2"
    """Content of the requests: `hl7v2`, one message or a batch; `json`, an object or a list; `fhir`, a resource as
    JSON."""

    listen: Address
    """Address to listen on; port 0 takes any free one. Beyond this machine only with `tls`, and with `auth` or
    `tls: client_ca`."""

    path: UrlPath = "/"
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

    @property
    def reads_as(self) -> str:
        return "json" if self.format == "fhir" else self.format

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
