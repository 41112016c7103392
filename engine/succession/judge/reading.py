"""The facts of a message as the judge compares them: what was sent, and of which person, order and sample.

What was meant stays out, but for the status: a correction of a code table must not make an amendment of an analyzer's
memory. Answers at order entry and what the code table leaves out are no results; pictures and documents have no value
in facts, and are not judged here.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from engine.model.content.facts import (
    ANSWER,
    DATA,
    DOCUMENT,
    LEFT_OUT,
    PICTURE,
    Facts,
    Order,
    Person,
    Result,
    Value,
)
from engine.model.tables import table_lines
from engine.succession.critical import is_critical
from engine.succession.judge import clock
from engine.succession.judge.cultures import organism_of
from engine.succession.judge.rejected import content_of, plain
from engine.succession.judge.roles import Role, is_of_controls, role_of
from engine.succession.judge.samples import SEVERAL, instant
from engine.succession.judge.words import Receipt, Said
from engine.succession.steps import NO_VALUE, Version

NO_RESULT = frozenset({ANSWER, LEFT_OUT, DOCUMENT, PICTURE, DATA})
_SENT_BEFORE = "R"
_MATERIALS = {word: line.split()[0] for line in table_lines(__file__, "materials.txt") for word in line.split()}
STATUS_ONLY = "U"  # OBX-11: it is final now, and is not sent again


class Drawn(NamedTuple):
    """What the results of one order and tube have in common."""

    person: str
    number: str
    numbers: frozenset[str]
    panel: str
    tube: str
    collected: str
    material: str
    unsure: bool
    issued: str
    role: Role


def said_in(facts: Facts, receipt: Receipt, *, judged: bool = False) -> Iterator[tuple[Said, Role]]:
    """The results of a message, each with whose sample it is of.

    Args:
        judged: it was judged before; then nothing is asked about samples.
    """
    controls = is_of_controls(facts)
    times = Times(receipt.received)
    for person in facts.people:
        whose = key_of(person)
        heads = {one.head for order in person.orders for one in order.results if one.head is not None}
        by_place = {one.place: (order, one) for order in person.orders for one in order.results} if heads else {}
        isolates = 0
        for order in person.orders:
            tubes: dict[str | None, Drawn] = {}
            for result in order.results:
                if result.kind in NO_RESULT:
                    continue
                drawn = tubes.get(result.tube)
                if drawn is None:
                    drawn = tubes[result.tube] = drawn_of(whose, order, result, receipt, judged=judged)
                isolate = organism_of(result, heads)
                parent, head = by_place.get(result.head or 0, (order, result))
                organism = isolate or (organism_of(head, heads) if head is not result else "")
                said = _said(drawn, result, organism, receipt)
                isolates += bool(isolate)
                if organism:
                    # Susceptibilities are in another order.
                    root = drawn if isolate else drawn_of(whose, parent, head, receipt)
                    said = said._replace(
                        isolate=bool(isolate), head=result.place if isolate else head.place, number=root.number,
                        counted=said.counted or f"#{isolates}",
                        numbers=said.numbers | root.numbers, panel=root.panel,
                    )  # fmt: skip
                if (is_measured := times.are_wrong(result)) or drawn.unsure:
                    said = _unsure(said, receipt.received, is_measured=is_measured)
                yield said, "control" if controls else drawn.role


class Times:
    """When results of one message were measured: few times, each of many results."""

    def __init__(self, received: datetime) -> None:
        self._received = received
        self._wrong: dict[str | None, bool] = {}

    def are_wrong(self, result: Result) -> bool:
        """Whether it cannot be, by the sender's clock."""
        at = result.at or result.stated
        if (known := self._wrong.get(at)) is None:
            is_wrong = clock.is_wrong if result.at else clock.is_ahead
            known = self._wrong[at] = is_wrong(at or "", self._received)
        return known


def _unsure(said: Said, received: datetime, *, is_measured: bool) -> Said:
    """Without the times that cannot be; those of its sample neither, where an old time of measurement is one.

    Args:
        is_measured: its time of measurement is one.
    """
    version, drawn = said.version, said.collected
    off = (version.time or said.stated) if is_measured else version.issued
    if clock.is_wrong(drawn, received, taken=not is_measured):
        off, drawn = off if is_measured else drawn, ""
    issued = "" if clock.is_wrong(version.issued, received) else version.issued
    version = version._replace(time="" if is_measured else version.time, issued=issued)
    return said._replace(unsure=True, behind=clock.days_behind(off, received), collected=drawn, version=version)


class WrongTimes(NamedTuple):
    """Whether a result of a message was measured, or its sample taken (or its report issued), when that cannot be;
    whether it was measured before its sample was taken, or its patient born."""

    measured: bool
    drawn: bool
    early: bool


def wrong_times(facts: Facts, received: datetime) -> WrongTimes:
    measured = drawn = early = False
    for person in facts.people:
        for order in person.orders:
            checked: set[str | None] = set()
            collected = [order.collected, *(sample.collected for sample in order.samples)]
            for result in order.results:
                if (at := result.at or result.stated) not in checked and result.kind not in NO_RESULT:
                    is_wrong = clock.is_wrong if result.at else clock.is_ahead
                    measured = measured or is_wrong(at or "", received)
                    early = early or clock.is_early(result.timed or "", person.birthday or "", collected)
                    checked.add(at)
            for text in (*collected, order.issued):
                if text and (measured or text not in checked):
                    drawn = drawn or clock.is_wrong(text, received, taken=True)
    return WrongTimes(measured, drawn, early)


def numbers_in(facts: Facts, received: datetime) -> set[tuple[str, int]]:
    """The numbers of all orders of a message, each with the days of its times (`date.toordinal`): by these it is found,
    for a counter begins anew. Without a time it is of the day of its receipt."""
    found: set[tuple[str, int]] = set()
    for person in facts.people:
        # Nothing of another message is of who has an authority alone.
        for order in person.orders if person.number or not person.authority else ():
            own = {one for one in (order.filler, order.placer) if one}
            tubes = set() if own else {one.tube for one in order.results}
            numbers = own or {number for tube in tubes if (number := tube or _first_tube(order) or _count(order))}
            times = {one.at for one in order.results} | {one.collected for one in order.samples} | {order.collected}
            days = {
                day for time in times if time and (day := clock.day_of(time)) and not clock.is_wrong(time, received)
            }
            days = days or {received.toordinal()}
            found |= {(number, day) for number in numbers for day in days}
    return found


def _first_tube(order: Order) -> str:
    return next((one.number for one in order.samples if one.number), None) or ""


def _count(order: Order) -> str:
    """The instrument's own count, where a sample has no other number."""
    return next((one.counted for one in order.samples if one.counted), None) or ""


def key_of(person: Person) -> str:
    """Who a person is; empty: not named. A number that may be a counter's is one person's only with the name."""
    if not person.number:
        return "\x1f".join((person.name, person.born or "")) if person.name and not person.authority else ""
    named = () if person.lasting else (person.name or "", person.born or "")
    return "\x1f".join((person.authority or "", person.number, *named))


def drawn_of(whose: str, order: Order, result: Result, receipt: Receipt, *, judged: bool = False) -> Drawn:
    """What a result has in common with others of its order and tube.

    Args:
        judged: as for `said_in`.
    """
    tube = result.tube or _first_tube(order)
    tubes = dict.fromkeys(one.number for one in order.samples if one.number)
    number = order.filler or order.placer or tube or _count(order)
    own = [one for one in order.samples if one.number == result.tube] if result.tube else []
    times = {one.collected for one in own or order.samples if one.collected}
    materials = {material_of(sample.material) for sample in own or order.samples if sample.material}
    collected = (times.pop() if len(times) == 1 else order.collected) or ""
    issued, received = order.issued or "", receipt.received
    return Drawn(
        person=whose,
        number=number,
        numbers=frozenset(filter(None, (order.filler, order.placer))) or frozenset({number} - {""}),
        panel=(order.code or "") if receipt.is_hl7 else "",  # in ASTM it lists the tests of one session
        tube="" if tube == number else tube if result.tube else SEVERAL.join(tubes),
        collected=collected,
        material=materials.pop() if len(materials) == 1 else "",
        unsure=clock.is_wrong(collected, received, taken=True)
        or (issued != collected and bool(issued) and clock.is_wrong(issued, received, taken=True)),
        issued=issued,
        role="patient" if judged else role_of(order, result, receipt),
    )


@lru_cache(maxsize=1024)
def material_of(code: str) -> str:
    """The kind of specimen that a code or word names, by the words of ``materials.txt``; any other as it was sent."""
    word = _letters(code)
    return _MATERIALS.get(word, word)


@lru_cache(maxsize=4096)
def _name_of(text: str) -> str:
    """Of a test, without signs; a number is none, but a run or a dilution (ASTM, the fifth part of R-3)."""
    letters = _letters(text)
    return "" if letters.isdecimal() else letters


def _letters(text: str) -> str:
    """And digits, in upper case."""
    return "".join(filter(str.isalnum, text)).upper()


def _said(drawn: Drawn, result: Result, organism: str, receipt: Receipt) -> Said:
    measure, value = result.measure, result.value
    test, sub, sent = measure.test or "", "" if organism else measure.sub or "", value.sent or ""
    at = _minute(result.at or "") or result.stated or result.at or ""
    return Said(
        message=receipt.message,
        place=result.place,
        channel=receipt.channel,
        person=drawn.person,
        number=drawn.number,
        numbers=drawn.numbers,
        panel=drawn.panel,
        test=test,
        sub=sub,
        organism=organism,
        value=sent,
        tube=drawn.tube,
        collected=drawn.collected,
        material=drawn.material,
        version=_version(drawn, result, receipt),
        content=content_of(drawn.person, drawn.numbers, test, sub, organism, _told(value), measure.unit or "", at),
        stated=result.stated or "",
        counted=measure.sub or "",
        status_only=receipt.is_hl7 and measure.status == STATUS_ONLY and value.sent is None,
        critical=is_critical(result),
        codes=measure.codes or (),
        name="" if organism else _name_of(measure.name or ""),
    )


def _told(value: Value) -> str:
    """A number whichever type it has, else all that was sent."""
    if value.number is None or value.call or value.unit:
        return value.sent or ""
    return f"{value.comparator or ''}{plain(value.number)}"


@lru_cache(maxsize=4096)
def _minute(at: str) -> str:
    """Of a time, whatever its zone; empty: it has none."""
    found = instant(at)
    return "" if found is None else found.astimezone(UTC).isoformat(timespec="minutes")


def _version(drawn: Drawn, result: Result, receipt: Receipt) -> Version:
    measure, value = result.measure, result.value
    content = repr((value.sent, value.call, measure.unit, measure.flags)).encode()
    state = measure.state or "unknown"
    return Version(
        status=state,
        said=state,
        whole=content + repr((result.stated, result.range, result.comment)).encode(),
        content=content,
        time=result.at or "",
        has_value=value.sent is not None and value.missing is None and NO_VALUE.fullmatch(value.sent.strip()) is None,
        repeats=not receipt.is_hl7 and measure.status == _SENT_BEFORE,
        issued=drawn.issued,
    )
