"""Selections: which messages or dead letters an action is about, as a person gave it and as it resolves now."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any, TypeVar

from engine.feature import Hook
from engine.model.errors import LabRelayError, RefusedError
from engine.model.journal.journal_views import DeadLetter, Filter
from engine.model.journal.records import LETTER_STATES
from engine.model.texts.reasons import ReasonCode
from engine.store.operations.bulk import Member
from engine.store.queries.letters import dead_letters, held_deliveries
from engine.store.queries.listing import NO_LIMIT
from engine.store.queries.messages import each_message, message_if, sent_among
from engine.store.queries.reader import Reader

PAGE = 500
LATEST_US = 2**62
MAX_SELECTED = 200_000  # more must be narrowed by time or channel; bounds memory and the length of an action
MOST_BY_NUMBER = 2000  # messages of an act that was selected by a number: its audit row lists them
REPLAY_STATES = ("delivered", "superseded", "dismissed")  # of deliveries whose documents a replay may send again
REPLAYED = frozenset({"delivered"})  # ... and sends by default

MOST_COUNTED, COUNTING_S = 10_000, 1.0  # a count that is larger or takes longer ends: "more than"

T = TypeVar("T")
Pages = Callable[..., list[DeadLetter]]  # as `dead_letters`
# The newer messages that go along where some (at most `PAGE`) are sent again, without those that are known already.
Along = Callable[[Reader, Sequence[int], Collection[int]], set[int]]
ALONG: Hook[Along] = Hook("goes_along")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A selection of messages or dead letters: numbers, or a filter, or everything (``all``).

    Attributes:
        ids: message numbers; with them, the rest narrows further.
        cause: of dead letters, as `Filter` has it.
        channels: only of these.
        specimen, number: of messages that bear this number of a specimen or order, or as their own control id. They may
            be a patient's, so they are left out of an action's audit row (`without_numbers`).
        after_us, before_us: received within.
        last, counted_us: the journal's newest row, and the moment, when a person was shown the count. What came later
            is excluded from their confirmation.
    """

    ids: tuple[int, ...] = ()
    channel: str | None = None
    channels: tuple[str, ...] | None = None
    destination: str | None = None
    code: str | None = None
    cause: str | None = None
    state: str | None = None
    after_us: int | None = None
    before_us: int | None = None
    specimen: str | None = None
    number: str | None = None
    all: bool = False
    last: int | None = None
    counted_us: int | None = None

    @property
    def is_empty(self) -> bool:
        """Nothing was given: never taken to mean everything."""
        return replace(self, last=None, counted_us=None, channels=None) == Selection()

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value not in (None, (), False)}

    @classmethod
    def from_json(cls, given: Any) -> "Selection":
        """Parse a selection from the socket.

        Raises:
            LabRelayError: not a selection; command and daemon may differ in version.
        """
        whole = dict.fromkeys(("after_us", "before_us", "last", "counted_us"), (int,))
        lists = dict.fromkeys(("ids", "channels"), (list, tuple))
        kinds: dict[str, tuple[type, ...]] = {**lists, "all": (bool,), **whole}
        known = {field.name for field in fields(cls)}
        if not isinstance(given, dict) or not given.keys() <= known:
            raise LabRelayError("not a selection that this version knows")
        for name, value in given.items():
            if not isinstance(value, kinds.get(name, (str,))):
                raise LabRelayError(f"not a selection: {name} has the wrong kind of value")
            if isinstance(value, int) and abs(value) >= LATEST_US:
                raise LabRelayError(f"not a selection: {name} is too large")
        listed = {name: tuple(given[name]) for name in lists if name in given}
        numbers = all(isinstance(one, int) and 0 <= one < 2**63 - 1 for one in listed.get("ids", ()))
        if not numbers or not all(isinstance(one, str) for one in listed.get("channels", ())):
            raise LabRelayError("not a selection: ids must be numbers of messages, and channels names")
        return cls(**{**given, **listed})

    def filter(self) -> Filter:
        """The part of the selection that the journal can search for."""
        shared = {one.name for one in fields(Filter)} & {one.name for one in fields(self)}
        return Filter(**{name: getattr(self, name) for name in shared})

    def without_numbers(self, found: Sequence[int]) -> "Selection":
        """The same messages for an audit row, without the number of a specimen."""
        if self.specimen is None and self.number is None:
            return self
        return Selection(ids=tuple(found), channels=self.channels, destination=self.destination, state=self.state)


held_results: Pages = partial(held_deliveries, in_words=False)


def letters(reader: Reader, selection: Selection) -> list[DeadLetter]:
    """The dead letters that a selection matches now, oldest message first."""
    return sorted(each_letter(reader, dead_letters, selection), key=lambda one: (one.message_id, one.delivery_id))


def each_letter(reader: Reader, pages: Pages, selection: Selection) -> Iterator[DeadLetter]:
    """The letters that a selection matches and that were there when it was counted, newest message first.

    Args:
        pages: `dead_letters` or `held_results`.

    Raises:
        RefusedError: it selects by a number or a state that letters do not have.
    """
    if selection.specimen is not None or selection.number is not None:
        raise RefusedError("dead letters and held results are selected by message number, not by those of a specimen")
    states = LETTER_STATES if pages is dead_letters else ("held",)
    if selection.state not in (None, *states):
        raise RefusedError(f"state: give {' or '.join(states)}, or leave it out")
    last = NO_LIMIT - 1 if selection.last is None else selection.last
    until_us = LATEST_US if selection.counted_us is None else selection.counted_us
    if selection.ids:
        for number in sorted({one for one in selection.ids if one <= last}, reverse=True):
            page = pages(reader, selection.filter(), before_id=number + 1, limit=1)
            yield from (one for one in page if one.message_id == number and one.at_us <= until_us)
        return
    before = last + 1
    while page := pages(reader, selection.filter(), before_id=before, limit=PAGE):
        yield from (one for one in page if one.at_us <= until_us)
        before = page[-1].message_id


def frozen(reader: Reader, pages: Pages, selection: Selection) -> tuple[list[Member], int]:
    """The members of an operation, in ascending order; and since when the newest of them is a letter.

    Raises:
        RefusedError: there are too many.
    """
    found, newest_us = list[Member](), 0
    for one in each_letter(reader, pages, selection):
        found.append(Member(one.message_id, one.delivery_id))
        newest_us = max(newest_us, one.at_us)
        _bounded(len(found))
    return sorted(found), newest_us


@dataclass(frozen=True, slots=True)
class Counted:
    """The count of a selection, for the person who confirms.

    Attributes:
        count: how many were found.
        more: there may be more of them: counting them all would have taken too long.
        channels, destinations: of those found.
        critical: those found with a critical value.
        conflicts: dead deliveries that were found, of which the server has another version.
        two_patients: dead messages that were found, with a number that another patient has.
        last, counted_us: for the selection of the action that follows.
    """

    count: int
    more: bool
    channels: list[str]
    destinations: list[str]
    critical: int
    conflicts: int
    two_patients: int
    last: int
    counted_us: int


def counted(reader: Reader, pages: Pages, selection: Selection, *, last: int, now_us: int) -> Counted:
    """Count, but not beyond `MOST_COUNTED` or `COUNTING_S`.

    Args:
        last: the journal's newest row; a selection that was counted before keeps its own.
    """
    last = last if selection.last is None else selection.last
    count, critical, conflicts, two_patients = 0, 0, 0, 0
    more, until = False, time.monotonic() + COUNTING_S
    counted_us, channels, destinations = now_us, set[str](), set[str]()
    for one in each_letter(reader, pages, replace(selection, last=last)):
        if count >= MOST_COUNTED or time.monotonic() > until:
            more = True
            break
        count += 1
        critical += one.critical
        conflicts += one.reason == ReasonCode.CONFLICT.value
        two_patients += not one.delivery_id and one.reason == ReasonCode.IDENTITY_CONFLICT.value
        channels.add(one.channel)
        destinations.add(one.destination)
        counted_us = max(counted_us, one.at_us)  # a clock that was set back leaves none of them out
    names = sorted(channels), sorted(destinations - {""})
    return Counted(count, more, *names, critical, conflicts, two_patients, last, counted_us)


@dataclass(frozen=True, slots=True)
class Replayable:
    """The messages that a replay of a selection sends.

    Attributes:
        selected: their numbers, oldest first.
        newer: those of newer messages of the same reports, which go along
        (`engine.features.results.rows.succession`).
        newest_us: since when the last of those selected is as it was selected.
    """

    selected: Sequence[int]
    newer: frozenset[int] = frozenset()
    newest_us: int = 0

    @property
    def all(self) -> list[int]:
        """All messages to send, oldest first."""
        return sorted({*self.selected, *self.newer})

    @property
    def needs_reason(self) -> bool:
        """Whether the newer ones at least double the number."""
        return bool(self.newer) and len(self.newer) >= len(self.selected)


def replayable(reader: Reader, selection: Selection) -> Replayable:
    """Resolve a selection for a replay.

    ``state`` and ``destination`` are those of their deliveries here, at ``counted_us``: delivered ones are sent again.
    Newer messages of the same reports go along where they were delivered there, also those after ``last``: else the
    last word would be an older one.
    """
    found = messages(reader, replace(selection, state=None))
    sent = _sent(reader, found, replay_states(selection), selection.destination)
    until_us = LATEST_US if selection.counted_us is None else selection.counted_us
    selected = [number for number in found if number in sent and sent[number] <= until_us]
    every, last = set(selected), selected
    while last:
        along = {one for part in chunks(last, PAGE) for go in ALONG.each() for one in go(reader, part, every)}
        last = sorted(_sent(reader, sorted(along), REPLAYED, selection.destination))
        every |= set(last)
        _bounded(len(every))
    newest_us = max((sent[number] for number in selected), default=0)
    return Replayable(selected, frozenset(every.difference(selected)), newest_us)


def _sent(reader: Reader, found: Sequence[int], states: frozenset[str], destination: str | None) -> dict[int, int]:
    parts = (sent_among(reader, part, states, destination) for part in chunks(found, PAGE))
    return {number: since_us for part in parts for number, since_us in part.items()}


def replay_states(selection: Selection) -> frozenset[str]:
    """The states of a document at its destination for which a replay sends it again.

    Raises:
        LabRelayError: no such state exists.
    """
    if selection.state is None:
        return REPLAYED
    if selection.state not in REPLAY_STATES:
        raise LabRelayError(f"a replay is of what is {', '.join(REPLAY_STATES)}; for dead letters: labrelay dlq retry")
    return frozenset({selection.state})


def messages(reader: Reader, selection: Selection) -> list[int]:
    """The numbers of the messages that a selection matches now, oldest first."""
    wanted = replace(selection.filter(), state=selection.state or "mapped", destination=None)
    last = NO_LIMIT if selection.last is None else selection.last
    if selection.ids:
        return [one for one in sorted(set(selection.ids)) if one <= last and message_if(reader, wanted, one)]
    found: list[int] = []
    for view in each_message(reader, wanted, at_once=PAGE):
        if view.id <= last:
            found.append(view.id)
            _bounded(len(found))
    return found[::-1]


def chunks(chosen: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for at in range(0, len(chosen), size):
        yield chosen[at : at + size]


def _bounded(count: int) -> None:
    if count > MAX_SELECTED:
        raise RefusedError(f"more than {MAX_SELECTED} selected; narrow it by time or channel")
