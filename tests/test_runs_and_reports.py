"""Which ids results and reports of the shipped mappings have: what a correction, a rerun and a single result meet."""

from typing import Any

import pytest

from tests.support.fhir_check import faults
from tests.support.mapping_texts import Made, apply
from tests.support.shipped import program

HL7 = """\
MSH|^~\\&|XN|LAB|LIS|HOSP|20260301101530||ORU^R01|M1|P|2.5
PID|1||4711^^^HOSP^MR||Doe^Jane^Q||19800412|F
OBR|1|O1|F1|CHEM^Chemistry^L|||20260301091500||||||||||||||20260301101500|||CH|F|||||||32&Rao&Meera&&&Dr&&&HOSP
OBX|1|NM|GLU^Glucose^L||5.1|mmol/L|||||F|||20260301094500
"""
ASTM = """\
H|\\^&|||XN-550|||||||P|E1394-97|20260301101530
P|1||4711||Doe^Jane||19800412|F
O|1|S77||^^^CHEM|R||20260301091500||||N||||||||||||||F
R|1|^^^GLU|5.1|mmol/L||||F||||20260301094500
L|1|N
"""
RERUN = ("20260301094500", "20260301103000")


def _made(message: str, settings: dict[str, Any]) -> Made:
    made = apply(program("hl7-results" if message.startswith("MSH") else "astm-results"), message, settings)
    assert faults(made.mapped.documents[0].body) == []
    return made


def _id(message: str, kind: str, **settings: Any) -> str:
    return str(_made(message, settings).one(kind)["id"])


@pytest.mark.parametrize("message", [HL7, ASTM], ids=["hl7", "astm"])
def test_a_rerun_takes_the_place_of_the_run_before(message: str) -> None:
    """The instrument's later word counts: a server keeps the earlier one as a version of the same Observation."""
    assert _id(message, "Observation") == _id(message.replace(*RERUN), "Observation")


@pytest.mark.parametrize(("message", "setting"), [(HL7, "+OBX-14"), (ASTM, "+R-13")], ids=["hl7", "astm"])
def test_runs_are_kept_apart_where_the_channel_says_so(message: str, setting: str) -> None:
    first, later = (_id(one, "Observation", observation_key=setting) for one in (message, message.replace(*RERUN)))
    assert first != later
    assert first == _id(message, "Observation", observation_key=setting)  # sent again, it is the same


def test_a_correction_meets_what_it_corrects() -> None:
    corrected = HL7.replace("|5.1|", "|5.4|").replace("|F|||20260301094500", "|C|||20260301094500")
    assert _id(HL7, "Observation") == _id(corrected, "Observation")
    assert _id(HL7, "DiagnosticReport") == _id(corrected, "DiagnosticReport")


def test_results_that_come_one_by_one_have_a_report_each_where_the_channel_says_so() -> None:
    other = HL7.replace("GLU^Glucose", "CREA^Creatinine")
    assert _id(HL7, "DiagnosticReport") == _id(other, "DiagnosticReport")
    apart = [_id(one, "DiagnosticReport", one_by_one="yes") for one in (HL7, other)]
    assert apart[0] != apart[1]
    assert apart[0] == _id(HL7, "DiagnosticReport", one_by_one="yes")


def test_one_order_stays_one_request_for_all_its_reports() -> None:
    """By it, the results of an order are found together."""
    other = HL7.replace("GLU^Glucose", "CREA^Creatinine")
    ids = {_id(one, "ServiceRequest", one_by_one="yes") for one in (HL7, other)}
    assert len(ids) == 1


def test_who_interprets_stands_in_subcomponents_or_in_components() -> None:
    for doctor in ("32&Rao&Meera&&&Dr&&&HOSP", "32^Rao^Meera^^^Dr^^^HOSP"):
        made = _made(HL7.replace("32&Rao&Meera&&&Dr&&&HOSP", doctor), {})
        (person,) = made.all("Practitioner")
        assert person["identifier"][0]["value"] == "32"
        assert person["identifier"][0]["system"] == "urn:labrelay:ns:LAB:HOSP"
        assert (person["name"][0]["family"], person["name"][0]["given"]) == ("Rao", ["Meera"])
        assert len(made.one("DiagnosticReport")["resultsInterpreter"]) == 1
    named = _made(HL7.replace("|32&Rao&Meera&&&Dr&&&HOSP", "|&Rao&Meera"), {})
    assert named.all("Practitioner") == []
