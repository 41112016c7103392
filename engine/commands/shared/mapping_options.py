"""Common options of the verbs that map files: the mapping, the channel, the zone and the time."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from engine.commands.shared.output import say
from engine.commands.shared.selecting import channel_names, read_by
from engine.commands.shared.session import Session
from engine.config.site import mapping_path
from engine.mapping.hold_rules.rules import HoldRules, StatedHistory, would_hold
from engine.mapping.program import Program
from engine.mapping.shipped import refusal
from engine.mapping.trying.inputs import ASTM, FoundMessage, Mapper, messages_in
from engine.model.errors import ConfigError, ContentError
from engine.model.journal.records import HoldReason
from engine.model.message import FormatOptions, MapContext, Mapped, Parsed
from engine.processing.formats import format_of

if TYPE_CHECKING:
    from engine.config.channel import ChannelConfig
    from engine.config.load import Site
    from engine.config.pack import Pack

# For files without a channel. Most samples are marked as training, and many declare no character set: `labrelay map`
# reads them, and warns.
BARE_OPTIONS = FormatOptions(charsets=("utf-8", "cp1252"))
BARE_SETTINGS: dict[str, Any] = {"processing_ids": ["T", "D"]}
# A file has no journal, which knows earlier accepted results for the same orders.
FIRST_OF_ALL = (
    "mapped as if nothing was known of their orders; labrelay explain NUMBER shows a stored message as it went out"
)

# What a site answers besides `settings:`, as the settings of a mapping test name it.
ANSWERS = {"patient_numbers": ("lasting", "counter"), "specimen_ids": ("restart", "day", "unique")}
NUMBERS_OPEN = (
    "patient_numbers: no site answers it here, so numbers are counters, and no Patient has one; where they last: "
    "--set patient_numbers=lasting"
)

F = TypeVar("F", bound=Callable[..., Any])


def input_file() -> Callable[[F], F]:
    return click.argument("files", nargs=-1, required=True, metavar="FILE...")


def mapping_options(command: F) -> F:
    """``--mapping``, ``--channel``, ``--set``, ``--timezone``."""
    for option in (
        click.option(
            "--timezone", callback=read_by(_zone), metavar="ZONE", help="Zone of the analyzer's clock, as Asia/Kolkata."
        ),
        settings_option,
        click.option(
            "--channel",
            metavar="NAME",
            shell_complete=channel_names,
            help="As this channel of the site: its mapping, tables and settings.",
        ),
        click.option("--mapping", default="", metavar="NAME|FILE", help="The mapping; else the shipped one that fits."),
    ):
        command = option(command)
    return command


def settings_option(command: F) -> F:
    """``--set``, which the session keeps."""
    option = click.option(
        "--set",
        multiple=True,
        expose_value=False,
        callback=_settings,
        metavar="NAME=VALUE",
        help="A setting that rules read, or patient_numbers or specimen_ids, in place of the channel's. Repeatable; a "
        "name given twice is a list.",
    )
    return option(command)


def _settings(ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> None:
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"{text}: expected NAME=VALUE, as lab='City Lab'")
        if name == "tables":
            raise click.BadParameter("tables are a channel's: name one with --channel")
        if name in found:
            before = found[name]
            found[name] = [*(before if isinstance(before, list) else [before]), value]
        else:
            found[name] = value
    for name, choices in ANSWERS.items():
        if name in found and found[name] not in choices:
            raise click.BadParameter(f"{name} is one of {', '.join(choices)}")
    if found:
        _check_forms(found)
    ctx.ensure_object(Session).settings = found


def _check_forms(settings: dict[str, Any]) -> None:
    """Refuse a setting that a channel could not have."""
    from pydantic import ValidationError

    from engine.config.mapping_settings import with_known_forms

    try:
        with_known_forms(settings)
    except ValidationError as error:
        said = (f"{one['loc'][0]}: {one['ctx']['error']}" for one in error.errors())
        raise click.BadParameter("; ".join(said)) from None


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"no zone is called {name}; write it as Asia/Kolkata") from error
    return name


@read_by
def instant(text: str) -> datetime:
    """A time of receipt with its offset; without one it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError("expected a time as 2026-03-01T10:15:00+05:30") from error
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def mapper_for(
    session: Session,
    *,
    mapping: str = "",
    channel: str | None = None,
    timezone: str | None = None,
    received: datetime | None = None,
) -> "ChannelMapper":
    """The mapper for the options of the command line.

    Raises:
        ConfigError: the site or the channel is missing, or wrong.
    """
    if channel is None:
        from engine.config.pack import packs
        from engine.config.site_file import namespaces, patient_numbers

        folder = session.folder_or_none
        numbers = patient_numbers(folder) if folder is not None else ""
        context = MapContext(
            timezone=timezone or _site_zone(folder),
            settings=BARE_SETTINGS,
            patient_numbers=numbers if numbers in ANSWERS["patient_numbers"] else "counter",
            namespaces=namespaces(folder) if folder is not None else {},
        )
        made = ChannelMapper(
            mapping_path(folder),
            mapping,
            options=BARE_OPTIONS,
            context=_with(context, session.settings),
            received=received,
        )
        made.given = frozenset(session.settings)
        made.numbers_open = not numbers and not context.namespaces and "patient_numbers" not in session.settings

        with suppress(ConfigError):  # a pack that is wrong: `labrelay check` says so
            made.packs = packs(folder)
        return made
    site = session.load_corrected()
    return channel_mapper(
        site, channel, mapping=mapping, timezone=timezone, received=received, settings=session.settings
    )


def _with(context: MapContext, given: dict[str, Any]) -> MapContext:
    """The context with the values of ``--set`` above its own."""
    answers = {name: value for name, value in given.items() if name in ANSWERS}
    settings = {name: value for name, value in given.items() if name not in ANSWERS}
    return replace(context, settings={**context.settings, **settings}, **answers)


def known_channel(site: "Site", name: str) -> "ChannelConfig":
    """The channel of that name. Raises ConfigError: there is none."""
    if name not in site.channels:
        raise ConfigError(f"no channel is called {name}; the site has {', '.join(site.channels) or 'none'}")
    return site.channels[name]


def channel_mapper(
    site: "Site",
    name: str,
    *,
    mapping: str = "",
    timezone: str | None = None,
    received: datetime | None = None,
    settings: dict[str, Any] | None = None,
) -> "ChannelMapper":
    """The mapper that does as the channel ``name`` of a site would, but for ``settings``. Raises ConfigError."""
    from engine.mapping.conditions import EITHER, route_condition

    config = known_channel(site, name)
    context = MapContext(
        channel=name,
        timezone=timezone or config.timezone,
        settings=config.settings,
        namespaces=site.config.namespaces,
        specimen_ids=config.specimen_ids,
        reuse_days=config.reuse_days,
        results_of=config.results_of,
        clock_offset=config.clock_offset,
        patient_numbers=site.patient_numbers(config),
    )
    made = ChannelMapper(
        site.mapping_path(),
        mapping,
        tables=site.tables_of(config),
        options=FormatOptions(charsets=tuple(config.charset), fixes=frozenset(config.fix), spm_obx=config.spm_obx),
        context=_with(context, settings or {}),
        received=received,
        message_format=format_of(config.source, config.dialect),
    )
    made.given = frozenset(settings or {})
    made.conditions = " ".join(str(route.hold) for route in config.routes)
    made.own_format = config.source.reads_as not in (config.source.format, EITHER)
    for index, route in enumerate(config.routes):
        place = site.node(name, "routes", index, "when").place if route.when is not None else ""
        reads = config.source.reads_as
        mapped = made.program(route.mapping).format if reads == EITHER and route.mapping is not None else ""
        when = route_condition(route.when, reads, mapped, place=place)
        hold = None
        if route.hold is not None:
            from engine.runtime.holding import holding_of

            hold = holding_of(site, name, index, made.program(route.mapping) if route.mapping is not None else None)
        made.routes.append(RouteOf(when, route.mapping, route.filter is not None, hold))
    return made


Condition = Callable[[Parsed], bool]


@dataclass(frozen=True, slots=True)
class RouteOf:
    """The parts of a route that mapping needs."""

    when: Condition | None
    mapping: str | None
    filtered: bool
    hold: HoldRules | None = None


class ChannelMapper(Mapper):
    """A mapper that follows a channel's routes if there is a channel.

    Attributes:
        own_format: the channel brings texts of another kind than HL7 v2 and ASTM, which are parsed into their records.
        packs: the analyzers that may be recognised, where no channel names one.
        unused: those whose messages were read, with the evidence; empty once it was said.
        given: names of the values of ``--set``.
        conditions: of the channel's hold rules, which may read a setting.
        numbers_open: neither a site nor ``--set`` answers `patient_numbers`.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.routes: list[RouteOf] = []
        self.own_format = False
        self.packs: list[Pack] = []
        self.unused: dict[str, str] = {}
        self.given: frozenset[str] = frozenset()
        self.conditions = ""
        self.numbers_open = False

    def refuse_unread(self, messages: Iterable[FoundMessage] = ()) -> None:
        """Refuse a value of ``--set`` that neither a mapping of the messages reads, nor one that was used before: a
        misspelt one would have no effect.

        Raises:
            click.UsageError: there is one.
        """
        if not self.given:
            return
        from engine.mapping.language.rules import POLICIES
        from engine.model.texts.spelling import did_you_mean

        programs = {program.name: program for program in (*self.programs(), *self._programs.values())}
        for one in messages:
            with suppress(ContentError):  # it is reported where it is mapped
                program = self.program_for(self.read(one))
                programs[program.name] = program
        read = {*POLICIES, *ANSWERS, *BARE_SETTINGS}.union(*(program.settings_read for program in programs.values()))
        for name in sorted(self.given - read) if programs else ():
            if name not in self.conditions:
                near = did_you_mean(name, read) or f"they read {', '.join(sorted(read))}"
                raise click.UsageError(f"--set {name}: no rule of {', '.join(sorted(programs))} reads it; {near}")

    def read(self, found: FoundMessage) -> Parsed:
        parsed = super().read(found)
        if self.packs:
            from engine.diagnostics.packs import recognise

            if len(of := recognise(parsed, self.packs)) == 1:
                self.unused.setdefault(of[0][0].name, of[0][1])
        return parsed

    def messages_in(self, data: bytes) -> list[FoundMessage]:
        """The messages of a file: detected from its bytes, or split by the channel's own format."""
        if self.own_format and self.message_format is not None:
            return [FoundMessage(part, ASTM) for part in self.message_format.split(data)]
        return messages_in(data)

    def program_for(self, parsed: Parsed) -> Program:
        """The mapping of the first route that takes the message and has a mapping; else as without a channel."""
        if self.mapping or not self.routes:
            return super().program_for(parsed)
        for route in self.routes:
            when = route.when
            if when is None or when(parsed):
                if route.filtered:
                    from engine.model.texts.reasons import ReasonCode

                    raise ContentError(ReasonCode.FILTERED, "a route says that such messages are not wanted")
                if route.mapping is not None:
                    return self.program(route.mapping)
        raise ContentError(*refusal(parsed))

    def holding_for(self, parsed: Parsed, program: Program) -> HoldRules | None:
        """The hold rules of the route with the mapping ``program``; if no route names it, those of the first
        route with a mapping that takes the message. None without rules.
        """
        taking = [route for route in self.taking(parsed) if route.mapping is not None]
        for route in taking:
            own = self.program(route.mapping or "")
            if own is program or own.name == program.name:
                return route.hold
        return taking[0].hold if self.mapping and taking else None

    def programs(self) -> list[Program]:
        """The mappings that it has used, or that its routes name."""
        named = [route.mapping for route in self.routes if route.mapping is not None]
        return [self.program(name) for name in dict.fromkeys(named)] or list(self._programs.values())

    def taking(self, parsed: Parsed) -> list[RouteOf]:
        """The routes that take a message, in order; a route that filters it is the last."""
        found: list[RouteOf] = []
        for route in self.routes:
            if route.when is None or route.when(parsed):
                found.append(route)
                if route.filtered:
                    break
        return found


def _site_zone(folder: Path | None) -> str:
    """The zone of a site, UTC without one."""
    if folder is None:
        return "UTC"
    from engine.config.site_file import site_zone

    return str(site_zone(folder) or "UTC")


@dataclass(frozen=True, slots=True)
class Input:
    """A message and its origin: ``x.hl7: message 2``."""

    where: str
    found: FoundMessage


def inputs(files: tuple[str, ...], mapper: ChannelMapper) -> Iterator[Input]:
    """All messages of all files, in order, as ``mapper`` finds them; ``-`` is standard input.

    Raises:
        click.UsageError: a file cannot be read, or a value of ``--set`` is one that no mapping of them reads.
    """
    found = _inputs(files, mapper)
    if mapper.given:
        found = iter(every := list(found))
        mapper.refuse_unread(one.found for one in every)
    return found


def _inputs(files: tuple[str, ...], mapper: ChannelMapper) -> Iterator[Input]:
    for name in files:
        try:
            data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        except OSError as error:
            raise click.UsageError(f"{name}: cannot be read: {error.strerror}") from error
        found = mapper.messages_in(data)
        if not found:
            found = [FoundMessage(data, "")]
        yield from (Input(f"{name}: message {number}", one) for number, one in enumerate(found, 1))


def say_settings(error: ContentError, program: Program) -> None:
    """One line on stderr where a message would be dead because a setting is missing."""
    if "setting" in error.detail and program.settings_read:
        names = ", ".join(sorted(program.settings_read))
        say(f"{program.name} reads these settings: {names}. Name a channel that gives them (--channel NAME), or give")
        say("them here: --set NAME=VALUE")


def say_packs(mapper: ChannelMapper) -> None:
    """A line on stderr, once, for each analyzer that was recognised, and whose pack was not used: it belongs to a
    channel.
    """
    for name, why in mapper.unused.items():
        if why:
            say(f"{name} was recognised ({why}). Its code table and settings were not used: name a channel of it with")
            say(f"--channel NAME (labrelay init --analyzer {name} writes one)")
            mapper.unused[name] = ""


def say_dead(one: Input, error: ContentError) -> None:
    """One line on stderr about a message that would be dead."""
    place = f"{error.place}: " if error.place else ""
    say(f"{one.where}: {error.reason.value}: {place}{error.detail or error.reason.help}")


def held_by(
    mapper: ChannelMapper, parsed: Parsed, payload: bytes, program: Program, mapped: Mapped
) -> HoldReason | None:
    """Why the channel's route would hold a message; None: it would not, or there is no channel.

    No journal is read: earlier results are unknown here, and a rule about them cannot be decided.
    """
    holding = mapper.holding_for(parsed, program)
    if holding is None:
        return None
    return would_hold(holding, parsed, mapper.reading(parsed, payload), mapped, StatedHistory())


def say_held(one: Input, held: HoldReason | None) -> None:
    """One line on stderr about a message that would be held."""
    if held is not None:
        say(f"{one.where}: would be held: {held.reason.value}: {held.text}")
