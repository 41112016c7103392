"""Selections: which messages or dead letters an action is about, as a person gave it and as it resolves now."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from engine.model.errors import LabRelayError, RefusedError
from engine.model.records import DeadLetter, Filter
from engine.store.queries.letters import dead_letters, held_deliveries
from engine.store.queries.messages import each_message, message_if, sent_among
from engine.store.queries.reader import Reader
from engine.store.queries.succession import newer_of_same_reports

PAGE = 500
LATEST_US = 2**62
MAX_SELECTED = 200_000  # more must be narrowed by time or channel; bounds memory and the length of an action
REPLAY_STATES = ("delivered", "superseded", "dismissed")  # of deliveries whose documents a replay may send again
REPLAYED = frozenset({"delivered"})  # ... and sends by default

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A selection of messages or dead letters: numbers, or a filter, or everything (``all``).

    Attributes:
        ids: message numbers; with them, the rest narrows further.
        cause: of dead letters, as `Filter` has it.
        specimen, number: of messages that bear this number of a specimen or order, or as their own control id. They may
            be a patient's, so they are left out of an action's audit row (`without_numbers`).
        after_us, before_us: received within.
        counted_us: when a person was shown the count. Later dead letters or held results are excluded from their
            confirmation.
    """

    ids: tuple[int, ...] = ()
    channel: str | None = None
    destination: str | None = None
    code: str | None = None
    cause: str | None = None
    state: str | None = None
    after_us: int | None = None
    before_us: int | None = None
    specimen: str | None = None
    number: str | None = None
    all: bool = False
    counted_us: int | None = None

    @property
    def is_empty(self) -> bool:
        """Nothing was given: never taken to mean everything."""
        return replace(self, counted_us=None) == Selection()

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value not in (None, (), False)}

    @classmethod
    def from_json(cls, given: Any) -> "Selection":
        """Parse a selection from the socket.

        Raises:
            LabRelayError: not a selection; command and daemon may differ in version.
        """
        kinds = {"ids": (list, tuple), "all": (bool,), "after_us": (int,), "before_us": (int,), "counted_us": (int,)}
        known = {field.name for field in fields(cls)}
        if not isinstance(given, dict) or not given.keys() <= known:
            raise LabRelayError("not a selection that this version knows")
        for name, value in given.items():
            if not isinstance(value, kinds.get(name, (str,))):
                raise LabRelayError(f"not a selection: {name} has the wrong kind of value")
            if isinstance(value, int) and abs(value) >= LATEST_US:
                raise LabRelayError(f"not a selection: {name} is no time")
        ids = given.get("ids", ())
        if not all(isinstance(number, int) and 0 <= number < 2**63 - 1 for number in ids):
            raise LabRelayError("not a selection: ids must be numbers of messages")
        return cls(**{**given, "ids": tuple(ids)})

    def filter(self) -> Filter:
        """The part of the selection that the journal can search for."""
        shared = {one.name for one in fields(Filter)} & {one.name for one in fields(self)}
        return Filter(**{name: getattr(self, name) for name in shared})

    def without_numbers(self, found: Sequence[int]) -> "Selection":
        """The same messages for an audit row, without the number of a specimen."""
        if self.specimen is None and self.number is None:
            return self
        return Selection(ids=tuple(found), destination=self.destination, state=self.state)


def letters(reader: Reader, selection: Selection) -> list[DeadLetter]:
    """The dead letters that a selection matches now, oldest message first."""
    return _letters(reader, dead_letters, selection)


def held_results(reader: Reader, selection: Selection) -> list[DeadLetter]:
    """The held deliveries that a selection matches now, oldest message first."""
    return _letters(reader, held_deliveries, replace(selection, state=None))


def _letters(reader: Reader, pages: Callable[..., list[DeadLetter]], selection: Selection) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    if selection.ids:
        for number in sorted(set(selection.ids)):
            page = pages(reader, selection.filter(), before_id=number + 1, limit=1)
            found += [letter for letter in page if letter.message_id == number]
        return _counted(found, selection)
    before: int | None = None
    while page := pages(reader, selection.filter(), before_id=before, limit=PAGE):
        found += page
        before = page[-1].message_id
        _bounded(len(found))
    found.sort(key=lambda letter: (letter.message_id, letter.delivery_id))
    return _counted(found, selection)


def _counted(found: list[DeadLetter], selection: Selection) -> list[DeadLetter]:
    limit = selection.counted_us
    return found if limit is None else [letter for letter in found if letter.at_us <= limit]


def counted_at(now_us: int, found: Sequence[DeadLetter]) -> int:
    """The instant of the count. A clock that was set back leaves none of them out."""
    return max(now_us, *(letter.at_us for letter in found)) if found else now_us


@dataclass(frozen=True, slots=True)
class Replayable:
    """The messages that a replay of a selection sends.

    Attributes:
        selected: their numbers, oldest first.
        newer: those of newer messages of the same reports, which go along
        (`engine.store.operations.settling.held_together`).
    """

    selected: Sequence[int]
    newer: frozenset[int] = frozenset()

    @property
    def all(self) -> list[int]:
        """All messages to send, oldest first."""
        return sorted({*self.selected, *self.newer})

    @property
    def needs_reason(self) -> bool:
        """Whether the newer ones at least double the number."""
        return bool(self.newer) and len(self.newer) >= len(self.selected)


def replayable(reader: Reader, selection: Selection) -> Replayable:
    """Resolve a selection for a replay; the result is the same when the replay is resumed.

    ``state`` and ``destination`` are those of their deliveries here: delivered ones are sent again. Newer messages of
    the same reports go along where they were delivered there.
    """
    found = messages(reader, replace(selection, state=None))
    sent = _sent(reader, found, replay_states(selection), selection.destination)
    selected = [number for number in found if number in sent]
    every, last = set(selected), selected
    while last:
        along = {one for part in chunks(last, PAGE) for one in newer_of_same_reports(reader, part, every)}
        last = sorted(_sent(reader, sorted(along), REPLAYED, selection.destination))
        every |= set(last)
        _bounded(len(every))
    return Replayable(selected, frozenset(every.difference(selected)))


def _sent(reader: Reader, found: Sequence[int], states: frozenset[str], destination: str | None) -> set[int]:
    return {one for part in chunks(found, PAGE) for one in sent_among(reader, part, states, destination)}


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
    if selection.ids:
        return [number for number in sorted(set(selection.ids)) if message_if(reader, wanted, number)]
    found: list[int] = []
    for view in each_message(reader, wanted, at_once=PAGE):
        found.append(view.id)
        _bounded(len(found))
    return found[::-1]


def chunks(chosen: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for at in range(0, len(chosen), size):
        yield chosen[at : at + size]


def _bounded(count: int) -> None:
    if count > MAX_SELECTED:
        raise RefusedError(f"more than {MAX_SELECTED} selected; narrow it by time or channel")
