"""What must hold at the end of a history, whatever program was between the laboratory and the server.

    PERSONS    no two persons on one Patient, in one Observation or in one report
    BACK       no status goes back; what was withdrawn is not live again; a value is not taken away by a failed rerun
    SILENT     a final that was changed is not `final` any more, and a report that lists it is not either
    LAST_WORD  the last statement about a test is on the server, or a person sees why not; no older one is beside it
    UNLISTED   a result that was delivered is in the list of a report
    LOST       what was acknowledged is on the server, or a person sees it
    HELD       what is plain goes out without a person
    RESTLESS   everything comes to rest

The history knows who was measured. So a result on another person's Patient is a fault, however alike their names are;
and a doubt that is shown to a person never is one, except where nothing was doubtful.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.histories.history import History, Result
from tests.histories.render import GONE, ISOLATE, PLACEHOLDERS, STANDS_AS
from tests.histories.seen import Made, Row, Seen, Version

INVARIANTS = ("PERSONS", "BACK", "SILENT", "LAST_WORD", "UNLISTED", "LOST", "HELD", "RESTLESS")

RANK = {
    "registered": 0,
    "preliminary": 1,
    "partial": 1,
    "final": 2,
    "unknown": 2,
    "amended": 3,
    "appended": 3,
    "corrected": 4,
}
WITHDRAWN, CANCELLED = "entered-in-error", "cancelled"
_SHOWN = frozenset({"held", "dead", "waiting", "sending"})  # of a delivery: a person finds it
_DECIDED = frozenset({"rejected", "dismissed"})  # by a person
_MOVES = frozenset({"C", "A", "D", "W"})

Key = tuple[int, int, int, str]  # channel, person, order, test


@dataclass(frozen=True, slots=True)
class Fault:
    """``send``: the message that shows it, where one does."""

    invariant: str
    words: str
    send: int = -1


def judge(history: History, seen: Seen) -> list[Fault]:
    """Every way in which ``history`` ended wrongly."""
    if not seen.quiet:
        return [Fault("RESTLESS", "messages or deliveries are still open, and nothing moves")]
    world = _World(history, seen)
    faults = [
        *_persons(world),
        *_reported(world),
        *_back(world),
        *_silent(world),
        *_last_words(world),
        *_unlisted(world),
        *_lost(world),
    ]
    return faults + (list(_held(world)) if history.plain else [])


class _World:
    """The history and what was found, by everything that the rules ask for."""

    def __init__(self, history: History, seen: Seen) -> None:
        self.seen = seen
        self.channel_of = {send.id: history.channels[send.channel] for send in history.sends}
        self.sends = {send.id: send for send in history.sends}
        self.rows: dict[int, list[Row]] = defaultdict(list)
        self.makers: dict[str, list[tuple[Row, Made, bool]]] = defaultdict(list)  # id -> with whether it was delivered
        for row in seen.rows:
            self.rows[row.send].append(row)
            for delivery in row.deliveries:
                for made in delivery.made:
                    self.makers[made.id].append((row, made, delivery.state == "delivered"))
        self.words: dict[Key, list[tuple[int, Result]]] = defaultdict(list)
        for send in history.sends:
            if send.id in seen.answered:
                for result in send.results:
                    if result.status != GONE or self.words.get(key_of(send.channel, result)):
                        self.words[key_of(send.channel, result)].append((send.id, result))

    def persons_of(self, row: Row, made: Made) -> frozenset[int]:
        """Whose ``made`` may be: one person, unless the message says the same of two."""
        said = [result for result in self.sends[row.send].results if result.test == made.test]
        exact = [result for result in said if same_value(result.value, made.value)]
        return frozenset(result.person for result in exact or said)

    def observations_of(self, key: Key) -> set[str]:
        """Those that the messages of a test made, if one of these was delivered."""
        found = set()
        for send, _ in self.words[key]:
            for row in self.rows[send]:
                for delivery in row.deliveries:
                    if delivery.state == "delivered":
                        found |= {
                            made.id
                            for made in delivery.made
                            if made.test == key[3] and self.persons_of(row, made) == {key[1]}
                        }
        return found

    def stands(self, send: int, result: Result, version: Version) -> bool:
        """Whether a version is what ``result`` says. What is gone is withdrawn, or has become another isolate."""
        if result.status == GONE and not same_value(result.value, version.value):
            return True
        wanted = STANDS_AS[self.channel_of[send].protocol].get(result.status, frozenset())
        if version.status not in wanted:
            return False
        return version.status in (WITHDRAWN, CANCELLED) or same_value(result.value, version.value)

    def is_anonymous(self, key: Key) -> bool:
        """Whether nothing in the messages says whose results these are."""
        return not any(
            group.name or (group.number and group.number not in PLACEHOLDERS)
            for send, result in self.words[key]
            for group in self.sends[send].groups
            if result in group.results
        )

    def may_be_another(self, key: Key, version: Version, last: int) -> bool:
        """Whether a version is of a message without a person that came late, or behind the message ``last``: only C, A,
        D and W find an earlier result there."""
        return self.is_anonymous(key) and any(
            (not result.word or send > last) and result.status not in _MOVES and self.stands(send, result, version)
            for send, result in self.words[key]
        )

    def is_released(self, key: Key) -> bool:
        """Whether a person has let one of these messages go out, whatever it does."""
        return any("release" in row.acts for send, _ in self.words[key] for row in self.rows[send])

    def is_shown(self, send: int) -> bool:
        """Whether a person finds the message, or has decided about it."""
        return any(shown(row) or decided(row) for row in self.rows[send])


def key_of(channel: int, result: Result) -> Key:
    return channel, result.person, result.order, result.test


def same_value(said: str, found: str) -> bool:
    """Whether both are the same, also where one has a decimal comma."""
    return not differs(said.replace(",", "."), found.replace(",", "."))


def differs(before: str, after: str) -> bool:
    """Whether people read another value."""
    try:
        return float(before) != float(after)
    except ValueError:
        return bare(before) != bare(after)


def bare(value: str) -> str:
    return "" if not value.strip("-* ") else value.strip()


def shown(row: Row) -> bool:
    return row.state in ("dead", "held", "stored", "incomplete") or any(one.state in _SHOWN for one in row.deliveries)


def decided(row: Row) -> bool:
    return row.state in _DECIDED or any(one.state in _DECIDED for one in row.deliveries)


def is_superseded(row: Row) -> bool:
    return any(one.state == "superseded" for one in row.deliveries)


def closed(row: Row) -> bool:
    """Whether a person decided about it, or released what was overtaken by then."""
    return decided(row) or is_superseded(row)


def _persons(world: _World) -> Iterator[Fault]:
    on: dict[str, dict[int, int]] = defaultdict(dict)  # patient -> person -> a message
    for ident, makers in sorted(world.makers.items()):
        versions = world.seen.observations.get(ident, ())
        inside: dict[int, int] = {}
        for row, made, delivered in makers:
            persons = world.persons_of(row, made)
            if not delivered or len(persons) != 1:
                continue
            (person,) = persons
            inside.setdefault(person, row.send)
            for version in versions:
                if version.patient and made_as(version, made):
                    on[version.patient].setdefault(person, row.send)
        if len(inside) > 1:
            yield Fault("PERSONS", f"one Observation has results of persons {_list(inside)}", max(inside.values()))
    for patient in sorted(on.keys() & world.seen.elsewhere):
        yield Fault("PERSONS", "one Patient has results of this history and of another", max(on[patient].values()))
    for persons_on in on.values():
        if len(persons_on) > 1:
            yield Fault("PERSONS", f"one Patient has results of persons {_list(persons_on)}", max(persons_on.values()))


def _reported(world: _World) -> Iterator[Fault]:
    for report in world.seen.reports.values():
        for ident in sorted(report.results & world.seen.observations.keys()):
            if world.seen.observations[ident][-1].patient != report.patient:
                row = world.makers[ident][0][0]
                yield Fault("PERSONS", "a report lists a result that stands on another Patient than it does", row.send)


def made_as(version: Version, made: Made) -> bool:
    """By the value alone: a changed final goes out as amended, whatever its document says."""
    return (version.status == WITHDRAWN) == (made.status == WITHDRAWN) and same_value(version.value, made.value)


def _back(world: _World) -> Iterator[Fault]:
    for ident, versions in sorted(world.seen.observations.items()):
        for before, after in pairwise(versions):
            words = step_back(before, after)
            if words is None:
                continue
            makers = [row for row, made, _ in world.makers.get(ident, ()) if made_as(after, made)]
            if not any("release" in row.acts for row in makers):  # a person has said so
                yield Fault("BACK", words, max((row.send for row in makers), default=-1))


def step_back(before: Version, after: Version) -> str | None:
    """What is wrong with this step from one version to the next; None if nothing is."""
    what = f"{before.status} {before.value or '(none)'} -> {after.status} {after.value or '(none)'}"
    if before.status == WITHDRAWN:
        return None if after.status == WITHDRAWN else f"withdrawn, and live again: {what}"
    if after.status == WITHDRAWN:
        return None
    if bare(before.value) and before.status != CANCELLED and (after.status == CANCELLED or not bare(after.value)):
        return f"a value was taken away: {what}"
    if RANK.get(after.status, 9) < RANK.get(before.status, 0):
        return f"the status went back: {what}"
    return None


def _silent(world: _World) -> Iterator[Fault]:
    for ident, versions in sorted(world.seen.observations.items()):
        for before, after in pairwise(versions):
            changed = bare(before.value) and bare(after.value) and differs(before.value, after.value)
            if changed and before.status == after.status == "final":
                makers = [row.send for row, made, _ in world.makers.get(ident, ()) if made_as(after, made)]
                yield Fault("SILENT", f"final {before.value} -> final {after.value}", max(makers, default=-1))
    for report in world.seen.reports.values():
        if report.status == "final":
            changed_ones = [
                versions[-1].status
                for ident in report.results
                if (versions := world.seen.observations.get(ident, ()))
                and versions[-1].status in ("amended", "corrected")
            ]
            if changed_ones:
                yield Fault("SILENT", f"a report is final, and lists a result that is {changed_ones[0]}")


def _last_words(world: _World) -> Iterator[Fault]:
    for key, said in sorted(world.words.items()):
        last = max((result.word for _, result in said), default=0)
        if not last:
            continue
        sayings = [(send, result) for send, result in said if result.word == last]
        idents = world.observations_of(key)
        current = {ident: world.seen.observations[ident][-1] for ident in idents if ident in world.seen.observations}
        stand = {
            ident
            for ident, version in current.items()
            for send, result in sayings
            if world.stands(send, result, version)
        }
        first, result = sayings[0]
        if not stand:
            if not any(world.is_shown(send) for send, _ in sayings) and not world.is_released(key):
                yield Fault(
                    "LAST_WORD", f"{result.test} is not {result.status} {result.value}: {_now(current.values())}", first
                )
        elif result.status in _MOVES or not world.is_anonymous(key):
            older = [
                current[ident]
                for ident in current.keys() - stand
                if has_value(current[ident])
                and not is_another_isolate(key, current[ident])
                and not world.may_be_another(key, current[ident], first)
            ]
            asked = world.is_released(key) or all(world.is_shown(send) for send, _ in sayings)
            if older and not asked:
                yield Fault("LAST_WORD", f"{result.status} {result.value} stands beside {_now(older)}", first)


def is_another_isolate(key: Key, version: Version) -> bool:
    """Whether what told an isolate has become another one: an organism under the same number, which is amended."""
    code, _, organism = key[3].partition(":")
    return code == ISOLATE and not same_value(organism, version.value)


def has_value(version: Version) -> bool:
    return is_live(version) and bool(bare(version.value))


def is_live(version: Version) -> bool:
    return version.status not in (WITHDRAWN, CANCELLED)


def _unlisted(world: _World) -> Iterator[Fault]:
    listed = {ident for report in world.seen.reports.values() for ident in report.results}
    for ident, makers in sorted(world.makers.items()):
        versions = world.seen.observations.get(ident, ())
        if versions and is_live(versions[-1]) and ident not in listed:
            row, made, _ = makers[0]
            yield Fault("UNLISTED", f"{made.test} is in no report", row.send)


def _lost(world: _World) -> Iterator[Fault]:
    for send in world.sends.values():
        if send.id not in world.seen.answered:
            continue
        rows = world.rows[send.id]
        if not rows:
            yield Fault("LOST", "acknowledged, and not in the journal", send.id)
            continue
        if any(shown(row) or decided(row) for row in rows):
            continue
        for result in send.results:
            if (send.id, result) in world.words[key_of(send.channel, result)] and not _is_there(world, send.id, result):
                how = ", ".join(sorted({row.reason or row.state for row in rows}))
                yield Fault("LOST", f"{result.test} {result.status} {result.value} ({how}) is nowhere", send.id)


def _is_there(world: _World, send: int, result: Result) -> bool:
    """Whether what a message said is on the server, or was there; or waits for a person in another message."""
    key = key_of(world.sends[send].channel, result)
    for ident in world.observations_of(key):
        if any(world.stands(send, result, version) for version in world.seen.observations.get(ident, ())):
            return True
    if any(is_superseded(row) for row in world.rows[send]) and world.observations_of(key):
        return True  # something newer of the same test was there first; whether it is the last word is asked elsewhere
    last = max(row.number for row in world.rows[send])
    makers = [made for ident in world.observations_of(key) for made in world.makers[ident]]
    overtaken_at = max((row.number for row, _, delivered in makers if delivered), default=0)
    return any(
        shown(row) or (closed(row) and max(row.decided_at, is_superseded(row) * overtaken_at) >= last)
        for other, said in world.words[key]
        if other != send and same_value(said.value, result.value) and said.status == result.status
        for row in world.rows[other]
    )


def _held(world: _World) -> Iterator[Fault]:
    came_twice = {send for send, rows in world.rows.items() if len(rows) > 1}  # the daemon was killed before its answer
    for row in world.seen.rows:
        if shown(row) or (row.state == "filtered" and len(world.sends) == 1 and row.send not in came_twice):
            causes = [row.reason, *(one.cause for one in row.deliveries if one.state in _SHOWN)]
            yield Fault("HELD", f"plain, and not let through: {', '.join(filter(None, causes)) or row.state}", row.send)


def _list(persons: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(persons)))


def _now(versions: Iterable[Version]) -> str:
    return "; ".join(sorted(f"{one.status} {one.value or '(none)'}" for one in versions)) or "nothing"
