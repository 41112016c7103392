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


# One order, a specimen for each hour, a message for each specimen.
TOLERANCE = """\
MSH|^~\\&|C8|LAB|LIS|HOSP|20260301101530||OUL^R22^OUL_R22|M1|P|2.5.1
PID|1||4711^^^HOSP^MR||Doe^Jane
SPM|1|S1||SER^Serum^HL70487|||||||P
OBR|1|P1|F1|GTT^Tolerance^L|||20260301091500||||||||||||||||||F
OBX|1|NM|GLU^Glucose^L||5.8|mmol/L|||||F
"""
IN_ORDER = """\
MSH|^~\\&|C8|LAB|LIS|HOSP|20260301101530||ORU^R01|M1|P|2.5.1
PID|1||4711^^^HOSP^MR||Doe^Jane
OBR|1|P1|F1|GTT^Tolerance^L|||20260301091500||||||||||||||||||F
OBX|1|NM|GLU^Glucose^L||5.8|mmol/L|||||F
SPM|1|S1||SER^Serum^HL70487|||||||P
"""
IN_CONTAINERS = TOLERANCE.replace("R22", "R23").replace("OBR|", "SAC|||C-S1\nOBR|")
HIS_ORDER = IN_ORDER.replace("ORU^R01", "OUL^R24^OUL_R24")


def _id_in(name: str, message: str, kind: str, **settings: Any) -> str:
    return str(apply(program(name), message, settings).one(kind)["id"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hl7-oul-results", TOLERANCE),
        ("hl7-oul-results", IN_CONTAINERS),
        ("hl7-oul-results", HIS_ORDER),
        ("hl7-results", IN_ORDER),
    ],
    ids=["R22", "R23", "R24", "ORU"],
)
def test_results_of_two_specimens_of_one_order_are_not_runs_of_one_test(name: str, message: str) -> None:
    """The second hour never takes the place of the first."""
    second = message.replace("S1", "S2").replace("|5.8|", "|11.8|").replace("20260301091500", "20260301101500")
    assert _id_in(name, message, "Observation") != _id_in(name, second, "Observation")
    assert _id_in(name, message, "ServiceRequest") == _id_in(name, second, "ServiceRequest")
    apart = [_id_in(name, one, "DiagnosticReport", one_by_one="yes") for one in (message, second)]
    assert apart[0] != apart[1]
    corrected = message.replace("|5.8|", "|5.9|").replace("|F\n", "|C\n")
    assert _id_in(name, message, "Observation") == _id_in(name, corrected, "Observation")


def test_a_specimen_with_the_number_of_its_order_adds_nothing() -> None:
    """Many analyzers know the number of the tube alone, and repeat it as that of the order."""
    alone = IN_ORDER.replace("SPM|1|S1||SER^Serum^HL70487|||||||P\n", "")
    assert _id_in("hl7-results", alone, "Observation") == _id_in(
        "hl7-results", IN_ORDER.replace("S1", "F1"), "Observation"
    )


def test_what_is_said_of_two_specimens_of_one_order_stays_apart() -> None:
    """Of the second message the volume of the second specimen, under the same order."""
    message = IN_ORDER + "OBX|1|NM|VOL^Volume^L||3|mL|||||F\n"
    settings = {"local_system": "urn:x"}

    def volume(text: str) -> str:
        found = apply(program("hl7-results"), text, settings).all("Observation")
        return next(str(one["id"]) for one in found if one["code"]["coding"][0]["code"] == "VOL")

    assert volume(message) != volume(message.replace("S1", "S2"))


def test_the_same_test_of_two_panels_of_one_number_is_two_results() -> None:
    """Many analyzers give the number of the tube as that of the order: glucose of urine strip and of chemistry."""
    other = HL7.replace("CHEM^Chemistry^L", "STRIP^Urine strip^L").replace("|5.1|", "|0|")
    assert _id(HL7, "Observation") != _id(other, "Observation")
    picture = HL7.replace("|NM|GLU^Glucose^L||5.1|", "|ED|H^Histogram^L||^Image^PNG^Base64^iVBORw0KGgo=|")
    assert _id(picture, "Media") != _id(picture.replace("CHEM^Chemistry^L", "STRIP^Urine strip^L"), "Media")
