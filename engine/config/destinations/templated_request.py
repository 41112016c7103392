"""A request to a web service whose body is a text with ``{names}``: SMS of `kind: abdm`, sinks of alerts.

Which names there are, and which the body has to have, the model of each service says (`named`, `needed`).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import parse_qsl

import orjson
from pydantic import StringConstraints, model_validator

from engine.config.destinations.destination_auth import USE_HTTPS, AuthConfig, host_in_clear
from engine.config.reading.values import HttpUrl, Model, SecretName, Text, Words
from engine.config.tls import ConnectTls
from engine.model.texts.templates import filled

HeaderName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"), Words("name of a header")
]
OURS = frozenset({"content-type", "content-length", "host", "transfer-encoding", "connection", "authorization"})


class SecretHeader(Model):
    """A header of each request."""

    name: HeaderName
    """Its name, as `authkey`."""

    secret: SecretName
    """Its value, by name only."""


class TemplatedRequest(Model):
    """A web service that takes one text per request.

    Attributes:
        named: what the body may name, with samples.
        needed: names of which the body has to have each.
        shown: what goes in clear without TLS.
        timeout: for one attempt, connecting included.
    """

    named: ClassVar[Mapping[str, str]]
    needed: ClassVar[tuple[str, ...]]
    shown: ClassVar[str]
    timeout: ClassVar[float] = 10.0

    url: HttpUrl
    """Address of the service: `https://`, or this machine."""

    method: Literal["POST", "PUT"] = "POST"
    """Request method."""

    auth: AuthConfig | None = None
    """How to log in."""

    header: SecretHeader | None = None
    """A header with a secret, as `{name: authkey, secret: "${SMS_KEY}"}`, for a service that wants one of its own."""

    tls: ConnectTls | None = None
    """Trust and client certificate for https."""

    type: Literal["json", "form", "text"] = "json"
    """Form of `body`."""

    body: Annotated[Text, StringConstraints(max_length=4000)]
    """What is sent, with names in braces."""

    taken: Text | None = None
    """A text that the answer has where the service took the request, for one that answers 200 also to what it
    refuses."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if host := host_in_clear(self.url):
            raise ValueError(f"url: {self.shown} would go to {host} in clear; {USE_HTTPS}")
        if self.auth is not None and self.auth.oauth2 is not None and self.auth.oauth2.token_url is None:
            raise ValueError("auth.oauth2 needs token_url: only a FHIR server says by itself who gives its tokens")
        for part in self.needed:
            if f"{{{part}}}" not in self.body:
                raise ValueError(f"body has no {{{part}}}; write it where the service wants it")
        if self.header is not None and self.header.name.lower() in OURS:
            raise ValueError(f"header: {self.header.name} is not for this place; take it out, and log in by auth")
        body = filled(self.body, self.type, self.named)
        try:
            found: Any = orjson.loads(body) if self.type == "json" else parse_qsl(body) if self.type == "form" else body
        except orjson.JSONDecodeError:
            raise ValueError("body is no JSON; write it so, or give type: form or text") from None
        if self.type == "form" and not found:
            raise ValueError("body is no form; write it as to=91{mobile}&text={code}, or give another type")
        return self


class SmsConfig(TemplatedRequest):
    """An SMS service that takes one text per request, for the code of a link (`sms:` of a destination of kind
    ``abdm``)."""

    named: ClassVar = MappingProxyType({"mobile": "9000000000", "code": "012345", "facility": 'A "laboratory"'})
    needed: ClassVar = ("mobile", "code")
    shown: ClassVar = "codes and mobiles"

    body: Annotated[Text, StringConstraints(max_length=4000)]
    """What is sent, with `{mobile}` (ten digits), `{code}` and `{facility}` (the laboratory's name) in it, as
    `{"to": "91{mobile}", "text": "{code} links your reports of {facility}."}`. Other braces stay."""

    taken: Text | None = None
    """A text that the answer has where the SMS was taken, for a service that answers 200 also to what it refuses."""
