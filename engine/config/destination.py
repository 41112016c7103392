"""The ``destinations:`` of a site: where documents go, and how patiently.

One model per ``kind``; what all kinds share is in `DestinationBase`.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from engine.config.downtime import DowntimeWindow, leaves_time
from engine.config.source import ConnectTls
from engine.config.values import (
    Address,
    Bucket,
    Duration,
    Endpoint,
    FilePath,
    Flag,
    HttpUrl,
    Model,
    Name,
    Prefix,
    SecretName,
    Text,
    Topic,
    WebAddress,
    Whole,
)

KINDS = ("fhir", "http", "mllp", "file", "mqtt", "s3")


class RetryConfig(Model):
    """When a failed delivery is tried again: after `first`, then twice as long each time up to `max`, with jitter."""

    first: Duration = Field(default=1.0, gt=0, le=86_400, description="Wait after the first failed attempt.")
    max: Duration = Field(default=300.0, gt=0, le=86_400, description="Longest wait between two attempts.")
    give_up_after: Duration | None = Field(
        default=None,
        gt=0,
        description="Age of a message at which a delivery that still fails becomes a dead letter (`GAVE_UP`). By "
        "default never: a destination that is down for a week loses nothing.",
    )

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.max < self.first:
            raise ValueError("max is shorter than first; make it at least as long")
        return self


class BreakerConfig(Model):
    """When to stop trying each delivery in turn and only probe: the destination is down, not the document bad."""

    failures: Whole = Field(default=5, ge=1, le=1000, description="Failed attempts in a row that open the breaker.")
    probe_after: Duration = Field(
        default=10.0, gt=0, le=3600, description="Wait before one delivery is let through as a probe."
    )


class BasicAuth(Model):
    """HTTP Basic: a user and a password with each request."""

    user: Text = Field(description="User name.")
    password: SecretName = Field(description="The password, by name only.")


class BearerAuth(Model):
    """A bearer token with each request."""

    token: SecretName = Field(description="The token, by name only.")


class OAuth2Auth(Model):
    """A token of an authorization server with each request: OAuth 2.0 client credentials, or SMART backend services.

    Who we are is shown by `client_secret`, or by an assertion signed with a private key (`key` or `private_key`).
    """

    token_url: WebAddress | None = Field(
        default=None,
        description="Address that gives tokens, as `https://auth.example.org/oauth2/token`. Of a FHIR server that says "
        "it itself (`.well-known/smart-configuration`) it may be left out.",
    )
    token_host: Text | None = Field(
        default=None,
        description="Without `token_url`: host that the FHIR server may name for tokens beside its own, as "
        "`auth.example.org`. No secret is sent to any other.",
    )
    client_id: Text = Field(description="The name under which the authorization server knows us.")
    client_secret: SecretName | None = Field(default=None, description="The client's secret, by name only.")
    client_auth: Literal["basic", "post"] = Field(
        default="basic",
        description="How `client_secret` is shown: in a header (`basic`) or in the form (`post`).",
    )
    key: FilePath | None = Field(
        default=None,
        description="PEM file with the private key that signs our assertions, RSA (RS384) or EC P-384 (ES384); its "
        "public half, to register at the server, is printed by `labrelay jwks`.",
    )
    private_key: SecretName | None = Field(default=None, description="The same key as a secret, by name only.")
    kid: Text | None = Field(
        default=None, description="Key id in our assertions; by default the key's RFC 7638 thumbprint."
    )
    scope: Text | None = Field(default=None, description="What the token shall be good for, as `system/*.write`.")
    audience: Text | None = Field(
        default=None, description="`audience` of the request for a token, where the server wants one."
    )
    tls: ConnectTls | None = Field(
        default=None, description="Trust and client certificate for `token_url`; without it, the destination's `tls`."
    )

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

    key_id: Name = Field(description="Which of the keys that the receiver knows; change it together with the secret.")
    secret: SecretName = Field(description="The key that we share with the receiver, by name only.")


class AuthConfig(Model):
    """How we log in. Exactly one of the kinds."""

    basic: BasicAuth | None = Field(default=None, description="User and password.")
    bearer: BearerAuth | None = Field(default=None, description="A fixed token.")
    oauth2: OAuth2Auth | None = Field(default=None, description="Tokens of an authorization server.")
    hmac: HmacAuth | None = Field(default=None, description="A signature with each request.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if [self.basic, self.bearer, self.oauth2, self.hmac].count(None) != 3:
            raise ValueError("give exactly one way to log in: basic, bearer, oauth2 or hmac")
        return self


class DestinationBase(Model):
    """What every destination has."""

    timeout: Duration = Field(default=30.0, gt=0, le=3600, description="Time for one attempt, connecting included.")
    retry: RetryConfig = Field(default_factory=RetryConfig, description="When to try again.")
    breaker: BreakerConfig = Field(default_factory=BreakerConfig, description="When to stop trying and only probe.")
    rate: Whole | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Attempts per second over all lanes, at most, so that a backlog does not flood a server that has "
        "just come back. By default as many as `concurrency` and the server's answers allow.",
    )
    expected_downtime: Annotated[tuple[DowntimeWindow, ...], AfterValidator(leaves_time)] = Field(
        default=(),
        strict=False,  # a YAML list is a Python list; each window in it is still read strictly
        description="Windows in which it is expected to be down, as `- {days: [sun], start: 02:00, end: 04:00}`: "
        "failures within are shown calmly and are no alert, and nothing is given up.",
    )


class HttpBase(DestinationBase):
    """What destinations on HTTP share."""

    auth: AuthConfig | None = Field(default=None, description="How to log in.")
    tls: ConnectTls | None = Field(default=None, description="Trust and client certificate for https.")
    gzip: Flag = Field(default=False, description="Compress requests; only where the server is known to take it.")


class FhirDestination(HttpBase):
    """A FHIR R4 server that takes transaction Bundles."""

    kind: Literal["fhir"] = Field(description="`fhir`: POST of transaction Bundles to a FHIR R4 server.")
    url: HttpUrl = Field(description="Base address of the server, as `https://fhir.example.org/fhir`.")
    concurrency: Whole = Field(
        default=32,
        ge=1,
        le=256,
        description="Requests under way at once, over all lanes; one lane never has more than one.",
    )
    ids: Literal["client", "server"] = Field(
        default="client",
        description="`client`: our own resources are PUT under ids that we make. `server`: for servers that refuse "
        "such ids, they are updated by their identifier, and the server gives ids.",
    )
    conflicts: Literal["off", "check"] = Field(
        default="off",
        description="`off`: what we write takes the place of what the server has. `check`: only of what we wrote there "
        "last; where the server has another version, the delivery is dead (`CONFLICT`) with both, for a person to "
        "choose. Needs a server that keeps versions and looks at `ifMatch`.",
    )


class HttpDestination(HttpBase):
    """Any web service that takes one document per request."""

    kind: Literal["http"] = Field(description="`http`: one request per document.")
    url: HttpUrl = Field(description="Address of the service.")
    method: Literal["POST", "PUT"] = Field(default="POST", description="Request method.")
    concurrency: Whole = Field(default=8, ge=1, le=256, description="Requests under way at once, over all lanes.")

    @model_validator(mode="after")
    def _tokens(self) -> Self:
        oauth2 = self.auth.oauth2 if self.auth is not None else None
        if oauth2 is not None and oauth2.token_url is None:
            raise ValueError("auth.oauth2 needs token_url: only a FHIR server says by itself who gives its tokens")
        return self


class MllpDestination(DestinationBase):
    """A receiver of HL7 v2 messages in MLLP blocks."""

    kind: Literal["mllp"] = Field(description="`mllp`: HL7 v2 messages to a receiver, acknowledged one by one.")
    connect: Address = Field(description="Address of the receiver, as host:port.")
    tls: ConnectTls | None = Field(
        default=None, description="TLS with the receiver; an empty `{}` trusts the system's."
    )
    ack: Literal["commit", "application", "both"] = Field(
        default="commit",
        description="The answer that makes a message delivered: `commit`, the first that accepts it (CA, or AA); "
        "`application`, AA, and a CA before it is passed over; `both`, CA and then AA. A refusal that comes later "
        "makes the delivery a dead letter.",
    )


class PasswordAuth(Model):
    """A user and a password, and no other way to log in."""

    basic: BasicAuth = Field(description="User and password.")


class MqttDestination(DestinationBase):
    """A broker that gets one message per document."""

    kind: Literal["mqtt"] = Field(description="`mqtt`: one message per document to an MQTT broker, acknowledged.")
    connect: Address = Field(description="Address of the broker, as host:port (1883; with TLS 8883).")
    client_id: Name = Field(
        description="Our name at the broker. No other client may have it: the broker ends the older of two connections."
    )
    topic: Topic = Field(
        description="Where to publish, as `lab/{channel}/{message_type}`; also `{destination}`. Nothing else can stand "
        "in braces: a topic is shown and logged everywhere."
    )
    version: Literal["5", "3.1.1"] = Field(
        default="5", description="Version of MQTT. In 3.1.1 a broker cannot say that it refuses a message."
    )
    auth: PasswordAuth | None = Field(default=None, description="How to log in: `{basic: {user, password}}`.")
    tls: ConnectTls | None = Field(default=None, description="TLS with the broker; an empty `{}` trusts the system's.")
    keep_alive: Duration = Field(
        default=30.0,
        ge=5,
        le=3600,
        description="After so long a silence the connection is tested; none after twice that.",
    )
    no_subscriber: Literal["wait", "deliver"] = Field(
        default="wait",
        description="A document that the broker took while nobody had subscribed: try again later (`wait`), or count "
        "it as delivered. Only MQTT 5 brokers tell.",
    )
    concurrency: Whole = Field(default=8, ge=1, le=20, description="Messages under way at once, over all lanes.")


class S3Destination(DestinationBase):
    """Object storage that speaks the S3 protocol."""

    kind: Literal["s3"] = Field(description="`s3`: one object per document in S3-compatible object storage.")
    endpoint: Endpoint = Field(description="Address of the storage, as `https://s3.ap-south-1.amazonaws.com`.")
    bucket: Bucket = Field(description="Name of the bucket; it must be there.")
    region: Name = Field(default="us-east-1", description="The storage's region, part of each signature.")
    prefix: Prefix = Field(default="", description="What names of objects begin with, as `results/`.")
    address: Literal["path", "host"] = Field(
        default="path", description="Where the bucket stands in addresses: in the `path`, or before the `host` name."
    )
    access_key: SecretName = Field(description="The id of our key at the storage, by name only.")
    secret_key: SecretName = Field(description="The key itself, by name only.")
    attachments: Flag = Field(
        default=False,
        description="Put PDFs, pictures and texts that a FHIR document encloses as objects of their own, too.",
    )
    tls: ConnectTls | None = Field(default=None, description="Trust and client certificate for https.")
    concurrency: Whole = Field(default=8, ge=1, le=64, description="Requests under way at once, over all lanes.")


class FileDestination(DestinationBase):
    """A folder that gets one file per document."""

    kind: Literal["file"] = Field(description="`file`: one file per document, written whole or not at all.")
    folder: FilePath = Field(description="The folder; relative to the site's. It is made if it is missing.")


DestinationConfig = Annotated[
    FhirDestination | HttpDestination | MllpDestination | FileDestination | MqttDestination | S3Destination,
    Field(discriminator="kind"),
]
