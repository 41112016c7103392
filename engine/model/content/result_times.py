"""When the results of a message were collected and measured: for the reports on turnaround. Pure.

They are taken from the facts of the message, of its patients' results alone.

    specimen    as the worklist knows it (`engine.model.content.order_results`)
    collected   of the specimen, else of the order
    resulted    when it was analysed, else measured; else when the order was reported
    test        as sent, with its name and OBX-4: several results of one specimen may have one code (GeneXpert)
    state       as `engine.model.content.order_results` reads it

A control is no result here: one that the mapping's filter takes out, or whose specimen or order says so; nor is an
answer at order entry, a document, or what the code table leaves out. A time without minutes is none, since its
turnaround would be a guess, and so is one of a clock that has lost its battery.
A message that no reader takes has no results here.
"""

from collections.abc import Callable, Container, Iterable

from engine.model.content.facts import ANSWER, DATA, DOCUMENT, LEFT_OUT, PICTURE, Order, Person, Result
from engine.model.content.order_results import CORRECTS, FINAL, MOST, WITHDRAWN, patient_of, states_of, tube_of
from engine.model.values import value

MAX_CODE = 40  # characters of a code
_DAY = len("2026-03-01")
_NO_RESULTS = frozenset({ANSWER, LEFT_OUT, DOCUMENT, PICTURE, DATA})
FINAL_RESULT, CORRECTION, PRELIMINARY = "F", "C", "P"
_STATES = {
    kind: dict.fromkeys(FINAL[kind], FINAL_RESULT) | dict.fromkeys(CORRECTS[kind] | WITHDRAWN[kind], CORRECTION)
    for kind in FINAL
}
Around = tuple[str, str, int, int]  # patient, specimen, collected, reported


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
    known: Iterable[tuple[Person, Order, Result]],
    kind: str,
    moment: Callable[[str | None], int],
    without_row: Container[int] = (),
) -> tuple[ResultGroup, ...]:
    """The results of a message by what they have in common.

    Args:
        known: facts: the results that are a patient's. kind: the format of the message.
        moment: of a time, as `engine.processing.process` reads it.
        without_row: places of those whose code no code table had.
    """
    rows = [one for one in known if one[2].kind not in _NO_RESULTS][:MOST]
    told = _told(rows, kind)
    times: dict[str | None, int] = {None: 0}

    def time(said: str | None) -> int:
        if said not in times:
            times[said] = moment(said) if len(said or "") > _DAY else 0
        return times[said]

    found: dict[tuple[str, str, int, int, str], list[tuple[str, str]]] = {}
    alike: dict[tuple[str | None, str], list[tuple[str, str]]] = {}  # of the order and tube at hand
    before: Order | None = None
    tube: str | None = None
    when: tuple[str | None, str] | None = None
    mine: list[tuple[str, str]] = []
    around: Around = "", "", 0, 0
    for (person, order, result), status in zip(rows, told, strict=True):
        if order is not before or result.tube != tube:
            before, tube, alike, when = order, result.tube, {}, None
            around = _around(person, order, result, time)
        said = result.analysed or result.timed, status
        if said != when:
            if said not in alike:
                patient, specimen, collected, reported = around
                key = patient, specimen, collected, time(said[0]) or reported, _STATES[kind].get(status, PRELIMINARY)
                alike[said] = found.setdefault(key, [])
            when, mine = said, alike[said]
        measure, place = result.measure, result.place
        code = measure.test or ""
        mine.append(
            ("" if place in without_row else code[:MAX_CODE], f"{code}\0{measure.name or ''}\0{measure.sub or ''}")
        )
    return tuple(ResultGroup(*key, *zip(*results, strict=True)) for key, results in found.items())


def _told(rows: Iterable[tuple[Person, Order, Result]], kind: str) -> list[str]:
    """The status of each."""
    told = [result.measure.status or "" for _, _, result in rows]
    if not all(told) or " " in "".join(told):
        said = [
            (
                (
                    patient_of(person, tube := tube_of(order, result)),
                    tube,
                    result.measure.ordered or result.measure.test,
                ),
                one.split(" ")[0],
                order.status or "",
            )
            for (person, order, result), one in zip(rows, told, strict=True)
        ]
        told = states_of(said, kind)
    return told


def _around(person: Person, order: Order, result: Result, time: Callable[[str | None], int]) -> Around:
    """What the results of one order and tube have in common."""
    specimen = tube_of(order, result)
    drawn = {one.collected for one in order.samples if result.tube in (None, one.number)}
    collected = (time(drawn.pop()) if len(drawn) == 1 else 0) or time(order.collected)
    return patient_of(person, specimen), specimen, collected, time(order.issued)
