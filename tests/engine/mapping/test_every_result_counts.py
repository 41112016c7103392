"""Nothing a sender says of a result vanishes: OBX or R in = Observations + declared drops + filtered, or the message is
dead. Asserted over messages that are put together at random, in orders that no grammar has."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.site import mapping_path
from engine.mapping import Program, load
from engine.mapping.trying.inputs import Mapper, messages_in
from engine.model.errors import ContentError
from engine.model.message import Mapped, Parsed
from engine.model.texts.reasons import ReasonCode
from tests.support.mapping_texts import ASTM, HEAD, HL7, Workshop, apply, context, parse

MESSAGES = 250
EVENTS = ("ORU^R01", "ORU^R01^ORU_R01", "OUL^R22", "OUL^R23^OUL_R23", "OUL^R24", "OUL^R21")
HL7_SEGMENTS = (
    "PID|1||7^^^HOSP^MR||Doe^J||19800101|F",
    "PID|1||||Doe^J",
    "PV1|1|I||||||||||||||||V1",
    "ORC|RE|O1|F1",
    "OBR|1|O1|F1|CBC^x^L|||20260301091500||||||||||||||||||F",
    "OBR|1|O2||CBC^x^L||||||||||||||||||||||P",
    "NTE|1||x",
    "SPM|1|S1||BLD|||||||P",
    "SPM|1|S2||BLD|||||||Q",
    "SAC|||C1",
    "INV|A|OK",
    "TCD|x",
    "ZXX|1",
)
ASTM_RECORDS = (
    "P|1||7||Doe^J",
    "P|1",
    "O|1|S1||^^^CBC|R||20260301091500||||N||||||||||||||F",
    "O|1|||^^^CBC|R||||||Q",
    "C|1|I|x|G",
    "M|1|x",
    "S|1",
)


def obx(draw: random.Random) -> str:
    kind = draw.choice(("NM", "ST", "CE", "ED", "RP", "", "SN", "TX", "XX"))
    code = draw.choice(("HGB^Hb^L", "HGB^Hb^L", "WBC^w^99X", "718-7^x^LN", "^^^A", "01002^Age^99MRC"))
    value = draw.choice(("14.8", "", "----", "a^b", "^AP^PDF^Base64^QUJD", "5~6", '""', "<5", "^5"))
    sub, unit, status = draw.choice(("", "1")), draw.choice(("g/dL", "")), draw.choice("FPCNXD")
    return f"OBX|1|{kind}|{code}|{sub}|{value}|{unit}|1-2|N|||{status}"


def r(draw: random.Random) -> str:
    code = draw.choice(("^^^^WBC", "^^^^WBC", "^^^RBC", "^^^^SCAT_X", "^^^^PNG&R"))
    value = draw.choice(("8.1", "", "----", "a^b", "x", "^5", "NEG^0.3"))
    return f"R|1|{code}|{value}|{draw.choice(('10*3/uL', ''))}|1-2|N||{draw.choice('FPCXW')}||||20260301101500"


def put_together(draw: random.Random, parts: tuple[str, ...], result: Callable[[random.Random], str]) -> str:
    lines = [result(draw) if draw.random() < 0.45 else draw.choice(parts) for _ in range(draw.randint(1, 12))]
    return "".join(f"{line}\r" for line in lines)


@pytest.fixture(scope="module")
def hl7() -> list[Program]:
    return [load(name, mapping_path(None)) for name in ("hl7-results", "hl7-oul-results")]


@pytest.fixture(scope="module")
def astm() -> list[Program]:
    return [load("astm-results", mapping_path(None))]


def applied(program: Program, parsed: Parsed) -> Mapped | ContentError:
    try:
        return program.apply(parsed, context(settings={"patient_system": "urn:p", "patient_system_lab": "urn:l"}))
    except ContentError as error:
        return error


def outcome(programs: list[Program], message: str, results: int) -> str:
    """What became of a message; asserts that every result is accounted for."""
    (found,) = messages_in(message.encode())
    parsed = Mapper(()).read(found)
    program = next(one for one in programs if parsed.structure in one.structures)
    mapped = applied(program, parsed)
    if isinstance(mapped, ContentError):
        assert mapped.reason not in (ReasonCode.MAPPING_FAULT, ReasonCode.COUNT_MISMATCH), f"{mapped}\n{message}"
        return "dead"
    counts = dict(mapped.counts)
    assert counts.pop("results_in") == results, message
    assert sum(counts.values()) == results, (counts, message)
    entries = [entry for document in mapped.documents for entry in json.loads(document.body)["entry"]]
    urls = Counter(one["request"]["url"] for one in entries if one["resource"]["resourceType"] == "Observation")
    assert urls.total() == counts["observations"], (counts, message)
    assert max(urls.values(), default=1) == 1, f"one result would overwrite another\n{message}"
    return "mapped" if mapped.documents else "filtered"


@pytest.mark.parametrize("seed", range(3))
def test_whatever_segments_a_message_has(hl7: list[Program], seed: int) -> None:
    draw = random.Random(seed)
    seen: Counter[str] = Counter()
    for _ in range(MESSAGES):
        head = f"MSH|^~\\&|XN|LAB|||20260301101530||{draw.choice(EVENTS)}|M1|P|2.5\rPID|1||7^^^HOSP^MR\r"
        body = put_together(draw, HL7_SEGMENTS, obx)
        seen[outcome(hl7, head + body, body.count("OBX|"))] += 1
    assert seen["mapped"] > MESSAGES // 4, seen
    assert seen["filtered"], seen


@pytest.mark.parametrize("seed", range(3))
def test_whatever_records_a_message_has(astm: list[Program], seed: int) -> None:
    draw = random.Random(seed)
    seen: Counter[str] = Counter()
    for _ in range(MESSAGES):
        body = put_together(draw, ASTM_RECORDS, r)
        message = f"H|\\^&|||XN-550^1|||||||P|E1394-97|20260301101530\r{body}L|1|N\r"
        seen[outcome(astm, message, body.count("\rR|") + body.startswith("R|"))] += 1
    assert seen["mapped"] > MESSAGES // 4, seen


ORDERS = """
- each: PATIENT_RESULT
  do:
    - each: ORDER_OBSERVATION
      do:
"""
RESULT = """
        - each: OBSERVATION
          create: Observation
          key: =[OBR-3.1 | '-', OBX-1 | '-', OBX-3.1 | '-', OBX-4 | '-']
          body: {status: final, code: =cwe(OBX-3), valueString: =OBX-5}
"""


@pytest.mark.parametrize(
    "rest",
    [
        RESULT.replace("create:", "where: =OBX-2 == 'NM'\n          create:"),
        RESULT.replace("          create:", "          when: =OBR-99\n          create:").replace("OBR-99", "OBR-44"),
        "        - each: OBSERVATION\n          do: [{warn: seen}]\n",
        RESULT.replace("create: Observation", "create: Device").replace(
            "{status: final, code: =cwe(OBX-3), valueString: =OBX-5}", "{serialNumber: =OBX-3.1}"
        ),
        "        - create: Observation\n          key: =OBR-3.1 | '-'\n          body:\n            status: final\n"
        "            code: =cwe(OBR-4)\n            note: =annotation(OBX[1]-5)\n",
    ],
)
def test_a_mapping_that_forgets_a_result_makes_the_message_dead(tmp_path: Path, rest: str) -> None:
    program = Workshop(tmp_path).steps(ORDERS + rest)
    with pytest.raises(ContentError) as caught:
        program.apply(parse(HL7), context())
    assert caught.value.reason is ReasonCode.COUNT_MISMATCH


def test_results_that_a_loop_over_records_skips_make_the_message_dead(tmp_path: Path) -> None:
    steps = """
    - each: PATIENT
      do:
        - each: ORDER
          do:
            - each: RESULT
              where: =R-5 == '10*3/uL'
              create: Observation
              key: =[O-3.1 | '-', R-3.5 | '-']
              body: {status: final, code: =local_concept(R-3.5)}
    """
    program = Workshop(tmp_path).steps(steps, message_format="astm/E1394")
    with pytest.raises(ContentError) as caught:
        program.apply(parse(ASTM), context())
    assert caught.value.reason is ReasonCode.COUNT_MISMATCH


@pytest.mark.parametrize("name", ["results_in", "observations", "dropped", "attached"])
def test_a_filter_cannot_hide_in_another_count(tmp_path: Path, name: str) -> None:
    workshop = Workshop(tmp_path)
    text = f"{HEAD}steps:\n- each: PATIENT_RESULT\n  filter: {{when: =PID-3, as: {name}}}\n  do: []\n"
    (line,) = workshop.problems(text)
    assert line.startswith(f"m.yaml:7:30: {name} is a count of LabRelay's own; give the filter another name")


def test_what_is_filtered_is_counted_by_name(tmp_path: Path) -> None:
    rest = RESULT.replace("create:", "filter: {when: \"=OBX-2 == 'ST'\", as: words}\n          create:")
    assert apply(Workshop(tmp_path).steps(ORDERS + rest)).mapped.counts == {
        "results_in": 2,
        "observations": 1,
        "words": 1,
    }
