"""What an analyzer asks for in the Q records of an E1394 message. Pure.

    Q|1|^^0000000387^587^0^2^^S1^SC||ALL||||||||O      one specimen; its number is where the maker puts it
    Q|1|^1001\\^1002||ALL||||||||O                       several, with the repeat delimiter, or several Q records
    Q|1|ALL                                              all open orders of this analyzer
    Q|1|^1001||ALL||||||||A ... L|1|T                    takes the question before back

A number is looked up without the blanks around it; the answer repeats them. An empty number, one that begins with ``@``
(the barcode was not read), one with a control character and one that the analyzer has counted (Sysmex) is none. Q-13
``A`` without L-3 ``T`` is a question: the captures of Roche cobas e 411 end ordinary questions so. `Habits.q13_a` says
it for a maker, and a channel for its own analyzer.

    Q|1|^1001|^1050|ALL||||||||O                         the specimens from one number to another
"""

from collections.abc import Iterator

from adapters.codecs.astm.habits import Habits
from adapters.codecs.astm.text import components, repetitions, unescape
from engine.model.message import Delimiters, Parsed, Segment
from engine.model.orders import Asked, Question, is_specimen_number

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
