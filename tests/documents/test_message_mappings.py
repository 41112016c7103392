"""The shipped mappings for other messages than results: orders, answers to orders, patients, documents.

They are used where a route or `--mapping` names them, and nowhere else. Their own tests are in `mappings/tests`; here:
every message of the corpus that is of their types, the files that hold several, and what a channel says to messages
that no laboratory needs.
"""

import json
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest

from engine.config import registry
from engine.mapping.conditions import compile_condition
from engine.mapping.shipped import SHIPPED
from engine.mapping.trying.inputs import Mapper, messages_in
from engine.mapping.trying.testing import Runner, read_tests
from engine.model.errors import ContentError
from engine.model.message import FormatOptions, MapContext, Stored
from engine.model.routes import ChannelRoutes, Processed, Route
from engine.model.texts.reasons import ReasonCode
from engine.processing.process import process
from tests.support.corpus import CorpusFile, corpus_files, payloads
from tests.support.fhir_check import check_bundle, faults, resources
from tests.support.mapping_texts import Workshop, apply
from tests.support.shipped import ANALYZERS, KEY, MAPPINGS, program, verdict_of

NAMES = ("hl7-oul-results", "hl7-orders", "hl7-order-answers", "hl7-patients", "hl7-documents")
BY_TYPE = {
    **dict.fromkeys(("OUL^R21", "OUL^R22", "OUL^R23", "OUL^R24"), "hl7-oul-results"),
    **dict.fromkeys(("ORM^O01", "OML^O21", "OML^O33", "OML^O35"), "hl7-orders"),
    **dict.fromkeys(("ORR^O02", "ORL^O22", "ORL^O34", "ORL^O36"), "hl7-order-answers"),
    **dict.fromkeys((f"ADT^A{number:02}" for number in (*range(1, 9), 11, 13, 28, 31, 40)), "hl7-patients"),
    "MDM^T02": "hl7-documents",
}

# Messages of these types that become no document, by file and their number in it.
NOT_MAPPED = {
    ("oie__test-hl7-repetitions-input.txt", 1): "NO_IDENTITY",  # one OBX and no order
    ("oie__test-hl7-subcomponents-input.txt", 1): "NO_IDENTITY",
    ("nhapi__OML_O21_messages.txt", 5): "UNREADABLE",  # MSH-10 is missing
    ("nhapi__OML_O21_messages.txt", 7): "UNREADABLE",
}
RECEIVED_US = 1_772_360_430_000_000


# -- the mappings themselves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_check_finds_nothing_to_complain_of(name: str) -> None:
    assert program(name).problems == ()


# A value that is only computed where another rule asks for it is counted where it is asked for.
LAZY = ("within:",)


@pytest.mark.compiles  # a program of another test has values kept, and a rule that is not asked for one does not run
@pytest.mark.parametrize("name", NAMES)
def test_every_rule_of_its_own_runs_in_some_test(name: str) -> None:
    runner = Runner(measure=True)
    for path in sorted((MAPPINGS / "tests").glob("*.yaml")):
        for test in read_tests(path):
            if test.mapping == name:
                runner.run(test, (MAPPINGS, ANALYZERS))
    ran = set().union(*runner.covered.values())
    shared = {"lab.yaml", "hl7-lab.yaml", "hl7-observations.yaml"}  # also tested with the results
    never = {rule: _line(rule) for rule in program(name).rule_lines - ran if rule.partition(":")[0] not in shared}
    assert {rule: line for rule, line in never.items() if not line.startswith(LAZY)} == {}


def _line(rule: str) -> str:
    file, _, number = rule.partition(":")
    return (MAPPINGS / file).read_text(encoding="utf-8").splitlines()[int(number) - 1].strip()


@pytest.mark.parametrize(
    ("message_format", "name"), [(message_format, name) for message_format, names in SHIPPED.items() for name in names]
)
def test_what_ships_is_named_for_the_structures_that_it_reads(message_format: str, name: str) -> None:
    assert program(name).format == message_format
    assert program(name).structures == SHIPPED[message_format][name]


def test_one_structure_has_one_shipped_mapping() -> None:
    structures = [structure for names in SHIPPED.values() for those in names.values() for structure in those]
    assert len(structures) == len(set(structures))


# -- the corpus ----------------------------------------------------------------------------------------------------


def _message_type(payload: bytes) -> str:
    """MSH-9 by a plain look at the bytes, independent of the codecs."""
    fields = payload.lstrip(b"\xef\xbb\xbf").split(b"\r")[0].split(b"\n")[0].split(b"|")
    return "^".join(fields[8].decode("latin-1").split("^")[:2]) if len(fields) > 8 else ""


FILES = [
    file
    for file in corpus_files()
    if file.format == "hl7v2" and any(_message_type(payload) in BY_TYPE for payload in payloads(file))
]
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


@pytest.mark.corpus
@each_file
@pytest.mark.parametrize("ids", ["restart", "unique"])
def test_every_message_of_the_corpus_maps_by_name(file: CorpusFile, ids: str) -> None:
    for number, payload in enumerate(payloads(file), 1):
        name = BY_TYPE.get(_message_type(payload))
        if name is None:
            continue
        given: dict[str, Any] = {"processing_ids": ["T", "D"], "tasks": "yes"}
        verdict, mapped = verdict_of(payload, "hl7v2", given, mapping=name, specimen_ids=ids)
        expected = NOT_MAPPED.get((file.name, number))
        if file.name.startswith("nhapi__bad_"):
            expected = "UNREADABLE"  # delimiters and lines that are none
        assert (verdict.reason.value if verdict.reason else None) == expected, f"message {number}: {verdict.detail}"
        if expected:
            continue
        assert mapped is not None
        counts = mapped.counts
        declared = sum(count for kind, count in counts.items() if kind not in {"results_in", "observations"})
        assert counts["observations"] + declared == counts["results_in"]
        assert [fault for document, _ in verdict.documents for fault in faults(document.body)] == []
        traced, _ = verdict_of(payload, "hl7v2", given, mapping=name, specimen_ids=ids, explained=True)
        assert _bodies(traced) == _bodies(verdict)


def _bodies(verdict: Processed) -> list[bytes]:
    return [document.body for document, _ in verdict.documents]


@pytest.mark.corpus
def test_the_corpus_has_such_messages() -> None:
    assert len(FILES) > 20


@pytest.mark.corpus
@each_file
def test_a_channel_for_results_takes_no_others(file: CorpusFile) -> None:
    for payload in payloads(file):
        if "results" not in BY_TYPE.get(_message_type(payload), "results"):
            verdict, _ = verdict_of(payload, "hl7v2")
            assert verdict.reason in {ReasonCode.NO_ROUTE, ReasonCode.UNREADABLE, ReasonCode.UNKNOWN_CHARSET}


# -- routes --------------------------------------------------------------------------------------------------------

ROUTES = (
    ("=MSH-9.1 == 'ORU'", "hl7-results"),
    ("=MSH-9.1 == 'OUL'", "hl7-oul-results"),
    ("=MSH-9.1 in ['ORM', 'OML']", "hl7-orders"),
    ("=MSH-9.1 in ['ORR', 'ORL']", "hl7-order-answers"),
    ("=MSH-9.1 == 'ADT'", "hl7-patients"),
    ("=MSH-9.1 == 'MDM'", "hl7-documents"),
    ("=MSH-9.1 in ['BAR', 'DFT']", ""),
)
HEAD = "MSH|^~\\&|HIS|HOSP|||20260301101530||{}|{}|P|2.5.1\r"
PID = "PID|1||7^^^HOSP^MR||Rao^Asha||19800412|F\r"
BODIES = {
    "ORU^R01": PID + "OBR|1|O1|F1|GLU\rOBX|1|NM|GLU^Glucose^L||5.1|mmol/L|||||F\r",
    "OUL^R21": PID + "SAC|||T1\rOBR|1|O1|F1|GLU\rOBX|1|NM|GLU^Glucose^L||5.1|mmol/L|||||F\r",
    "OUL^R22": PID + "SPM|1|S1||SER\rOBR|1|O1|F1|GLU\rOBX|1|NM|GLU^Glucose^L||5.1|mmol/L|||||F\r",
    "ORM^O01": PID + "ORC|NW|P1\rOBR|1|P1||GLU\r",
    "OML^O33": PID + "SPM|1|S1||SER\rORC|NW|P1\rOBR|1|P1||GLU\r",
    "OML^O35": PID + "SPM|1|S1||SER\rSAC|||T1\rORC|NW|P1\rOBR|1|P1||GLU\r",
    "ORL^O34": "MSA|AA|1\r" + PID + "ORC|OK|P1\rOBR|1|P1||GLU\r",
    "ADT^A02": "EVN|A02\r" + PID + "PV1|1|I|MED^1\r",
    "ADT^A40": "EVN|A40\r" + PID + "MRG|8^^^HOSP^MR\r",
    "MDM^T02": PID + "TXA|1|LR||||||||||D1\rOBX|1|TX|T||Words||||||F\r",
}


def message(kind: str, number: int = 1) -> bytes:
    return (HEAD.format(kind, number) + BODIES.get(kind, PID)).encode()


def judged(payload: bytes) -> Processed:
    """What a channel says that has a route for each of the mappings, and filters bills."""
    module: Any = registry.load(registry.FORMATS, "hl7v2")
    routes = tuple(
        Route(
            when=compile_condition(condition, "hl7v2", place="a route"),
            program=program(name) if name else None,
            filter=not name,
        )
        for condition, name in ROUTES
    )
    channel = ChannelRoutes(
        channel="his",
        message_format=module,
        media_type="",
        options=FormatOptions(),
        routes=routes,
        context=MapContext(
            channel="his", key=KEY, timezone="Asia/Kolkata", specimen_ids="unique", patient_numbers="lasting"
        ),
    )
    return process(Stored(id=1, channel="his", seq=1, payload=payload, received_us=RECEIVED_US), channel)


@pytest.mark.parametrize("kind", BODIES)
def test_each_type_finds_its_mapping_by_the_route(kind: str) -> None:
    verdict = judged(message(kind))
    assert verdict.state == "mapped", verdict.detail
    assert verdict.mapping.startswith(BY_TYPE.get(kind, "hl7-results") + "@")
    for document, _ in verdict.documents:
        check_bundle(document.body)


@pytest.mark.parametrize("kind", ["BAR^P01", "DFT^P03", "DFT"])
def test_bills_are_refused_with_a_reason(kind: str) -> None:
    """By a filter where the site says so; else they are dead letters and not lost; and no mapping takes them."""
    assert judged(message(kind)).reason is ReasonCode.FILTERED
    refused = verdict_of(message(kind), "hl7v2")[0]
    assert refused.reason is ReasonCode.ACCOUNTS
    assert refused.detail.startswith(f"{kind}: ")
    for name in NAMES:
        verdict, _ = verdict_of(message(kind), "hl7v2", mapping=name)
        assert verdict.reason is ReasonCode.ACCOUNTS
        assert kind.replace("^", "_") in verdict.detail
    with pytest.raises(ContentError) as raised:
        _bare(message(kind))
    assert raised.value.reason is ReasonCode.ACCOUNTS


def _bare(payload: bytes) -> str:
    """The mapping that the verbs for files take where nobody names one."""
    (found,) = messages_in(payload)
    mapper = Mapper((MAPPINGS,))
    return mapper.program_for(mapper.read(found)).name


@pytest.mark.parametrize(
    ("kind", "name"), [*BY_TYPE.items(), ("ORU^R40", "hl7-results"), ("OUL^R23", "hl7-oul-results")]
)
def test_files_are_mapped_by_type_and_a_channel_is_told_its_mapping(kind: str, name: str) -> None:
    assert _bare(message(kind)) == name
    if "results" not in name:  # for which the channel of `verdict_of` has routes
        verdict, _ = verdict_of(message(kind), "hl7v2")
        assert (verdict.reason, verdict.detail) == (ReasonCode.NO_ROUTE, f"{kind}: add a route with mapping: {name}")
    verdict, _ = verdict_of(message(kind), "hl7v2", mapping="abdm-report" if name != "hl7-results" else "hl7-orders")
    assert verdict.reason is ReasonCode.NO_ROUTE
    assert verdict.detail.endswith(f"; {kind}: add a route with mapping: {name}")


def test_a_type_that_no_mapping_takes_is_told_as_such() -> None:
    verdict, _ = verdict_of(message("QBP^Q11"), "hl7v2")
    assert verdict.reason is ReasonCode.NO_ROUTE
    assert verdict.detail.startswith("QBP^Q11: no shipped mapping takes it; add a route with filter:")


def test_a_patient_is_the_same_for_orders_results_and_their_master() -> None:
    """The same conditional key, so that an order finds the patient whom an admission made."""
    asked = set()
    for kind in ("ORU^R01", "ORM^O01", "ADT^A02", "MDM^T02"):
        bundle = json.loads(judged(message(kind)).documents[0][0].body)
        (request,) = [e["request"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Patient"]
        asked.add(request.get("ifNoneExist") or request["url"].removeprefix("Patient?"))
    assert len(asked) == 1


def test_a_cancellation_meets_its_order_on_another_day_where_numbers_are_unique() -> None:
    new = message("ORM^O01")
    cancelled = message("ORM^O01", 2).replace(b"ORC|NW", b"ORC|CA").replace(b"20260301", b"20260303")
    ids = set()
    for payload in (new, cancelled):
        (request,) = resources(check_bundle(judged(payload).documents[0][0].body), "ServiceRequest")
        ids.add(request["id"])
    assert len(ids) == 1
    assert request["status"] == "revoked"


def test_an_order_and_the_answer_to_it_are_one_task() -> None:
    ids = []
    for kind, name in (("OML^O33", "hl7-orders"), ("ORL^O34", "hl7-order-answers")):
        verdict, _ = verdict_of(message(kind), "hl7v2", {"tasks": "yes"}, mapping=name, specimen_ids="unique")
        ids += [task["id"] for task in resources(check_bundle(verdict.documents[0][0].body), "Task")]
    assert len(ids) == 2
    assert len(set(ids)) == 1


# -- batches and Z segments ----------------------------------------------------------------------------------------


def test_batches_of_orders_and_patients_are_split() -> None:
    kinds = list(BODIES)
    inside = b"".join(message(kind, number) for number, kind in enumerate(kinds, 1))
    batch = b"FHS|^~\\&|HIS\rBHS|^~\\&|HIS\r" + inside + b"BTS|%d\rFTS|1\r" % len(kinds)
    found = messages_in(batch)
    assert [judged(one.payload).state for one in found] == ["mapped"] * len(kinds)


Z_STEPS = """
- each: PATIENT
  do:
    - create: Organization
      when: =ZLR-2.1
      key: =ZLR-2.1
      body: {name: "=ZLR-2.2"}
"""
Z_STEPS_OF_ORDERS = """
- each: PATIENT
  do:
    - each: ORDER
      do:
        - create: Organization
          when: =ZLR-2.1
          key: =ZLR-2.1
          body: {name: "=ZLR-2.2"}
"""


@pytest.mark.parametrize(
    ("kind", "structure", "steps"),
    [
        ("ORM^O01", "ORM_O01", Z_STEPS_OF_ORDERS),
        ("OML^O21", "OML_O21", Z_STEPS_OF_ORDERS),
        ("ADT^A02", "ADT_A01", Z_STEPS),
        ("MDM^T02", "MDM_T02", Z_STEPS),
        (
            "ORU^R01",
            "ORU_R01",
            Z_STEPS_OF_ORDERS.replace("PATIENT", "PATIENT_RESULT").replace("ORDER", "ORDER_OBSERVATION"),
        ),
        ("OUL^R24", "OUL_R24", Z_STEPS_OF_ORDERS),
    ],
)
def test_rules_of_a_site_read_z_segments_where_they_stand(
    kind: str, structure: str, steps: str, tmp_path: Path
) -> None:
    body = BODIES.get(kind, BODIES["ORM^O01"]).split("OBX")[0]  # behind the order, or behind the patient
    made = apply(
        Workshop(tmp_path).steps(steps, message_format=f"hl7v2/{structure}"),
        HEAD.format(kind, 1) + body + "ZLR|1|A7^Ward clinic\r",
    )
    assert made.one("Organization")["name"] == "Ward clinic"


@pytest.mark.parametrize("name", NAMES)
def test_z_segments_disturb_no_shipped_mapping(name: str) -> None:
    kind = next(kind for kind, mapping in BY_TYPE.items() if mapping == name and kind in BODIES)
    lines = message(kind).split(b"\r")
    mixed = b"\r".join(line + b"\rZXX|1|site" for line in lines[:-1] if line) + b"\r"
    plain, _ = verdict_of(message(kind), "hl7v2", mapping=name, specimen_ids="unique")
    verdict, _ = verdict_of(mixed, "hl7v2", mapping=name, specimen_ids="unique")
    assert [issue.code for issue in verdict.issues] == [issue.code for issue in plain.issues]
    entries = [[e["fullUrl"] for e in json.loads(v.documents[0][0].body)["entry"]][:-1] for v in (plain, verdict)]
    assert entries[0] == entries[1]  # all but the Provenance, which names the bytes


def test_a_mapping_names_what_it_reads_where_it_is_given_something_else() -> None:
    (found,) = messages_in(message("ORU^R01"))
    mapper = Mapper((MAPPINGS,), mapping="hl7-patients")
    parsed = mapper.read(found)
    with pytest.raises(ContentError, match="hl7-patients reads ADT_A01, ADT_A39, not ORU_R01"):
        mapper.program_for(parsed).apply(parsed, mapper.context_for(parsed, found.payload))


# -- damaged messages ----------------------------------------------------------------------------------------------

JUNK = (
    *(
        "",
        '""',
        "^",
        "~",
        "&",
        "\\",
        "<",
        "-",
        "^^^",
        "9" * 40,
        "1e5",
        "20261301",
        "a\tb",
        "\x01",
        "~~",
        "5.",
        "+7",
        "-0",
    ),
    *("00", "2026030110153", "T", "Q", "F", "X", "Y", "N", "CA"),
    *("UC", "RE", "ED", "^1^:^8", "A40", "\\X0D\\", "&&", "^^&"),
)


def _damaged(payload: bytes, random: Random) -> bytes:
    """The message with one to six fields emptied, cut, replaced or taken from elsewhere, or a segment left out."""
    lines = re.split(r"([\r\n]+)", payload.decode("latin-1"))
    for _ in range(random.randint(1, 6)):
        at = random.randrange(0, len(lines), 2)
        fields = lines[at].split("|")
        if len(fields) < 3 or at + 1 >= len(lines):
            continue
        number = random.randrange(6 if at == 0 else 1, len(fields))
        match random.randrange(6):
            case 0 | 1:
                fields[number] = random.choice(JUNK)
            case 2:
                fields = fields[: number + 2]
            case 3:
                fields[number] += random.choice(JUNK)
            case 4:
                fields[number] = random.choice(fields)
            case _ if at:
                lines[at : at + 2] = []
                continue
        lines[at] = "|".join(fields)
    return "".join(lines).encode()


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_message_gives_a_verdict_and_never_a_broken_bundle(name: str) -> None:
    """Whatever stands in the fields: a valid Bundle, or a reason that is not our own fault."""
    random = Random(name)
    whole = [
        test.given.strip()
        for path in sorted((MAPPINGS / "tests").glob("*.yaml"))
        for test in read_tests(path)
        if test.mapping == name
    ]
    for _ in range(250):
        damaged = _damaged(random.choice(whole), random)
        given = {"tasks": "yes", "private_ids": "yes", "processing_ids": ["T", "D"]}
        verdict, _ = verdict_of(damaged, "hl7v2", given, mapping=name)
        told = f"{verdict.reason} {verdict.detail}"
        assert verdict.reason not in {ReasonCode.MAPPING_FAULT, ReasonCode.COUNT_MISMATCH}, told
        for document, _route in verdict.documents:
            assert faults(document.body) == [], told
