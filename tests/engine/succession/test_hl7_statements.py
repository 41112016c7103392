"""The results of an HL7 v2 message, each with what it is of; and the message as it goes out once they are judged."""

from collections.abc import Sequence
from datetime import UTC, timedelta, timezone

import pytest

from engine.model.journal.document_facts import DocumentFacts
from engine.succession.hl7_statements import CODE_OF, STATUS_OF, as_sent, results_in, time_of
from engine.succession.statements import Resource

HEAD = "MSH|^~\\&|AN|LAB|LIS|H|20260301180000||ORU^R01|1|P|2.5.1"
PID = "PID|1||900^^^H^MR||DOE^JANE"
INDIA = timezone(timedelta(hours=5, minutes=30))


def obr(order: str = "|F1", status: str = "F") -> str:
    return f"OBR|1|{order}|CHEM{'|' * 21}{status}"


def obx(test: str, value: str, status: str = "F", *, sub: str = "", unit: str = "", at: str = "202603010930") -> str:
    return f"OBX|1|NM|{test}|{sub}|{value}|{unit}|||||{status}|||{at}"


def message(*rows: str, head: str = HEAD) -> bytes:
    return "".join(f"{row}\r" for row in (head, *rows)).encode("latin-1")


def read(*rows: str) -> list[Resource]:
    return results_in(message(*rows), UTC)


@pytest.mark.parametrize(
    ("code", "status"),
    [("I", "registered"), ("R", "preliminary"), ("P", "preliminary"), ("S", "preliminary"), ("F", "final"),
     ("U", "final"), ("V", "final"), ("A", "amended"), ("B", "appended"), ("C", "corrected"),
     ("D", "entered-in-error"), ("W", "entered-in-error"), ("X", "cancelled"), ("", "unknown"), ("Z", "unknown")],
)  # fmt: skip
def test_a_status_is_a_code_of_table_0085(code: str, status: str) -> None:
    (one,) = read(PID, obr(), obx("GLU", "5.5", code))
    assert (one.status, one.said) == (status, status)
    assert (code in STATUS_OF) is (status != "unknown")


def test_a_result_has_its_code_and_its_time() -> None:
    glucose, sodium = read(PID, obr(), obx("GLU^Glucose^L", "5.5", at="20260301093012"), obx("NA", "140", at=""))
    assert (glucose.codes, glucose.time, glucose.whole) == (frozenset({"|GLU"}), "2026-03-01T09:30:00+00:00", b"")
    assert (sodium.codes, sodium.time) == (frozenset({"|NA"}), "")
    assert glucose.name == f"Observation/{glucose.subject}"
    assert len(glucose.subject) == 32


ONE = (PID, obr("P1|F1"), obx("GLU", "5.5", sub="1"))


@pytest.mark.parametrize(
    ("rows", "same"),
    [
        ((PID.replace("^^^H", "^^^X"), *ONE[1:]), True),
        ((PID.replace("900^^^H^MR", "900~A7"), *ONE[1:]), True),
        ((PID.replace("900", "901"), *ONE[1:]), False),
        (("PID|1||900", *ONE[1:]), True),
        (("PID|1", *ONE[1:]), False),
        ((PID, obr("P2|F1"), ONE[2]), False),
        ((PID, obr("P1|F2"), ONE[2]), False),
        ((PID, "OBR|1|P1", ONE[2]), False),
        ((PID, obr("P1|F1"), obx("UREA", "5.5", sub="1")), False),
        ((PID, obr("P1|F1"), obx("GLU", "5.5", sub="2")), False),
        ((PID, obr("P1|F1"), obx("GLU", "6.5", "P", sub="1", at="202603011030")), True),
    ],
)
def test_what_a_result_is_of(rows: Sequence[str], same: bool) -> None:
    """Patient, order, test and sub-id: a later result of these takes its place."""
    ((one,), (other,)) = read(*ONE), read(*rows)
    assert (one.subject == other.subject) is same


def test_without_a_patient_its_time_is_part_of_what_it_is_of() -> None:
    first, again, later = (
        read("PID|1", obr(), obx("GLU", "5.5", at=at))[0] for at in ("202603010930", "202603010930", "202603011030")
    )
    assert first.subject == again.subject != later.subject


def test_a_next_patient_has_no_order_of_the_one_before() -> None:
    first, second = read(PID, obr("P1|F1"), obx("GLU", "1"), PID, obx("GLU", "1"))
    (alone,) = read(PID, obx("GLU", "1"))
    assert first.subject != second.subject == alone.subject


def test_two_results_of_one_test_have_names_of_their_own() -> None:
    first, second, third = read(PID, obr(), *(obx("GLU", value) for value in ("1", "2", "3")))
    assert [second.subject, third.subject] == [f"{first.subject}.2", f"{first.subject}.3"]


@pytest.mark.parametrize(
    ("row", "same"),
    [
        (obx("GLU", "5.5", "P", at=""), True),
        (obx("GLU", "5.6"), False),
        (obx("GLU", "5.5", unit="mg/dL"), False),
        ("OBX|1|NM|GLU||5.5|||H|||F", False),
        ("OBX|1|NM|GLU||5.5||1-2||||F", False),
        ("OBX|1|NM|GLU||5.5||||9||F", True),
    ],
)
def test_the_meaning_of_a_result_is_its_value_unit_range_and_flags(row: str, same: bool) -> None:
    ((one,), (other,)) = read(PID, obr(), obx("GLU", "5.5")), read(PID, obr(), row)
    assert (one.meaning == other.meaning) is same


def test_delimiters_are_those_of_the_message() -> None:
    body = message(
        "PID#1##900!!!H", "OBR#1##F1", "OBX#1#NM#GLU!Glucose##5.5######F", head="MSH#!*\\&#AN#######ORU!R01#1#P#2.5"
    )
    (own,) = results_in(body, UTC)
    (usual,) = read("PID|1||900", "OBR|1||F1", obx("GLU", "5.5"))
    assert (own.codes, own.status) == (usual.codes, usual.status)


@pytest.mark.parametrize("body", [b"", b"MSH|^~\\&", b"PID|1||900|||||||", b"OBX|1|NM|GLU||5.5"])
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="no HL7 v2 message"):
        results_in(body, UTC)


def test_the_shortest_message_has_no_result() -> None:
    assert results_in(b"MSH|^~\\&|", UTC) == []


def test_results_may_have_names_of_their_places() -> None:
    body = message(PID, obr(), obx("GLU", "1"), obx("NA", "2"), obx("K", "3"))
    named = results_in(body, UTC, {"1": "Result/4", "3": "Result/9"})
    assert [(one.name, one.codes) for one in named] == [
        ("Result/4", frozenset({"|GLU"})),
        ("Result/9", frozenset({"|K"})),
    ]
    assert as_sent(body, DocumentFacts(echoes=frozenset({"Result/4"})), {"1": "Result/4", "3": "Result/9"}) == message(
        PID, obr(), obx("NA", "2"), obx("K", "3")
    )


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("20260301", "2026-03-01"),
        ("202603010930", "2026-03-01T09:30:00+05:30"),
        ("20260301093059", "2026-03-01T09:30:00+05:30"),
        ("20260301093059.1234", "2026-03-01T09:30:00+05:30"),
        ("202603010930+0100", "2026-03-01T09:30:00+01:00"),
        ("20260301093000.5-0330", "2026-03-01T09:30:00-03:30"),
        ("202602300930", ""),
        ("2026", ""),
        ("", ""),
        ("yesterday", ""),
    ],
)
def test_a_time_is_to_the_minute(text: str, time: str) -> None:
    assert time_of(text, INDIA) == time


# -- as it goes out ----------------------------------------------------------------------------------------------------

REPORT = (
    PID,
    obr("P1|F1"),
    "NTE|1||of the order",
    obx("GLU", "5.5"),
    "NTE|1||of glucose",
    obx("NA", "140"),
    "NTE|1||of sodium",
    obr("P2|F2"),
    obx("K", "4.1"),
)


def sent(rows: Sequence[str] = REPORT, **decided: dict[str, str] | Sequence[str]) -> list[str]:
    """The rows that go out.

    Args:
        decided: as of `DocumentFacts`, of tests.
    """
    body = message(*rows)
    names = {next(iter(one.codes))[1:]: one.name for one in results_in(body, UTC)}
    facts = DocumentFacts(
        echoes=frozenset(names[one] for one in decided.get("echoes", ())),
        waits=frozenset(names[one] for one in decided.get("waits", ())),
        statuses={names[test]: status for test, status in dict(decided.get("statuses", {})).items()},
    )
    head, *out, end = as_sent(body, facts).decode("latin-1").split("\r")
    assert (head, end) == (HEAD, "")
    return out


def test_a_message_of_which_nothing_was_decided_goes_out_as_it_is() -> None:
    assert sent() == list(REPORT)


def test_bytes_of_any_character_set_stay() -> None:
    body = message(PID, obr(), obx("GLU", "5.5")).replace(b"JANE", b"J\xc3\xa4NE\xff")
    assert as_sent(body, DocumentFacts()) == body


def test_an_echo_is_left_out_with_its_notes() -> None:
    assert sent(echoes=["GLU"]) == [*REPORT[:3], *REPORT[5:]]
    assert sent(echoes=["NA"]) == [*REPORT[:5], *REPORT[7:]]


def test_an_order_without_results_that_are_left_goes_too() -> None:
    assert sent(echoes=["GLU", "NA"]) == [PID, *REPORT[7:]]
    assert sent(echoes=["K"]) == list(REPORT[:7])


def test_an_order_that_had_no_results_stays() -> None:
    rows = (PID, obr("P0|F0"), *REPORT[1:])
    assert sent(rows, echoes=["K"]) == list(rows[:8])


def test_of_an_order_with_results_that_wait_some_are_available() -> None:
    """Table 0123: A, some, but not all, results are available."""
    assert sent(waits=["GLU"]) == [PID, obr("P1|F1", "A"), REPORT[2], *REPORT[5:]]
    assert sent(waits=["GLU"], statuses={"NA": "cancelled"})[1] == obr("P1|F1", "A")
    assert sent(waits=["GLU"], statuses={"NA": "corrected"})[1] == obr("P1|F1", "C")


@pytest.mark.parametrize(
    ("status", "code", "order"),
    [("registered", "I", "A"), ("preliminary", "P", "A"), ("partial", "P", "A"), ("final", "F", "C"),
     ("cancelled", "X", "A"), ("entered-in-error", "W", "C"), ("amended", "C", "C"), ("corrected", "C", "C"),
     ("appended", "C", "C")],
)  # fmt: skip
def test_a_status_that_was_decided_is_said_of_the_result_and_of_its_order(status: str, code: str, order: str) -> None:
    out = sent(statuses={"NA": status})
    assert out == [PID, obr("P1|F1", order), *REPORT[2:5], obx("NA", "140", code), *REPORT[6:]]
    assert CODE_OF.get(status, "C") == code


def test_of_one_that_cannot_be_had_and_one_that_is_corrected_the_last_counts_for_the_order() -> None:
    assert sent(statuses={"GLU": "corrected", "NA": "cancelled"})[1] == obr("P1|F1", "C")
    assert sent(statuses={"GLU": "cancelled", "NA": "corrected"})[1] == obr("P1|F1", "C")


@pytest.mark.parametrize("status", ["P", "A", "", "C"])
def test_an_order_that_was_not_final_keeps_its_status(status: str) -> None:
    rows = (PID, obr("P1|F1", status), obx("NA", "140"))
    assert sent(rows, statuses={"NA": "corrected"}) == [PID, obr("P1|F1", status), obx("NA", "140", "C")]


def test_a_result_without_a_status_gets_one() -> None:
    assert sent((PID, obr(), "OBX|1|NM|NA||140"), statuses={"NA": "corrected"}) == [
        PID,
        obr(status="C"),
        "OBX|1|NM|NA||140||||||C",
    ]


def test_a_status_is_the_twelfth_field_and_nothing_behind_it_changes() -> None:
    rows = (PID, "OBR|1||F1", "OBX|1|NM|NA||140||||||F")
    assert sent(rows, statuses={"NA": "amended"}) == [PID, "OBR|1||F1", "OBX|1|NM|NA||140||||||C"]


@pytest.mark.parametrize(
    "rows",
    [
        (PID, "ORC|RE", obr("P1|F1"), obx("GLU", "1"), "ORC|RE", obr("P2|F2"), obx("NA", "2")),
        (PID, "ORC|RE", obr("P1|F1"), obx("GLU", "1"), obr("P2|F2"), obx("NA", "2")),
        (PID, obr("P1|F1"), obx("GLU", "1"), "ORC|RE", obr("P2|F2"), obx("NA", "2")),
        (PID, obr("P1|F1"), obx("GLU", "1"), "PID|2||901", "ORC|RE", obr("P2|F2"), obx("NA", "2")),
    ],
)
def test_an_order_begins_with_its_orc(rows: Sequence[str]) -> None:
    first = rows.index(obx("GLU", "1")) + 1
    second = next(at for at, one in enumerate(rows) if at >= first and one.startswith(("ORC", "OBR")))
    assert sent(rows, echoes=["GLU"]) == [PID, *rows[first:]]
    assert sent(rows, echoes=["NA"]) == list(rows[:second])


def test_a_patient_between_orders_is_a_group_of_its_own() -> None:
    rows = (PID, obr("P1|F1"), obx("GLU", "1"), "PID|2||901", obr("P2|F2"), obx("NA", "2"))
    assert sent(rows, echoes=["GLU"]) == [PID, *rows[3:]]
