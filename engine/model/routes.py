"""The routes of a channel as they are compiled, and what they make of a message: a document for some destinations."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engine.model.content.facts import Facts
from engine.model.content.list_form import Form
from engine.model.content.results import Result
from engine.model.journal.records import Routed, Rules
from engine.model.message import Document, FormatOptions, MapContext, Mapped, Parsed, Stored
from engine.model.outcome import Outcome
from engine.model.ports import Dialogue, Format
from engine.model.process.clock import from_us
from engine.model.values import changed
from engine.model.worklist import TakeSettings

HASH_PIECE = 2047
HASHED_IN_PIECES = 64 * 1024


class Program(Protocol):
    """A compiled mapping."""

    @property
    def name(self) -> str: ...
    @property
    def content_hash(self) -> str: ...
    @property
    def is_own(self) -> bool: ...
    def aside(self) -> "Program":
        """The same with caches of its own."""

    def apply(self, parsed: Parsed, context: MapContext) -> Mapped: ...
    def facts_in(self, parsed: Parsed, context: MapContext) -> Facts | None: ...


class Holding(Protocol):
    """The compiled hold rules of a route (`engine.mapping.hold_rules.rules`)."""

    @property
    def asks_document(self) -> bool: ...
    @property
    def scored(self) -> Sequence[tuple[str, str]]:
        """The rules that ask other programs, each with the address (`engine.processing.scoring`)."""

    def asked(self, facts: bytes) -> list[Result]: ...
    def beside(self, document: str, *, is_own: bool) -> "Holding": ...
    def facts(self, parsed: Parsed, results: Sequence[Result] | None, warnings: Sequence[str] = ()) -> bytes: ...
    def about(self, facts: bytes) -> Rules: ...
    def limits(self, result: Result) -> str: ...


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
        passes: copies of its messages go out, whatever was decided about their results.
        of_site: a result of another channel for the same order and test is the same result.
        form: the place of results in its documents, for CSV and JSON; None: these are not compared.
    """

    when: Callable[[Parsed], bool] | None
    program: Program | None
    to: tuple[str, ...] = ()
    order: str = "channel"
    newest_first: bool = False
    hold_on_dead: bool = False
    filter: bool = False
    worklist: bool = False
    hold: Holding | None = None
    joins: bool = True
    passes: bool = False
    of_site: bool = False
    form: Form | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRoutes:
    """The configuration of a channel for intake; compiled from its YAML by the composition root.

    Attributes:
        media_type: of a message that is passed on unchanged; empty where that depends on the message.
        dialogue: how its analyzer asks for orders; None: it is not answered.
        tests: code of the analyzer -> code of the LIS, of the tests that it gets orders for.
        groups: of analyzers, that it is of. redundant: as in `engine.model.content.order_results.TubeResults`.
        takes: how its orders are taken; None: it brings none.
        reader: what reads the facts of such a message; it gives None where nothing does. None: of no message.
        is_draft: nothing is made of its messages yet.
        says: of its hold rules, the reason -> language -> the words in it.
        has_other_numbers: its reports are known by numbers that `engine.processing.names` does not read.
        controls_of: the channel whose controls are those of its analyzer, too; empty: its own alone.
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
    is_draft: bool = False
    has_other_numbers: bool = False
    controls_of: str = ""
    says: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    reader: Callable[[Parsed], Program | None] | None = None


Processed = Outcome[Route]


def routed_by(route: Route, document: Document, *, claimed: tuple[bool, ...] = ()) -> Routed:
    """A document on its way to the destinations of its route, with the route's hold rules."""
    hold = route.hold.about(document.facts) if route.hold is not None else None
    return Routed(
        document=document,
        destinations=route.to,
        claimed=claimed,
        hold=hold,
        joins=route.joins,
        is_copy=route.program is None,
        passes=route.passes,
        of_site=route.of_site,
        form=route.form,
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
