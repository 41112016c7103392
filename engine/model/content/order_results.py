"""The results of a message as the worklist sees them: of which tube, of which test, final or not. Pure.

They are read from the facts of the message, which name one tube, one test and one patient for all that is made of it.

    tube        of the only container, else of the specimen, else of the order; of several specimens none
    test        as the dialogue says that it was ordered (GeneXpert: an assay has several results), then as it came
                (E1394: component 4 of R-3), then without what the dialogue says is no part of it (Roche: test /
                dilution / pre-dilution), unless two tests have the same code then
    item        the placer's number, if it is one of an item

    final       OBX-11 F U V A B C; R-9 F V R M W C. Each other result is preliminary
    correction  OBX-11 A B C D W; R-9 C
    withdrawn   OBX-11 D W: the one before was wrong; OBX-11 and R-9 X: no result can be obtained
    no status   that of another result of the test counts (GeneXpert: analytes beside their assay); else that of the
                report, OBR-25 or O-26 (F C X; each other one is preliminary); else it is final over E1394, where no
                result of the message has a status

    measured    by the result itself, else when the order says that it was collected, else reported

An answer at order entry is no result. A control, a calibrator or a pool is no patient's tube, under any number
(`engine.model.content.quality_controls`), nor is what the mapping's filter takes out. A number that the analyzer has
counted (Sysmex: A) is none: it read no barcode, and has the same number for another tube tomorrow.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from engine.model.content.facts import ANSWER, Order, Person, Result
from engine.model.message import Parsed
from engine.model.orders import SPECIMEN_LENGTH, Question, item_number
from engine.model.ports import Dialogue
from engine.model.values import value
from engine.model.worklist import ResultOf

RESULTS = {"hl7v2": "OBX", "astm": "R"}
MOST = 1_000  # results of one message that are looked at
# HL7 table 0085; E1394, result status: there W is a result that the analyzer doubts, and R one that it has sent before.
FINAL = {"hl7v2": frozenset("FUVABC"), "astm": frozenset("FVRMWC")}
CORRECTS = {"hl7v2": frozenset("ABCDW"), "astm": frozenset("C")}
WITHDRAWN = {"hl7v2": frozenset("DWX"), "astm": frozenset("X")}
_REPORTS = {"hl7v2": frozenset("OISAPCRFXYZMN"), "astm": frozenset("CPFXI")}  # what OBR-25 and O-26 may say
_DECIDED = frozenset("FCX")  # of a report, whatever its format


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
    return any(segment.name == RESULTS.get(parsed.format, "R") for segment in parsed.segments)


def question_in(parsed: Parsed, dialogue: Dialogue) -> Question | None:
    """The question of a message. None: it asks nothing, or brings results, which take their usual way."""
    return None if has_results(parsed) else dialogue.question(parsed)


def tubes_in(
    known: Iterable[tuple[Person, Order, Result]],
    parsed: Parsed,
    codes: Mapping[str, str],
    groups: tuple[str, ...] = (),
    *,
    redundant: bool = False,
    moment: Callable[[str | None], int] = lambda _: 0,
    dialogue: Dialogue | None = None,
) -> tuple[TubeResults, ...]:
    """The results of each tube, in the order of the message; those without a number of their tube are left out.

    Args:
        known: facts: the results that are a patient's.
        codes: the analyzer's code -> the LIS's. groups, redundant: of the channel, for `TubeResults`.
        moment: of a time, as `engine.processing.process` reads it.
        dialogue: of the channel; None: the analyzer is asked nothing.
    """
    kind = parsed.format
    rows = [
        (patient_of(person, tube := tube_of(order, result)), tube, order, result)
        for person, order, result in sorted(known, key=lambda one: one[-1].place)
        if result.kind != ANSWER
    ][:MOST]
    states = states_of(
        [
            (
                (patient, tube, result.measure.ordered or result.measure.test),
                (result.measure.status or "").split(" ")[0],
                order.status or "",
            )
            for patient, tube, order, result in rows
        ],
        kind,
    )
    positions = [one.position for one in parsed.segments if one.name == RESULTS.get(kind)]
    ordered_as: Mapping[int, str] = _said(dialogue, "ordered_as", parsed)
    self_made: Mapping[int, tuple[str, str]] = _said(dialogue, "self_made", parsed)
    code_of = _alike(codes, dialogue)
    found: dict[tuple[str, str], dict[ResultOf, None]] = {}
    for (patient, tube, order, result), status in zip(rows, states, strict=True):
        if not tube or len(tube) > SPECIMEN_LENGTH:
            continue
        position = positions[result.place - 1]
        code = result.measure.ordered or result.measure.test or ""
        if (ordered := ordered_as.get(position, "")) in codes:
            code = ordered
        code = code if code in codes else code_of(code)
        own_us = moment(result.timed)
        made = self_made.get(position)
        parent, parent_test = made or ("", "")
        test = ResultOf(
            test=codes.get(code, ""), code=code, final=status in FINAL[kind], item_id=_item(order),
            measured_us=own_us or moment(order.collected) or moment(order.issued), own_us=own_us,
            corrects=status in CORRECTS[kind], withdrawn=status in WITHDRAWN[kind],
            made=made is not None, parent=parent, parent_test=parent_test,
        )  # fmt: skip
        found.setdefault((tube, patient), {})[test] = None
    return tuple(
        TubeResults(specimen=specimen, patient_number=patient, tests=tuple(tests), groups=groups, redundant=redundant)
        for (specimen, patient), tests in found.items()
    )


def tube_of(order: Order, result: Result) -> str:
    """The number of its tube, else of its order; empty where it may be of several."""
    tube, all_of = result.tube, order.samples
    tubes = {"" if one.unread else one.container or one.number or "" for one in all_of if tube in (None, one.number)}
    return "" if len(tubes) > 1 else "".join(tubes) or order.filler or order.placer or ""


def patient_of(person: Person, tube: str) -> str:
    """Empty also where the message has a number of the tube in its place."""
    return "" if person.number in (None, tube) else person.number


def _item(order: Order) -> str:
    return order.placer if order.placer and item_number(order.placer) is not None else ""


def _said(dialogue: Dialogue | None, name: str, parsed: Parsed) -> Mapping[int, Any]:
    """What a dialogue that reads it says of results, by position."""
    read = getattr(dialogue, name, None)
    return {} if read is None else read(parsed)


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


def states_of(said: Sequence[tuple[Hashable, str, str]], kind: str) -> list[str]:
    """The status of each result.

    Args:
        said: of each the key of its test and tube, its own status, and that of its report.
    """
    if all(status for _, status, _ in said):
        return [status for _, status, _ in said]
    stated = {test: status for test, status, _ in said if status}
    usual = "F" if kind == "astm" and not stated else ""
    return [status or stated.get(test, "") or _reported(report, kind) or usual for test, status, report in said]


def _reported(said: str, kind: str) -> str:
    """The status of the report that a result is in; empty: it has none."""
    return "" if said not in _REPORTS[kind] else said if said in _DECIDED else "P"
