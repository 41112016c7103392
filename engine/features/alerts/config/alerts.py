"""The ``alerts:`` of a site: what people are notified of, and how (`engine.features.alerts`).

The keys of alerts in `labrelay help keys`.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, Field, model_validator

from engine.config.reading.joining import Behind, Block, KeyHelp, part
from engine.config.reading.values import Duration, Flag, Model, Name, Names, Whole
from engine.config.sitewide import Server, SiteConfig
from engine.features.alerts.config.sinks import SINK_KINDS, Language, SinkBase, SinkConfig
from engine.model.texts.spelling import did_you_mean

RuleName = Literal[
    "critical",
    "silent",
    "network",
    "line",
    "destination",
    "dead",
    "held",
    "unmapped",
    "repeat",
    "disk",
    "clock",
    "certificate",
    "integrity",
    "backup",
    "paused",
    "sink",
    "service",
]
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
