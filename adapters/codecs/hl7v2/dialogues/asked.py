r"""Specimens that an analyzer asks for, and the items that may be sent for each. Pure.

An analyzer asks who a patient is: QRY^A19 and ADR^A19. Pure.

    analyzer  QRD|20260301101500|R|I|7|||1^RD|P-1001|DEM
    we        ADR^A19  MSA|AA|12  QRD|..  PID|1||P-1001||Meier^Anna  PV1

QRD-8 is the number of a patient and is compared whole; a name in it is not read. Where it is unknown, or two have it,
the answer has no PID; with the setting ``none: error`` MSA-1 is AE. Nothing is answered that the channel may not
show (``send_demographics``). Source: HL7 v2.5.1 chapter 3, 3.3.19.
"""

from collections.abc import Sequence

from adapters.codecs.hl7v2.dialogues.sheet import first, sheet_for
from adapters.codecs.hl7v2.text import components, repetitions, subcomponents, unescape
from engine.model import orders
from engine.model.message import Parsed

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


def asked(number: str, **echo: str) -> orders.Asked:
    """A specimen of a question; a number that cannot be one counts as unread."""
    known = number if orders.is_specimen_number(number) else ""
    return orders.Asked(specimen=known, echo=tuple((name, text) for name, text in echo.items() if text))


def sendable(tube: orders.Tube) -> list[orders.WorkItem]:
    """The items of a tube that an order can name. None, where they are not of this tube or not of one patient."""
    if not tube.asked.specimen:
        return []
    own = [item for item in tube.items if item.line.specimen == tube.asked.specimen]
    if len(own) != len(tube.items) or not one_patient(own):
        return []
    return [item for item in own if item.code and not item.line.dilution and item.line.action not in LEFT_OUT]


def taken_back(tube: orders.Tube) -> list[orders.WorkItem]:
    """The items of a tube that its download cancels."""
    return [item for item in tube.items if item.line.action == "cancel" and item.code]


def one_patient(items: Sequence[orders.WorkItem]) -> bool:
    """Whether the items can be of one patient: by number, else by name and birth date."""
    patients = [item.line.patient for item in items]
    return (
        len(
            {(one.number, one.namespace) if one.number else (one.family, one.given, one.birth_date) for one in patients}
        )
        < 2
    )


def urgent(items: Sequence[orders.WorkItem]) -> bool:
    return any(item.line.priority in ("stat", "asap") for item in items)


def wall_time(text: str) -> str:
    """``YYYYMMDDHHMMSS`` of an ISO 8601 time as its clock on the wall showed it; empty where it has no time."""
    digits = text[:19].replace("-", "").replace(":", "").replace("T", "")
    return digits if len(digits) == 14 and digits.isascii() and digits.isdigit() else ""


def whole_date(text: str) -> str:
    """``YYYYMMDD``; empty where a part is unknown."""
    return text[:8] if len(text) >= 8 and text[:8].isascii() and text[:8].isdigit() else ""


class Demographics:
    """The dialogue (`engine.model.ports.Dialogue`)."""

    def question(self, parsed: Parsed) -> orders.Question | None:
        if parsed.message_type != "QRY^A19":
            return None
        definition = first(parsed, "QRD")
        numbers = values(parsed, definition.get(8))
        return orders.Question(kind="demographics", patients=tuple(numbers), tag=plain(parsed, definition.get(4)))

    def answer(
        self, parsed: Parsed, question: orders.Question, tubes: Sequence[orders.Tube], context: orders.AnswerContext
    ) -> list[orders.Reply]:
        sheet = sheet_for(parsed)
        if sheet is None:
            return []
        theirs, definition = first(parsed, "MSH"), first(parsed, "QRD")
        found = _patient(question, tubes) if context.demographics else None
        known = found is not None and sheet.says(found.number)
        fails = not known and dict(context.settings).get("none") == "error"
        names = {"f3": theirs.get(5), "f4": theirs.get(6), "f5": theirs.get(3), "f6": theirs.get(4)}
        head = sheet.answering(theirs, context, "2.5.1", f9=sheet.field("ADR", "A19"), **names)
        answer = ("AE", theirs.get(10), "unknown patient") if fails else ("AA", theirs.get(10))
        lines = [head, sheet.line("MSA", *answer), sheet.line(*definition.fields)]
        if known and found is not None:
            name = sheet.field(found.family, found.given)
            born = whole_date(found.birth_date)
            lines.append(
                sheet.line("PID", "1", "", sheet.text(found.number), "", name, "", born, sheet.text(found.sex))
            )
            lines.append(sheet.line("PV1", "1", sheet.text(found.patient_class), sheet.text(found.ward)))
        payload = sheet.message(lines)
        return [orders.Reply(payload)] if payload else []

    def download(self, tube: orders.Tube, context: orders.AnswerContext) -> list[orders.Reply]:
        """None: it asks for patients, never for orders."""
        return []

    def confirmation(self, parsed: Parsed) -> orders.Confirmation | None:
        """None: it does not answer an ADR."""
        return None


def _patient(question: orders.Question, tubes: Sequence[orders.Tube]) -> orders.OrderedPatient | None:
    """The one patient of this number; None, where there is none, or the orders name several."""
    if len(question.patients) != 1:
        return None
    known = [item.line.patient for tube in tubes for item in tube.items]
    if not known or any(patient.number != question.patients[0] for patient in known):
        return None
    same = {(one.namespace, one.family, one.given, one.birth_date, one.sex) for one in known}
    return known[-1] if len(same) == 1 else None
