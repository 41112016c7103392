"""Taps: follow the messages of one channel, live, without ever delaying them.

    raw        a message is durable (and was acknowledged): its bytes, letters as x and digits as 9 unless unmasked
    parsed     what its format makes of it: segments or records by name, warnings
    mapped     its outcome: state, reason, mapping, how many documents for whom
    delivery   an attempt has ended: delivered, postponed, dead, superseded

Each step of a message's path makes one call (`Taps.raw`, `mapped`, `ended`, `postponed`); without a follower it costs a
look at an empty list. A follower has a short queue of its own; events without room there are dropped, and replaced by
their number. The text for people is made outside of the message's path, at most `PER_S` lines a second, from the first
`SHOWN_BYTES` of a message. So a stalled terminal costs a bounded number of references.
"""

import asyncio
import re
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from engine.model.errors import ContentError, LabRelayError
from engine.model.journal.records import Recorded
from engine.model.message import Delivery, Stored
from engine.model.packing import unpack
from engine.model.process.clock import Clock, from_us
from engine.model.routes import ChannelRoutes, Processed
from engine.model.texts import signs
from engine.model.texts.reasons import ReasonCode

STAGES = ("raw", "parsed", "mapped", "delivery")
QUEUED = 256  # events of one follower
QUEUED_BYTES = 4 * 1024 * 1024  # of the messages to which they refer
PER_S = 100  # lines a second for one follower; more are counted as lost
SHOWN_BYTES = 2048
PARSED_BYTES = 32 * 1024  # a larger message is not parsed for a follower
FOLLOWERS = 4

# Possible texts in place of a name: three letters, as in an HL7 segment, that are no type (``ORU^R01``) and no
# structure (``ORU_R01``, ``E1394``).
_FROM_MESSAGE = re.compile(
    r"[A-Z][A-Z0-9]{2}|(?!(E1394|[A-Z]{3}[_^][A-Z][0-9]{2}(\^[A-Z]{3}_[A-Z][0-9]{2})?)\Z).*[A-Z^_].*", re.DOTALL
)

Line = dict[str, Any]
Routes = Callable[[], Mapping[str, ChannelRoutes]]


@dataclass(frozen=True, slots=True)
class _Event:
    """An event; ``make`` converts it to a line once a follower reads it."""

    make: Callable[["Tap"], Line]
    size: int


@dataclass(slots=True, eq=False)
class Tap:
    """One follower.

    Attributes:
        unmask: contents are shown unmasked; the caller has written the audit row.
        queue: events, or in place of lost ones their number.
    """

    channel: str
    stages: frozenset[str]
    unmask: bool
    queue: deque[_Event | int] = field(default_factory=deque)
    queued_bytes: int = 0
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, event: _Event) -> None:
        too_much = bool(self.queued_bytes) and self.queued_bytes + event.size > QUEUED_BYTES
        if len(self.queue) >= QUEUED or too_much:
            last = self.queue[-1] if self.queue else None
            if isinstance(last, int):
                self.queue[-1] = last + 1
            else:
                self.queue.append(1)
        else:
            self.queue.append(event)
            self.queued_bytes += event.size
        self.woken.set()


class Taps:
    """All followers of a running site."""

    stages = STAGES

    def __init__(self, clock: Clock, routes: Routes) -> None:
        self._clock = clock
        self._routes = routes
        self._open: list[Tap] = []

    async def follow(self, channel: str, stages: Collection[str], *, unmask: bool) -> AsyncGenerator[Line, None]:
        """Yield the lines about a channel from now on, without end.

        Raises:
            LabRelayError: there are too many followers.
        """
        if len(self._open) >= FOLLOWERS:
            raise LabRelayError(f"{FOLLOWERS} taps are open already; end one of them first")
        tap = Tap(channel, frozenset(stages), unmask)
        self._open.append(tap)
        try:
            yield {"stage": "open", "channel": channel, "stages": sorted(stages, key=STAGES.index)}
            began, said = self._clock.monotonic(), 0
            while True:
                if not tap.queue:
                    tap.woken.clear()
                    await tap.woken.wait()
                now = self._clock.monotonic()
                if now - began >= 1.0:
                    began, said = now, 0
                elif said >= PER_S:
                    await asyncio.sleep(1.0 - (now - began))
                    continue
                event = tap.queue.popleft()
                said += 1
                if isinstance(event, int):
                    yield {"stage": "lost", "lost": event}
                else:
                    tap.queued_bytes -= event.size
                    yield event.make(tap)
                await asyncio.sleep(0)  # others first
        finally:
            self._open.remove(tap)

    # -- calls from the path of a message ----------------------------------------------------------------------------

    def raw(self, stored: Stored) -> None:
        """A message became durable."""
        for tap in self._open:
            if tap.channel != stored.channel:
                continue
            at_us, size = self._clock.now_us(), len(stored.payload)
            if "raw" in tap.stages:
                tap.put(_Event(partial(_raw, stored=stored, at_us=at_us), size))
            if "parsed" in tap.stages:
                tap.put(_Event(partial(self._parsed, stored=stored, at_us=at_us), size))

    def mapped(self, stored: Stored, outcome: Processed, recorded: Recorded) -> None:
        """The outcome of a message is durable."""
        for tap in self._open:
            if tap.channel == stored.channel and "mapped" in tap.stages:
                size = sum(len(document.body) for document, _ in outcome.documents)
                make = partial(_mapped, stored=stored, outcome=outcome, recorded=recorded, at_us=self._clock.now_us())
                tap.put(_Event(make, size))

    def ended(self, delivery: Delivery, reason: ReasonCode | None) -> None:
        """A delivery was made (None), or is not retried."""
        if self._open:
            calm = (ReasonCode.SUPERSEDED, ReasonCode.OVERTAKEN)
            words = "delivered" if reason is None else reason.value.lower() if reason in calm else "dead"
            self._delivery(delivery, words, reason, delivery.attempt + 1)

    def postponed(self, delivery: Delivery, reason: ReasonCode) -> None:
        """An attempt has failed, and another will follow; ``delivery`` counts it."""
        if self._open:
            self._delivery(delivery, "postponed", reason, delivery.attempt)

    def _delivery(self, delivery: Delivery, outcome: str, reason: ReasonCode | None, attempt: int) -> None:
        line = {
            **_head("delivery", delivery.channel, delivery.message_id, self._clock.now_us()),
            "delivery": delivery.id,
            "destination": delivery.destination,
            "seq": delivery.seq,
            "attempt": attempt,
            "outcome": outcome,
            "code": reason.value if reason is not None else "",
        }
        for tap in self._open:
            if tap.channel == delivery.channel and "delivery" in tap.stages:
                tap.put(_Event(lambda tap: line, 0))

    def _parsed(self, tap: Tap, *, stored: Stored, at_us: int) -> Line:
        line = _head("parsed", stored.channel, stored.id, at_us)
        routes = self._routes().get(stored.channel)
        if routes is None or len(stored.payload) > PARSED_BYTES:
            return {**line, "problem": "too large to be parsed here" if routes is not None else "no such channel now"}
        try:
            parsed = routes.message_format.parse(stored.payload, routes.options)
        except ContentError as error:
            return {**line, "problem": error.reason.value, "place": error.place}
        except Exception as error:
            return {**line, "problem": type(error).__name__}
        return {
            **line,
            "structure": _masked_name(parsed.structure or parsed.message_type, tap),
            "segments": dict(Counter(_masked_name(segment.name, tap) for segment in parsed.segments)),
            "warnings": [issue.code for issue in parsed.warnings],
        }


def _masked_name(name: str, tap: Tap) -> str:
    """The name of a segment, type or structure; masked where a broken message has other text in its place, which may
    name a person: ``RAO`` on a line of its own.
    """
    if tap.unmask or not _FROM_MESSAGE.fullmatch(name):
        return name
    return signs.text(f"{name}|".encode(), masked=True)[:-1]


def _head(stage: str, channel: str, message: int, at_us: int) -> Line:
    return {
        "stage": stage,
        "at": from_us(at_us).isoformat(timespec="milliseconds"),
        "channel": channel,
        "message": message,
    }


def _raw(tap: Tap, *, stored: Stored, at_us: int) -> Line:
    return {
        **_head("raw", stored.channel, stored.id, at_us),
        "seq": stored.seq,
        "type": _masked_name(stored.message_type, tap),
        "bytes": len(stored.payload),
        "repeat_of": stored.repeat_of,
        "equal_to": stored.equal_to,
        "text": signs.text(stored.payload[:SHOWN_BYTES], masked=not tap.unmask),
        "not_shown": max(0, len(stored.payload) - SHOWN_BYTES),
    }


def _mapped(tap: Tap, *, stored: Stored, outcome: Processed, recorded: Recorded, at_us: int) -> Line:
    line = {
        **_head("mapped", stored.channel, stored.id, at_us),
        "state": recorded.state,
        "code": recorded.reason.value if recorded.reason is not None else "",
        "mapping": outcome.mapping,
        "documents": len(outcome.documents),
        "destinations": sorted({name for _, route in outcome.documents for name in route.to}),
        "held": len(recorded.held),
        "issues": [issue.code for issue in outcome.issues],
    }
    if tap.unmask:
        bodies = [unpack(document.body) if document.packed else document.body for document, _ in outcome.documents]
        line["bodies"] = [body[:SHOWN_BYTES].decode("utf-8", "backslashreplace") for body in bodies]
    return line
