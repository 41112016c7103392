"""The facts of a message as the judge compares them: what was sent, and of which person, order and sample.

What was meant stays out, but for the status: a correction of a code table must not make an amendment of an analyzer's
memory. Answers at order entry and what the code table leaves out are no results; pictures and documents have no value
in facts, and are not judged here.
"""

from collections.abc import Iterator
from hashlib import blake2b

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
)
from engine.succession.critical import is_critical
from engine.succession.judge import clock
from engine.succession.judge.cultures import organism_of
from engine.succession.judge.rejected import content_of
from engine.succession.judge.roles import Role, is_of_controls, role_of
from engine.succession.judge.words import Receipt, Said
from engine.succession.steps import Version

_NO_RESULT = frozenset({ANSWER, LEFT_OUT, DOCUMENT, PICTURE, DATA})
_SENT_BEFORE = "R"


def said_in(facts: Facts, receipt: Receipt) -> Iterator[tuple[Said, Role]]:
    """The results of a message, each with whose sample it is of."""
    controls = is_of_controls(facts)
    for person in facts.people:
        whose = key_of(person)
        for order in person.orders:
            heads = {one.head for one in order.results if one.head is not None}
            by_place = {one.place: one for one in order.results}
            for result in order.results:
                if result.kind in _NO_RESULT:
                    continue
                role = role_of(
                    order, result, is_hl7=receipt.is_hl7, numbers=receipt.numbers, orders=receipt.orders
                )  # fmt: skip
                head = by_place.get(result.head) if result.head is not None else None
                isolate = organism_of(result, heads)
                organism = isolate or (organism_of(head, heads) if head is not None else "")
                said = _said(whose, order, result, organism, receipt)
                yield said._replace(isolate=bool(isolate)), "control" if controls else role


def key_of(person: Person) -> str:
    """Who a person is. A number that may be a counter's is one person's only together with the name; empty: nobody."""
    if not person.number:
        return "\x1f".join((person.name, person.born or "")) if person.name else ""
    named = () if person.lasting else (person.name or "", person.born or "")
    return "\x1f".join((person.authority or "", person.number, *named))


def _said(whose: str, order: Order, result: Result, organism: str, receipt: Receipt) -> Said:
    measure, value = result.measure, result.value
    tube = result.tube or next((one.number for one in order.samples if one.number), None) or ""
    number = order.filler or order.placer or tube
    sub = "" if organism else measure.sub or ""
    at = result.at or ""
    content = content_of(
        whose, number, measure.test or "", sub, organism, value.sent or "", measure.unit or "", result.stated or at
    )
    said = Said(
        message=receipt.message,
        place=result.place,
        channel=receipt.channel,
        person=whose,
        number=number,
        numbers=frozenset(filter(None, (order.filler, order.placer))) or frozenset({number} - {""}),
        panel=(order.code or "") if receipt.is_hl7 else "",  # in ASTM it lists the tests of one session
        test=measure.test or "",
        sub=sub,
        organism=organism,
        value=value.sent or "",
        tube="" if tube == number else tube,
        collected=_collected(order, result),
        version=_version(order, result, receipt),
        content=content,
        counted=measure.sub or "",
        critical=is_critical(result),
    )
    return said._replace(unsure=clock.is_wrong(said, receipt.received))


def _collected(order: Order, result: Result) -> str:
    """The sample's own time, else that of the order."""
    own = [one for one in order.samples if one.number == result.tube] if result.tube else []
    times = {one.collected for one in own or order.samples if one.collected}
    return times.pop() if len(times) == 1 else order.collected or ""


def _version(order: Order, result: Result, receipt: Receipt) -> Version:
    measure, value = result.measure, result.value
    parts = value.sent, value.call, measure.unit, measure.flags, result.stated, result.range, result.comment
    state = measure.state or "unknown"
    return Version(
        status=state,
        said=state,
        whole=blake2b(repr(parts).encode(), digest_size=16).digest(),
        time=result.at or "",
        has_value=value.sent is not None and value.missing is None,
        repeats=not receipt.is_hl7 and measure.status == _SENT_BEFORE,
        issued=order.issued or "",
    )
