r"""Orders in E1394: what an analyzer asks for in Q records, and the records that answer it. Pure.

    Q|1|^^0000000387^587^0^2^^S1^SC||ALL||||||||O      one specimen; its number is where the maker puts it
    Q|1|^1001\^1002||ALL||||||||O                       several, with the repeat delimiter, or several Q records
    Q|1|ALL                                              all open orders of this analyzer
    Q|1|^1001||ALL||||||||A ... L|1|T                    takes the question before back
    Q|1|^1001|^1050|ALL||||||||O                         the specimens from one number to another

A number is looked up without the blanks around it; the answer repeats them. An empty number, one that begins with ``@``
(the barcode was not read), one with a control character and one that the analyzer has counted (Sysmex) is none. Q-13
``A`` without L-3 ``T`` is a question: the captures of Roche cobas e 411 end ordinary questions so. `Habits.q13_a` says
it for a maker, and a channel for its own analyzer.

    H|\^&|W7||LIS|||||ANALYZER||P|1|20261120101500
    P|1                                                 name, birth date and sex where the channel sends them
    O|1|0000000387||^^^10\^^^40|R||||||N||||||||||||||Q
    L|1|F

A text with a delimiter is escaped. A text that cannot be represented (a control character, a character that the charset
does not have, a delimiter where no escape is declared) is None here, and is not sent.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from unicodedata import category

from adapters.codecs.astm.habits import Habits
from adapters.codecs.astm.text import components, repetitions, unescape
from engine.model.message import Delimiters, Parsed, Segment
from engine.model.orders import (
    AnswerContext,
    Asked,
    OrderedPatient,
    Question,
    Reply,
    Tube,
    WorkItem,
    is_specimen_number,
)

URGENCY = ("stat", "pre-op", "asap", "callback", "timed", "routine")  # of tests in one O record the first counts
SEXES = ("M", "F", "U")  # P-9; others of HL7 table 0001 are not of E1394
AGAIN = ("add", "rerun")
CANCELLED = "C"  # O-12
RESULT_TIME = "R"  # Q-6: Q-7 and Q-8 are times of results
NOT_FOUND = "X"  # Q-13 where "none" is the question again
_PLACE = re.compile(r"\{([nx]?)\}")
_NAME = re.compile(r"\{(family|given)\}")
_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Body:
    """The records behind H, and the numbers of the items that they order. No items: it says "none"."""

    records: list[str]
    items: tuple[int, ...] = ()


def escaped(text: str, delimiters: Delimiters, charset: str) -> str | None:
    """``text`` as a component; None: it cannot be represented."""
    escape = delimiters.escape
    letters = {delimiters.field: "F", delimiters.repetition: "R", delimiters.component: "S"}
    if escape:
        letters[escape] = "E"
    elif any(sign in letters for sign in text):
        return None
    made = "".join(f"{escape}{letters[sign]}{escape}" if sign in letters else sign for sign in text)
    return made if can_be_carried(made, delimiters, charset) else None


def can_be_carried(text: str, delimiters: Delimiters, charset: str) -> bool:
    """Whether a record can hold ``text``: it has no control character, and none that the charset does not have. Nor has
    it a character whose bytes hold a control character or a delimiter (GB 18030, Big5): an analyzer may split bytes.
    """
    if any(category(sign) == "Cc" for sign in text):
        return False
    try:
        raw = text.encode(charset)
    except UnicodeEncodeError:
        return False
    signs = (delimiters.field, delimiters.repetition, delimiters.component, *delimiters.escape)
    return min(raw, default=0x20) >= 0x20 and all(raw.count(sign.encode()) == text.count(sign) for sign in signs)


class OrderWriter:
    """Writes to one analyzer: in answer to ``asked``, or unasked (None)."""

    def __init__(
        self, habits: Habits, context: AnswerContext, delimiters: Delimiters, charset: str, asked: Parsed | None
    ) -> None:
        self._habits, self._context, self._asked = habits, context, asked
        self._delimiters, self._charset = delimiters, charset
        self._signs = {
            ord("|"): delimiters.field,
            ord("\\"): delimiters.repetition,
            ord("^"): delimiters.component,
            ord("&"): delimiters.escape,
        }

    # -- messages ----------------------------------------------------------------------------------------------------

    def reply(self, number: int, body: Body, comment: str | None = None) -> Reply:
        """The message of a body, the ``number``-th of an answer, from 1; ``comment``: H-11, where it is another one."""
        records = [self._header(number, found=bool(body.items), comment=comment), *body.records]
        return Reply("".join(f"{record}\r" for record in records).encode(self._charset), body.items)

    def orders(self, tubes: Iterable[tuple[Tube, Sequence[WorkItem]]], *, cancel: bool = False) -> Body | None:
        """P and O records for the items of each tube; None: not one of them can be sent."""
        records: list[str] = []
        numbers: list[int] = []
        patients = 0
        for tube, items in tubes:
            specimen = self._specimen(tube.asked)
            tests = [(item, test) for item in items if (test := self._test(item)) is not None]
            if specimen is None or not tests or (self._habits.type_needed and not self._type(tube.asked, items)):
                continue
            patients += 1
            records.append(self._patient(patients, items[0].line.patient))
            for order, part in enumerate([tests] if self._habits.together else _by_test(tests), 1):
                records.append(self._order(order, tube.asked, specimen, part, known=tube.known, cancel=cancel))
            numbers += [item.number for item, _ in tests]
        return None if not numbers else Body([*records, self._end(self._habits.end)], tuple(numbers))

    def none(self, asked: Sequence[Asked]) -> Body:
        """ "None" for these specimens in the maker's form."""
        end = self._end(self._habits.none_end)
        if self._habits.none == "question" and self._asked is not None:
            return Body([*(self._question_again(one) for one in asked or [Asked(specimen="")]), end])
        if self._habits.none == "order" and asked:
            orders = [self._order(number, one, self._specimen(one) or {}, ()) for number, one in enumerate(asked, 1)]
            return Body([self._record("P", {2: "1"}), *orders, end])
        return Body([end])

    def request(self, specimen: str, since: str, until: str) -> Body | None:
        """A Q record for results of one specimen, or of all from one time to another; None: it cannot be sent."""
        number = self._text(specimen)
        if number is None or not (specimen or self._habits.fetches_since):
            return None
        signs = self._delimiters
        fields = {2: "1", IDS: signs.component * (self._habits.fetch_at - 1) + number, STATUS: self._habits.fetches}
        if not specimen:
            fields |= {IDS: ALL, 6: RESULT_TIME, 7: since, 8: until}
        return Body([self._record("Q", {**fields, 5: ALL}), self._end(self._habits.end)])

    # -- records -----------------------------------------------------------------------------------------------------

    def _header(self, number: int, *, found: bool, comment: str | None) -> str:
        habits, context = self._habits, self._context
        theirs = self._asked.segments[0] if self._asked is not None else Segment("H", [], 1, 1)
        sender = self._kept(field_of(theirs, 5).strip())
        own = self._kept(field_of(theirs, 10).strip()) or self._text(context.host) or ""
        if habits.version:
            sign = self._delimiters.component
            first, *rest = components(sender, self._delimiters)
            own, sender = sign.join([components(own, self._delimiters)[0], *rest]), first
        control = context.control_id if number == 1 else f"{context.control_id}.{number}"
        fields = {
            3: self._text(control) or "" if habits.named else "",
            5: own,
            10: sender,
            11: self._form(habits.comment[self._asked is None] if comment is None else comment),
            12: habits.processing[not found] or self._kept(field_of(theirs, 12).strip()) or "P",
            13: self._kept(field_of(theirs, 13).strip()) or "1",
            14: context.now if habits.timed else "",
        }
        signs = self._delimiters
        return self._record("H", {2: signs.repetition + signs.component + signs.escape, **fields})

    def _patient(self, number: int, patient: OrderedPatient) -> str:
        fields = {2: str(number)}
        if self._context.demographics:
            family, given = self._text(patient.family), self._text(patient.given)
            fields[self._habits.numbers_at] = self._text(patient.number) or ""
            if family is not None and given is not None:  # a part of a name may be another person's
                parts = {"family": family, "given": given}
                name = _NAME.sub(lambda found: parts[found[1]], self._form(self._habits.name))
                fields[6] = name.rstrip(self._delimiters.component)
            fields[8] = self._text(patient.birth_date) or ""
            fields[9] = patient.sex if patient.sex in SEXES else ""
        return self._record("P", fields)

    def _order(
        self,
        number: int,
        asked: Asked,
        specimen: Mapping[int, str],
        tests: Sequence[tuple[WorkItem, str]],
        *,
        known: bool = False,
        cancel: bool = False,
    ) -> str:
        habits, context = self._habits, self._context
        items = [item for item, _ in tests]
        priorities = {item.line.priority for item in items}
        urgent = next((one for one in URGENCY if one in priorities), "routine")
        again = known or (bool(items) and all(item.line.action in AGAIN or item.run > 1 for item in items))
        unasked = self._asked is None
        line = items[0].line if items else None
        asked_for = dict.fromkeys(test for _, test in tests)  # a test of two orders is measured once
        codes = [self._counted(test, count) for count, test in enumerate(asked_for, 1)]
        return self._record(
            "O",
            {
                2: str(number),
                **specimen,
                5: self._delimiters.repetition.join(codes),
                6: habits.priorities.get(urgent, habits.routine),
                7: (_digits(line.requested if line else "") or context.now) if habits.requested else "",
                8: _digits(line.collected) if habits.collected and line else "",
                12: CANCELLED if cancel else habits.add if again else habits.new,
                16: self._type(asked, items),
                26: (habits.unasked if unasked else habits.asked) if items else habits.no_order,
            },
        )

    def _question_again(self, asked: Asked) -> str:
        """The Q record that asked, with its own number and Q-13 X."""
        assert self._asked is not None
        echo = dict(asked.echo)
        records = [one for one in self._asked.segments if one.name == "Q"]
        record = next((one for one in records if str(one.ordinal) == echo.get(RECORD)), records[0])
        fields = {at: self._kept(field_of(record, at)) for at in range(2, max(len(record.fields), STATUS + 1))}
        return self._record("Q", {**fields, IDS: self._kept(echo.get(RAW, fields[IDS])), STATUS: NOT_FOUND})

    def _end(self, code: str | None) -> str:
        return self._record("L", {2: "1", 3: code or ""})

    def _record(self, name: str, fields: Mapping[int, str]) -> str:
        last = max((at for at, text in fields.items() if text), default=1)
        return self._delimiters.field.join([name, *(fields.get(at, "") for at in range(2, last + 1))])

    # -- fields ------------------------------------------------------------------------------------------------------

    def _specimen(self, asked: Asked) -> dict[int, str] | None:
        """O-3 and O-4; None: the number cannot be represented."""
        habits, delimiters = self._habits, self._delimiters
        raw = dict(asked.echo).get(RAW) if self._asked is not None else None
        if raw is not None:
            if not can_be_carried(raw, self._delimiters, self._charset):
                return None
            number: str | None = number_in(raw, delimiters, habits)
        else:
            number = self._text(asked.specimen)
        if number is None:
            return None
        if habits.specimen == "whole":
            padded = number if raw is not None else number.rjust(habits.pads)
            return {3: raw if raw is not None else self._form(habits.downloads_as).replace("{}", padded)}
        if habits.specimen == "instrument":
            return {3: self._form(habits.place), 4: number}
        kept = components(raw, delimiters)[habits.keeps - 1 :] if raw and habits.keeps else []
        return {3: number, 4: delimiters.component.join(kept)}

    def _test(self, item: WorkItem) -> str | None:
        """O-5 of an item, its count left open; None: it has no code, or a part of it cannot be sent."""
        code = self._text(self._habits.test_alone(item.code))
        dilution = self._habits.dilutions.get(item.line.dilution)
        if not code or dilution is None:
            return None
        parts = {"": code.replace("{", "\0"), "x": dilution, "n": "{n}"}
        return _PLACE.sub(lambda found: parts[found[1]], self._form(self._habits.test))

    @staticmethod
    def _counted(test: str, count: int) -> str:
        return test.replace("{n}", str(count)).replace("\0", "{")

    def _type(self, asked: Asked, items: Sequence[WorkItem]) -> str:
        """O-16; the orders of one tube that contradict each other say nothing of it."""
        habits = self._habits
        given = {item.line.specimen_type for item in items} - {""}
        if not habits.types:
            return self._text(given.pop()) or "" if len(given) == 1 else ""
        kinds = {habits.types.get(one.upper()) for one in given}
        known = kinds.pop() if len(kinds) == 1 else None
        if known is None and habits.type_at and self._asked is not None:
            parts = components(dict(asked.echo).get(RAW, ""), self._delimiters)
            known = habits.types.get(parts[habits.type_at - 1].strip()) if len(parts) >= habits.type_at else None
        return known or habits.other_type

    def _kept(self, text: str) -> str:
        """A text of the question as it came; empty where it cannot be carried."""
        return text if can_be_carried(text, self._delimiters, self._charset) else ""

    def _form(self, text: str) -> str:
        """A text of the habits with the delimiters of this message."""
        return text.translate(self._signs)

    def _text(self, text: str) -> str | None:
        return escaped(text, self._delimiters, self._charset)


def _by_test(tests: Sequence[tuple[WorkItem, str]]) -> list[list[tuple[WorkItem, str]]]:
    found: dict[str, list[tuple[WorkItem, str]]] = {}
    for one in tests:
        found.setdefault(one[1], []).append(one)
    return list(found.values())


def _digits(time: str) -> str:
    """``YYYYMMDDHHMMSS``, or as much of it as an ISO 8601 time has; the wall clock that it names."""
    found = _ISO.match(time)
    return "".join(part for part in found.groups() if part) if found else ""


IDS, END_ID, STATUS = 3, 4, 13
ALL = "ALL"
CANCEL, ABORTED = "A", "T"  # Q-13, L-3
MOST_ASKED = 1_000  # specimens of one question; further ones are not answered
RAW, RECORD = "q3", "q"  # names of what the answer repeats: the repetition of Q-3 as it came, the ordinal of its Q


def question(parsed: Parsed, habits: Habits) -> Question | None:
    """The question of a message; None: it has no Q record, or results too."""
    records = [segment for segment in parsed.segments if segment.name == "Q"]
    if not records or any(segment.name in ("O", "R") for segment in parsed.segments):
        return None
    if is_taken_back(parsed, habits):
        return Question(kind="cancel")
    first = records[0]
    ids = field_of(first, IDS)
    if any(part.strip().upper() == ALL for part in components(ids, parsed.delimiters)):
        return Question(kind="all")
    end = field_of(first, END_ID).strip()
    if end and end != ids.strip():
        since, until = (_asked_number(text, parsed.delimiters, habits) for text in (ids, end))
        return Question(kind="numbers", since=since, until=until)
    return Question(kind="specimens", asked=tuple(_asked(records, parsed.delimiters, habits)))


def is_taken_back(parsed: Parsed, habits: Habits) -> bool:
    """Whether the message takes a question back: Q-13 is A; and L-3 is T, or the maker does it without."""
    marks = {(one.name, field_of(one, STATUS if one.name == "Q" else 3).strip().upper()) for one in parsed.segments}
    if ("Q", CANCEL) not in marks:
        return False
    if ("L", ABORTED) in marks or habits.q13_a == "cancel":
        return True
    return habits.q13_a == "barcode-only" and not any(
        number_in(repetition, parsed.delimiters, habits).strip()
        for record in parsed.segments
        if record.name == "Q"
        for repetition in repetitions(field_of(record, IDS), parsed.delimiters)
    )


def field_of(record: Segment, number: int) -> str:
    """A field as it came; empty where the record ends before it."""
    return record.fields[number] if number < len(record.fields) else ""


def number_in(repetition: str, delimiters: Delimiters, habits: Habits) -> str:
    """The component of Q-3 with the specimen's number, as it came; empty: there is none."""
    parts = components(repetition, delimiters)
    if len(parts) == 1 and habits.asks_alone:
        return parts[0]
    return parts[habits.asks_at - 1] if len(parts) >= habits.asks_at else ""


def _asked(records: list[Segment], delimiters: Delimiters, habits: Habits) -> Iterator[Asked]:
    count = 0
    for record in records:
        for repetition in repetitions(field_of(record, IDS), delimiters):
            count += 1
            if count > MOST_ASKED:
                return
            yield Asked(
                specimen=_asked_number(repetition, delimiters, habits),
                echo=((RAW, repetition), (RECORD, str(record.ordinal))),
            )


def _is_counted(repetition: str, delimiters: Delimiters, habits: Habits) -> bool:
    """Whether the number is the analyzer's own count: of another tube tomorrow, and of a tube here by chance alone."""
    if habits.counted is None:
        return False
    at, text = habits.counted
    parts = components(repetition, delimiters)
    return len(parts) >= at and parts[at - 1].strip().upper() == text


def _asked_number(repetition: str, delimiters: Delimiters, habits: Habits) -> str:
    """The number to look up; empty: there is none, or it was not read."""
    if _is_counted(repetition, delimiters, habits):
        return ""
    return _readable(number_in(repetition, delimiters, habits), delimiters)


def _readable(number: str, delimiters: Delimiters) -> str:
    """The number to look up; empty: it was not read."""
    text = unescape(number, delimiters).strip(" ")
    return text if is_specimen_number(text) else ""
