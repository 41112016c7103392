"""The keys of this feature in the site's files.

The ``alerts:`` of a site: what people are notified of, and how (`engine.features.alerts`).

The keys of alerts in `labrelay help keys`.

The ``sinks:`` of ``alerts:``, where alerts go. One model for each ``kind``; `SinkConfig` lists them.
"""

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
from engine.config.reading.joining import Behind, Block, KeyHelp, part
from engine.config.reading.values import Duration, Flag, Language, Model, Name, Names, Whole
from engine.config.reading.yaml_nodes import KeyPath
from engine.config.sitewide import OfUnit, Server, SiteConfig
from engine.config.tls import ConnectTls
from engine.model.process.clock import Clock
from engine.model.site.alerts import SAMPLE
from engine.model.site.downtime_windows import DAY_MINUTES
from engine.model.texts.spelling import did_you_mean

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


def _leaves_time(windows: tuple[DowntimeWindow, ...]) -> tuple[DowntimeWindow, ...]:
    if sum(window.minutes for window in windows) >= 7 * DAY_MINUTES:
        raise ValueError("these windows are as long as a week: nothing would ever be sent")
    return windows


def _plain_topic(text: str) -> str:
    if "{" in text:
        raise ValueError("a topic of alerts names nothing in braces, as lab/alerts")
    return text


class SinkBase(OfUnit, values.Model, ABC):
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


RuleName = Literal[
    "critical", "silent", "network", "line", "behind", "destination", "dead", "held", "unmapped", "repeat", "control",
    "due", "lot", "disk", "clock", "certificate", "integrity", "backup", "paused", "sink", "service",
]  # fmt: skip
SUMS = ("dead", "held", "unmapped")  # rules with a count


class AlertRule(Model):
    """When one rule sends alerts, and where; a key that is left out is as docs/alerts.md has it."""

    enabled: Flag = True
    """`false`: this rule sends nothing."""

    after: Duration | None = Field(default=None, ge=0, le=7 * 86_400)
    """How long the cause has to be there before its start is sent."""

    keep: Duration | None = Field(default=None, ge=0, le=86_400)
    """How long the cause has to be gone before its end is sent."""

    above: Whole | None = Field(default=None, ge=0, le=1_000_000)
    """For `dead`, `held` and `unmapped`: send above this count. It ends a fifth below."""

    least: Literal["problem", "attention"] | None = None
    """`attention`: send also for what is no problem yet."""

    to: Names | None = None
    """Sinks of this rule, instead of those of all."""


class EscalationStep(Model):
    """Whom to notify where no person has taken an alert."""

    after: Duration = Field(gt=0, le=7 * 86_400)
    """So long after its start was sent."""

    to: Names
    """Sinks."""


def _in_order(steps: tuple[EscalationStep, ...]) -> tuple[EscalationStep, ...]:
    if [one.after for one in steps] != sorted(one.after for one in steps):
        raise ValueError("expected steps in the order of their times")
    return steps


class AlertsConfig(Model):
    """Who is notified of what waits for a person, wherever that person is. Patient data never leaves with an alert."""

    names: ClassVar[tuple[str, ...]] = get_args(RuleName)

    sinks: dict[Name, SinkConfig] = Field(min_length=1)
    """Where alerts go, by name."""

    to: Names | None = None
    """Sinks that get each alert. Unset: all but those of `escalation`."""

    rules: dict[RuleName, AlertRule] = Field(default_factory=dict)
    """Changes of the usual rules, by rule."""

    # a YAML list is a Python list; each step in it is still read strictly
    escalation: Annotated[tuple[EscalationStep, ...], AfterValidator(_in_order)] = Field(default=(), strict=False)
    """Who is notified later, where no person has taken an alert, as `- {after: 15m, to: chief}`."""

    remind: Duration = Field(default=4 * 3600.0, ge=0, le=7 * 86_400)
    """How often an alert that no person has taken is sent again; `0s`: never."""

    group: Duration = Field(default=30.0, ge=0, le=600)
    """How long an alert waits for others, to go with them in one message. A critical value never waits."""

    language: Language = "en"
    """Language of alerts, as the pages have them; a sink may have another."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        for place, names in self._named():
            for name in names:
                if name not in self.sinks:
                    hint = did_you_mean(name, self.sinks) or f"there are {', '.join(self.sinks)}"
                    raise ValueError(f"{place}: no sink has the name {name}; {hint}")
        if all(self.sinks[name].unit for name in self.usual):
            raise ValueError("sinks: each has a unit, so alerts of no channel go nowhere; add one without unit")
        return self

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        for name, rule in self.rules.items():
            if rule.above is not None and name not in SUMS:
                raise ValueError(f"rules.{name}: above is for {', '.join(SUMS)}; take it out")
        critical = self.rules.get("critical")
        if critical is not None and (critical.after or critical.keep or critical.least):
            raise ValueError("rules.critical: a critical value is sent at once; take out after, keep and least")
        return self

    def _named(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        yield "to", self.to or ()
        for name, rule in self.rules.items():
            yield f"rules.{name}.to", rule.to or ()
        for at, step in enumerate(self.escalation):
            yield f"escalation.{at}.to", step.to

    @property
    def usual(self) -> tuple[str, ...]:
        """The sinks of rules that name none."""
        later = {name for step in self.escalation for name in step.to}
        return self.to or tuple(name for name in self.sinks if name not in later) or tuple(self.sinks)

    def language_of(self, sink: str) -> str:
        """The language of what goes to a sink; also to one that is not configured any more."""
        own = self.sinks[sink].language if sink in self.sinks else None
        return own or self.language

    @property
    def wants_critical(self) -> bool:
        return "critical" not in self.rules or self.rules["critical"].enabled


class AlertsKeys(Model):
    """Keys of the site's file."""

    alerts: Annotated[AlertsConfig | None, Behind("backup")] = None
    """Who is notified of what waits for a person, and how."""


def alerts_of(config: SiteConfig) -> AlertsConfig | None:
    return part(config, AlertsKeys).alerts


def servers(config: SiteConfig) -> Iterator[Server]:
    """The sinks."""
    alerts = alerts_of(config)
    for name, sink in alerts.sinks.items() if alerts is not None else ():
        yield Server(
            owner=f"sink {name}",
            path=("alerts", "sinks", name),
            block=sink,
            place=sink.address,
            in_clear=sink.in_clear(),
            asked=f"sink of alerts {name}",
        )


KEYS = KeyHelp(
    {
        "alerts": (
            Block("`alerts:`", [AlertsConfig]),
            Block("An entry of `rules:`", [AlertRule]),
            Block("An entry of `escalation:`", [EscalationStep]),
            Block("Every sink", [SinkBase], intro=False),
            *(
                Block(f"A sink of `kind: {kind}`", [model], skip=SinkBase.model_fields)
                for kind, model in SINK_KINDS.items()
            ),
        )
    },
    about={"alerts": "`alerts:` of the site: who is notified of what waits for a person."},
)
