"""Specimens that an analyzer asks for, and the items that may be sent for each. Pure."""

from collections.abc import Sequence

from adapters.codecs.hl7v2.text import components, repetitions, subcomponents, unescape
from engine.model.message import Parsed
from engine.model.orders import Asked, Tube, WorkItem, is_specimen_number

UNDILUTED = frozenset({""})  # the dilutions for which these dialogues have a place: none
LEFT_OUT = ("cancel", "unknown")  # actions of lines that offer nothing; what was held, and released, is offered


def value(parsed: Parsed, raw: str) -> str:
    """The text of a raw field's first component and subcomponent, without outer blanks."""
    return plain(parsed, subcomponents(components(raw, parsed.delimiters)[0], parsed.delimiters)[0])


def plain(parsed: Parsed, raw: str) -> str:
    text = unescape(raw, parsed.delimiters, parsed.charset).strip(" ")
    return "" if text == '""' else text


def values(parsed: Parsed, raw: str) -> list[str]:
    """The texts of a raw field's repetitions; those that are empty are left out."""
    return [text for one in repetitions(raw, parsed.delimiters) if (text := value(parsed, one))]


def asked(number: str, **echo: str) -> Asked:
    """A specimen of a question; a number that cannot be one counts as unread."""
    known = number if is_specimen_number(number) else ""
    return Asked(specimen=known, echo=tuple((name, text) for name, text in echo.items() if text))


def sendable(tube: Tube) -> list[WorkItem]:
    """The items of a tube that an order can name. None, where they are not of this tube or not of one patient."""
    if not tube.asked.specimen:
        return []
    own = [item for item in tube.items if item.line.specimen == tube.asked.specimen]
    if len(own) != len(tube.items) or not one_patient(own):
        return []
    return [item for item in own if item.code and not item.line.dilution and item.line.action not in LEFT_OUT]


def taken_back(tube: Tube) -> list[WorkItem]:
    """The items of a tube that its download cancels."""
    return [item for item in tube.items if item.line.action == "cancel" and item.code]


def one_patient(items: Sequence[WorkItem]) -> bool:
    """Whether the items can be of one patient: by number, else by name and birth date."""
    patients = [item.line.patient for item in items]
    return (
        len(
            {(one.number, one.namespace) if one.number else (one.family, one.given, one.birth_date) for one in patients}
        )
        < 2
    )


def urgent(items: Sequence[WorkItem]) -> bool:
    return any(item.line.priority in ("stat", "asap") for item in items)


def wall_time(text: str) -> str:
    """``YYYYMMDDHHMMSS`` of an ISO 8601 time as its clock on the wall showed it; empty where it has no time."""
    digits = text[:19].replace("-", "").replace(":", "").replace("T", "")
    return digits if len(digits) == 14 and digits.isascii() and digits.isdigit() else ""


def whole_date(text: str) -> str:
    """``YYYYMMDD``; empty where a part is unknown."""
    return text[:8] if len(text) >= 8 and text[:8].isascii() and text[:8].isdigit() else ""
