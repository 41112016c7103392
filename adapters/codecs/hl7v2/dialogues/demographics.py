r"""An analyzer asks who a patient is: QRY^A19 and ADR^A19. Pure.

    analyzer  QRD|20260301101500|R|I|7|||1^RD|P-1001|DEM
    we        ADR^A19  MSA|AA|12  QRD|..  PID|1||P-1001||Meier^Anna  PV1

QRD-8 is the number of a patient and is compared whole; a name in it is not read. Where it is unknown, or two have it,
the answer has no PID; with the setting ``none: error`` MSA-1 is AE. Nothing is answered that the channel may not
show (``send_demographics``). Source: HL7 v2.5.1 chapter 3, 3.3.19.
"""

from collections.abc import Sequence

from adapters.codecs.hl7v2.dialogues.asked import plain, values, whole_date
from adapters.codecs.hl7v2.dialogues.sheet import first, sheet_for
from engine.model.message import Parsed
from engine.model.orders import AnswerContext, Confirmation, OrderedPatient, Question, Reply, Tube


class Demographics:
    """The dialogue (`engine.model.ports.Dialogue`)."""

    def question(self, parsed: Parsed) -> Question | None:
        if parsed.message_type != "QRY^A19":
            return None
        definition = first(parsed, "QRD")
        numbers = values(parsed, definition.get(8))
        return Question(kind="demographics", patients=tuple(numbers), tag=plain(parsed, definition.get(4)))

    def answer(self, parsed: Parsed, question: Question, tubes: Sequence[Tube], context: AnswerContext) -> list[Reply]:
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
        return [Reply(payload)] if payload else []

    def download(self, tube: Tube, context: AnswerContext) -> list[Reply]:
        """None: it asks for patients, never for orders."""
        return []

    def confirmation(self, parsed: Parsed) -> Confirmation | None:
        """None: it does not answer an ADR."""
        return None


def _patient(question: Question, tubes: Sequence[Tube]) -> OrderedPatient | None:
    """The one patient of this number; None, where there is none, or the orders name several."""
    if len(question.patients) != 1:
        return None
    known = [item.line.patient for tube in tubes for item in tube.items]
    if not known or any(patient.number != question.patients[0] for patient in known):
        return None
    same = {(one.namespace, one.family, one.given, one.birth_date, one.sex) for one in known}
    return known[-1] if len(same) == 1 else None
