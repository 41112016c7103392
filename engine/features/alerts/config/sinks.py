"""The ``sinks:`` of ``alerts:``, where alerts go. One model for each ``kind``; `SinkConfig` lists them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from importlib import import_module
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from engine.config.destinations.destination_auth import USE_MQTT_TLS, PasswordAuth
from engine.config.destinations.destination_base import DowntimeWindow
from engine.config.destinations.templated_request import TemplatedRequest
from engine.config.reading import values
from engine.config.reading.yaml_nodes import KeyPath
from engine.config.tls import ConnectTls
from engine.model.process.clock import Clock
from engine.model.site.alerts import SAMPLE
from engine.model.site.downtime_windows import DAY_MINUTES

Mailbox = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}$"),
    values.Words("e-mail address"),
]
Mailboxes = Annotated[
    tuple[Mailbox, ...],
    BeforeValidator(values.listed),
    values.NotEmpty,
    AfterValidator(values.distinct),
    values.Words("e-mail address or list of them"),
]

Language = Literal["en", "hi", "ta", "te", "mr", "bn", "kn"]


def _leaves_time(windows: tuple[DowntimeWindow, ...]) -> tuple[DowntimeWindow, ...]:
    if sum(window.minutes for window in windows) >= 7 * DAY_MINUTES:
        raise ValueError("these windows are as long as a week: nothing would ever be sent")
    return windows


def _plain_topic(text: str) -> str:
    if "{" in text:
        raise ValueError("a topic of alerts names nothing in braces, as lab/alerts")
    return text


class SinkBase(values.Model, ABC):
    """The base of each kind of sink.

    Attributes:
        adapter: the module of `adapters.sinks` whose ``build(name, config, clock)`` makes the sink. It is imported
            where a site has such a sink.
        example: one entry of ``sinks:``, for the documentation.
        timeout: for one attempt, connecting included.
    """

    adapter: ClassVar[str]
    example: ClassVar[str]
    timeout: ClassVar[float] = 30.0

    language: Language | None = None
    """Language of what goes here. Unset: that of `alerts:`."""

    # a YAML list is a Python list; each window in it is still read strictly
    quiet: Annotated[tuple[DowntimeWindow, ...], AfterValidator(_leaves_time)] = Field(default=(), strict=False)
    """Windows in which nothing is sent here but critical values, as `- {start: 22:00, end: 06:00}`, by the clock of the
    site. Others come at their end."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where alerts go, for people: nothing in it is secret."""

    @property
    def address(self) -> str:
        """The server that it connects to: a URL, or host:port."""
        return next(str(getattr(self, key)) for key in ("url", "server", "connect") if hasattr(self, key))

    def in_clear(self) -> Iterator[tuple[KeyPath, str]]:
        """Secrets that would go to another machine without TLS: the key that says so, and a sentence."""
        yield from ()

    def build(self, name: str, clock: Clock) -> Any:
        """The sink ``name``: an `engine.model.ports.AlertSink`.

        Raises:
            ConfigError: a certificate or key file cannot be used.
        """
        return import_module(self.adapter).build(name, self, clock)


class EmailSink(SinkBase):
    """E-mail by an SMTP server."""

    adapter = "adapters.sinks.email_out"
    example = """\
lab-mail:
  kind: email
  server: mail.example.org:587
  auth: {basic: {user: labrelay, password: "${MAIL_PASSWORD}"}}
  sender: labrelay@lab.example.org
  to: [lab@lab.example.org, it@lab.example.org]
"""

    kind: Literal["email"]
    """`email`: to one or more addresses."""

    server: values.Address
    """Address of the SMTP server, as host:port (587; with `security: tls` 465)."""

    sender: Mailbox
    """The address that mails come from."""

    to: Mailboxes
    """Who gets them."""

    security: Literal["starttls", "tls", "none"] = "starttls"
    """`starttls`: TLS after the greeting, and nothing is sent without it; `tls`: from the first byte; `none`: in
    clear."""

    auth: PasswordAuth | None = None
    """How to log in: `{basic: {user, password}}`."""

    tls: ConnectTls | None = None
    """Trust and client certificate, where they are not the system's."""

    @property
    def place(self) -> str:
        return ", ".join(self.to)

    def in_clear(self) -> Iterator[tuple[KeyPath, str]]:
        if self.auth is not None and self.security == "none":
            yield from self.auth.in_clear(self.server, "use security: starttls")


class HttpSink(TemplatedRequest, SinkBase):
    """A web service with a text of your own: chat, WhatsApp Business, SMS gateway, the API of another program."""

    adapter = "adapters.sinks.http_out"
    named: ClassVar = MappingProxyType(SAMPLE.values)
    needed: ClassVar = ()
    shown: ClassVar = "alerts"
    example = """\
chat:
  kind: http
  url: https://chat.example.org/hooks/${CHAT_HOOK}
  body: '{"text": "{text}"}'
"""

    kind: Literal["http"]
    """`http`: one request for each message."""

    url: values.WebAddress
    """Address of the service: `https://`, or this machine. A part of it that is secret is named, as `${CHAT_HOOK}`."""

    body: Annotated[values.Text, StringConstraints(max_length=4000)]
    """The text of each request, with names in braces: `{text}` (all lines), `{subject}` (one line), `{state}`
    (`start`, `still`, `worse`, `escalated`, `no-more`, `end`, `test`), `{level}` (`problem`, `attention`), `{site}`,
    `{key}`, `{count}`, `{id}` (the same at each attempt). Other braces stay."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not any(f"{{{name}}}" in self.body for name in ("text", "subject", "key")):
            raise ValueError("body has none of {text}, {subject} and {key}; write one where the service wants it")
        return self

    @property
    def place(self) -> str:
        return urlsplit(self.url).netloc


class MqttSink(SinkBase):
    """A broker that gets one message of JSON for each alert."""

    adapter = "adapters.sinks.mqtt_out"
    example = """\
bus:
  kind: mqtt
  connect: broker.example.org:8883
  client_id: labrelay-alerts
  topic: lab/alerts
  tls: {}
"""

    kind: Literal["mqtt"]
    """`mqtt`: one message for each alert to an MQTT broker, acknowledged."""

    connect: values.Address
    """Address of the broker, as host:port (1883; with TLS 8883)."""

    client_id: values.Name
    """Our name at the broker. No other client may have it, also no destination of this site."""

    topic: Annotated[values.Topic, AfterValidator(_plain_topic)]
    """Where to publish, as `lab/alerts`."""

    version: Literal["5", "3.1.1"] = "5"
    """Version of MQTT."""

    auth: PasswordAuth | None = None
    """How to log in: `{basic: {user, password}}`."""

    tls: ConnectTls | None = None
    """TLS with the broker; an empty `{}` trusts the system's."""

    @property
    def place(self) -> str:
        return f"{self.connect} {self.topic}"

    def in_clear(self) -> Iterator[tuple[KeyPath, str]]:
        if self.auth is not None and self.tls is None:
            yield from self.auth.in_clear(self.connect, USE_MQTT_TLS)


class SyslogSink(SinkBase):
    """A syslog server that gets one line for each alert (RFC 5424)."""

    adapter = "adapters.sinks.syslog_out"
    timeout = 10.0
    example = """\
log:
  kind: syslog
  connect: syslog.example.org:514
"""

    kind: Literal["syslog"]
    """`syslog`: one line for each alert."""

    connect: values.Address
    """Address of the server, as host:port (514; with TLS 6514)."""

    protocol: Literal["udp", "tcp"] = "udp"
    """`udp`: a line may be lost without a sign; `tcp`: with octet counting (RFC 6587)."""

    tls: ConnectTls | None = None
    """TLS with the server, with `protocol: tcp` (RFC 5425); an empty `{}` trusts the system's."""

    @model_validator(mode="after")
    def _tls_on_tcp(self) -> Self:
        if self.tls is not None and self.protocol == "udp":
            raise ValueError("tls needs protocol: tcp; add it, or take tls out")
        return self

    @property
    def place(self) -> str:
        return f"{self.connect} ({self.protocol})"


SinkConfig = Annotated[EmailSink | HttpSink | MqttSink | SyslogSink, Field(discriminator="kind")]
SINK_KINDS: dict[str, type[SinkBase]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model for model in get_args(get_args(SinkConfig)[0])
}
