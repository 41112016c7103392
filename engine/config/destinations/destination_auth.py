"""A server that LabRelay speaks to over HTTP: its address, how we log in there (``auth:``), and whom we trust."""

from collections.abc import Iterator
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import model_validator

from engine.config.reading.values import FilePath, Flag, HttpUrl, Model, Name, SecretName, Text, WebAddress
from engine.config.reading.yaml_nodes import KeyPath
from engine.config.tls import ConnectTls
from engine.model.texts.units import HostPort

USE_HTTPS = "use https://, or a tunnel to it that ends on this machine"
USE_MQTT_TLS = "add `tls: {}` and the broker's port for TLS (8883)"
_IN_CLEAR = {
    "basic": "user and password go to {host} in clear, with every request",
    "bearer": "the token goes to {host} in clear, with every request",
    "oauth2": "tokens go to {host} in clear, with every request",
    "hmac": "signed requests go to {host} in clear: the key is not shown, and all else is",
}


class BasicAuth(Model):
    """HTTP Basic: a user and a password with each request."""

    user: Text
    """User name."""

    password: SecretName
    """The password, by name only."""


class BearerAuth(Model):
    """A bearer token with each request."""

    token: SecretName
    """The token, by name only."""


class OAuth2Auth(Model):
    """A token of an authorization server with each request: OAuth 2.0 client credentials, or SMART backend services.

    Who we are is shown by `client_secret`, or by an assertion signed with a private key (`key` or `private_key`).
    """

    token_url: WebAddress | None = None
    """Address that gives tokens, as `https://auth.example.org/oauth2/token`. Of a FHIR server that says it itself
    (`.well-known/smart-configuration`) it may be left out."""

    token_host: Text | None = None
    """Without `token_url`: host that the FHIR server may name for tokens beside its own, as `auth.example.org`. No
    secret is sent to any other."""

    client_id: Text
    """The name under which the authorization server knows us."""

    client_secret: SecretName | None = None
    """The client's secret, by name only."""

    client_auth: Literal["basic", "post"] = "basic"
    """How `client_secret` is shown: in a header (`basic`) or in the form (`post`)."""

    key: FilePath | None = None
    """PEM file with the private key that signs our assertions, RSA (RS384) or EC P-384 (ES384); its public half, to
    register at the server, is printed by `labrelay jwks`."""

    private_key: SecretName | None = None
    """The same key as a secret, by name only."""

    kid: Text | None = None
    """Key id in our assertions; by default the key's RFC 7638 thumbprint."""

    scope: Text | None = None
    """The scope of the token, as `system/*.write`."""

    audience: Text | None = None
    """`audience` of the request for a token, where the server wants one."""

    tls: ConnectTls | None = None
    """Trust and client certificate for `token_url`; without it, the destination's `tls`."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in ("client_secret", "key", "private_key") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of client_secret, key and private_key")
        if self.kid is not None and self.client_secret is not None:
            raise ValueError("kid names a private key, and there is none; take it out")
        if self.token_url is not None and self.token_host is not None:
            raise ValueError("token_host is for a server that names its token_url itself; take one of them out")
        return self


class HmacAuth(Model):
    """A signature (HMAC-SHA256) over time, method, path and body with each request."""

    key_id: Name
    """Which of the keys that the receiver knows; change it together with the secret."""

    secret: SecretName
    """The key that we share with the receiver, by name only."""


class AuthConfig(Model):
    """How we log in. Exactly one of the kinds."""

    basic: BasicAuth | None = None
    """User and password."""

    bearer: BearerAuth | None = None
    """A fixed token."""

    oauth2: OAuth2Auth | None = None
    """Tokens of an authorization server."""

    hmac: HmacAuth | None = None
    """A signature with each request."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if [self.basic, self.bearer, self.oauth2, self.hmac].count(None) != 3:
            raise ValueError("give exactly one way to log in: basic, bearer, oauth2 or hmac")
        return self

    def in_clear(self, url: str) -> Iterator[tuple[KeyPath, str]]:
        """Secrets that go to another machine without TLS when we log in at ``url``: the key, and a sentence."""
        if host := host_in_clear(url):
            way = next(name for name in _IN_CLEAR if getattr(self, name) is not None)
            yield ("auth", way), f"{_IN_CLEAR[way].format(host=host)}; {USE_HTTPS}"
        oauth2 = self.oauth2
        if oauth2 is not None and oauth2.token_url is not None and (host := host_in_clear(oauth2.token_url)):
            sent = "client_secret goes" if oauth2.client_secret is not None else "signed assertions and tokens go"
            text = f"{sent} to {host} in clear, which RFC 6749 forbids (3.2); {USE_HTTPS}"
            yield ("auth", "oauth2", "token_url"), text


class PasswordAuth(Model):
    """A user and a password, and no other way to log in."""

    basic: BasicAuth
    """User and password."""

    def in_clear(self, server: HostPort, way_out: str) -> Iterator[tuple[KeyPath, str]]:
        """The password, where ``server`` is another machine; for a connection without TLS."""
        if not server.is_loopback:
            yield ("auth",), f"user and password go to {server} in clear, with every message; {way_out}"


def host_in_clear(url: str) -> str:
    """The host that is spoken to without TLS over a network; empty where there is none."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return host if parts.scheme == "http" and not HostPort(host, parts.port or 80).is_loopback else ""


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

    def in_clear(self) -> Iterator[tuple[KeyPath, str]]:
        """Secrets that would go to another machine without TLS: the key that says so, and a sentence."""
        return iter(()) if self.auth is None else self.auth.in_clear(self.url)
