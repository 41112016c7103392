"""From configuration to running parts: compile every channel and destination of a site, or report all errors.

Building touches no socket and no row, so a reload can build everything beside the running site and only then swap.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from engine.config import registry
from engine.config.channel import NO_DESTINATION, ChannelConfig, RouteConfig
from engine.config.destinations.destination import DestinationConfig
from engine.config.load import Site
from engine.config.sources.source import AnySource, AutoLink, E1381Options, TcpPart
from engine.config.sources.source_tee import TeePart
from engine.feature import Hook
from engine.mapping import Program
from engine.mapping.code_tables.tables import Table
from engine.mapping.conditions import EITHER, route_condition
from engine.mapping.outputs.documents import form_of, setting_problems
from engine.model.errors import ConfigError
from engine.model.journal.records import Assembled
from engine.model.link_events import SessionEnd
from engine.model.message import FormatOptions, MapContext, Received
from engine.model.packing import UnpackingDestination
from engine.model.ports import Dialogue, Format, Link, TeeLink
from engine.model.process.clock import Clock
from engine.model.routes import ChannelRoutes, Route
from engine.model.texts.reasons import ReasonCode
from engine.model.worklist import TakeSettings
from engine.processing.formats import MEDIA_TYPES, format_of
from engine.processing.names import are_read
from engine.receiving.channel_parts import Answer, ChannelSettings
from engine.receiving.door import Opening
from engine.runtime.holding import formats_asked, holding_of
from engine.runtime.programs import Programs, has_results

UNANSWERED = ("folder", "fhir_search", "kafka")  # transports whose answers have no reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """What is said to the peer of a channel besides the answer to each message, as a feature has it.

    Attributes:
        asking: where the questions of an analyzer are answered.
        answering: where the sender of orders has their answers.
        takes: how its orders are taken.
        tests, groups, redundant: as `engine.model.routes.ChannelRoutes` has them.
    """

    asking: Any = None
    answering: Any = None
    takes: TakeSettings | None = None
    tests: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    redundant: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """How the peer of a channel is spoken to. ``usual``: the answer to each message; None: the format has none."""

    message_format: Format
    options: FormatOptions
    dialogue: Dialogue | None
    usual: Answer | None


class Talking(Protocol):
    """The part of a feature in the building of channels."""

    def completed(self, site: Site, tables: Callable[[ChannelConfig], Iterable[Table]]) -> tuple[Site, list[str]]:
        """The site with what the code tables of its channels say, and what is wrong with that."""

    def dialogue(self, site: Site, config: ChannelConfig) -> Dialogue | None:
        """How the channel's analyzer asks; None: it does not.

        Raises:
            ConfigError: it cannot.
        """

    def talk(self, site: Site, config: ChannelConfig, speech: Speech) -> Talk | None:
        """None: it says nothing to the peer of this channel."""


TALKING: Hook[Talking] = Hook("sources")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltChannel:
    """One channel, ready to be connected to a transport. ``new_listener``: for a tee, which answers nothing.
    ``asking``, ``answering``: as `Talk` has them.
    """

    config: ChannelConfig
    settings: ChannelSettings
    new_link: Callable[[], Link]
    new_listener: Callable[[], TeeLink] | None
    message_format: Format
    answer: Answer | None
    routes: ChannelRoutes
    asking: Any = None
    answering: Any = None


@dataclass(frozen=True, slots=True)
class BuiltSite:
    """A whole site, compiled."""

    site: Site
    channels: Mapping[str, BuiltChannel]
    made: Programs

    @property
    def programs(self) -> list[Program]:
        return self.made.all()

    @property
    def doubts(self) -> tuple[str, ...]:
        """Rows of code tables that contradict themselves, without repetition."""
        return tuple(dict.fromkeys(line for program in self.programs for line in program.doubts))


def build_site(
    site: Site, *, identity_key: bytes, clock: Clock, others: Mapping[bytes, int] | None = None
) -> BuiltSite:
    """Compile all channels.

    Raises:
        ConfigError: every problem of every channel, not only the first.
    """
    programs = Programs(site.mapping_path())
    problems: list[str] = []
    for one in TALKING.each():
        site, wrong = one.completed(site, partial(_tables, site, programs))
        problems += wrong
    channels: dict[str, BuiltChannel] = {}
    for name, config in site.channels.items():
        try:
            channels[name] = build_channel(
                site, config, programs, identity_key=identity_key, clock=clock, others=others
            )
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    return BuiltSite(site, channels, programs)


def _tables(site: Site, programs: "Programs", config: ChannelConfig) -> Iterable[Table]:
    """The code tables that a channel names for its results."""
    found: dict[str, Table] = {}
    for route in config.routes:
        try:
            program = programs.get(route.mapping, site.tables_of(config)) if route.mapping is not None else None
        except ConfigError:  # reported where the channel is built
            continue
        own = program.tables if program is not None else {}
        found |= {table: own[table] for table in site.tables_of(config) if table in own}
    return found.values()


def build_channel(
    site: Site,
    config: ChannelConfig,
    programs: Programs,
    *,
    identity_key: bytes,
    clock: Clock,
    others: Mapping[bytes, int] | None = None,
) -> BuiltChannel:
    source = config.source
    message_format = format_of(source, config.dialect)
    context = MapContext(
        channel=config.channel,
        key=identity_key,
        timezone=config.timezone,
        settings=config.settings,
        namespaces=site.config.namespaces,
        specimen_ids=config.specimen_ids,
        reuse_days=config.reuse_days,
        results_of=config.results_of,
        clock_offset=config.clock_offset,
        patient_numbers=site.patient_numbers(config),
        others={} if others is None else others,
        names_subjects=any(route.hold for route in config.routes),
    )
    dialogue = _dialogue(site, config)
    options = FormatOptions(charsets=tuple(config.charset), fixes=frozenset(config.fix), spm_obx=config.spm_obx)
    answers = source.format in ("hl7v2", EITHER) and source.transport not in UNANSWERED
    answer = _answer(config, clock) if answers else None
    speech = Speech(message_format=message_format, options=options, dialogue=dialogue, usual=answer)
    talk = next((said for one in TALKING.each() if (said := one.talk(site, config, speech)) is not None), Talk())
    return BuiltChannel(
        config=config,
        settings=ChannelSettings(
            name=config.channel,
            repeat_window_s=config.repeat_window,
            idle_timeout_s=source.idle_timeout,
            max_connections=getattr(source, "max_connections", 1),
            answer_store_fault=config.on_store_fault == "ae",
            max_message=source.max_message,
            ack_timeout_s=config.ack_timeout if config.ack == "on_delivery" else None,
            is_awaited=getattr(source, "acks", "frame") == "frame" and getattr(source, "framing", "") != "none",
            is_draft=config.draft,
            opening=_opening(source),
        ),
        new_link=registry.load(_links(config, dialogue), source.link).links(source, **_sending(dialogue)),
        new_listener=_listener(source),
        message_format=message_format,
        answer=answer,
        routes=ChannelRoutes(
            channel=config.channel,
            message_format=message_format,
            media_type=MEDIA_TYPES.get(source.format, ""),
            options=options,
            routes=_routes(site, config, programs),
            context=context,
            dialogue=dialogue,
            tests=talk.tests,
            groups=talk.groups,
            takes=talk.takes,
            redundant=talk.redundant,
            is_draft=config.draft,
            has_other_numbers=_has_other_numbers(site, config, programs),
            controls_of=config.controls_of or "",
            says=config.says,
            reader=partial(programs.reader, site.tables_of(config)),
        ),
        asking=talk.asking,
        answering=talk.answering,
    )


def _listener(source: AnySource) -> Callable[[], TeeLink] | None:
    return registry.load(registry.TEES, source.link).listeners(source) if isinstance(source, TeePart) else None


def _dialogue(site: Site, config: ChannelConfig) -> Dialogue | None:
    if config.draft:
        return None  # it gives no orders
    return next((made for one in TALKING.each() if (made := one.dialogue(site, config)) is not None), None)


def _links(config: ChannelConfig, dialogue: Dialogue | None) -> dict[str, str]:
    if config.draft and config.source.link in registry.DRAFTS:
        return registry.DRAFTS
    return registry.LINKS if dialogue is None else registry.TWO_WAY


def _has_other_numbers(site: Site, config: ChannelConfig, programs: Programs) -> bool:
    return "specimen" in config.settings or any(
        not are_read(program.format, program.report_numbers, program.identity)
        for route in config.routes
        if route.mapping is not None and (program := programs.get(route.mapping, site.tables_of(config))) is not None
    )


def _opening(source: AnySource) -> Opening | None:
    """What the first bytes of its connections may not be; None: none comes over TCP."""
    if isinstance(source, TeePart):
        return Opening() if any(end.listen is not None for end in source.tee.ends) else None
    if not isinstance(source, TcpPart):
        return None
    auto = isinstance(source, AutoLink)  # its `enq-less` is the default, for analyzers of both kinds
    framed = ("e1381", "enq-less") if auto else ("e1381",)
    waits = isinstance(source, E1381Options) and source.framing in framed and source.acks != "none"
    return Opening(frame_waits=waits, blocks=auto)


def _sending(dialogue: Dialogue | None) -> dict[str, Mapping[str, Any]]:
    """What the link must know of the analyzer to send to it."""
    sending = getattr(dialogue, "sending", None)
    return {} if sending is None else {"sending": sending}


def build_destination(name: str, config: DestinationConfig, clock: Clock) -> UnpackingDestination:
    """A destination that also takes packed documents.

    Raises:
        ConfigError: a certificate or key file is unusable.
    """
    return UnpackingDestination(config.build(name, clock))


def reassemble(built: BuiltChannel | None, channel: str, frames: Sequence[bytes], received_us: int) -> Assembled:
    """Let a channel's link assemble the committed frames of a session that a crash cut short.

    They were valid when they came, so only their text counts now, not the number of the first: it may follow a message
    of the same session. Text without its end is kept as evidence.
    """
    if built is None:  # the channel is gone from the configuration: its frames cannot be read
        return Assembled()
    module = registry.load(registry.LINKS, built.config.source.link)
    if not hasattr(module, "assemble"):  # the channel's link has no frames any more
        return Assembled()
    end: SessionEnd = module.assemble(frames, built.config.source)

    def received(text: bytes) -> Received:
        header = built.message_format.header(text)
        return Received(
            channel=channel,
            payload=text,
            received_us=received_us,
            control_id=header.control_id,
            message_type=header.message_type,
            notes=("assembled after a restart",),
            sent=header.sent,
            measured=header.measured,
            filtered=ReasonCode.DRAFT if built.config.draft else None,
        )

    return Assembled(tuple(map(received, end.completes)), received(end.incomplete) if end.incomplete else None)


def _routes(site: Site, config: ChannelConfig, programs: Programs) -> tuple[Route, ...]:
    problems: list[str] = []
    routes: list[Route] = []
    for index, route in enumerate(config.routes):
        node = site.node(config.channel, "routes", index)
        place = site.node(config.channel, "routes", index, "when").place
        try:
            program = programs.get(route.mapping, site.tables_of(config)) if route.mapping is not None else None
            reads = config.source.reads_as
            if program is not None and reads not in (program.format, EITHER):
                text = f"mapping {program.name} reads {program.format}, and this channel brings {reads}"
                problems.append(node.problem(f"routes.{index}.mapping: {text}; use another mapping"))
            problems += [node.problem(f"routes.{index}.to: {text}") for text in _not_taken(site, route, program)]
            problems += [node.problem(f"routes.{index}: {text}") for text in _misplaced(config, route, program)]
            problems += [node.problem(f"routes.{index}.drain: {text}") for text in _other_orders(config, route)]
            problems += _setting_problems(site, config, program)
            hold = holding_of(site, config.channel, index, program) if route.hold else None
            brings = reads if program is None else program.format
            for one in formats_asked(hold, brings):
                programs.reading(one, site.tables_of(config))  # else rules would be asked about other codes
            if route.filter is None and (program is None or has_results(program.structures)):
                programs.want_reader(brings, site.tables_of(config))
            routes.append(
                Route(
                    when=route_condition(route.when, reads, program.format if program else "", place=place),
                    program=program,
                    to=tuple(route.to or ()),
                    order=route.order,
                    newest_first=route.drain == "newest-first",
                    hold_on_dead=route.on_dead == "hold",
                    filter=route.filter is not None,
                    worklist=program is not None and program.target.kind == "orders",
                    hold=hold,
                    joins=config.report_list == "join",
                    passes=route.doubtful == "pass",
                    of_site=config.results_of == "site",
                    form=None if program is None else form_of(program.target, program.columns, config.settings),
                )
            )
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)
    return tuple(routes)


def _setting_problems(site: Site, config: ChannelConfig, program: Program | None) -> Iterator[str]:
    """Settings of the channel without a meaning for the documents of a route."""
    for name, what in setting_problems(program.target, config.settings) if program is not None else ():
        yield site.node(config.channel, "settings", name).problem(f"settings.{name}: {what}")


def _not_taken(site: Site, route: RouteConfig, program: Program | None) -> Iterator[str]:
    """Errors of a route's destinations: those that do not take the documents of its mapping."""
    for name in route.to or ():
        wanted = site.config.destinations[name].takes
        if program is not None and wanted not in ("", program.target.kind):
            writes = f"mapping {program.name} writes {program.target}"
            yield f"{writes}, and {name} takes {wanted} only; name another destination, or another mapping"


def _misplaced(config: ChannelConfig, route: RouteConfig, program: Program | None) -> Iterator[str]:
    """Errors of a route whose mapping reads orders, or should; or facts."""
    if program is None:
        return
    if program.target.kind == "results":
        yield f"mapping {program.name} reads facts for LabRelay's own use, and makes no document; name another mapping"
    if program.target.kind != "orders":
        if route.to is None:
            yield NO_DESTINATION
        return
    if config.role != "orders":
        yield f"mapping {program.name} reads orders, and this channel brings results; say role: orders as well"
    if route.to is not None:
        yield f"mapping {program.name} puts orders on the worklist, and nowhere else; take to: out"
    if route.hold is not None:
        yield "hold is for results; take it out"


def _other_orders(config: ChannelConfig, route: RouteConfig) -> Iterator[str]:
    """Destinations that another route of the channel also sends to, in order: they share one lane, and so one order."""
    if route.drain == "newest-first":
        in_order = {name for other in config.routes if other.drain == "in-order" for name in other.to or ()}
        for name in sorted(in_order.intersection(route.to or ())):
            yield f"another route sends to {name} in order, and both share one lane; say drain for both, or for none"


def _answer(config: ChannelConfig, clock: Clock) -> Answer:
    """HL7's acknowledgement; ASTM needs none, since its link has acknowledged every frame."""
    module = registry.load(registry.ACKNOWLEDGEMENTS, "hl7v2")
    either = registry.load(registry.FORMATS, EITHER) if config.source.format == EITHER else None
    ack_code = "aa" if config.ack_code == "aa" else ""
    zone = ZoneInfo(config.timezone)
    prefix = f"LR{clock.now_us():x}-"  # differs for each start, so that no two answers share a control id
    number = 0

    @lru_cache(maxsize=1)
    def time_of(second: int) -> str:
        return datetime.fromtimestamp(second, zone).strftime("%Y%m%d%H%M%S%z")

    not_delivered = module.AckError(207, text="the message is kept, but was not delivered in time")

    def answer(
        block: bytes,
        messages: Sequence[bytes],
        *,
        stored: bool,
        delivered: bool,
        refused: str = "",
        commit: bool = False,
    ) -> Sequence[bytes]:
        nonlocal number
        if either is not None and either.format_of(block) != "hl7v2":
            return ()  # ASTM records in a block: they have no answer
        number += 1
        now_text = time_of(clock.now_us() // 1_000_000)
        if commit:
            if ack_code:
                return ()
            accepted = module.commit_acknowledge(messages[0], now_text=now_text, control_id=f"{prefix}{number}")
            return () if accepted is None else (accepted,)
        error = module.NOT_STORED if not stored else None if delivered else not_delivered
        if refused:
            error = module.AckError(104, text=refused, reject=True)
        first = module.acknowledge_block(
            block,
            messages,
            now_text=now_text,
            control_id=f"{prefix}{number}",
            ack_code=ack_code,
            errors=[error] * len(messages) if error else (),
        )
        # A sender that asks for both acknowledgements gets the second as a message of its own.
        second = None
        if len(messages) == 1 and first is not None and b"CA" in first:
            second = module.application_acknowledge(
                messages[0], now_text=now_text, control_id=f"{prefix}{number}A", error=error
            )
        return [part for part in (first, second) if part is not None]

    return answer
