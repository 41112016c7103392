r"""Analyzers of the IHE analytical workflow ask for work: HL7 v2.5.1, transactions LAB-27 and LAB-28. Pure.

    analyzer  QBP^Q11  QPD|WOS^Work Order Step^IHE_LABTF|tag|container|rack|position|tray|position
    we        RSP^K11  MSA QAK|tag|OK|.. QPD                    it never carries orders
    we        OML^O33  PID SPM SAC {ORC|NW TQ1 OBR TCD}         one for each specimen; ORC|DC without an OBR: no work
    analyzer  ORL^O34  MSA SPM SAC {ORC|OK or UA, ORC-2}        ORC-2 is the work step (AWOS), our item id

One specimen asked has one OML, of that specimen alone, with the rack and position of the question. Several (repetitions
of QPD-3) have one each, without a place, for the question has one place at most. A place in a rack or on a tray is
answered only by items whose order names that place. A cancel is ORC-1 CA with the same OBR-2. A work step that is sent
again has the same id; an analyzer that has it says UA to the second (`Confirmation.of_items`).

A `WorkItem.code` may have the components of OBR-4 (``72828-7^CT/NG^LN``), as the site's table has it.

Sources: IHE Laboratory Technical Framework volume 2b, LAB-27, LAB-28 and LAB-29, and the assertions of its test tools;
drivers and simulators of cobas pro, cobas 6800, Alinity and BA400.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from adapters.codecs.hl7v2.dialogues.asked import (
    UNDILUTED,
    asked,
    one_patient,
    plain,
    sendable,
    taken_back,
    value,
    values,
    whole_date,
)
from adapters.codecs.hl7v2.dialogues.sheet import UTF_8, Sheet, first, sheet_for, sheet_of
from engine.model.message import Parsed, Segment
from engine.model.orders import AnswerContext, Asked, Confirmation, Question, Reply, Tube, WorkItem, item_number

BY_PLACE = frozenset({"WOS", "INISEQ", "INIBAR", "WOS_BY_RACK", "WOS_BY_TRAY"})  # QPD-1.1
ALL = "WOS_ALL"
PLACES = {"rack": 10, "position": 11, "tray": 13, "tray_position": 14}  # of SAC; in QPD they are 4 to 7
SPECIMENS = {"BLD": "Whole blood", "CSF": "Cerebral spinal fluid", "PLAS": "Plasma", "SER": "Serum", "UR": "Urine"}
SAID = {"OK": True, "UA": False, "CR": True, "UC": False}  # ORC-1 of an answer -> it does as we asked
COMMIT = "C"  # of MSA-1: CA says that the message arrived, and nothing of its orders


@dataclass(frozen=True)
class Habits:
    """What differs between makers.

    Attributes:
        system: OBR-4.3 of codes that are one component. profile: MSH-21 of an OML that no question asked for.
        timing: TQ1 with the priority is sent.
    """

    system: str = ""
    profile: tuple[str, str] = ("LAB-28", "IHE")
    timing: bool = True


class Law:
    """The dialogue (`engine.model.ports.Dialogue`)."""

    dilutions = UNDILUTED

    def __init__(self, habits: Habits | None = None) -> None:
        self.habits = habits or Habits()

    def question(self, parsed: Parsed) -> Question | None:
        if parsed.message_type != "QBP^Q11":
            return None
        return replace(_question(parsed), takes_back=True)

    def answer(self, parsed: Parsed, question: Question, tubes: Sequence[Tube], context: AnswerContext) -> list[Reply]:
        sheet = sheet_for(parsed)
        if sheet is None:
            return []
        theirs, asks = first(parsed, "MSH"), first(parsed, "QPD")
        unread = any(name == "unknown" for one in question.asked for name, _ in one.echo)
        names = {"f3": theirs.get(5) or sheet.text(context.host), "f5": theirs.get(3), "f21": theirs.get(21)}
        lines = [
            sheet.answering(theirs, context, "2.5.1", f9=sheet.field("RSP", "K11", "RSP_K11"), **names),
            sheet.line("MSA", "AE" if unread else "AA", theirs.get(10)),
            sheet.line("QAK", asks.get(2), "AE" if unread else "OK", asks.get(1)),
            sheet.line(*asks.fields),
        ]
        if unread:
            return _whole([Reply(sheet.message(lines))])
        writer = _Orders(sheet, self.habits, context, theirs)
        work = [(tube.asked, items) for tube in tubes if (items := _wanted(sheet, question, tube))]
        answered = {one.specimen for one, _ in work}
        # Of several, those that were looked up: the rest of a question that was cut has no answer, and not "no work".
        asked_for = question.asked if len(question.asked) == 1 else [tube.asked for tube in tubes]
        none = [one for one in asked_for if one.specimen not in answered]
        if question.kind != "specimens" and not work:
            none = [Asked(specimen="", echo=question.echo)]
        given = [(one, items, "NW") for one, items in work] + [(one, [], "DC") for one in none]
        orders = [writer.order(at, *one) for at, one in enumerate(given, 2)]
        return _whole([Reply(sheet.message(lines)), *orders])

    def self_made(self, parsed: Parsed) -> dict[int, tuple[str, str]]:
        """LAB-29: OBR-2 is ``""``, of a reflex perhaps empty; OBR-29 and OBR-26 say which order, and which test of it,
        was the cause of a reflex.
        """
        if parsed.message_type != "OUL^R22":
            return {}
        found: dict[int, tuple[str, str]] = {}
        cause: tuple[str, str] | None = None
        for segment in parsed.segments:
            if segment.name == "OBR":
                step = segment.get(2).strip()
                cause = value(parsed, segment.get(29)), value(parsed, segment.get(26))
                cause = cause if step == '""' or (not step and any(cause)) else None
            elif segment.name == "OBX" and cause is not None:
                found[segment.position] = cause
        return found

    def download(self, tube: Tube, context: AnswerContext) -> list[Reply]:
        sheet = sheet_of(context, UTF_8)
        if sheet is None:
            return []
        writer = _Orders(sheet, self.habits, context, None)
        cancelled = [item for item in taken_back(tube) if item.line.specimen == tube.asked.specimen]
        if not one_patient(tube.items):
            cancelled = []
        offered = sendable(tube)
        parts = [
            ([item for item in items if _says(sheet, tube, item)], how)
            for items, how in ((cancelled, "CA"), (offered, "NW"))
        ]
        filled = [part for part in parts if part[0]]
        return _whole([writer.order(at, tube.asked, *part) for at, part in enumerate(filled, 1)])

    def confirmation(self, parsed: Parsed) -> Confirmation | None:
        """ORL^O34: ORC-1 of each work step, by ORC-2 or OBR-2; where none has an id, by their order in the message.

        Codes that no answer has are left out; where no other is left, the answer says nothing.
        """
        if parsed.message_type.partition("^")[0] != "ORL":
            return None
        answer, error = first(parsed, "MSA"), first(parsed, "ERR")
        code, of = plain(parsed, answer.get(1)).upper(), plain(parsed, answer.get(2))
        if not of or code not in ("AA", "AE", "AR", "CE", "CR"):
            return None
        words = next((text for at in (8, 7) if (text := plain(parsed, error.get(at)))), "")
        if code != "AA":
            return Confirmation(of, False, value(parsed, error.get(3)) or code, words)
        steps = _steps(parsed)
        if not steps:
            return Confirmation(of, True)
        known = tuple((step, SAID[said], said, words) for step, said in steps if said in SAID)
        named = tuple(one for one in known if item_number(one[0]) is not None)
        if not any(step for step, _ in steps) and len(known) == len(steps):
            return Confirmation(of, all(one[1] for one in known), items=known)
        return Confirmation(of, all(one[1] for one in named), items=named) if named else None


class _Orders:
    """Writes OML^O33 for one analyzer."""

    def __init__(self, sheet: Sheet, habits: Habits, context: AnswerContext, theirs: Segment | None) -> None:
        self._sheet = sheet
        self._habits = habits
        self._context = context
        self._theirs = theirs

    def order(self, number: int, specimen: Asked, items: Sequence[WorkItem], how: str) -> Reply:
        """One message: ``how`` is ORC-1 of its items, or DC for none."""
        sheet = self._sheet
        control_id = self._context.control_id if number == 1 else f"{self._context.control_id}.{number}"
        time = self._context.now[:14]
        lines = [self._head(control_id), *self._patient(items), *self._specimen(specimen, items)]
        for item in items:
            code = self._code(item)
            lines.append(sheet.line("ORC", how, *[""] * 7, time))
            if self._habits.timing and how == "NW":
                priority = "S" if item.line.priority in ("stat", "asap") else "R"
                lines.append(sheet.line("TQ1", *[""] * 8, sheet.field(priority, "", "HL70485")))
            lines += [sheet.line("OBR", "", item.item_id, "", code), sheet.line("TCD", code)]
        if not items:
            lines.append(sheet.line("ORC", "DC", *[""] * 7, time))
        return Reply(sheet.message(lines), tuple(item.number for item in items), control_id)

    def _head(self, control_id: str) -> str:
        sheet, theirs, said = self._sheet, self._theirs, dict(self._context.settings)
        if theirs is None:
            names = {"f3": sheet.text(self._context.host), "f5": sheet.text(said.get("analyzer", ""))}
            names |= {"f11": "P", "f12": "2.5.1", "f18": sheet.charset, "f21": sheet.field(*self._habits.profile)}
        else:
            names = {"f3": theirs.get(5) or sheet.text(self._context.host), "f5": theirs.get(3)}
            names |= {"f11": theirs.get(11) or "P", "f12": theirs.get(12) or "2.5.1", "f18": theirs.get(18)}
            names |= {"f21": theirs.get(21).replace("LAB-27", "LAB-28", 1)}
        kind = sheet.field("OML", "O33", "OML_O33")
        head = sheet.head(**names, f7=self._context.now, f9=kind, f10=sheet.text(control_id), f15="NE", f16="AL")
        return sheet.line(*head)

    def _patient(self, items: Sequence[WorkItem]) -> list[str]:
        if not items or not self._context.demographics:
            return []
        sheet, patient = self._sheet, items[0].line.patient
        number = sheet.field(patient.number, "", "", patient.namespace) if sheet.says(patient.number) else ""
        born = whole_date(patient.birth_date)
        person = [sheet.field(patient.family, patient.given), "", born, sheet.text(patient.sex)]
        return [sheet.line("PID", "", "", number, "", *person)] if number or any(person) else []

    def _specimen(self, specimen: Asked, items: Sequence[WorkItem]) -> list[str]:
        sheet = self._sheet
        places = dict(specimen.echo)
        container = [""] * 14
        container[2] = sheet.text(specimen.specimen)
        for name, at in PLACES.items():
            container[at - 1] = sheet.text(places.get(name, ""))
        number = material = ""
        if items:
            line = items[0].line
            number = sheet.parted(line.specimen, line.specimen_namespace)
            material = self._material({item.line.specimen_type for item in items})
        role = sheet.field("P" if items else "U", "", "HL70369")
        first = sheet.line("SPM", "1", number, "", material, *[""] * 6, role)
        return [first, sheet.line("SAC", *container)]

    def _material(self, types: set[str]) -> str:
        if len(types) != 1:
            return ""
        code = next(iter(types))
        return self._sheet.field(code, SPECIMENS[code], "HL70487") if code in SPECIMENS else self._sheet.text(code)

    def _code(self, item: WorkItem) -> str:
        parts = item.code.split("^")
        return self._sheet.field(*(parts if len(parts) > 1 else [item.code, "", self._habits.system]))


def _question(parsed: Parsed) -> Question:
    asks = first(parsed, "QPD")
    name, tag = value(parsed, asks.get(1)), plain(parsed, asks.get(2))
    containers = list(dict.fromkeys(values(parsed, asks.get(3))))
    if name == ALL:
        return Question(kind="all", tag=tag)
    if name not in BY_PLACE:
        return Question(kind="specimens", asked=(asked("", unknown="yes"),), tag=tag)
    places = {one: plain(parsed, asks.get(number)) for number, one in enumerate(PLACES, 4)}
    if len(containers) > 1:
        return Question(kind="specimens", asked=tuple(map(asked, containers)), tag=tag)
    if containers or not (places["rack"] or places["tray"]):
        return Question(kind="specimens", asked=(asked(*(containers or [""]), **places),), tag=tag)
    echo = tuple((one, text) for one, text in places.items() if text)
    if places["rack"]:
        return Question(kind="rack", carrier=places["rack"], position=places["position"], tag=tag, echo=echo)
    return Question(kind="tray", carrier=places["tray"], position=places["tray_position"], tag=tag, echo=echo)


def _wanted(sheet: Sheet, question: Question, tube: Tube) -> list[WorkItem]:
    """The items of a tube, if the question is for it."""
    items = [item for item in sendable(tube) if _says(sheet, tube, item)]
    if question.kind == "specimens":
        return items if tube.asked.specimen in {one.specimen for one in question.asked} else []
    return items


def _says(sheet: Sheet, tube: Tube, item: WorkItem) -> bool:
    parts = item.code.split("^")
    return sheet.says(tube.asked.specimen) and bool(parts[0]) and all(sheet.says(part) for part in parts if part)


def _whole(replies: list[Reply]) -> list[Reply]:
    """All of an answer, or nothing."""
    return replies if all(reply.payload for reply in replies) else []


def _steps(parsed: Parsed) -> list[tuple[str, str]]:
    """The work steps of an answer: id (empty where it has none) and ORC-1."""
    steps: list[tuple[str, str]] = []
    for segment in parsed.segments:
        if segment.name == "ORC":
            steps.append((value(parsed, segment.get(2)), value(parsed, segment.get(1)).upper()))
        elif segment.name == "OBR" and steps and not steps[-1][0]:
            steps[-1] = (value(parsed, segment.get(2)), steps[-1][1])
    return steps
