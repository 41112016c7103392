"""The bytes of a message: what it shows of its statement, and nothing else."""

from datetime import datetime, timedelta

from tests.histories.history import Line, Ordering, ordered_as
from tests.histories.render import HERE, here, is_number
from tests.histories.samples.facts import PATIENTS, Message, Ordered

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

    def at(self, minutes: int, days: int = 0) -> str:
        return (self._began + minutes * self._minute + timedelta(days=days)).strftime("%Y%m%d%H%M%S")


def payload(message: Message, protocol: str, clock: Clock, place: int) -> bytes:
    records = _hl7(message, clock) if protocol == "hl7" else _astm(message, clock)
    return b"".join(here(record, place).encode() + b"\r" for record in records)


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


def _hl7(message: Message, clock: Clock) -> list[str]:
    sample, shown = message.sample, message.shown
    collected, measured, sent = _times(message, clock)
    report = "C" if message.status in "CD" else message.status
    kind, unit = ("NM", "mmol/L") if is_number(message.value) else ("ST", "")
    records = [f"MSH|^~\\&|AN{shown.channel}|LAB|LIS|H|{sent}||ORU^R01|{message.control}|P|2.5.1"]
    if shown.named:
        records.append(f"PID|1||{_person(message)}")
    records += [
        f"OBR|1||{sample.order}|{shown.panel}|||{collected}{'|' * 15}{sent}||LAB|{report}",
        f"OBX|1|{kind}|{shown.code}||{message.value}|{unit}||{message.flag}|||{message.status}|||{measured}",
    ]
    if shown.tube or sample.role != PATIENTS:
        records.append(f"SPM|1|{sample.tube}||SER|||||||{sample.role}||||||{collected}")
    return records


def _astm(message: Message, clock: Clock) -> list[str]:
    sample, shown = message.sample, message.shown
    collected, measured, sent = _times(message, clock)
    person = f"|{_person(message)}" if shown.named else ""
    unit = "mmol/L" if is_number(message.value) else ""
    return [
        f"H|\\^&|{message.control}||AN{shown.channel}^1||||||||LIS2-A2|{sent}",
        f"P|1|{person}".rstrip("|"),
        f"O|1|{sample.order}||^^^{shown.code}|R||{collected}{'|' * 18}{message.status}",
        f"R|1|^^^{shown.code}|{message.value}|{unit}||{message.flag}||{message.status}||||{measured}",
        "L|1|N",
    ]
