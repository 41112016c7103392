"""Process one message: parse -> route -> map. Pure, so that a worker process can do it as well."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from engine.mapping.hold_rules.rules import HoldRules
from engine.mapping.outputs.orders import order_lines
from engine.mapping.shipped import refusal
from engine.model.clock import from_us
from engine.model.errors import ContentError
from engine.model.list_form import Form
from engine.model.message import (
    ControlRun,
    Document,
    FormatOptions,
    Issue,
    MapContext,
    Mapped,
    Parsed,
    Reagent,
    Stored,
    Unmapped,
)
from engine.model.order_results import has_results, question_in, tubes_in
from engine.model.orders import OrderLine
from engine.model.outcome import Outcome
from engine.model.ports import Dialogue, Format
from engine.model.quality_controls import controls_in
from engine.model.reagents import reagents_in
from engine.model.reasons import ReasonCode
from engine.model.records import Routed
from engine.model.result_times import result_groups
from engine.model.search_keys import NOT_ALL, Number, numbers_in, own_number
from engine.model.values import changed
from engine.model.worklist import Ordered, TakeSettings
from engine.processing.formats import MEDIA_TYPES
from engine.processing.measured_times import exact_times, measured_times

logger = logging.getLogger("labrelay.processing")

T = TypeVar("T")

YIELD_AFTER = 4  # messages processed here before sockets get their turn: about half a millisecond
HASH_PIECE = 2047
HASHED_IN_PIECES = 64 * 1024


class Program(Protocol):
    """A compiled mapping."""

    @property
    def name(self) -> str: ...
    @property
    def content_hash(self) -> str: ...
    def apply(self, parsed: Parsed, context: MapContext) -> Mapped: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One compiled route of a channel.

    Attributes:
        when: the compiled condition; None takes every message.
        program: None where the destinations take the raw message, or where ``filter`` drops it.
        filter: matching messages are not wanted, and no later route is tried.
        worklist: its mapping reads orders, whose place is the worklist.
        hold: the rules that hold its documents until a person releases them; None without any.
        joins: its reports list the results that other messages of the same orders brought, too.
        of_site: a result of another channel for the same order and test is the same result.
        form: the place of results in its documents, for CSV and JSON; None: these are not compared.
        controls: patterns of numbers of controls.
    """

    when: Callable[[Parsed], bool] | None
    program: Program | None
    to: tuple[str, ...] = ()
    order: str = "channel"
    newest_first: bool = False
    hold_on_dead: bool = False
    filter: bool = False
    worklist: bool = False
    hold: HoldRules | None = None
    joins: bool = True
    of_site: bool = False
    form: Form | None = None
    controls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRoutes:
    """The configuration of a channel for intake; compiled from its YAML by the composition root.

    Attributes:
        media_type: of a message that is passed on unchanged; empty where that depends on the message.
        dialogue: how its analyzer asks for orders; None: it is not answered.
        tests: code of the analyzer -> code of the LIS, of the tests that it gets orders for.
        groups: of analyzers, that it is of. redundant: as in `engine.model.order_results.TubeResults`.
        takes: how its orders are taken; None: it brings none.
        has_other_numbers: its reports are known by numbers that `engine.processing.names` does not read.
    """

    channel: str
    message_format: Format
    media_type: str
    options: FormatOptions
    routes: tuple[Route, ...]
    context: MapContext
    dialogue: Dialogue | None = None
    tests: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    takes: TakeSettings | None = None
    redundant: bool = False
    has_other_numbers: bool = False

    @property
    def notes_controls(self) -> bool:
        """Whether a hold rule asks for the outcome of this channel's quality controls."""
        return any(route.hold is not None and route.hold.asks_controls for route in self.routes)

    @property
    def counts(self) -> bool:
        """Whether O-4 of this channel is a number of the instrument's own (setting of `astm-results`)."""
        return self.context.settings.get("instrument_specimens") in ("yes", "alone")


Processed = Outcome[Route]


def process(stored: Stored, channel: ChannelRoutes) -> Processed:
    """Parse, route and map one message. Pure: the same message and configuration give the same outcome."""
    found = _process(stored, channel)
    if found.state == "dead" and channel.takes is not None and channel.takes.answers_later:
        return replace(found, ordered=Ordered(lines=(), settings=channel.takes))  # its sender hears that, too
    return found


def _process(stored: Stored, channel: ChannelRoutes) -> Processed:
    if stored.repeat_of is not None:
        return Outcome("filtered", ReasonCode.REPEAT)
    if stored.filtered is not None:
        return Outcome("filtered", stored.filtered)
    header = channel.message_format.header(stored.payload)
    numbers = own_number(header.control_id)
    if header.problem:
        return Outcome("dead", ReasonCode.UNREADABLE, header.problem, numbers=numbers)
    reagents: tuple[Reagent, ...] = ()
    try:
        parsed = channel.message_format.parse(stored.payload, channel.options)
        numbers += _extracted(stored, parsed, "reading numbers failed inside LabRelay", numbers_in, (NOT_ALL,))
        if stored.equal_to is not None and channel.takes is not None and header.control_id:
            # A laboratory system that asks once more: its orders are on the worklist, or were refused.
            return Outcome("filtered", ReasonCode.REPEAT, numbers=numbers)
        reagents = _extracted(stored, parsed, "reading reagent lots failed inside LabRelay", reagents_in, ())
        return _route(stored, parsed, channel, reagents, numbers)
    except ContentError as error:
        detail = f"{error.place}: {error.detail}" if error.place else error.detail
        return Outcome("dead", error.reason, detail, reagents=reagents, numbers=numbers)
    except Exception as error:
        # P2 and P7: an error of ours makes a dead letter with its place, and the next message is not affected.
        logger.exception(
            "processing failed inside LabRelay", extra={"channel": channel.channel, "journal_id": stored.id}
        )
        return Outcome("dead", ReasonCode.MAPPING_FAULT, type(error).__name__, numbers=numbers)


def _extracted(
    stored: Stored, parsed: Parsed, failed: str, read: Callable[[Parsed], tuple[T, ...]], otherwise: tuple[T, ...]
) -> tuple[T, ...]:
    """What ``read`` finds in a message: search keys, reagent lots. Never fails: an error here must not block a result
    or hide a message.

    Args:
        failed: the text for the log where it fails. otherwise: the result then.
    """
    try:
        return read(parsed)
    except Exception:
        logger.exception(failed, extra={"channel": stored.channel, "journal_id": stored.id})
        return otherwise


def _route(
    stored: Stored,
    parsed: Parsed,
    channel: ChannelRoutes,
    reagents: tuple[Reagent, ...],
    numbers: tuple[Number, ...],
) -> Processed:
    documents: list[tuple[Document, Route]] = []
    issues: list[Issue] = list(parsed.warnings)
    unmapped: list[Unmapped] = []
    names: list[str] = []
    controls: tuple[ControlRun, ...] = ()
    set_apart: set[int] = set()  # positions of controls
    without_row: set[int] = set()  # ... and of results whose code no code table had
    taken = False
    lines: list[OrderLine] | None = None
    filtered: ReasonCode | None = None
    context: MapContext | None = None
    if channel.dialogue is not None and (about := about_orders(parsed, channel.dialogue)):
        return Outcome("filtered", about, numbers=numbers)
    for route in channel.routes:
        if route.when is not None and not route.when(parsed):
            continue
        taken = True
        if route.filter:
            filtered = ReasonCode.FILTERED
            break
        if route.program is None:
            media_type = channel.media_type or MEDIA_TYPES[parsed.format]
            documents.append((Document(body=stored.payload, media_type=media_type), route))
            continue
        if context is None:
            context = context_of(stored, channel.context)
        # Hold rules read the document whole.
        whole = changed(context, packs=False) if route.hold is not None and context.packs else context
        mapped = route.program.apply(parsed, whole)
        names.append(f"{route.program.name}@{route.program.content_hash[:12]}")
        issues += [issue for issue in mapped.issues if issue.severity != "note"]  # notes are for `explain`
        unmapped += mapped.unmapped
        set_apart.update(mapped.controls)
        without_row.update(mapped.without_row)
        if mapped.filtered is not None:
            filtered = mapped.filtered
        if route.worklist:
            lines = [*(lines or ()), *order_lines(mapped)]
            filtered = filtered or ReasonCode.ORDERS
            continue
        if mapped.controls and not controls and channel.notes_controls:
            controls = controls_in(parsed, mapped.controls)
        if route.hold is None:
            documents += [(document, route) for document in mapped.documents]
        else:
            warned = [issue.code for issue in mapped.issues if issue.severity == "warning"]
            documents += [
                (replace(document, facts=route.hold.facts(parsed, document.body, warned)), route)
                for document in mapped.documents
            ]
    if not taken:
        return Outcome("dead", *refusal(parsed), issues=tuple(issues), reagents=reagents, numbers=numbers)
    return Outcome(
        "mapped" if documents else "filtered",
        None if documents else filtered or ReasonCode.FILTERED,
        mapping=",".join(names),
        documents=tuple(documents),
        issues=tuple(issues),
        unmapped=tuple(unmapped),
        reagents=reagents,
        controls=controls,
        numbers=numbers,
        ordered=Ordered(lines=tuple(lines), settings=channel.takes) if lines is not None and channel.takes else None,
        tubes=tubes_in(
            parsed,
            channel.tests,
            channel.groups,
            set_apart,
            redundant=channel.redundant,
            measured=measured_times(parsed, channel.context.timezone),
            counts=channel.counts,
            dialogue=channel.dialogue,
        )
        if documents and channel.dialogue is not None
        else (),
        results=_extracted(
            stored,
            parsed,
            "reading times of results failed inside LabRelay",
            lambda one: result_groups(
                one, exact_times(one, channel.context.timezone), set_apart, without_row, counts=channel.counts
            ),
            (),
        )
        if documents
        else (),
    )


def about_orders(parsed: Parsed, dialogue: Dialogue) -> ReasonCode | None:
    """Why a message of an analyzer that gets orders is for `engine.features.orders` alone; None: it may have
    results."""
    if question_in(parsed, dialogue) is not None:
        return ReasonCode.QUESTION
    if not has_results(parsed) and dialogue.confirmation(parsed) is not None:
        return ReasonCode.ORDER_ANSWER
    return None


def routed_by(route: Route, document: Document, *, claimed: tuple[bool, ...] = ()) -> Routed:
    """A document on its way to the destinations of its route, with the route's hold rules."""
    hold = route.hold.about(document.facts) if route.hold is not None else None
    return Routed(
        document=document,
        destinations=route.to,
        claimed=claimed,
        hold=hold,
        joins=route.joins,
        of_site=route.of_site,
        form=route.form,
        controls=route.controls,
    )


def _hash_of(payload: bytes) -> str:
    """SHA-256, hexadecimal. In pieces: above 2,047 bytes hashlib releases the interpreter lock, and getting it back
    while the journal's thread works takes ten times as long as the hash.
    """
    if len(payload) > HASHED_IN_PIECES:
        return hashlib.sha256(payload).hexdigest()
    state = hashlib.sha256()
    for at in range(0, len(payload), HASH_PIECE):
        state.update(payload[at : at + HASH_PIECE])
    return state.hexdigest()


def context_of(stored: Stored, base: MapContext) -> MapContext:
    """The context of a stored message for its mapping; ``base`` is the channel's."""
    return changed(
        base,
        received_at=from_us(stored.received_us),
        payload_hash=stored.payload_hash.hex() or _hash_of(stored.payload),
        apart="" if stored.equal_to is None else f"{stored.received_us}.{stored.seq}",
    )


class Processor(Protocol):
    """Processes messages: in this process (`LocalProcessor`), or in another one (`engine.runtime.worker`).

    Attributes:
        burst: how many messages it may get in one turn of the loop.
    """

    @property
    def burst(self) -> int: ...

    def has_room(self) -> bool:
        """Whether it takes one more message now; if not, an answer or `forget` makes room."""

    def ask(self, stored: Stored, channel: ChannelRoutes, answer: Callable[[Processed], None]) -> None:
        """Process a message. ``answer`` is called once, in the order of asking: at once, or later on the event loop."""

    def forget(self) -> None:
        """Drop the answers to all messages so far."""


class LocalProcessor:
    """Processes at once."""

    burst = YIELD_AFTER

    def has_room(self) -> bool:
        return True

    def ask(self, stored: Stored, channel: ChannelRoutes, answer: Callable[[Processed], None]) -> None:
        answer(process(stored, channel))

    def forget(self) -> None:
        """Nothing waits here."""
