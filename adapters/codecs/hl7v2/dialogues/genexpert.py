r"""Cepheid GeneXpert asks for orders: HL7 v2.5. Pure.

    analyzer  QBP^Z03  QPD|Z03^HOST QUERY|tag|patient|specimen     or Z01^.. ALL
    we        RSP^Z02  MSA|AA|..  QAK|tag|OK|..  QPD|..  PID {ORC|NW|1 OBR TQ1 SPM}
    none      RSP^Z02  MSA QAK QPD and nothing else
    analyzer  QCN^J01  QID|tag|N/D            we  ACK  MSA|CA|..                takes its question back
    analyzer  ORU^R32  ORC|OC  OBR-25 X  NTE|1|L|Error^code^text               it refuses orders
    analyzer  SSU^U03  SPM|1|specimen^its own number                           it has the orders of a specimen

A silent host blocks its line for 60 s. The number of the patient goes out without demographics, too: an order without
one beside others of its specimen is skipped. ORC-2 counts the orders of a patient, as in the maker's examples, so a
refusal names its order by specimen and assay alone. Orders of another patient than QPD-3 names are not sent.

Source: GeneXpert LIS Interface Protocol Specification 301-2002 Rev. E and its examples.
"""

from collections.abc import Sequence

from adapters.codecs.hl7v2.dialogues.asked import UNDILUTED, asked, plain, sendable, value, values, wall_time
from adapters.codecs.hl7v2.dialogues.sheet import Sheet, every, first, sheet_for
from adapters.codecs.hl7v2.text import components
from engine.model.message import Parsed
from engine.model.orders import AnswerContext, Confirmation, Question, Reply, Tube, WorkItem

PRIORITIES = {"stat": "S", "asap": "A", "routine": "R", "callback": "C", "timed": "T", "pre-op": "P"}
REFUSED = ("OC", "X")  # ORC-1, OBR-25


class GeneXpert:
    """The dialogue (`engine.model.ports.Dialogue`)."""

    dilutions = UNDILUTED

    def ordered_as(self, parsed: Parsed) -> dict[int, str]:
        """OBR-4, the assay that was ordered, for results whose OBX-3 begins with it: ``CTNG&CT&..`` and ``CTNG&NG&..``
        of CTNG.
        """
        found: dict[int, str] = {}
        assay = ""
        for segment in parsed.segments:
            if segment.name == "OBR":
                assay = value(parsed, segment.get(4))
            elif segment.name == "OBX" and assay and value(parsed, segment.get(3)) == assay:
                found[segment.position] = assay
        return found

    def question(self, parsed: Parsed) -> Question | None:
        if parsed.message_type == "QCN^J01":
            return Question(kind="cancel", tag=plain(parsed, first(parsed, "QID").get(1)))
        if parsed.message_type not in ("QBP^Z03", "QBP^Z01"):
            return None
        asks = first(parsed, "QPD")
        tag = plain(parsed, asks.get(2))
        patients, specimens = values(parsed, asks.get(3)), values(parsed, asks.get(4))
        if value(parsed, asks.get(1)) == "Z01" or (patients == ["ALL"] and not specimens):
            return Question(kind="all", tag=tag)
        if specimens:
            return Question(kind="specimens", asked=tuple(map(asked, specimens)), patients=tuple(patients), tag=tag)
        return Question(kind="patients", patients=tuple(patients), tag=tag)

    def answer(self, parsed: Parsed, question: Question, tubes: Sequence[Tube], context: AnswerContext) -> list[Reply]:
        sheet = sheet_for(parsed)
        if sheet is None:
            return []
        theirs = first(parsed, "MSH")
        cancels = question.kind == "cancel"
        names = {"f3": theirs.get(5) or sheet.text(context.host), "f5": theirs.get(3), "f15": "NE", "f16": "NE"}
        kind = "ACK" if cancels else sheet.field("RSP", "Z02")
        lines = [
            sheet.answering(theirs, context, "2.5", f9=kind, **names),
            sheet.line("MSA", "CA" if cancels else "AA", theirs.get(10)),
        ]
        sent: list[WorkItem] = []
        if not cancels:
            asks = first(parsed, "QPD")
            lines += [sheet.line("QAK", asks.get(2), "OK", asks.get(1)), sheet.line(*asks.fields)]
            sent = [item for tube in tubes for item in _orders(sheet, question, tube)]
            lines += _listed(sheet, sent, context)
        payload = sheet.message(lines)
        return [Reply(payload, tuple(item.number for item in sent))] if payload else []

    def download(self, tube: Tube, context: AnswerContext) -> list[Reply]:
        """None: it takes orders as answers only."""
        return []

    def confirmation(self, parsed: Parsed) -> Confirmation | None:
        """An ORU^R32 whose orders are all refused, and an SSU^U03; an ORU with a result is no answer to orders.

        SPM-2.2 of an SSU is the number that the analyzer itself gave to the specimen of orders that it has taken.
        """
        if parsed.message_type == "SSU^U03":
            return _taken(parsed)
        if parsed.message_type != "ORU^R32" or any(order.get(1) != "OC" for order in every(parsed, "ORC")):
            return None
        refused = []
        order = status = code = text = test = ""
        for segment in parsed.segments:
            if segment.name == "ORC":
                order, status, code, text, test = value(parsed, segment.get(1)), "", "", "", ""
            elif segment.name == "OBR":
                status, test = value(parsed, segment.get(25)), value(parsed, segment.get(4))
            elif segment.name == "NTE":
                said = [plain(parsed, part) for part in components(segment.get(3), parsed.delimiters)]
                code, text = ([*said[1:3], "", ""])[:2] if said[0] == "Error" else (code, text)
            elif segment.name == "SPM" and (order, status) == REFUSED:
                refused.append((value(parsed, segment.get(2)), test, False, code, text))
        return Confirmation(of="", accepted=False, tests=tuple(refused)) if refused else None


def _taken(parsed: Parsed) -> Confirmation | None:
    taken = []
    for specimen in every(parsed, "SPM"):
        placer, _, filler = specimen.get(2).partition(parsed.delimiters.component)
        number, own = value(parsed, placer), value(parsed, filler)
        if number and own:
            taken.append((number, "", True, "", own))
    return Confirmation(of="", accepted=True, tests=tuple(taken)) if taken else None


def _orders(sheet: Sheet, question: Question, tube: Tube) -> list[WorkItem]:
    """The items of a tube, if it is one that the question names."""
    items = [item for item in sendable(tube) if sheet.says(item.code)]
    if not sheet.says(tube.asked.specimen):
        return []
    if question.kind == "specimens" and tube.asked.specimen not in {one.specimen for one in question.asked}:
        return []
    if question.kind != "all" and question.patients:
        items = [item for item in items if item.line.patient.number in question.patients]
    return items


def _listed(sheet: Sheet, items: Sequence[WorkItem], context: AnswerContext) -> list[str]:
    """The orders, patient by patient."""
    patients: dict[tuple[str, str, str], list[WorkItem]] = {}
    for item in items:
        patient = item.line.patient
        alone = "" if patient.number else item.line.specimen
        patients.setdefault((patient.number, patient.namespace, alone), []).append(item)
    lines = []
    for number, orders in enumerate(patients.values(), 1):
        patient = orders[0].line.patient
        name = sheet.field(patient.family, patient.given) if context.demographics else ""
        lines.append(sheet.line("PID", str(number), "", sheet.text(patient.number), "", name))
        once: dict[tuple[str, str], WorkItem] = {}  # an assay of two orders is run once
        for item in orders:
            if item.line.priority == "stat" or (item.line.specimen, item.code) not in once:
                once[item.line.specimen, item.code] = item
        for at, item in enumerate(once.values(), 1):
            ordered = wall_time(item.line.requested) or context.now[:14]
            specimen = sheet.text(item.line.specimen) + sheet.delimiters.component
            lines += [
                sheet.line("ORC", "NW", str(at), *[""] * 6, ordered),
                sheet.line("OBR", str(at), "", "", sheet.text(item.code), *[""] * 6, "A"),
                sheet.line("TQ1", *[""] * 8, PRIORITIES[item.line.priority]),
                sheet.line("SPM", str(at), specimen, "", "ORH", *[""] * 6, "P"),
            ]
    return lines
