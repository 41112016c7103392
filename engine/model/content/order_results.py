"""The results of a message as the worklist sees them: of which tube, of which test, final or not. Pure.

    HL7 v2      tube SAC-3 or SPM-2, else OBR-3, else OBR-2; test OBX-3; status OBX-11; item OBR-2, if it is one;
                SPM is before its OBR (OUL^R22), or behind the results of the OBR (ORU^R01)
    E1394       tube O-3, else O-4 where that is no count of the instrument's; test R-3, the first of components 4 and
                on, else 1; status R-9

    final       OBX-11 F U V A B C; R-9 F V R M W C. Each other result is preliminary
    correction  OBX-11 A B C D W; R-9 C
    withdrawn   OBX-11 D W: the one before was wrong; OBX-11 and R-9 X: no result can be obtained
    no status   that of another result of the test counts (GeneXpert: analytes beside their assay); else that of the
                report, OBR-25 or O-26 (F C X; each other one is preliminary); else it is final over E1394, where no
                result of the message has a status

    measured    OBX-14, else OBX-19, OBR-7, OBR-22; R-13, else R-12, O-8: the first that is a time

An answer at order entry is no result: OBX-29 ``QST``, ``SCI``.
A control, a calibrator or a pool is no patient's tube, under any number: SPM-11 or OBR-15.7 of table 0369, O-12 ``Q``,
and each that the mapping's filter takes out (`engine.model.content.quality_controls`).
Of a tube's number in several components (Sysmex: rack ^ tube ^ number ^ attribute) the number is the third, where the
fourth is one of the maker's attributes; else the first. A number that the analyzer has counted (A) is none: it read
no barcode, and has the same number for another tube tomorrow. A test is looked up as the dialogue says that it was
ordered (GeneXpert: an assay has several results), then as it came, then without what the dialogue says is no part of
it (Roche: test / dilution / pre-dilution), unless two tests have the same code then.
"""

from collections.abc import Callable, Container, Mapping
from typing import NamedTuple

from engine.model.content.quality_controls import ASTM_ROLE, PATIENT, ROLES, SPECIMEN_ROLES
from engine.model.message import Delimiters, Parsed, Segment
from engine.model.orders import SPECIMEN_LENGTH, Question, item_number
from engine.model.ports import Dialogue
from engine.model.values import value
from engine.model.worklist import ResultOf

MOST = 1_000  # results of one message that are looked at
# HL7 table 0085; E1394, result status: there W is a result that the analyzer doubts, and R one that it has sent before.
FINAL = {"hl7v2": frozenset("FUVABC"), "astm": frozenset("FVRMWC")}
CORRECTS = {"hl7v2": frozenset("ABCDW"), "astm": frozenset("C")}
WITHDRAWN = {"hl7v2": frozenset("DWX"), "astm": frozenset("X")}
_REPORTS = {"hl7v2": (25, frozenset("OISAPCRFXYZMN")), "astm": (26, frozenset("CPFXI"))}  # field; what it may say
_DECIDED = frozenset("FCX")  # of a report, whatever its format
_ANSWERS = frozenset({"QST", "SCI"})  # HL7 table 0936: who orders says it, and no analyzer measures it
_COUNTED = "A"
_ATTRIBUTES = frozenset("ABCM")  # Sysmex: counted, read, given by the host, typed in


@value(kw_only=True)
class TubeResults:
    """The results of one specimen in a message.

    Attributes:
        specimen: the number, exact, as the dialect leaves it. patient_number: empty where the message names none.
        groups: of analyzers, that the channel is of.
        redundant: a final result takes back the orders that other analyzers have for the same test of this tube.
    """

    specimen: str
    patient_number: str = ""
    tests: tuple[ResultOf, ...] = ()
    groups: tuple[str, ...] = ()
    redundant: bool = False


def has_results(parsed: Parsed) -> bool:
    wanted = "OBX" if parsed.format == "hl7v2" else "R"
    return any(segment.name == wanted for segment in parsed.segments)


def question_in(parsed: Parsed, dialogue: Dialogue) -> Question | None:
    """The question of a message. None: it asks nothing, or brings results, which take their usual way."""
    return None if has_results(parsed) else dialogue.question(parsed)


def tubes_in(
    parsed: Parsed,
    codes: Mapping[str, str],
    groups: tuple[str, ...] = (),
    controls: Container[int] = (),
    *,
    redundant: bool = False,
    measured: Callable[[str], int] = lambda _: 0,
    counts: bool = False,
    dialogue: Dialogue | None = None,
) -> tuple[TubeResults, ...]:
    """The results of each tube, in the order of the message; those without a number of their tube are left out.

    Args:
        codes: the analyzer's code -> the LIS's. groups, redundant: of the channel, for `TubeResults`.
        controls: positions of the results that the mapping's filter has taken out.
        measured: reads a time, as `engine.processing.process` does.
        counts: O-4 is a number of the instrument's own, which is never that of a tube.
        dialogue: of the channel; None: the analyzer is asked nothing.
    """
    rows = rows_of(parsed, counts=counts)
    read_ordered = getattr(dialogue, "ordered_as", None)
    ordered_as: Mapping[int, str] = {} if read_ordered is None else read_ordered(parsed)
    read_made = getattr(dialogue, "self_made", None)
    self_made: Mapping[int, tuple[str, str]] = {} if read_made is None else read_made(parsed)
    code_of = _alike(codes, dialogue)
    found: dict[tuple[str, str], dict[ResultOf, None]] = {}
    for row, (code, status) in zip(rows, codes_and_states(rows, parsed), strict=True):
        patient, specimen, segment, item, order = row[:5]
        if not specimen or len(specimen) > SPECIMEN_LENGTH or segment.position in controls:
            continue
        if (ordered := ordered_as.get(segment.position, "")) in codes:
            code = ordered
        code = code if code in codes else code_of(code)
        own, around = _times(segment, order, parsed)
        own_us = next(filter(None, map(measured, own)), 0)
        at_us = own_us or next(filter(None, map(measured, around)), 0)
        made = self_made.get(segment.position)
        parent, parent_test = made or ("", "")
        test = ResultOf(
            test=codes.get(code, ""), code=code, final=status in FINAL[parsed.format], item_id=item,
            measured_us=at_us, own_us=own_us, corrects=status in CORRECTS[parsed.format],
            withdrawn=status in WITHDRAWN[parsed.format],
            made=made is not None, parent=parent, parent_test=parent_test,
        )  # fmt: skip
        found.setdefault((specimen, patient), {})[test] = None
    return tuple(
        TubeResults(specimen=specimen, patient_number=patient, tests=tuple(tests), groups=groups, redundant=redundant)
        for (specimen, patient), tests in found.items()
    )


def _alike(codes: Mapping[str, str], dialogue: Dialogue | None) -> Callable[[str], str]:
    """What finds the one code of ``codes`` that says the same test as another code; else it gives that code itself."""
    alone: Callable[[str], str] | None = getattr(dialogue, "test_alone", None)
    if alone is None:
        return lambda code: code
    found: dict[str, list[str]] = {}
    for code in codes:
        found.setdefault(alone(code), []).append(code)
    only = {test: same[0] for test, same in found.items() if len(same) == 1}
    return lambda code: only.get(alone(code), code)


class Row(NamedTuple):
    """A result with what it is of.

    Attributes:
        order: its OBR or O.
        collected: SPM-17.1 of its specimen, as sent; always empty over E1394, where O-8 says it.
        control: its order or specimen is no patient's.
    """

    patient: str
    specimen: str
    result: Segment
    item: str
    order: Segment | None
    collected: str = ""
    control: bool = False


def rows_of(parsed: Parsed, *, counts: bool = False) -> list[Row]:
    """The results of a message in its order, the first `MOST` of them. ``counts``: as `tubes_in`."""
    rows = _hl7(parsed) if parsed.format == "hl7v2" else _astm(parsed, (3,) if counts else (3, 4))
    return rows[:MOST]


def codes_and_states(rows: list[Row], parsed: Parsed) -> list[tuple[str, str]]:
    """The code and the status of each of these results."""
    kind = parsed.format
    found = [(_code(row.result, parsed), _status(row.result, kind)) for row in rows]
    if all(status for _, status in found):
        return found
    stated = {
        (row.patient, row.specimen, code): status for row, (code, status) in zip(rows, found, strict=True) if status
    }
    usual = "F" if kind == "astm" and not stated else ""
    return [
        (code, status or stated.get((row.patient, row.specimen, code), "") or _reported(row.order, parsed) or usual)
        for row, (code, status) in zip(rows, found, strict=True)
    ]


def _astm(parsed: Parsed, tube_at: tuple[int, ...]) -> list[Row]:
    rows: list[Row] = []
    patient = specimen = ""
    order: Segment | None = None
    control = False
    for segment in parsed.segments:
        if segment.name == "P":
            patient = next(filter(None, (first_of(segment.get(at), parsed.delimiters) for at in (3, 4))), "")
            specimen, order, control = "", None, False
        elif segment.name == "O":
            order = segment
            specimen = next(filter(None, (tube_of(segment.get(at), parsed.delimiters) for at in tube_at)), "")
            control = first_of(segment.get(12), parsed.delimiters).upper() == ASTM_ROLE
            specimen = "" if control else specimen
        elif segment.name == "R":
            rows.append(Row(patient, specimen, segment, "", order, "", control))
    return rows


def tube_of(field: str, cut: Delimiters, *, counted: bool = False) -> str:
    """The number of a tube. ``counted``: also one that the analyzer has counted."""
    parts = [part.strip() for part in field.split(cut.component)] if cut.component else [field.strip()]
    if len(parts) > 3 and parts[3] in _ATTRIBUTES:
        return "" if parts[3] == _COUNTED and not counted else parts[2]
    return parts[0]


def _hl7(parsed: Parsed) -> list[Row]:
    rows: list[Row] = []
    patient = specimen = order = item = drawn = ""
    ordered: Segment | None = None
    apart = control = sure = False  # the specimen, or the order, is no patient's; the specimen is one's
    leads = ""  # of a patient: SPM where its specimens are before their orders, else OBR
    begun = 0  # rows before the order at hand
    tubes: list[tuple[str, str, bool]] = []  # of the order at hand, where it is before its specimens
    cut = parsed.delimiters

    def end() -> None:
        """End an order: its results are of the one tube that is named behind it; of several none is known."""
        if named := {tube for tube, _, _ in tubes}:
            tube = named.pop() if len(named) == 1 else ""
            at = tubes[0][1] if len({one for _, one, _ in tubes}) == 1 else ""
            none = all(one for _, _, one in tubes)
            rows[begun:] = [
                row._replace(specimen=tube, collected=at, control=none or (row.control and not sure))
                for row in rows[begun:]
            ]
            tubes.clear()

    for segment in parsed.segments:
        name = segment.name
        if name in ("SPM", "SAC", "OBR"):
            leads = leads or ("OBR" if name == "OBR" else "SPM")
        if name == "PID":
            end()
            patient, specimen, order, item, leads = first_of(segment.get(3), cut), "", "", "", ""
            drawn = ""
            ordered, apart, control, sure = None, False, False, False
        elif name == "SPM":
            specimen = first_of(segment.get(2), cut)
            said = first_of(segment.get(11), cut).upper()
            apart, sure = said in SPECIMEN_ROLES, said == PATIENT
            drawn = first_of(segment.get(17), cut)
            if leads == "OBR":
                tubes.append(("" if apart else specimen, drawn, apart))
            else:
                order, item, ordered, control = "", "", None, False
        elif name == "SAC":
            specimen = first_of(segment.get(3), cut) or specimen
            if leads == "OBR":
                tubes[-1:] = [("" if apart else specimen, drawn, apart)]
        elif name == "OBR":
            if leads == "OBR":
                end()
                specimen, begun, apart, sure, drawn = "", len(rows), False, False, ""
            placer = first_of(segment.get(2), cut)
            placer = "" if placer == '""' else placer
            order = first_of(segment.get(3), cut) or placer
            item = placer if item_number(placer) is not None else ""
            ordered, role = segment, segment.get(15).split(cut.component or "^")[6:7]
            control = not sure and bool(role) and first_of(role[0], cut) in ROLES
        elif name == "OBX" and (len(segment.fields) <= 29 or first_of(segment.fields[29], cut) not in _ANSWERS):
            tube = "" if apart or control else specimen or order
            rows.append(Row(patient, tube, segment, item, ordered, drawn, apart or control))
    end()
    return rows


def first_of(field: str, cut: Delimiters) -> str:
    """The first component of the first repetition, without the subcomponents behind it."""
    for sign in (cut.repetition, cut.component, cut.subcomponent):
        if sign:
            field = field.partition(sign)[0]
    return field.strip()


def _times(result: Segment, order: Segment | None, parsed: Parsed) -> tuple[list[str], list[str]]:
    """The times of a result, and of its order; the one that says best when it was measured first."""
    own, around = ((14, 19), (7, 22)) if parsed.format == "hl7v2" else ((13, 12), (8,))
    cut = parsed.delimiters
    return (
        [first_of(result.get(at), cut) for at in own],
        [first_of(order.get(at), cut) for at in around if order is not None],
    )


def _status(segment: Segment, kind: str) -> str:
    return segment.get(11 if kind == "hl7v2" else 9).strip()


def _reported(order: Segment | None, parsed: Parsed) -> str:
    """The status of the report that a result is in; empty: it has none."""
    at, known = _REPORTS[parsed.format]
    said = order.get(at).strip() if order is not None else ""
    return "" if said not in known else said if said in _DECIDED else "P"


def _code(segment: Segment, parsed: Parsed) -> str:
    sign = parsed.delimiters.component
    parts = segment.get(3).split(sign) if sign else [segment.get(3)]
    code = parts[0].strip()
    if parsed.format == "astm" and len(parts) > 3:
        code = next(filter(None, map(str.strip, parts[3:])), code)
    return code
