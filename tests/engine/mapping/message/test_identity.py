"""Identity: what is one resource, what is another, and what a server is asked to do with it."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.model.errors import ContentError
from engine.model.persons import Name, Person
from engine.model.texts.reasons import ReasonCode
from tests.support.mapping_texts import HL7, Made, Workshop, apply, context, parse

STEPS = """
- create: Organization
  as: lab
  key: =MSH-4.1
  request: create_if_none
  body:
    identifier: =hd_identifier(MSH-4)
    name: =MSH-4.1
- each: PATIENT_RESULT
  do:
    - create: Patient
      as: patient
      when: =PID-3
      key: =preferred(cx(PID-3[*]), 'MR')
      request: create_if_none
      body:
        identifier: =cx(PID-3[*])
    - each: ORDER_OBSERVATION
      do:
        - create: ServiceRequest
          as: order
          when: =patient_known
          key: =OBR-2.1
          request: create_if_none
          body:
            identifier: =ei(OBR-2, 'PLAC')
            status: active
            intent: order
            subject: =ref(patient)
        - each: OBSERVATION
          as: results
          do:
            - create: Device
              as: device
              when: =OBX-18
              key: =OBX-18.1
              request: create_if_none
              body:
                identifier: =ei(OBX-18)
            - create: Observation
              key: =[OBR-3.1, OBX-3.1, OBX-4 | '-']
              body:
                status: =lookup('0085', OBX-11)
                code: =cwe(OBX-3)
                subject: =ref(patient)
                device: =ref(device)
                valueString: =join(OBX-5[*])
        - create: DiagnosticReport
          key: =[OBR-3.1, OBR-4.1]
          body:
            status: final
            code: =cwe(OBR-4)
            subject: =ref(patient)
            result: =ref(results)
"""
STEPS = STEPS.replace("patient_known", "PID-3")


@pytest.fixture
def made(tmp_path: Path) -> "Maker":
    return Maker(Workshop(tmp_path))


class Maker:
    """Messages through one mapping."""

    def __init__(self, workshop: Workshop) -> None:
        self.program = workshop.steps(STEPS)

    def __call__(self, message: str = HL7, **given: object) -> Made:
        return apply(self.program, message, **given)


def ids(made: Made) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in made.document["entry"]:
        found.setdefault(entry["resource"]["resourceType"], []).append(entry["fullUrl"])
    return found


def test_ids_look_like_uuids_and_are_the_fullurls(made: Maker) -> None:
    document = made().document
    for entry in document["entry"]:
        assert re.fullmatch(
            r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}", entry["fullUrl"]
        )
        request = entry["request"]
        if request["method"] == "PUT":
            kind = entry["resource"]["resourceType"]
            assert request["url"] == f"{kind}/{entry['resource']['id']}" == f"{kind}/{entry['fullUrl'][9:]}"
        else:
            assert "id" not in entry["resource"]


def test_shared_resources_are_found_by_their_identifier(made: Maker) -> None:
    document = made(HL7.replace("4711^^^HOSP^MR", "47/11^^^H O&1.2.3&ISO^MR"))
    patient = document.entry("Patient")
    assert patient["request"] == {
        "method": "POST",
        "url": "Patient",
        "ifNoneExist": "identifier=urn%3Aoid%3A1.2.3%7C47%2F11",
    }
    assert len(document.mapped.documents[0].conditional) == 3  # organization, patient, order
    assert all(len(key) == 16 for key in document.mapped.documents[0].conditional)


@pytest.mark.parametrize(
    ("number", "asked"),
    [
        ("12,34", "12%5C%2C34"),
        ("12$34", "12%5C%2434"),
        ("12\\F\\34", "12%5C%7C34"),
        ("12\\E\\34", "12%5C%5C34"),
    ],
)
def test_a_number_with_a_mark_of_the_search_syntax_finds_itself_alone(made: Maker, number: str, asked: str) -> None:
    patient = made(HL7.replace("4711^^^HOSP^MR", f"{number}^^^H O&1.2.3&ISO^MR")).entry("Patient")
    assert patient["request"]["ifNoneExist"] == f"identifier=urn%3Aoid%3A1.2.3%7C{asked}"


def test_an_order_number_that_may_restart_is_no_way_to_find_an_order(made: Maker) -> None:
    restart, unique = made(), made(specimen_ids="unique")
    assert restart.entry("ServiceRequest")["request"]["ifNoneExist"].startswith("identifier=urn%3Alabrelay%3Aid%7C")
    assert unique.entry("ServiceRequest")["request"]["ifNoneExist"] == "identifier=%7CO1" or unique.entry(
        "ServiceRequest"
    )["request"]["ifNoneExist"].startswith("identifier=urn%3Alabrelay%3Aid")


def test_what_is_referred_to_comes_first(made: Maker) -> None:
    document = made(HL7.replace("|20260301094500", "|20260301094500||||XN^1^2")).document
    seen: set[str] = set()
    for entry in document["entry"]:
        references = re.findall(r"urn:uuid:[0-9a-f-]{36}", str(entry["resource"]))
        assert set(references) <= seen
        seen.add(entry["fullUrl"])


def test_the_same_bytes_give_the_same_document(made: Maker) -> None:
    assert made().mapped.documents == made().mapped.documents


def test_another_patient_day_or_site_is_another_report(made: Maker) -> None:
    usual = ids(made())
    others = {
        "patient": ids(made(HL7.replace("4711", "4712"))),
        "day": ids(made(HL7.replace("20260301091500", "20260302091500"))),
        "site": ids(made(key=bytes(32))),
    }
    for other in others.values():
        assert not set(usual["DiagnosticReport"]) & set(other["DiagnosticReport"])
        assert not set(usual["Observation"]) & set(other["Observation"])
    assert usual["Patient"] == others["day"]["Patient"] != others["patient"]["Patient"]


def test_a_rerun_or_correction_is_the_same_report_and_observation(made: Maker) -> None:
    usual = ids(made())
    later = HL7.replace("20260301094500", "20260301114500").replace("|14.8|", "|14.9|").replace("|N|||F|", "|N|||C|")
    again = ids(made(later.replace("|M1|", "|M2|")))
    assert (usual["DiagnosticReport"], usual["Observation"]) == (again["DiagnosticReport"], again["Observation"])
    assert usual["Provenance"] != again["Provenance"]


def test_the_day_is_that_of_the_order_in_the_channels_zone(made: Maker) -> None:
    night = HL7.replace("20260301091500", "20260301233000+0000")
    assert ids(made(night))["Observation"] == ids(made(HL7.replace("20260301091500", "20260302050000")))["Observation"]
    without = HL7.replace("20260301091500", "")  # then that of the first result
    assert ids(made(without))["Observation"] == ids(made())["Observation"]


def test_without_a_patient_the_time_to_the_second_and_the_channel_tell_results_apart(made: Maker) -> None:
    nobody = HL7.replace("4711^^^HOSP^MR", "").replace("subject", "subject")
    usual = ids(made(nobody))
    assert "Patient" not in usual
    assert usual["Observation"] == ids(made(nobody))["Observation"]
    assert usual["Observation"][0] != ids(made(nobody.replace("20260301094500", "20260301094501")))["Observation"][0]
    assert usual["Observation"] != ids(made(nobody, channel="other"))["Observation"]
    assert made(nobody).mapped.documents[0].reports[0].patient == b""


def test_without_a_patient_and_a_time_a_result_belongs_to_its_message_alone(made: Maker) -> None:
    """The same bytes may be another patient's: a counter that restarts, an analyzer without a clock."""
    nothing = HL7.replace("4711^^^HOSP^MR", "")
    for time in ("20260301101530", "20260301091500", "20260301094500", "20260301101500"):
        nothing = nothing.replace(time, "")
    first, later, unknown = (
        ids(made(nothing, payload_hash="ab" * 32, received_at=at))
        for at in (datetime(2026, 3, 1, 4, 50, tzinfo=UTC), datetime(2026, 3, 1, 4, 51, tzinfo=UTC), None)
    )
    for kind in ("Observation", "DiagnosticReport"):
        assert not set(first[kind]) & set(later[kind])
        assert not set(first[kind]) & set(unknown[kind])
    other = ids(made(nothing, payload_hash="cd" * 32, received_at=None))
    assert not set(unknown["Observation"]) & set(other["Observation"])


def test_unique_numbers_need_neither_patient_nor_day(made: Maker) -> None:
    usual = ids(made(specimen_ids="unique"))
    other = ids(made(HL7.replace("20260301091500", "20260305091500"), specimen_ids="unique"))
    assert usual["DiagnosticReport"] == other["DiagnosticReport"]


def test_what_is_made_anew_each_time_is_posted_without_an_id(tmp_path: Path) -> None:
    """`request: create`: the server names it, and looks for none that it has."""
    steps = "- create: Organization\n  key: =MSH-10\n  request: create\n  body:\n    name: =MSH-4\n- drop: x\n"
    found = apply(Workshop(tmp_path).steps(steps))
    entry = found.entry("Organization")
    assert entry["request"] == {"method": "POST", "url": "Organization"}
    assert "id" not in entry["resource"]
    assert entry["fullUrl"].startswith("urn:uuid:")
    assert found.mapped.documents[0].conditional == ()


def test_what_one_message_adds_to_a_list_is_not_in_the_next(tmp_path: Path) -> None:
    """A list that is the same in all messages is kept from one to the next; what is joined to it is not."""
    one = "- create: Organization\n  key: =MSH-4\n  request: update\n  body:\n    alias: [laboratory]\n"
    program = Workshop(tmp_path).steps(one + one.replace("laboratory", "=MSH-3") + "- drop: not of interest here\n")
    for name in ("XN", "YN", "XN"):
        made = apply(program, HL7.replace("|XN|", f"|{name}|")).one("Organization")
        assert made["alias"] == ["laboratory", name]
    made = apply(program, HL7.replace("|XN|", "|laboratory|")).one("Organization")
    assert made["alias"] == ["laboratory"]


def test_two_runs_of_one_test_in_a_message_are_two_observations(made: Maker) -> None:
    twice = HL7 + "OBX|3|NM|HGB^Hemoglobin^L||14.9|g/dL|||||F\n"
    found = ids(made(twice))["Observation"]
    assert len(set(found)) == 3
    assert found == ids(made(twice))["Observation"]


def test_the_same_device_in_two_results_is_one_resource(made: Maker) -> None:
    message = HL7.replace("F|||20260301094500", "F|||20260301094500||||XN^1").replace(
        "yellow||||||F", "yellow||||||F|||||||XN^1"
    )
    document = made(message)
    assert len(document.all("Device")) == 1
    assert len({one["device"]["reference"] for one in document.all("Observation")}) == 1


def test_a_report_twice_in_a_message_keeps_all_its_results(made: Maker) -> None:
    second = "OBR|2|O1|F1|CBC^Blood count^L|||20260301091500\nOBX|1|ST|X^x^L||y||||||F\n"
    (report,) = made(HL7 + second).all("DiagnosticReport")
    assert len(report["result"]) == 3


def test_reports_of_the_journals_memory(made: Maker) -> None:
    def memory(message: str = HL7, **given: object) -> tuple[bytes, bytes]:
        (report,) = made(message, **given).mapped.documents[0].reports
        return report.key, report.patient

    usual = memory()
    assert len(usual[0]) == len(usual[1]) == 16
    assert memory(HL7.replace("4711", "4712"))[0] == usual[0]
    assert memory(HL7.replace("4711", "4712"))[1] != usual[1]
    assert memory(HL7.replace("20260301091500", "20260302091500"))[0] != usual[0]
    assert memory(channel="other")[0] != usual[0]


def test_a_key_that_is_absent_is_dead(made: Maker) -> None:
    with pytest.raises(ContentError) as caught:
        made.program.apply(parse(HL7.replace("HGB^Hemoglobin^L", "^Hemoglobin^L")), context())
    assert (caught.value.reason, caught.value.place) == (ReasonCode.NO_IDENTITY, "OBX[1]")


def test_no_identifier_of_a_patient_stands_in_clear_text_in_an_id(made: Maker) -> None:
    document = made()
    urls = [entry["fullUrl"] for entry in document.document["entry"]]
    assert not any("4711" in url for url in urls)


def person(made: Made) -> bytes:
    (report,) = made.mapped.documents[0].reports
    return report.person


def test_the_journals_memory_knows_a_person_by_name_birth_date_and_sex(made: Maker) -> None:
    usual = person(made())
    assert len(usual) == 16
    assert person(made(HL7.replace("Doe^Jane^Q||19800412", "DOE ^J\u00c1NE^Mrs||198004120310"))) == usual
    for other in ("Roe^Jane||19800412", "Doe^Jean||19800412", "Doe^Jane||19800413", "Doe^Jane||"):
        assert person(made(HL7.replace("Doe^Jane^Q||19800412", other))) not in (usual, b"")
    assert person(made(key=bytes(32))) != usual

    (bearer,) = made().mapped.documents[0].bearers
    (report,) = made().mapped.documents[0].reports
    assert (bearer.number, bearer.whole, bearer.lasting) == (report.patient, report.person, True)
    assert Person.unpacked(bearer.record) == Person((Name(("DOE",), ("JANE",)),), "19800412", bearer_sex(HL7))


def bearer_sex(message: str) -> str:
    return next(line for line in message.splitlines() if line.startswith("PID")).split("|")[8]


def test_a_counter_is_compared_within_its_order_and_day(made: Maker) -> None:
    def bearer(message: str = HL7) -> tuple[bytes, bytes, bool]:
        document = made(message, patient_numbers="counter").mapped.documents[0]
        (report,), (found,) = document.reports, document.bearers
        assert found.whole == report.person
        assert found.number not in (report.key, report.patient)
        return found.number, found.whole, found.lasting

    usual = bearer()
    assert not usual[2]
    assert bearer(HL7.replace("20260301091500", "20260302091500"))[0] != usual[0]
    assert bearer(HL7.replace("Doe^Jane", "Roe^Ann"))[0] == usual[0]


def test_one_patient_number_for_two_persons_in_one_message_is_dead(made: Maker) -> None:
    _, other = HL7.replace("Doe^Jane^Q||19800412", "Roe^Ann||19910530").replace("F1", "F2").split("\n", 1)
    with pytest.raises(ContentError) as caught:
        made(HL7 + other)
    assert caught.value.reason is ReasonCode.IDENTITY_CONFLICT
    assert len(made(HL7 + other.replace("Roe^Ann||19910530", "Roe^Jane||19800412")).all("DiagnosticReport")) == 2
