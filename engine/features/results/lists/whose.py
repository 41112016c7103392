"""Whose a held result is: the person of its message beside the one whose number or order it bears, field by field.

What the guard has compared decides whether a field differs; it is shown as the messages say it, where they do.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from typing import NamedTuple

from engine.features.results.lists import COMPARED
from engine.features.results.lists.reading import Asked, Readings
from engine.features.results.rows import moved_orders, number_bearers, report_owners
from engine.model.content.facts import Person as Named
from engine.model.journal.journal_views import DeadLetter
from engine.model.persons import Likeness, Person, likenesses
from engine.model.routes import ChannelRoutes
from engine.model.texts.reasons import ReasonCode
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import Reader, Rows
from engine.views.view import Row

People = Callable[[int], Mapping[Named, Asked]]  # whom a message names, and what their orders say
FIELDS = ("number", "name", "born", "sex", "child")
_NOT_SAID = Named(), Asked()


class Compared(NamedTuple):
    """
    Attributes:
        sent, known: as texts; empty: it is not said.
    """

    field: str
    sent: str
    known: str
    compared: Likeness


class _Side(NamedTuple):
    record: Person
    said: Named
    asked: Asked


def whose(
    reader: Reader, routes: Mapping[str, ChannelRoutes], message: int, letters: Sequence[DeadLetter]
) -> list[Row]:
    """Each comparison of a message whose results are held for it, or that was let through with who seems to be the same
    person. ``known_message`` is 0 where no message brought the other person, as after an erasure. An answer names the
    ``mark`` of a comparison, and is one of its ``answers``.

    Args:
        letters: what is held of the message.
    """
    people = partial(_people, reader, Readings(reader), routes)
    moved = [one for one in letters if one.state == "held" and one.reason == ReasonCode.ORDER_MOVED.value]
    found = [_moved(reader, people, one) for one in moved] or _asked(reader, people, message)
    return [row for place, row in enumerate(found) if row not in found[:place]]


def apart(reader: Reader, routes: Mapping[str, ChannelRoutes], message: int, why: str) -> Row:
    """The two patients under a number of a dead letter: the message names both, or the other is of an earlier one.

    Args:
        why: it is dead.
    """
    people = partial(_people, reader, Readings(reader), routes)
    other = report_owners.named_in(why)
    return {"mark": "", "answers": [], **_row(reader, *_sides(people, message, other or message), other)}


def is_asked(reader: Reader, message: int) -> bool:
    """Whether a person is to compare two records of a message."""
    with reader.snapshot() as execute:
        return bool(number_bearers.questions(Rows(execute, reader.vault), message))


def named_in(reader: Reader, routes: Mapping[str, ChannelRoutes], message: int) -> Sequence[Named]:
    """Whom a message names, each once."""
    return [*_people(reader, Readings(reader), routes, message)]


def _people(
    reader: Reader, readings: Readings, routes: Mapping[str, ChannelRoutes], message: int
) -> Mapping[Named, Asked]:
    """Read by the message's own channel: a number of the whole site comes from several."""
    trace = trace_of(reader, message)
    return {} if trace is None else readings.people(routes.get(trace.message.channel), message)


def _asked(reader: Reader, of: People, message: int) -> list[Row]:
    with reader.snapshot() as execute:
        questions = number_bearers.questions(Rows(execute, reader.vault), message)
    people = of(message) if questions else {}
    found: list[Row] = []
    for question in questions:
        sent = _Side(question.sent, *_said(people, question.sent))
        known: _Side | None = None
        if question.known is not None:
            others = {} if not question.known_in else of(question.known_in)
            of_number = {one: asked for one, asked in others.items() if sent.said.number in (None, one.number)}
            said, asked = _said(of_number, question.known)
            known = _Side(question.known, said._replace(number=sent.said.number), asked)
        row = _row(reader, sent, known, question.known_in)
        found.append({"mark": question.mark, "answers": [*number_bearers.ANSWERS], **row})
    return found


def _moved(reader: Reader, of: People, one: DeadLetter) -> Row:
    """Of several patients in one message, the one of the order is not known."""
    other = moved_orders.taken_from(one.detail)
    sides = _sides(of, one.message_id, other)
    texts = [str(other).encode(), *(text.encode() for side in sides for text in _texts(side).values())]
    mark = reader.vault.past_key(b"compared", *texts)[:8].hex()
    return {"mark": mark, "answers": [*moved_orders.ANSWERS], **_row(reader, sides[0], sides[1], other)}


def _sides(of: People, message: int, other: int) -> tuple[_Side, _Side]:
    """The one patient of each message, or the two of the one; of more it is not known which."""
    found = [*of(message).items()] if message == other else [_alone(of(one).items()) for one in (message, other)]
    one, two = (
        _Side(Person.of([[said.name or ""]], said.born or "", said.sex or ""), said, asked)
        for said, asked in (found if len(found) == 2 else (_NOT_SAID, _NOT_SAID))
    )
    return one, two


def _alone(people: Collection[tuple[Named, Asked]]) -> tuple[Named, Asked]:
    return next(iter(people)) if len(people) == 1 else _NOT_SAID


def _said(people: Mapping[Named, Asked], record: Person) -> tuple[Named, Asked]:
    """What a message says of the person of a record; nothing where it may be of another one."""
    return _alone([(one, asked) for one, asked in people.items() if len(people) == 1 or _fits(one, record)])


def _fits(one: Named, record: Person) -> bool:
    found = likenesses(Person.of([[one.name or ""]], one.born or "", one.sex or ""), record)
    return found["name"] in ("same", "alike") and "differs" not in found.values()


def _row(reader: Reader, sent: _Side, known: _Side | None, known_in: int) -> Row:
    other = known or _Side(Person(), *_NOT_SAID)
    found: dict[str, Likeness] = {"number": _number(sent.said.number, other.said.number)}
    found |= likenesses(sent.record, other.record)
    mine, theirs = _texts(sent), _texts(other)
    if found["name"] == "unknown" and mine["name"] and mine["name"].casefold() == theirs["name"].casefold():
        found["name"] = "same"  # in letters that are not compared otherwise
    rows = [
        *_shared(sent.asked, other.asked),
        *(Compared(name, mine[name], theirs[name], found[name]) for name in FIELDS if name in found),
        *_asked_by(sent.asked.asked_by, other.asked.asked_by),
    ]
    return {
        "known_message": known_in if known_in and trace_of(reader, known_in) is not None else 0,
        "fields": COMPARED.rows(rows),
    }


def _shared(one: Asked, other: Asked) -> Iterator[Compared]:
    """Numbers of orders and specimens that both have; one that is both is the specimen's."""
    specimens = [text for text in one.specimens if text in other.specimens]
    orders = [text for text in one.orders if text in other.orders and text not in specimens]
    for name, both in (("order", orders), ("specimen", specimens)):
        if both:
            yield Compared(name, ", ".join(both), ", ".join(both), "same")


def _asked_by(one: Sequence[str], other: Sequence[str]) -> Iterator[Compared]:
    """One person may be sent by two doctors: another one is no difference."""
    if one or other:
        yield Compared("asked_by", ", ".join(one), ", ".join(other), "same" if set(one) == set(other) else "unknown")


def _number(one: str | None, other: str | None) -> Likeness:
    return "unknown" if not (one and other) else "same" if one == other else "differs"


def _texts(side: _Side) -> dict[str, str]:
    record, said, _ = side
    names = [", ".join(filter(None, (" ".join(one.family), " ".join(one.given)))) for one in record.names]
    born = date.fromisoformat(record.born).isoformat() if record.born else said.born or ""
    sex = record.sex or said.sex or ""
    name = said.name or " / ".join(names)
    return {"number": said.number or "", "name": name, "born": born, "sex": sex, "child": record.child}
