r"""Mindray BC haematology analyzers ask for a tube with an order message: HL7 v2.3.1. Pure.

    analyzer  ORM^O01  ORC|RF||SampleID1||IP                                     ORC-1 RF: it asks; ORC-3 the bar code
    we        ORR^O02  MSA|AA|4  PID  ORC|AF|SampleID1  OBR|1|SampleID1  OBX|1|IS|08003^Test Mode^99MRC||CBC
    no order  ORR^O02  MSA|AR|4

The analyzer measures in one mode (``CBC``, ``CBC+5DIFF``), so the codes of its tests are modes. Of several the one that
contains all others is sent; without such a one nothing is. The settings ``take_mode`` (``A O C``) and ``blood_mode``
(``W P``) add the two other modes; without a setting the analyzer keeps its own.

The analyzer waits 2 s. Sources: BC-5380 operator's manual, appendix C, as open specifications quote it.
"""

from collections.abc import Sequence

from adapters.codecs.hl7v2.dialogues.asked import UNDILUTED, asked, sendable, value, wall_time, whole_date
from adapters.codecs.hl7v2.dialogues.sheet import Sheet, every, first, sheet_for
from adapters.codecs.hl7v2.text import components
from engine.model.message import Parsed, Segment
from engine.model.orders import AnswerContext, Confirmation, Question, Reply, Tube, WorkItem

MODE, MAKER = "08003", "99MRC"  # OBX-3.1, OBX-3.3
MODES = (("take_mode", "08001", "Take Mode"), ("blood_mode", "08002", "Blood Mode"), ("", MODE, "Test Mode"))
SEXES = {"M": "Male", "F": "Female"}
WAITS_S = 1.8  # it waits 2 s, and our bytes are on their way


class MindrayBc:
    """The dialogue (`engine.model.ports.Dialogue`)."""

    dilutions = UNDILUTED

    def ordered_as(self, parsed: Parsed) -> dict[int, str]:
        """The mode in which the results of an OBR were measured (OBX-5 of ``08003^Test Mode^99MRC``)."""
        found: dict[int, str] = {}
        results: list[int] = []
        modes: set[str] = set()
        for segment in (*parsed.segments, Segment("OBR", ["OBR"], 0, 0)):
            if segment.name == "OBR":
                found |= dict.fromkeys(results, modes.pop()) if len(modes) == 1 else {}
                results, modes = [], set()
            elif segment.name == "OBX":
                results.append(segment.position)
                code, *rest = components(segment.get(3), parsed.delimiters)
                if code == MODE and rest[1:2] == [MAKER]:
                    modes.add(value(parsed, segment.get(5)))
        return {position: mode for position, mode in found.items() if mode}

    def question(self, parsed: Parsed) -> Question | None:
        orders = every(parsed, "ORC")
        if parsed.message_type != "ORM^O01" or len(orders) != 1 or value(parsed, orders[0].get(1)) != "RF":
            return None
        specimen = asked(value(parsed, orders[0].get(3)))
        return Question(kind="specimens", asked=(specimen,), tag=parsed.control_id, within_s=WAITS_S)

    def answer(self, parsed: Parsed, question: Question, tubes: Sequence[Tube], context: AnswerContext) -> list[Reply]:
        sheet = sheet_for(parsed)
        if sheet is None or len(tubes) > 1:
            return []
        items, mode = _measured(sheet, tubes[0]) if tubes else ([], "")
        theirs = first(parsed, "MSH")
        head = sheet.answering(theirs, context, "2.3.1", f3=sheet.text(context.host), f9=sheet.field("ORR", "O02"))
        lines = [head, sheet.line("MSA", "AA" if items else "AR", theirs.get(10))]
        if items:
            lines += _order(sheet, items, mode, context)
        payload = sheet.message(lines)
        return [Reply(payload, tuple(item.number for item in items))] if payload else []

    def download(self, tube: Tube, context: AnswerContext) -> list[Reply]:
        """None: it takes orders as answers only."""
        return []

    def confirmation(self, parsed: Parsed) -> Confirmation | None:
        """None: it does not answer an ORR."""
        return None


def _measured(sheet: Sheet, tube: Tube) -> tuple[list[WorkItem], str]:
    """The items that one mode measures, and the mode; none, where no mode contains all."""
    items = [item for item in sendable(tube) if sheet.says(item.code)]
    parts = {item.code: frozenset(item.code.split("+")) for item in items}
    mode = max(parts, key=lambda code: len(parts[code]), default="")
    if not sheet.says(tube.asked.specimen) or not all(part <= parts[mode] for part in parts.values()):
        return [], ""
    return items, mode


def _order(sheet: Sheet, items: Sequence[WorkItem], mode: str, context: AnswerContext) -> list[str]:
    line = items[0].line
    patient, number = line.patient, sheet.text(line.specimen)
    lines = []
    if context.demographics:
        chart = sheet.field(patient.number, "", "", "", "MR") if sheet.says(patient.number) else ""
        born = whole_date(patient.birth_date)
        person = [sheet.field(patient.family, patient.given), "", born, SEXES.get(patient.sex, "")]
        if chart or any(person):
            lines.append(sheet.line("PID", "1", "", chart, "", *person))
        if sheet.says(patient.ward):
            lines.append(sheet.line("PV1", "1", "", sheet.field(patient.ward)))
    lines.append(sheet.line("ORC", "AF", number))
    ordered = ["OBR", "1", number, "", "", "", wall_time(line.collected), *[""] * 17, "HM"]
    lines.append(sheet.line(*ordered))
    chosen = dict(context.settings)
    modes = [(code, name, chosen.get(setting, "") if setting else mode) for setting, code, name in MODES]
    for at, (code, name, said) in enumerate([one for one in modes if one[2]], 1):
        coded = sheet.field(code, name, MAKER)
        lines.append(sheet.line("OBX", str(at), "IS", coded, "", sheet.text(said), "", "", "", "", "", "F"))
    return lines
