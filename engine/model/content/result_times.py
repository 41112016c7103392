"""When the results of a message were collected and measured: for the reports on turnaround. Pure.

    result      HL7 v2 each OBX but those whose OBX-2 is a setting, an attachment, a time (`_NO_RESULTS`); E1394 each R
    collected   SPM-17.1, else OBR-7; O-8
    resulted    OBX-19, else OBX-14, OBR-22; R-13
    test        OBX-3 whole, with OBX-4; R-3 whole: several results of one specimen may have one code (GeneXpert)
    state       as `engine.model.content.order_results` reads it

A control is no result here: one that the mapping's filter takes out, or whose specimen or order says so. A time
without minutes is none, since its turnaround would be a guess, and so is one of a clock that has lost its battery.
Formats other than these two have no common place for times, and no results here.
"""

from collections.abc import Callable, Container

from engine.model.content.order_results import CORRECTS, FINAL, WITHDRAWN, codes_and_states, first_of, rows_of
from engine.model.message import Delimiters, Parsed, Segment
from engine.model.values import value

MAX_CODE = 40  # characters of a code
_NO_RESULTS = frozenset({"IS", "ED", "RP", "DT", "TM", "TS", "DTM"})
FINAL_RESULT, CORRECTION, PRELIMINARY = "F", "C", "P"
_STATES = {
    kind: dict.fromkeys(FINAL[kind], FINAL_RESULT) | dict.fromkeys(CORRECTS[kind] | WITHDRAWN[kind], CORRECTION)
    for kind in FINAL
}


@value()
class ResultGroup:
    """Results of a message that have the specimen, the times and the state in common.

    Attributes:
        patient, specimen: numbers, patient data; empty where the message names none.
        collected_us, resulted_us: microseconds since 1970; 0: the message has no such time.
        state: `FINAL_RESULT`, `CORRECTION` (also a withdrawal), `PRELIMINARY`.
        codes: of each result, as the analyzer writes it, for people; empty where no code table had it.
        tests: of each result, the same where it is a result of the same test; the sender's text, as patient data.
    """

    patient: str
    specimen: str
    collected_us: int
    resulted_us: int
    state: str
    codes: tuple[str, ...]
    tests: tuple[str, ...]


def result_groups(
    parsed: Parsed,
    at: Callable[[str], int],
    controls: Container[int] = (),
    without_row: Container[int] = (),
    *,
    counts: bool = False,
) -> tuple[ResultGroup, ...]:
    """The results of a message by what they have in common.

    Args:
        at: reads a time (`engine.processing.process.exact_times`): microseconds since 1970; 0: it is none.
        controls: positions of the segments that the mapping's filter has taken out.
        without_row: positions of those whose code no code table had.
        counts: as `engine.model.content.order_results.tubes_in`.
    """
    kind = parsed.format
    if kind not in FINAL:
        return ()
    hl7, cut = kind == "hl7v2", parsed.delimiters
    states = _STATES[kind]
    known: dict[str, int] = {"": 0}

    def time(text: str) -> int:
        found = known.get(text)
        if found is None:
            found = known[text] = at(first_of(text, cut))
        return found

    rows = rows_of(parsed, counts=counts)
    found: dict[tuple[str, str, int, int, str], list[tuple[str, str]]] = {}
    of_group: list[tuple[str, str]] = []
    last: tuple[str, str, int, int, str] | None = None
    before: Segment | None = None
    around = ordered = 0  # of the order at hand: when it was resulted and collected
    for (patient, specimen, result, _, order, drawn, control), (code, status) in zip(
        rows, codes_and_states(rows, parsed), strict=True
    ):
        fields = result.fields
        if control or result.position in controls or (hl7 and result.get(2) in _NO_RESULTS):
            continue
        if order is not before:
            before, around, ordered = order, 0, 0
            if order is not None:
                around, ordered = (time(order.get(22)), time(order.get(7))) if hl7 else (0, time(order.get(8)))
        if hl7:
            given = len(fields)
            resulted = (time(fields[19]) if given > 19 else 0) or (time(fields[14]) if given > 14 else 0) or around
        else:
            resulted = time(result.get(13))
        collected = (drawn and time(drawn)) or ordered
        key = patient, specimen, collected, resulted, states.get(status, PRELIMINARY)
        if key != last:  # most results of a message have all of it in common
            of_group, last = found.setdefault(key, []), key
        test = result.get(3).strip()
        if hl7:
            code, test = code or _alternate(test, cut), f"{test}\0{result.get(4).strip()}"
        of_group.append(("" if result.position in without_row else code[:MAX_CODE], test))
    return tuple(
        ResultGroup(*key, tuple(code for code, _ in rows), tuple(test for _, test in rows))
        for key, rows in found.items()
    )


def _alternate(field: str, cut: Delimiters) -> str:
    """OBX-3.4, for an empty OBX-3.1 (Abbott ARCHITECT)."""
    parts = field.split(cut.component or "^")
    return parts[3].strip() if len(parts) > 3 else ""
