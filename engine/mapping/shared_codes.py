"""The net below the reading of R-3 (ASTM E1394): no code is that of two tests of a message.

    R|1|^^^AST_MIC^4250^CIP     R|2|^^^AST_MIC^4250^PIP     one code, and the drugs differ: the message is dead

Ids that have one code may differ in what says nothing of the test: case, a name that one of them lacks, the run,
version or dilution in component 5 or 6 (beside S, I or R the number of a drug), lots and serial numbers before a kind
in 11, counts behind a name in 1, and what the channel lists under ``beside_code``. Any other difference is one of
tests, or of isolates, whose results would take each other's place. The detail names the ``test_code`` that parts them.
O-3 or O-4 alone may part isolates (`M26-1187^1`, `M26-1187^2`): ``test_code: 4/6/O-3.2``.
"""

from collections.abc import Iterable
from itertools import zip_longest

from engine.mapping.code_tables.tables import Table
from engine.mapping.functions.astm import (
    BESIDE_SETTING,
    COMPONENTS,
    DILUTION_SETTING,
    IS_COUNT,
    ISOLATE,
    KINDS,
    SETTING,
    astm_is_raw,
    astm_test_code,
    code_places,
    id_parts,
)
from engine.mapping.functions.controls import is_control
from engine.mapping.functions.specimens import factor_of
from engine.mapping.isolates import Isolate, are_of_drugs, is_concentration, is_later_isolate, is_tested, isolate_of
from engine.mapping.language.structures import ASTM
from engine.mapping.message.message_context import MessageContext
from engine.model.content.quality_controls import ASTM_ROLE
from engine.model.errors import ContentError
from engine.model.message import Segment
from engine.model.texts.reasons import ReasonCode

_RUN, _KIND = 6, 11  # components
_RUNS = (5, _RUN)
_NAMES = (1, 2, 3, 4, 5, 7)  # of the test and its analyte: one may lack them
_LOTS = (8, 9, 10)
_COUNTS = (2, 3, 4)
_REMEDY = (
    "settings `{}` parts results that have one code, and differ in component {} of R-3; `{}` says that these differ "
)
_REMEDY += "in no test and no isolate, as in lots"


def refuse_shared_codes(run: MessageContext, table: Table | None) -> None:
    """
    Args:
        table: the channel's code table.

    Raises:
        ContentError: SAME_CODE.
    """
    parsed, codes = run.parsed, run.reading.codes
    if parsed.format != ASTM or parsed.is_apart:
        return
    raws = [fields[3] for result in parsed.names.get("R", []) if len(fields := result.fields) > 3]
    each = set(map(codes.get, raws))
    has_isolates = any(isolate_of(run, order) for order in parsed.names.get("O", []))
    if len(each) == len(raws) and None not in each and not has_isolates:
        parsed.is_apart = True
        return
    if parsed.segments[0].get(12)[:1].upper() == ASTM_ROLE:
        return
    has_isolates = has_isolates and not (ISOLATE(run.setting(SETTING) or "") or run.setting("specimen"))
    firsts: dict[str, Segment] = {}
    isolates: dict[tuple[str, str], tuple[Segment, Isolate]] = {}
    isolate: Isolate | None = None
    is_controls = of_drugs = False
    for segment in parsed.segments:
        if segment.name == "O":
            is_controls = _is_of_controls(run, segment)
            isolate = isolate_of(run, segment) if has_isolates else None
            of_drugs = isolate is not None and are_of_drugs(run, segment.position)
        elif segment.name == "R" and (field := segment.fields[3:4]) and (raw := field[0]):
            code = codes[raw] if raw in codes else astm_test_code(run, raw)
            if code is None or is_controls or segment.position in run.controls:
                continue
            first = firsts.setdefault(code, segment)
            is_same = first.fields[3] == raw
            if (is_same and not isolate) or astm_is_raw(run, raw, table):
                continue
            run.at = segment
            if not is_same:
                _refuse_other_test(run, first, segment)
            if isolate:
                before = isolates.setdefault((code, isolate[0]), (segment, isolate))
                _refuse_other_isolate(run, *before, segment, isolate, of_drugs=of_drugs)


def _refuse_other_test(run: MessageContext, first: Segment, segment: Segment) -> None:
    """A warning alone where nothing but a count behind a name differs: a replicate, or another test."""
    earlier, raw = first.fields[3], segment.fields[3]
    if places := _differing(run, earlier, raw, is_drug=is_tested(run, first) and is_tested(run, segment)):
        raise ContentError(ReasonCode.SAME_CODE, _detail(run, places, earlier), place=f"{run.place}-3")
    sent, other = id_parts(run, earlier), id_parts(run, raw)
    if code_places(sent, run.setting(SETTING))[0] == 1 and sent[1] != other[1]:
        run.warn("SAME_CODE", _detail(run, [2], earlier))


def _refuse_other_isolate(
    run: MessageContext, first: Segment, before: Isolate, segment: Segment, isolate: Isolate, *, of_drugs: bool
) -> None:
    pairs = zip_longest(before[2], isolate[2], fillvalue="")
    other = next((at for at, (earlier, later) in enumerate(pairs, 2) if earlier != later), 0)
    of_drugs = of_drugs or is_tested(run, first) or is_tested(run, segment)
    is_later = is_later_isolate(isolate[2])
    may_be = is_later and len(isolate[2]) == 1 and is_concentration(segment)
    if not (of_drugs or may_be) and (not other or first.get(4) == segment.get(4)):
        return
    place = f"O-{isolate[1]}.{other or 2}"
    apart = f"`{SETTING}: {_parting(run, segment.fields[3])}/{place}` keeps isolates apart"
    apart = f"{apart}; `specimen: O-{isolate[1]}.1` says that none are"
    # Of isolates in messages of their own that of number 1 goes out: others would take its place.
    if of_drugs and (other or is_later):
        detail = f"{apart}: results of two would have one code"
        raise ContentError(ReasonCode.SAME_CODE, detail, place=f"{run.place}-3")
    run.warn("UNLINKED", f"{place} may be the number of an isolate; {apart}")


def _is_of_controls(run: MessageContext, order: Segment) -> bool:
    numbers = [number for place in (3, 4) for part in order.get(place).split(run.C) if (number := part.strip())]
    return is_control(run, order.get(12).split(run.R), orders=order.get(5).split(run.R), numbers=numbers)


def _detail(run: MessageContext, places: list[int], earlier: str) -> str:
    parting = f"{SETTING}: {_parting(run, earlier)}"
    beside = f"{BESIDE_SETTING}: {'/'.join(map(str, places))}"
    return _REMEDY.format(parting, ", ".join(map(str, places)), beside)


def _differing(run: MessageContext, earlier: str, raw: str, *, is_drug: bool) -> list[int]:
    """Numbers of the components in which two ids are of different tests; those of drugs are no counts."""
    first, second = id_parts(run, earlier), id_parts(run, raw)
    places = code_places(first, run.setting(SETTING))
    ignored = {*places, *_listed(run.setting(BESIDE_SETTING)), *_listed(run.setting(DILUTION_SETTING))}
    if first[_KIND - 1] in KINDS:
        ignored.update((*_LOTS, _KIND))
    if places[0] == 1 and not is_drug:
        ignored.update(_COUNTS)
    is_drug = is_drug or not _is_run(first[_RUN - 1])
    return [
        place
        for place in range(1, COMPONENTS + 1)
        if place not in ignored and _differ(first[place - 1], second[place - 1], place, is_drug=is_drug)
    ]


def _differ(first: str | None, second: str | None, place: int, *, is_drug: bool) -> bool:
    if first == second or (first and second and first.casefold() == second.casefold()):
        return False
    if place in _RUNS and not is_drug and _is_run(first) and _is_run(second):
        return False
    return place not in _NAMES or bool(first and second)


def _is_run(part: str | None) -> bool:
    return part is None or IS_COUNT(part.replace(".", "")) is not None or factor_of(part) is not None


def _listed(places: str | None) -> list[int]:
    return [int(place) for place in (places or "").split("/") if place.isdecimal()]


def _parting(run: MessageContext, earlier: str) -> str:
    """The `test_code` that gives the ids of the message the most codes with the fewest components."""
    ids = [
        id_parts(run, raw)
        for segment in run.parsed.names.get("R", [])
        if (raw := segment.get(3)) and not astm_is_raw(run, raw)
    ]
    parts = id_parts(run, earlier)
    listed = run.setting(SETTING)
    places = [place for place in code_places(parts, listed) if parts[place - 1]]
    chosen = places if listed else places[:1] if places[0] > 2 else places[:2]
    ignored = _listed(run.setting(BESIDE_SETTING))
    for place in range(1, COMPONENTS + 1):
        if place not in (*chosen, *ignored) and _count(ids, [*chosen, place]) > _count(ids, chosen):
            chosen = [*chosen, place]
    return "/".join(map(str, chosen))


def _count(ids: Iterable[list[str | None]], places: list[int]) -> int:
    return len({tuple(parts[place - 1] for place in places) for parts in ids})
