"""The bytes of a message: what it shows of its statement, and nothing else."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from tests.histories.history import Line, Ordering, ordered_as
from tests.histories.render import HERE, here, is_number
from tests.histories.samples.facts import PATIENTS, Message, Ordered
from tests.histories.samples.shapes import shaped

NAMES = ("RAO^MEERA", "KHAN^IMRAN", "IYER^LEELA", "PAUL^GEORGE", "DAS^MAYA", "VERMA^ROHIT", "SINGH^RAM", "NAIR^ASHA")
ORDERS = 9  # the channel of the laboratory system


def patient(person: int) -> str:
    return f"MR{HERE}{person}"


class Clock:
    """Writes minutes of a history as times of messages; ``began``: its first, in the time of the site.

    A minute of a history with orders is a second: what is measured in it is measured now, for the program compares
    that with the time of the order.
    """

    def __init__(self, began: datetime, *, quick: bool = False) -> None:
        self._began, self._minute = began, timedelta(seconds=1) if quick else timedelta(minutes=1)

    def instant(self, minutes: int) -> datetime:
        return self._began + minutes * self._minute

    def at(self, minutes: int, days: int = 0) -> str:
        return (self.instant(minutes) + timedelta(days=days)).strftime("%Y%m%d%H%M%S")


def payload(some: Sequence[Message], protocol: str, clock: Clock, place: int) -> bytes:
    """``some``: the statements of one message."""
    records = _hl7(some, clock) if protocol == "hl7" else _astm(some, clock)
    return b"".join(here(record, place).encode() + b"\r" for record in shaped(records, some[0]))


def ordered(one: Ordered) -> Ordering:
    """As the histories of orders have it."""
    sample = one.sample
    line = Line(control="NW", placer=sample.placer, test=ordered_as(one.test))
    number = patient(sample.person)
    return Ordering(id=sample.id, channel=ORDERS, tube=sample.order, person=0, number=number, lines=(line,))


def _times(message: Message, clock: Clock) -> tuple[str, str, str]:
    """Collected, measured, sent."""
    shown, days = message.shown, message.shown.clock
    typed = days + shown.typed
    return clock.at(message.sample.at, typed), clock.at(message.at, typed), clock.at(message.sent, days)


def _person(message: Message) -> str:
    """From the patient's number on."""
    person = message.sample.person
    if not message.shown.named:
        return ""
    return f"{patient(person)}||{NAMES[person % len(NAMES)]}||19{50 + person}0707|F"


def _unit(message: Message) -> str:
    return message.unit if is_number(message.value.lstrip("<>")) else ""


def _panels(some: Sequence[Message]) -> Iterator[list[Message]]:
    for _, panel in groupby(some, key=lambda one: (one.sample.id, one.shown.panel)):
        yield [*panel]


def _hl7(some: Sequence[Message], clock: Clock) -> list[str]:
    first, shown = some[0], some[0].shown
    sent = _times(first, clock)[2]
    kind, processing = ("OUL^R22", "P") if shown.kind == "OUL" else ("ORU^R01", "Q" if shown.kind == "Q" else "P")
    records = [f"MSH|^~\\&|AN{shown.channel}|LAB|LIS|H|{sent}||{kind}|{first.control}|{processing}|2.5.1"]
    if shown.named:
        records.append(f"PID|1||{_person(first)}")
    for number, panel in enumerate(_panels(some), start=1):
        order = _order(panel, clock, number)
        specimen = _specimen(panel[0], clock)
        records += [*specimen, *order] if shown.kind == "OUL" else [*order, *specimen]
    return records


def _order(panel: Sequence[Message], clock: Clock, number: int) -> Iterator[str]:
    first = panel[0]
    collected, _, sent = _times(first, clock)
    report = "C" if first.status in "CD" else first.status
    yield f"OBR|{number}||{first.sample.order}|{first.shown.panel}|||{collected}{'|' * 15}{sent}||LAB|{report}"
    for place, one in enumerate(panel, start=1):
        kind, measured = "NM" if is_number(one.value) else "ST", _times(one, clock)[1]
        yield f"OBX|{place}|{kind}|{one.shown.code}||{one.value}|{_unit(one)}||{one.flag}|||{one.status}|||{measured}"


def _specimen(message: Message, clock: Clock) -> list[str]:
    sample, shown = message.sample, message.shown
    if shown.kind == "Q" or not (shown.tube or shown.material or sample.role != PATIENTS or shown.kind == "OUL"):
        return []
    return [f"SPM|1|{sample.tube}||{shown.material or 'SER'}|||||||{sample.role}||||||{_times(message, clock)[0]}"]


def _astm(some: Sequence[Message], clock: Clock) -> list[str]:
    first, shown = some[0], some[0].shown
    sent, processing = _times(first, clock)[2], "Q" * (shown.kind == "Q")
    person = f"|{_person(first)}" if shown.named else ""
    records = [
        f"H|\\^&|{first.control}||AN{shown.channel}^1|||||||{processing}|LIS2-A2|{sent}",
        f"P|1|{person}".rstrip("|"),
    ]
    for number, panel in enumerate(_panels(some), start=1):
        one = panel[0]
        tests = "\\".join(f"^^^{each.shown.code}" for each in panel)
        action, material = "Q" * (one.sample.role != PATIENTS and shown.kind != "Q"), one.shown.material
        taken = _times(one, clock)[0]
        records.append(
            f"O|{number}|{one.sample.order}||{tests}|R||{taken}||||{action}||||{material}||||||||||{one.status}"
        )
        records += [
            f"R|{place}|^^^{each.shown.code}|{each.value}|{_unit(each)}||{each.flag}||{each.status}||||"
            f"{_times(each, clock)[1]}"
            for place, each in enumerate(panel, start=1)
        ]
    return [*records, "L|1|N"]
