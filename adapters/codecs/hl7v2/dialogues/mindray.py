r"""Mindray BS chemistry analyzers, and relatives, ask for a tube: HL7 v2.3.1. Pure.

    analyzer  QRY^Q02  QRD|20070723170707|R|D|1|||RD|34567743|OTH|||T|          QRD-8 the bar code, QRD-9 CAN cancels
    we        QCK^Q02  QAK|SR|OK|                                               NF: no order, and nothing follows
    we        DSR^Q03  DSP|1||123||| ... DSP|21||34567743||| ... DSP|29||1^^^||| DSC||
    analyzer  ACK^Q03  MSA|AA|1|Message accepted|||0|

A DSR has one sample; DSC-1 names the next one. A `Form` says which DSP line holds which value; the setting ``form`` of
the channel chooses it. Analyzers that ask with QRY^Q01 get QCK^Q01 and DSR^Q01. Without a bar code QRF-2 and QRF-3 are
the first and the last second in which the orders came.

Sources: Mindray Host Interface Manual (P/N BA20-20-75337), as open drivers and their tests quote its examples.

Mindray BC haematology analyzers ask for a tube with an order message: HL7 v2.3.1. Pure.

    analyzer  ORM^O01  ORC|RF||SampleID1||IP                                     ORC-1 RF: it asks; ORC-3 the bar code
    we        ORR^O02  MSA|AA|4  PID  ORC|AF|SampleID1  OBR|1|SampleID1  OBX|1|IS|08003^Test Mode^99MRC||CBC
    no order  ORR^O02  MSA|AR|4

The analyzer measures in one mode (``CBC``, ``CBC+5DIFF``), so the codes of its tests are modes. Of several the one that
contains all others is sent; without such a one nothing is. The settings ``take_mode`` (``A O C``) and ``blood_mode``
(``W P``) add the two other modes; without a setting the analyzer keeps its own.

The analyzer waits 2 s. Sources: BC-5380 operator's manual, appendix C, as open specifications quote it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapters.codecs.hl7v2.dialogues.asked import (
    UNDILUTED,
    asked,
    plain,
    sendable,
    urgent,
    value,
    values,
    wall_time,
    whole_date,
)
from adapters.codecs.hl7v2.dialogues.sheet import Sheet, every, first, sheet_for, sheet_of
from adapters.codecs.hl7v2.text import components
from engine.model.message import Parsed, Segment
from engine.model.orders import AnswerContext, Confirmation, Question, Reply, Tube, WorkItem

MODE, MAKER = "08003", "99MRC"  # OBX-3.1, OBX-3.3
MODES = (("take_mode", "08001", "Take Mode"), ("blood_mode", "08002", "Blood Mode"), ("", MODE, "Test Mode"))
SEX_WORDS = {"M": "Male", "F": "Female"}
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
        person = [sheet.field(patient.family, patient.given), "", born, SEX_WORDS.get(patient.sex, "")]
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


TYPES = {"SER": "serum", "PLAS": "plasma", "UR": "urine"}  # table 0487 -> the maker's words
SEXES = {"M": "M", "F": "F", "O": "O", "A": "O", "N": "O"}
VERSION = "2.3.1"


@dataclass(frozen=True)
class Form:
    """The lines of a DSR.

    Attributes:
        places: what the DSP line of each number holds. lines: before the tests; all of them are sent, also empty ones.
        bars: components after a test's number. tests: at most, of one DSR; 0: all.
        check: a QCK comes first, and says alone that there is no order.
    """

    places: Mapping[int, str]
    lines: int
    bars: int = 3
    tests: int = 0
    check: bool = True


FORMS = {
    "mindray": Form(
        {
            1: "patient", 3: "name", 4: "birth", 5: "sex", 21: "specimen", 23: "collected", 24: "urgent", 26: "type",
            28: "ward",
        }, lines=28,
    ),
    # One DSR with one test is all that was seen of it; line 7 was 1 there.
    "cyanvision": Form(
        {1: "specimen", 3: "given", 4: "family", 5: "sex", 6: "birth", 7: "count"},
        lines=7, bars=0, tests=1, check=False,
    ),
}  # fmt: skip


class MindrayBs:
    """The dialogue (`engine.model.ports.Dialogue`)."""

    dilutions = UNDILUTED

    def question(self, parsed: Parsed) -> Question | None:
        if parsed.message_type not in ("QRY^Q02", "QRY^Q01"):
            return None
        definition, filters = first(parsed, "QRD"), first(parsed, "QRF")
        tag = plain(parsed, definition.get(4))
        if value(parsed, definition.get(9)).upper() == "CAN":
            return Question(kind="cancel", tag=tag)
        numbers = values(parsed, definition.get(8))
        if numbers:
            return Question(kind="specimens", asked=tuple(map(asked, numbers)), tag=tag)
        since, until = plain(parsed, filters.get(2)), plain(parsed, filters.get(3))
        return Question(kind="range", since=since, until=until, tag=tag)

    def answer(self, parsed: Parsed, question: Question, tubes: Sequence[Tube], context: AnswerContext) -> list[Reply]:
        sheet = sheet_for(parsed)
        if sheet is None:
            return []
        form = _form(context)
        header = first(parsed, "MSH")
        trigger = parsed.message_type.partition("^")[2]
        names = {"f3": header.get(5), "f4": header.get(6), "f5": header.get(3), "f6": header.get(4)}
        names |= {"f11": header.get(11) or "P", "f12": header.get(12) or VERSION, "f18": header.get(18)}
        samples = [] if question.kind == "cancel" else _samples(tubes, form, sheet)
        found = bool(samples) or question.kind == "cancel"
        own = header.get(10)

        def start(kind: str, event: str, control_id: str, said: str) -> list[str]:
            head = sheet.head(**names, f7=context.now, f9=sheet.field(kind, event), f10=control_id, f21="")
            return [sheet.open(*head), *_accepted(sheet, own, said)]

        replies = []
        if form.check or not found:
            kind = ("QCK", trigger) if form.check else ("DSR", "Q03")
            lines = start(*kind, own, "OK" if found else "NF") + ([] if form.check else [sheet.open("DSC", "", "")])
            replies.append(Reply(sheet.message(lines)))
        echoed = [sheet.open(*one.fields) for name in ("QRD", "QRF") if (one := first(parsed, name)).position]
        for number, (tube, items) in enumerate(samples, 1):
            control_id = own if number == 1 else f"{own}.{number}"
            lines = [*start("DSR", "Q03" if trigger == "Q02" else trigger, control_id, "OK"), *echoed]
            lines += _display(sheet, form, tube, items, context)
            lines.append(_continued(sheet, number, len(samples)))
            named = plain(parsed, control_id)
            replies.append(Reply(sheet.message(lines), tuple(item.number for item in items), named))
        return replies if all(reply.payload for reply in replies) else []

    def download(self, tube: Tube, context: AnswerContext) -> list[Reply]:
        """DSR without a question: QRD-8 is empty, and MSH-15 as the setting ``accept`` has it (some models want ``P``).

        The maker has no message that takes an order back.
        """
        sheet = sheet_of(context, "ASCII")
        if sheet is None:
            return []
        form = _form(context)
        now, replies = context.now, []
        samples = _samples([tube], form, sheet)
        for number, (_, items) in enumerate(samples, 1):
            own = context.control_id if number == 1 else f"{context.control_id}.{number}"
            head = sheet.head(
                f7=now,
                f9="DSR^Q03",
                f10=sheet.text(own),
                f11="P",
                f12=VERSION,
                f15=sheet.text(dict(context.settings).get("accept", "")),
                f18=sheet.charset,
                f21="",
            )
            lines = [
                sheet.open(*head),
                *_accepted(sheet, sheet.text(own), "OK"),
                sheet.open("QRD", now, "R", "D", "1", "", "", "RD", "", "OTH", "", "", "T", ""),
                sheet.open("QRF", "", now, now, "", "", "RCT", "COR", "ALL", "", ""),
                *_display(sheet, form, tube, items, context),
                _continued(sheet, number, len(samples)),
            ]
            replies.append(Reply(sheet.message(lines), tuple(item.number for item in items), own))
        return replies

    def confirmation(self, parsed: Parsed) -> Confirmation | None:
        """ACK^Q03 of a DSR: AE and AR refuse all of its tests; MSA-6 says why."""
        if parsed.message_type not in ("ACK^Q03", "ACK^Q01"):
            return None
        answer = first(parsed, "MSA")
        code = plain(parsed, answer.get(1)).upper()
        if code not in ("AA", "AE", "AR"):
            return None
        text = plain(parsed, answer.get(3))
        return Confirmation(plain(parsed, answer.get(2)), code == "AA", value(parsed, answer.get(6)), text)


def _form(context: AnswerContext) -> Form:
    return FORMS.get(dict(context.settings).get("form", ""), FORMS["mindray"])


def _accepted(sheet: Sheet, control_id: str, said: str) -> list[str]:
    return [
        sheet.open("MSA", "AA", control_id, "Message accepted", "", "", "0", ""),
        sheet.open("ERR", "0", ""),
        sheet.open("QAK", "SR", said, ""),
    ]


def _continued(sheet: Sheet, number: int, count: int) -> str:
    return sheet.open("DSC", str(number) if number < count else "", "")


def _samples(tubes: Sequence[Tube], form: Form, sheet: Sheet) -> list[tuple[Tube, list[WorkItem]]]:
    """Each DSR to come: its tube, and its items, whose codes can be written; items of one test share a line."""
    samples = []
    for tube in tubes:
        items = [item for item in sendable(tube) if sheet.says(item.code)]
        if not items or not sheet.says(tube.asked.specimen):
            continue
        codes = list(dict.fromkeys(item.code for item in items))
        step = form.tests or len(codes)
        parts = [codes[at : at + step] for at in range(0, len(codes), step)]
        samples += [(tube, [item for item in items if item.code in part]) for part in parts]
    return samples


def _display(sheet: Sheet, form: Form, tube: Tube, items: Sequence[WorkItem], context: AnswerContext) -> list[str]:
    patient = items[0].line.patient
    codes = list(dict.fromkeys(item.code for item in items))
    known = {
        "specimen": tube.asked.specimen,
        "collected": wall_time(items[0].line.collected),
        "urgent": "Y" if urgent(items) else "N",
        "type": _type(items),
        "count": str(len(codes)),
    }
    if context.demographics:
        birth = whole_date(patient.birth_date)
        known |= {"patient": patient.number, "family": patient.family, "given": patient.given, "ward": patient.ward}
        known |= {"birth": f"{birth}000000" if birth else "", "sex": SEXES.get(patient.sex, "")}
        names = [name for name in (patient.family, patient.given) if name]
        known["name"] = ", ".join(names) if all(map(sheet.says, names)) else ""
    texts = [sheet.text(known.get(form.places.get(number, ""), "")) for number in range(1, form.lines + 1)]
    tests = [sheet.text(code) + sheet.delimiters.component * form.bars for code in codes]
    return [sheet.open("DSP", str(at), "", text, "", "", "") for at, text in enumerate(texts + tests, 1)]


def _type(items: Sequence[WorkItem]) -> str:
    """The maker's word for the material; empty where it has none, or the orders name several."""
    said = {item.line.specimen_type for item in items}
    return TYPES.get(next(iter(said)).upper(), "") if len(said) == 1 else ""
