"""The results of a message as the worklist sees them: of which tube, of which test, final or not. Pure.

    HL7 v2      tube SAC-3 or SPM-2, else OBR-3, else OBR-2; test OBX-3; final OBX-11 F or C; item OBR-2, if it is one;
                SPM is before its OBR (OUL^R22), or behind the results of the OBR (ORU^R01)
    E1394       tube O-3, else O-4 where that is no count of the instrument's; test R-3, the first of components 4 and
                on, else 1; final R-9 F, C or none

Of a tube's number in several components (Sysmex: rack ^ tube ^ number ^ attribute) the number is the third, where the
fourth is one of the maker's attributes; else the first. A number that the analyzer has counted (A) is none: it read
no barcode, and has the same number for another tube tomorrow. A test is looked up as the dialogue says that it was
ordered (GeneXpert: an assay has several results), then as it came, then by its part before ``/`` (Roche: number /
dilution / pre-dilution).
"""

from collections.abc import Mapping

from engine.model.message import Delimiters, Parsed, Segment
from engine.model.orders import SPECIMEN_LENGTH, Question, item_number
from engine.model.ports import Dialogue
from engine.model.values import value
from engine.model.worklist import ResultOf

MOST = 1_000  # results of one message that are looked at
_FINAL = {"hl7v2": frozenset("FC"), "astm": frozenset(("F", "C", ""))}
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
    *,
    redundant: bool = False,
    counts: bool = False,
    dialogue: Dialogue | None = None,
) -> tuple[TubeResults, ...]:
    """The results of each tube, in the order of the message; those without a number of their tube are left out.

    Args:
        codes: the analyzer's code -> the LIS's. groups, redundant: of the channel, for `TubeResults`.
        counts: O-4 is a number of the instrument's own, which is never that of a tube.
        dialogue: of the channel; None: the analyzer is asked nothing.
    """
    rows = _hl7(parsed) if parsed.format == "hl7v2" else _astm(parsed, (3,) if counts else (3, 4))
    read_ordered = getattr(dialogue, "ordered_as", None)
    ordered_as: Mapping[int, str] = {} if read_ordered is None else read_ordered(parsed)
    found: dict[tuple[str, str], dict[ResultOf, None]] = {}
    for count, (patient, specimen, segment, item) in enumerate(rows):
        if count >= MOST:
            break
        if not specimen or len(specimen) > SPECIMEN_LENGTH:
            continue
        final = _status(segment, parsed.format) in _FINAL[parsed.format]
        code = _code(segment, parsed)
        if (ordered := ordered_as.get(segment.position, "")) in codes:
            code = ordered
        code = code if code in codes else code.partition("/")[0] if code.partition("/")[0] in codes else code
        test = ResultOf(test=codes.get(code, ""), code=code, final=final, item_id=item)
        found.setdefault((specimen, patient), {})[test] = None
    return tuple(
        TubeResults(specimen=specimen, patient_number=patient, tests=tuple(tests), groups=groups, redundant=redundant)
        for (specimen, patient), tests in found.items()
    )


_Row = tuple[str, str, Segment, str]  # patient, specimen, the result, the item


def _astm(parsed: Parsed, tube_at: tuple[int, ...]) -> list[_Row]:
    rows: list[_Row] = []
    patient = specimen = ""
    for segment in parsed.segments:
        if segment.name == "P":
            patient = next(filter(None, (_first(segment.get(at), parsed.delimiters) for at in (3, 4))), "")
            specimen = ""
        elif segment.name == "O":
            specimen = next(filter(None, (_of_tube(segment.get(at), parsed.delimiters) for at in tube_at)), "")
        elif segment.name == "R":
            rows.append((patient, specimen, segment, ""))
    return rows


def _of_tube(field: str, cut: Delimiters) -> str:
    parts = [part.strip() for part in field.split(cut.component)] if cut.component else [field.strip()]
    if len(parts) > 3 and parts[3] in _ATTRIBUTES:
        return "" if parts[3] == _COUNTED else parts[2]
    return parts[0]


def _hl7(parsed: Parsed) -> list[_Row]:
    rows: list[_Row] = []
    patient = specimen = order = item = ""
    leads = ""  # of a patient: SPM where its specimens are before their orders, else OBR
    begun = 0  # rows before the order at hand
    tubes: list[str] = []  # of the order at hand, where it is before its specimens
    cut = parsed.delimiters

    def end() -> None:
        """End an order: its results are of the one tube that is named behind it; of several none is known."""
        if named := set(tubes):
            tube = named.pop() if len(named) == 1 else ""
            rows[begun:] = [(of, tube, result, step) for of, _, result, step in rows[begun:]]
            tubes.clear()

    for segment in parsed.segments:
        name = segment.name
        if name in ("SPM", "SAC", "OBR"):
            leads = leads or ("OBR" if name == "OBR" else "SPM")
        if name == "PID":
            end()
            patient, specimen, order, item, leads = _first(segment.get(3), cut), "", "", "", ""
        elif name == "SPM":
            specimen = _first(segment.get(2), cut)
            if leads == "OBR":
                tubes.append(specimen)
            else:
                order = item = ""
        elif name == "SAC":
            specimen = _first(segment.get(3), cut) or specimen
            if leads == "OBR":
                tubes[-1:] = [specimen]
        elif name == "OBR":
            if leads == "OBR":
                end()
                specimen, begun = "", len(rows)
            placer = _first(segment.get(2), cut)
            order = _first(segment.get(3), cut) or placer
            item = placer if item_number(placer) is not None else ""
        elif name == "OBX":
            rows.append((patient, specimen or order, segment, item))
    end()
    return rows


def _first(field: str, cut: Delimiters) -> str:
    """The first component of the first repetition, without the subcomponents behind it."""
    for sign in (cut.repetition, cut.component, cut.subcomponent):
        if sign:
            field = field.partition(sign)[0]
    return field.strip()


def _status(segment: Segment, kind: str) -> str:
    return segment.get(11 if kind == "hl7v2" else 9).strip()


def _code(segment: Segment, parsed: Parsed) -> str:
    sign = parsed.delimiters.component
    parts = segment.get(3).split(sign) if sign else [segment.get(3)]
    code = parts[0].strip()
    if parsed.format == "astm" and len(parts) > 3:
        code = next(filter(None, map(str.strip, parts[3:])), code)
    return code
