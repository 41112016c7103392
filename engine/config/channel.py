"""A file of ``channels/``: one analyzer or system, its source and its routes."""

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from engine.config.destinations.destination_auth import host_in_clear
from engine.config.mapping_settings import with_known_forms
from engine.config.reading import values
from engine.config.reading.joining import joined_model
from engine.config.sources.source import AnySource, source_type
from engine.config.sources.source_fhir import FhirSearchPart
from engine.config.sources.source_folder import FolderPart
from engine.config.sources.source_tee import TeePart
from engine.config.tls import ConnectTls
from engine.feature import Hook
from engine.model.texts.units import HostPort

DAY = 86_400.0
REUSE_AFTER = 30 * DAY


NO_DESTINATION = "a route needs to: a destination or several (or filter, where such messages are not wanted)"


class HoldRule(values.Model):
    """A rule of a route's `hold`."""

    when: values.Text
    """Condition about each result of the document, as `=flags in ['HH', 'LL']`; `labrelay help holds` lists the names
    that it may use."""

    reason: str = ""
    """The text for a person; without it, the condition itself."""

    name: Annotated[str, Field(max_length=60)] = ""
    """What it is counted under ([held results](held.md#rules)); without it, the reason."""

    shadow: values.Flag = False
    """`true`: it only counts what it would hold, and holds nothing."""

    score: values.WebAddress | None = None
    """A program that gives each result a number, which `when` asks for as `score`: `https://`, or this machine
    ([held results](held.md#rules))."""

    @field_validator("score")
    @classmethod
    def _encrypted(cls, value: str | None) -> str | None:
        if value is not None and (host := host_in_clear(value)):
            raise ValueError(f"results would go to {host} in clear; give https:// or an address of this machine")
        return value

    says: dict[values.Language, values.Text] = Field(default_factory=dict)
    """The same in languages of the page, as `{hi: ..., ta: ...}`: who reads the page in one of them sees it so."""


def _rules(value: Any) -> Any:
    """One expression, or a list of expressions and rules."""
    listed = [value] if isinstance(value, str | dict) else value
    if not isinstance(listed, list | tuple):
        return value
    return tuple({"when": one} if isinstance(one, str) else one for one in listed)


HoldRules = Annotated[
    tuple[HoldRule, ...],
    BeforeValidator(_rules),
    values.NotEmpty,
    values.Words("expression, or list of expressions and `{when, reason, says}`"),
]


class RouteConfig(values.Model):
    """Which messages go where. Every route whose `when` holds takes the message, in the order of the file; a `filter`
    route that holds ends the look."""

    when: values.Text | None = None
    """Condition in the mapping language, as `=MSH-9.1 == 'ORU'`; without it the route takes everything."""

    mapping: values.Name | None = None
    """Name of the mapping that makes documents of the message: a file of `mappings/`. Without it the message passes
    on as it came (to any destination but `fhir`)."""

    to: values.Names | None = None
    """Destination or list of destinations. A mapping that reads orders (`to: orders`) has none: their place is the
    worklist."""

    on_dead: Literal["continue", "hold"] = "continue"
    """After a dead letter its lane goes on (`continue`), or waits until a person acts (`hold`)."""

    order: Literal["channel", "specimen", "none"] = "channel"
    """Which deliveries keep the order of their messages: all of the `channel`, those about one `specimen` or report,
    or none (`none`)."""

    drain: Literal["in-order", "newest-first"] = "in-order"
    """In which order a backlog goes out. `newest-first` needs `order: none` and a mapping; an older result is still
    never written over a newer one of the same specimen that went before it."""

    hold: HoldRules | None = Field(default=None, strict=False)
    """Keeps a mapped result back until a person releases it (`labrelay held`): a condition about each result of the
    document, as `=flags in ['HH', 'LL']`, or a list of `{when: ..., reason: ...}`."""

    doubtful: Literal["hold", "pass"] = "hold"
    """A message that passes on as it came waits for a person (`hold`), or goes out (`pass`), where one of its results
    would wait with a mapping: a control failed, or it does not follow those before it. One whose results cannot be read
    goes out."""

    filter: values.Text | None = None
    """Why such messages are not wanted. They end as *filtered* with this text; takes the place of `mapping` and
    `to`."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.when is not None and not self.when.startswith("="):
            raise ValueError("when is an expression and starts with =, as =MSH-9.1 == 'ORU'")
        if self.drain == "newest-first":
            if self.filter is not None:
                raise ValueError("drain: filter sends nothing; take out drain, or filter")
            if self.order != "none":
                raise ValueError(
                    f"drain: newest-first is no order {self.order}: say order: none as well, or take out drain"
                )
            if self.on_dead == "hold":
                raise ValueError(
                    "drain: newest-first passes a dead letter by, and on_dead: hold does not; take one out"
                )
            if self.mapping is None:
                raise ValueError(
                    "drain: newest-first needs a mapping: nothing else says which result is a newer version of another"
                )
        if self.doubtful == "pass" and self.mapping is not None:
            raise ValueError("doubtful: pass is of messages as they came; take it out, or the mapping")
        if self.filter is not None:
            if self.mapping is not None or self.to is not None:
                raise ValueError("filter sends nothing; take out mapping and to, or filter")
            if self.hold is not None:
                raise ValueError("filter sends nothing, so there is nothing to hold; take out hold, or filter")
        elif self.to is None and self.mapping is None:
            raise ValueError(NO_DESTINATION)
        return self


class ChannelConfig(values.Model):  # the core's keys; `channel_model` has all
    """One channel."""

    channel: values.Name
    """Name of the channel; part of report keys and lanes, so never change it lightly."""

    description: str = ""
    """For people: which analyzer, and its location."""

    analyzer: values.Name | None = None
    """Name of an analyzer's pack (`labrelay analyzers`): gives the code table, dialect, character sets and settings
    that this file does not name itself."""

    enabled: values.Flag = True
    """`false` switches the source off; deliveries go on."""

    draft: values.Flag = False
    """`true`: it listens and keeps what comes, and nothing goes out, until a person has compared a first result
    ([connecting](connecting.md#step-by-step)). With `source: {kind: auto}` it keeps any text, too."""

    timezone: values.Zone
    """IANA zone of the analyzer's clock, as `Asia/Kolkata`. Without it, the site's."""

    clock_offset: values.Duration = Field(default=0.0, ge=0)
    """By how much the analyzer's clock is wrong, ahead or behind, as `365d`: a time that [cannot be](held.md#clocks) is
    corrected by it, where it can be then; its result has a comment."""

    source: AnySource
    """How messages come in."""

    charset: values.Charsets = ("utf-8",)
    """Character sets to try in this order, strictly, where a message declares none."""

    dialect: values.Dialect | None = None
    """Name of the analyzer's dialect, where it departs from its standard in what a message says."""

    # a YAML list is a Python list; each route in it is still read strictly
    routes: Annotated[tuple[RouteConfig, ...], values.NotEmpty] = Field(strict=False)
    """The routes of messages; a message that no route accepts is dead (`NO_ROUTE`)."""

    settings: Annotated[dict[str, Any], AfterValidator(with_known_forms)] = Field(default_factory=dict)
    """Values that mappings read with `setting('name')`; any names, texts as written."""

    role: Literal["results", "orders"] = "results"
    """What the channel brings: `results` of an analyzer; or `orders` of a laboratory system (LIS), which a mapping
    puts on the worklist ([orders](questions.md)). The LIS is answered once they are there, beside all results."""

    usual_gap: values.Duration | None = Field(default=None, gt=0)
    """How far apart messages usually are; the page says so when it is much longer. Without it the gap is learned, for
    each hour of the week, from three weeks of history on ([the page](page.md#the-usual-gap))."""

    days_off: values.Days = ()
    """Days on which nothing is expected of this analyzer, besides the site's."""

    repeat_window: values.Duration = Field(default=DAY, gt=0, le=DAY)
    """For this long, 24 h at most, the same bytes can be a repeat: answered again, not delivered again. Something
    else must say so: a control id or a time to the minute that changes on the channel, or an answer of ours that the
    sender could not have. Else they are delivered, and flagged."""

    specimen_ids: Literal["restart", "day", "unique"] = "restart"
    """How far a specimen or order number reaches ([identity](identity.md#numbers-of-specimens)). `restart`: numbers
    begin anew, so patient and day are part of every key; without a patient the time to the second is. `day`: within
    a day of the laboratory's clock a number is one specimen's, with or without a patient. `unique`: it is one
    specimen's; under a second patient it is a dead letter that cannot be accepted."""

    reuse_after: values.Duration | None = Field(default=None, ge=DAY, le=90 * DAY)
    """With `specimen_ids: unique`: for so long after its last use a number is still the same specimen's, from `1d`
    to `90d`; `30d` by default. Later measurements are held (`NUMBER_AGAIN`), for it may be another specimen's."""

    results_of: Literal["channel", "site"] = "channel"
    """Results that two channels send for one order and test: `channel`, they are kept side by side; `site`, it is
    one result, and the later one follows the earlier one as if one analyzer had sent both."""

    controls_of: values.Name | None = None
    """Another channel of the same analyzer, which lots and targets name ([controls](controls.md)): a control on either
    of the two decides about the results of both."""

    report_list: Literal["join", "replace"] = "join"
    """Of a report whose results come in several messages: `join`, its list holds the results of all of them;
    `replace`, the sender repeats the whole report each time, and its list is taken as it is."""

    patient_numbers: Literal["lasting", "counter"] | None = None
    """As the site's key of this name, for this channel alone."""

    ack: Literal["on_store", "on_delivery"] = "on_store"
    """When a message is acknowledged: `on_store`, once it is durable in the journal; or `on_delivery`, once every
    destination has it as well (HL7 v2 only). Then a dead letter is answered AE, and so is what takes longer than
    `ack_timeout`; the message is kept in any case, and sending it again is harmless."""

    ack_timeout: values.Duration = Field(default=30.0, gt=0, le=600.0)
    """With `ack: on_delivery`: how long the answer waits."""

    on_store_fault: Literal["close", "ae"] = "close"
    """Where a message cannot be stored, or 64 MiB of its channel are not mapped yet: `close` the connection without an
    answer (senders try again), or answer `ae` (many senders then give up)."""

    ack_code: Literal["standard", "aa"] = "standard"
    """`standard`: accept or application codes as MSH-15 and MSH-16 ask. `aa`: always AA, for analyzers that know
    nothing else."""

    spm_obx: Literal["result", "specimen"] = "result"
    """The meaning of an OBX after SPM where its OBR has no other: a `result`, or about the `specimen`."""

    fix: values.Fixes = ()
    """Repairs to allow: `unescaped_newlines` joins a line that begins no segment to the field before."""

    @field_validator("reuse_after")
    @classmethod
    def _numbers_are_unique(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("specimen_ids", "unique") != "unique":
            raise ValueError("is for specimen_ids: unique; other numbers end with their day. Take it out")
        return value

    @property
    def reuse_days(self) -> int:
        """For so many whole days after its last use a unique number is still the same specimen's."""
        return round((self.reuse_after or REUSE_AFTER) / DAY)

    @model_validator(mode="after")
    def _orders_are_asked_for(self) -> Self:
        if isinstance(self.source, FhirSearchPart) and self.role != "orders":
            raise ValueError("source: kind: fhir-search asks for orders; say role: orders as well")
        return self

    @model_validator(mode="after")
    def _ack_fits(self) -> Self:
        if self.ack == "on_delivery" and isinstance(self.source, TeePart):
            raise ValueError("ack: on_delivery: a tee answers nothing; take ack out")
        if self.ack == "on_delivery" and isinstance(self.source, FolderPart):
            raise ValueError("ack: on_delivery: a file has no reader for an answer; take ack out")
        if self.ack == "on_delivery" and any(route.hold is not None for route in self.routes):
            raise ValueError(
                "ack: on_delivery: a held result may wait for hours, and its sender for the answer; take ack out"
            )
        if self.ack == "on_delivery" and self.role == "orders":
            raise ValueError("ack: on_delivery: orders are answered once they are on the worklist; take ack out")
        if self.ack == "on_delivery" and self.source.format != "hl7v2":
            raise ValueError(
                "ack: on_delivery is for HL7 v2; an ASTM link acknowledges frames before there is a message"
            )
        return self

    @property
    def says(self) -> dict[str, dict[str, str]]:
        """Of its hold rules: the reason -> language -> the words in it."""
        rules = [rule for route in self.routes for rule in route.hold or () if rule.says]
        return {rule.reason or rule.when.removeprefix("=").strip(): cast("dict[str, str]", rule.says) for rule in rules}

    @property
    def tables(self) -> dict[str, tuple[str, ...]]:
        """Code tables that take the place of a mapping's own: table name -> CSV files below a `mappings` folder, the
        first with precedence.
        """
        given: dict[str, str | list[str]] = self.settings.get("tables", {})
        return {name: (files,) if isinstance(files, str) else tuple(files) for name, files in given.items()}


class FeatureKeys(values.Model):
    """A feature's keys of a channel's file.

    Attributes:
        of_link: members of which a change opens the channel's connections anew.
        connections: keys whose blocks have a connection beside that of the source: ``connect`` (or None) and ``tls``.
    """

    of_link: ClassVar[tuple[str, ...]] = ()
    connections: ClassVar[tuple[str, ...]] = ()


KEYS: Hook[type[FeatureKeys]] = Hook("channel_keys")


@cache
def channel_model() -> type[ChannelConfig]:
    """The model of the whole file, with the keys of all features."""
    return joined_model(ChannelConfig, KEYS.each(), source=source_type())


def of_link() -> tuple[str, ...]:
    """The members that features add of which a change opens the channel's connections anew."""
    return tuple(name for keys in KEYS.each() for name in keys.of_link)


def connections(channel: ChannelConfig) -> Iterator[tuple[str, Any]]:
    """The blocks of connections beside that of the source, by their key."""
    for keys in KEYS.each():
        yield from ((key, block) for key in keys.connections if (block := getattr(channel, key)) is not None)


def own_line(channel: ChannelConfig) -> tuple[HostPort, ConnectTls | None] | None:
    """The address that a channel connects to beside its source, and its TLS; None: there is none."""
    return next(((one.connect, one.tls) for _, one in connections(channel) if one.connect is not None), None)
