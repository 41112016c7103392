"""What is kept from message to message changes nothing: a mapping that has met a thousand messages gives for the next
one what it would have given for its first, and tells everything that it would have told."""

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace
from types import CodeType, FunctionType
from typing import Any

import pytest

from engine.mapping import Program
from engine.mapping.functions import FUNCTIONS
from engine.mapping.message.message_context import MessageContext
from engine.mapping.message.read_cache import (
    LONGEST_RESULT,
    RANGES_KEPT,
    REST,
    RESULTS_KEPT,
    UNSET,
    Loop,
    ReadCaches,
    Room,
)
from engine.mapping.trying.inputs import Mapper, messages_in
from engine.model.errors import ContentError
from engine.model.message import MapContext, Mapped, Parsed
from tests.support.corpus import CorpusFile, corpus_files
from tests.support.mapping_texts import HEAD, HL7, Workshop, apply, context, parse, run_of
from tests.support.samples import sample_files
from tests.support.shipped import MAPPINGS
from workbench.bench.messages import oru

OF_MAPPINGS = ("engine.mapping", "engine.features")  # where functions of mappings are
TABLE = "code,unit_in,loinc,unit,ucum,factor,digits\nHGB,g/dL,718-7,g/L,g/L,10,0\n"
TABLES = "tables:\n  analytes: {csv: t.csv, key: [code, unit_in], on_missing: local, on_missing_unit: local}\n"
STEPS = """
- each: PATIENT_RESULT
  do:
    - each: ORDER_OBSERVATION
      do:
        - each: OBSERVATION
          create: Observation
          key: =[OBX-3.1, OBX-4 | '-']
          let:
            row: =lookup('analytes', OBX-3.1, OBX-6)
          body:
            status: =lookup('0085', OBX-11) | 'final'
            code: =coded(row, cwe(OBX-3))
            interpretation: =lookup('0078', OBX-8[*])
            valueQuantity: =quantity(decimal(OBX-5), row, OBX-6)
            method: =cwe(OBX-17)
            device:
              $case:
                - when: =OBX-18
                  identifier: =ei(OBX-18)
                - else: true
                  display: none
"""


@pytest.fixture
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    made = Workshop(tmp_path_factory.mktemp("recurring"))
    made.write("t.csv", TABLE)
    return made


def outcome(program: Program, message: str, given: MapContext, *, traced: bool = False) -> object:
    """Everything that may be said of a message, but the rules, and the notes of a traced one."""
    try:
        if not traced:
            mapped: Mapped | None = program.apply(parse(message), given)
        else:
            trace = program.explain(parse(message), given)
            mapped = trace.mapped
            if trace.error is not None:
                raise trace.error
    except ContentError as error:
        return str(error), error.reason, error.place
    assert mapped is not None
    warnings = [(issue.code, issue.text, issue.place) for issue in mapped.issues if issue.severity != "note"]
    return mapped.documents, mapped.counts, mapped.unmapped, warnings


def test_a_message_among_others_gives_what_it_gives_alone(workshop: Workshop) -> None:
    used = workshop.steps(STEPS, tables=TABLES)
    messages = [
        HL7,
        HL7.replace("||14.8|g/dL|", "||9.1|mmol/L|"),  # the code is known, not with this unit: told each time
        HL7.replace("HGB^Hemoglobin^L", "XYZ^Something^L"),  # a code without a row
        HL7.replace("|N|||F|||20260301094500", "|ODD|||F|||20260301094500"),
        HL7.replace("|N|||F|||20260301094500", "|N|||?|||20260301094500"),  # dead: a status that nobody knows
        HL7.replace("|F|||20260301094500", "|F|||20260301094500|||X^Method^L|DEV1^ANY"),
        HL7.replace("|F|||20260301094500", "|F|||20260301094500|||X^Method^L|DEV1^ANY").replace("|LAB|", "|LAB2|"),
        HL7.replace("^~\\&", "$~\\&").replace("^", "$"),
        "\n".join([*HL7.splitlines(), *[line.replace("OBX|1", "OBX|7") for line in HL7.splitlines()[3:4]]]),
    ]
    rng = random.Random(7)
    settings: list[dict[str, str]] = [
        {},
        {"local_system": "urn:x"},
        {"on_missing": "dead"},
        {"on_missing_unit": "dead"},
    ]
    for _ in range(300):
        message = rng.choice(messages)
        given = context(settings=rng.choice(settings), namespaces=rng.choice([{}, {"ANY": "urn:any"}]))
        got = outcome(used, message, given)
        assert got == outcome(used, message, given, traced=True)
        if rng.random() < 0.1:
            assert got == outcome(workshop.steps(STEPS, tables=TABLES), message, given)


def test_what_is_told_of_a_result_is_told_of_the_next_one_too(workshop: Workshop) -> None:
    program = workshop.steps(STEPS, tables=TABLES)
    twice = "\n".join(
        [*HL7.splitlines()[:3], *(f"OBX|{n}|NM|XYZ^Something^L|{n}|14.8|g/dL||ODD|||F" for n in (1, 2, 3))]
    )
    seen = [program.apply(parse(twice), context()) for _ in range(3)]
    assert seen[0] == seen[1] == seen[2]
    assert [one.code for one in seen[2].unmapped] == ["XYZ"] * 3  # once a result, however many values need the row


def test_a_warning_that_a_message_gives_twice_is_given_for_the_next_message_too(workshop: Workshop) -> None:
    program = workshop.steps(STEPS.replace("method: =cwe(OBX-17)", "method: =cwe(OBX-3)"), tables=TABLES)
    odd = HL7.replace("HGB^Hemoglobin^L", "ABC^No such term^LN")
    seen = [program.apply(parse(odd), context()) for _ in range(3)]
    assert [issue.code for issue in seen[0].issues].count("LOINC_MISMATCH") == 1
    assert seen[0] == seen[1] == seen[2]


def test_messages_give_the_same_in_any_order() -> None:
    used, other = Mapper([MAPPINGS]), Mapper([MAPPINGS])
    read = [parsed for file in (*sample_files(), *corpus_files()) for parsed in _readable(file, used)]
    first = [_outcome(used, parsed) for parsed in read]
    assert [_outcome(other, parsed) for parsed in reversed(read)] == first[::-1]
    assert [_outcome(used, parsed) for parsed in read] == first


def _readable(file: CorpusFile, mapper: Mapper) -> Iterator[Parsed]:
    for found in messages_in(file.path.read_bytes()):
        with suppress(ContentError):
            parsed = mapper.read(found)
            mapper.program_for(parsed)
            yield parsed


def _outcome(mapper: Mapper, parsed: Parsed) -> object:
    try:
        return mapper.program_for(parsed).apply(parsed, context())
    except ContentError as error:
        return str(error)


def test_what_is_kept_is_bounded() -> None:
    room = Room(3)
    kept, other = Loop(room), Loop(room, 1)
    assert kept.keep(("x" * (LONGEST_RESULT + 1),), 3)[:3] == [UNSET] * 3
    assert not kept
    for number in range(10):
        for one in (kept, other):
            values = one.keep((str(number),), 3)
            assert values[:3] == [UNSET] * 3
            one.keep_range(values[3], "1-2", 1)
    everything = [*kept.values(), *other.values()]
    assert len(everything) + sum(len(values[3]) for values in everything) == 3


def test_without_room_all_begins_anew() -> None:
    readings = ReadCaches()
    parsed = parse(HL7)
    often = parse("\n".join([HL7, *["OBX|9|NM|A||1"] * RESULTS_KEPT * 2]))
    first = readings.of(often, context())
    for number in range(RESULTS_KEPT):
        first.loop(0).keep((str(number),), 1)
    second = readings.of(parsed, context())
    assert second is not first
    assert not second.loop(0)
    second.loop(0).keep(("1",), 1)
    assert len(second.loop(0)) == 1


def test_keys_that_are_always_new_are_not_kept_for_a_while() -> None:
    room = Room(100)
    odd, usual = Loop(room), Loop(room, 1)
    for number in range(200):
        room.read(1)
        odd.keep((f"{number}",), 1)
    usual.keep(("WBC",), 1)
    room.empty(100)
    odd.keep(("1",), 1)
    assert room.left == 100
    usual.keep(("RBC",), 1)
    assert room.left == 99  # nothing is held against another loop
    room.read(REST)
    odd.keep(("1",), 1)
    assert room.left == 99
    room.read(1)
    odd.keep(("1",), 1)
    assert room.left == 98


def test_ranges_that_are_always_new_take_no_room_from_others_and_hide_none_that_recurs() -> None:
    room = Room(100)
    loop = Loop(room)
    ranges = loop.keep(("WBC",), 1)[1]
    met = 0
    for number in range(1_000):
        loop.keep_range(ranges, f"{number}-{number + 1}", 1)
        met += "4-10" in ranges
        if "4-10" not in ranges:
            loop.keep_range(ranges, "4-10", 1)
    assert met > 900
    assert len(ranges) <= RANGES_KEPT
    assert room.left == 99 - len(ranges)


def test_ways_of_reading_are_kept_apart() -> None:
    readings = ReadCaches()
    parsed = parse(HL7)
    here = readings.of(parsed, context())
    assert readings.of(parsed, context(channel="other")) is here
    assert readings.of(parsed, context(settings={"local_system": "urn:x"})) is not here
    assert readings.of(parse(HL7.replace("|LAB|", "|LAB2|")), context()) is not here
    assert readings.of(replace(parsed, charset="iso-8859-1"), context()) is not here
    again = readings.of(parsed, context(namespaces={"A": "urn:a"}))
    assert again is not here
    assert readings.of(parsed, context(namespaces={"A": "urn:a"})) is again


STRUCTURES = """\
steps:
  - each: PATIENT
    do:
      - each: SPECIMEN
        do:
          - each: ORDER
            do:
              - each: RESULT
                create: Observation
                key: =[OBX-3.1, OBX-4 | '-']
                body: {status: final, code: =cwe(OBX-3), method: =cwe(OBX-17)}
      - each: ORDER
        do:
          - each: RESULT
            create: Observation
            key: =[OBX-3.1, OBX-4 | '-']
            body: {status: final, code: =cwe(OBX-17), method: =cwe(OBX-3)}
"""


def test_the_structures_of_one_mapping_are_kept_apart(workshop: Workshop) -> None:
    """The first loop over results of one structure is another one than that of the next."""
    head = HEAD.replace("hl7v2/ORU_R01", "[hl7v2/OUL_R22, hl7v2/OUL_R24]")
    used = workshop.load(head + STRUCTURES)
    result = "OBX|1|ST|GLU^Glucose||5|||H|||F||||||M1^Method\n"
    first = f"MSH|^~\\&|A|B|||2026||OUL^R22|1|P|2.5\nPID|1||7\nSPM|1|S1\nOBR|1|O1\n{result}"
    second = f"MSH|^~\\&|A|B|||2026||OUL^R24|1|P|2.5\nPID|1||7\nOBR|1|O1\nSPM|1|S1\n{result}"
    for message in (first, second, first, second):
        alone = workshop.load(head + STRUCTURES)
        assert outcome(used, message, context()) == outcome(alone, message, context())


@pytest.mark.parametrize("changing", [False, True])
def test_an_analyzers_results_are_computed_once(workshop: Workshop, changing: bool) -> None:
    ranged = "            referenceRange: =reference_range(OBX-7, row, OBX-6)\n            device:"
    program = workshop.steps(STEPS.replace("            device:", ranged), tables=TABLES)
    rng = random.Random(3)
    for number in range(1, 60):
        program.apply(parse(oru(1, number, rng, changing=changing)), context())
    (reading,) = program._readings._known.values()
    (kept,) = reading.results.values()
    assert 20 <= len(kept) <= 60  # 20 analytes with up to three flags each, not 1,180 results
    assert all(any(value is not UNSET for value in values[:-2]) for values in kept.values())
    ranges = [values for found in kept.values() for values in found[-2].values()]
    assert len(ranges) == len(kept) if not changing else len(ranges) > 4 * len(kept)
    assert all(values[0] is not UNSET or 0 in values[-1] for values in ranges)  # with the code without a row to tell


def test_a_let_of_the_whole_mapping_is_known_inside_what_is_kept(workshop: Workshop) -> None:
    """What is kept is computed by a function of its own, which cannot see the variables of the mapping around it."""
    program = workshop.load(
        HEAD
        + """\
let:
  wanted: =setting('wanted')
steps:
  - each: PATIENT_RESULT
    do:
      - each: ORDER_OBSERVATION
        do:
          - each: OBSERVATION
            where: =wanted == 'all' or OBX-2 == 'NM'
            create: Observation
            key: =[OBX-3.1, OBX-4 | '-', wanted | '-']
            body:
              status: final
              code: =cwe(OBX-3)
              valueString: =(OBX-5 if wanted else absent) | 'unasked'
          - each: OBSERVATION
            where: =not (wanted == 'all' or OBX-2 == 'NM')
            do:
              - drop: not wanted
"""
    )
    for wanted, values in (("all", ["14.8", "yellow"]), ("few", ["14.8"]), ("", ["unasked"])):
        made = apply(program, HL7, {"wanted": wanted})
        assert [one["valueString"] for one in made.all("Observation")] == values


def test_a_result_is_without_a_row_for_its_own_look_ups_alone(workshop: Workshop) -> None:
    """A look-up by the value comes first, and differs; the one by the unit recurs, and says nothing about the test."""
    workshop.write("c.csv", "code\n14.8\n")
    workshop.write("u.csv", "unit_in,ucum\nmg/dL,mg/dL\n")
    tables = (
        "tables:\n  codes: {csv: c.csv, key: [code], on_missing: local}\n"
        "  units: {csv: u.csv, key: [unit_in], on_missing: local}\n"
    )
    body = "code: =coded(lookup('codes', OBX-5), cwe(OBX-3))\n            valueString: =lookup('units', OBX-6).ucum"
    before, _, after = STEPS.partition("            status:")
    program = workshop.steps(f"{before}            status: final\n            {body}\n", tables=tables)
    assert after
    found = HL7.replace("|ST|COL^Color^L||yellow|", "|ST|COL^Color^L||14.8|g/dL")
    missed = found.replace("||14.8|g/dL", "||9.1|g/dL")
    seen = [program.apply(parse(message), context()) for message in (missed, found, missed)]
    assert [len(one.without_row) for one in seen] == [2, 0, 2]
    assert seen[0] == seen[2]


PATIENT_FIRST = """\
steps:
  - each: PATIENT_RESULT
    do:
      - create: Patient
        key: =cx(PID-3)
        body: {identifier: =cx(PID-3)}
      - each: ORDER_OBSERVATION
        do:
          - each: OBSERVATION
            create: Observation
            key: =[OBX-3.1, OBX-4 | '-']
            body:
              status: final
              code: =cwe(OBX-3)
              device: {identifier: =preferred(ei(OBX-17) ++ ei(OBX-18))}
"""


def test_a_number_is_preferred_where_it_lasts_in_its_own_message(workshop: Workshop) -> None:
    program = workshop.load(HEAD + PATIENT_FIRST)
    message = HL7.replace("|F|||20260301094500", "|F|||20260301094500|||N1^HOSP|N2^HOSP")
    of_device = message.replace("|4711^^^HOSP^MR|", "|N2^^^HOSP^MR|")
    given = context(patient_numbers="lasting")
    chosen = [
        apply(program, one, patient_numbers="lasting").all("Observation")[0]["device"]["identifier"]["value"]
        for one in (message, of_device, message)
    ]
    assert chosen == ["N1", "N2", "N1"]
    assert outcome(program, message, given) == outcome(workshop.load(HEAD + PATIENT_FIRST), message, given)


# Members of a `MessageContext`: how a text is read; settings of the channel; what is kept by its text; a warning, or
# the end of the message. `get` is that of a dict.
STEADY = """C F R S X text whole present part_text component subcomponent repetitions
context settings setting local_system numbers_with_comma namespace namespaces hl7 policy policies
concepts reading noted units get
warn bad_value dead"""
MEMBERS = {*vars(MessageContext), *vars(run_of())}
OF_CHANNEL = frozenset(one.name for one in fields(MapContext)) - {"settings", "namespaces"}


def test_a_steady_function_reads_nothing_that_differs_between_messages_read_alike() -> None:
    others = (MEMBERS | OF_CHANNEL).difference(STEADY.split())
    read = {name: _names_in(one.call, set()) & others for name, one in FUNCTIONS.items() if one.steady and not one.pure}
    assert {name: found for name, found in read.items() if found} == {}


def _names_in(function: Any, seen: set[Any]) -> set[str]:
    """The names that the code of a function uses, and that of the functions of mappings which it calls."""
    seen.add(function)
    found: set[str] = set()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        found |= set(code.co_names)
        codes += [one for one in code.co_consts if isinstance(one, CodeType)]
    for name in tuple(found):
        called = function.__globals__.get(name)
        if isinstance(called, FunctionType) and called.__module__.startswith(OF_MAPPINGS) and called not in seen:
            found |= _names_in(called, seen)
    return found
