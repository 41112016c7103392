"""Every function of the language: what it makes of fields as they are sent."""

import base64
import hashlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.mapping.code_tables.tables import Row
from engine.mapping.fhir.r4 import CODES, ELEMENTS, PRIMITIVES
from engine.mapping.functions import FUNCTIONS
from engine.mapping.functions.code_maps import CODE_MAPS, miss, worst_status
from engine.mapping.message.message_context import MessageContext
from engine.mapping.values.json_text import as_text
from engine.model.errors import ContentError
from engine.model.texts.reasons import ReasonCode
from tests.support.mapping_texts import ASTM, HL7, run_of

V2 = "http://terminology.hl7.org/CodeSystem/v2-"
LA_POSITIVE = {"system": "http://loinc.org", "code": "LA6576-8", "display": "Positive"}
BCP_HINDI = {"system": "urn:ietf:bcp:47", "code": "hi", "display": "Hindi"}
NAMESPACES = {"HOSP": "https://hosp.example/id"}


def call(name: str, *arguments: Any, message: str = HL7, **given: Any) -> Any:
    """A function's value, with numbers as their text."""
    function = FUNCTIONS[name]
    run = run_of(message, **{"namespaces": NAMESPACES, **given})
    made = function.call(*arguments) if function.pure else function.call(run, *arguments)
    return as_text(orjson.dumps(made)) if isinstance(made, (dict, list, orjson.Fragment)) else made


# -- identifiers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("7^^^HOSP^MR", {"type": V2 + "0203 MR", "system": "https://hosp.example/id", "value": "7"}),
        ("7^^^X&1.2.3&ISO", {"system": "urn:oid:1.2.3", "value": "7"}),
        (
            "7^^^X&6ba7b810-9dad-11d1-80b4-00c04fd430c8&UUID",
            {"system": "urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8", "value": "7"},
        ),
        ("7^^^X&https://a.example/x&URI", {"system": "https://a.example/x", "value": "7"}),
        ("7^^^NEW LAB", {"system": "urn:labrelay:ns:LAB:NEW%20LAB", "value": "7"}),
        ("7^^^^^HOSP", {"system": "https://hosp.example/id", "value": "7"}),
        ("7", {"system": "urn:labrelay:ns:xn", "value": "7"}),  # the channel's own
        ("A&B", {"system": "urn:labrelay:ns:xn", "value": "A&B"}),  # never patient A
        ("&B", {"system": "urn:labrelay:ns:xn", "value": "&B"}),
        ("A& ", {"system": "urn:labrelay:ns:xn", "value": "A"}),
        ("^^^HOSP", None),
        ('""^^^HOSP', None),
        (
            " 7 ^^^HOSP^^^20200101^2030",
            {"system": "https://hosp.example/id", "value": "7", "period": {"start": "2020-01-01", "end": "2030"}},
        ),
    ],
)
def test_cx(raw: str, expected: dict[str, Any] | None) -> None:
    assert simple(call("cx", raw)) == expected


def simple(identifier: dict[str, Any] | None) -> dict[str, Any] | None:
    """An identifier with its type in one text."""
    if identifier is not None and "type" in identifier:
        (coding,) = identifier["type"]["coding"]
        return {**identifier, "type": f"{coding['system']} {coding['code']}"}
    return identifier


def test_two_identifiers_are_one_number_whatever_their_types_say() -> None:
    one = call("cx", "7^^^HOSP^MR")
    assert call("same_number", one, call("cx", "7^^^HOSP^PI")) is True
    assert call("same_number", one, call("cx", "8^^^HOSP^MR")) is False
    assert call("same_number", one, call("cx", "7^^^OTHER^MR")) is False
    assert [call("same_number", *pair) for pair in ((one, None), (None, one), (None, None))] == [False] * 3


def test_a_type_that_table_0203_does_not_have_is_told_in_words() -> None:
    made = call("cx", "7^^^HOSP^MRN")
    assert made["type"] == {"text": "MRN"}
    assert call("preferred", [{"value": "1"}, made], "MRN") == made


def test_cx_without_authority_gets_the_channels_system() -> None:
    assert call("cx", "7", settings={"patient_system": "urn:x"}) == {"system": "urn:x", "value": "7"}


def test_a_number_without_authority_belongs_to_the_sending_facility_only_where_the_site_says_so() -> None:
    assert call("cx", "7", namespaces={"LAB": "urn:city"}) == {"system": "urn:city", "value": "7"}
    assert call("cx", "7", channel="other") == {"system": "urn:labrelay:ns:other", "value": "7"}


def test_an_id_that_is_kept_whole_is_warned_of() -> None:
    run = run_of()
    FUNCTIONS["cx"].call(run, "A1&B")
    assert [issue.code for issue in run.issues] == ["DIVIDED_ID"]


NO_NUMBERS = (
    *("0", "00000", "111", "99999999", "-", ".", "?", "??", "*", "_", "#", "--", "...", "।", "X", "x", "XXX", "(none)"),
    *("UNKNOWN", "unk", "Unknow", "Unknown Patient", "N/A", "na", "N.A.", "None", "null", "NIL", "NOID", "NO ID"),
    *("TEMP", "TEST", "Demo", "DUMMY", "OPD", "IPD", "CASUALTY", "EMERGENCY", "STAT", "WALKIN", "Walk-in"),
)
NUMBERS = (
    *("TEMP00123", "TEST-17", "OPD/2024/17", "X1", "AXX", "11", "7", "1112", "STAT7", "N12", "मरीज17", "0007", "A0"),
)


@pytest.mark.parametrize("number", NO_NUMBERS)
def test_what_stands_for_no_patient_number_is_none_with_a_warning_that_names_no_value(number: str) -> None:
    for run, made in (
        (hl7 := run_of(), FUNCTIONS["cx"].call(hl7, f"{number}^^^HOSP^MR")),
        (astm := run_of(ASTM.replace("P|1||4711|", f"P|1||{number}|")), astm_ids(astm)),
    ):
        assert made is None
        assert [(issue.code, issue.text) for issue in run.issues] == [
            (
                "NO_PATIENT_ID",
                "the text in the place of a patient number says that there is none (setting no_patient_ids)",
            )
        ]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_with_such_a_word_in_it_is_one(number: str) -> None:
    assert call("cx", f"{number}^^^HOSP^MR")["value"] == number
    assert [one["value"] for one in astm_ids(run_of(ASTM.replace("P|1||4711|", f"P|1||{number}|")))] == [number]


@pytest.mark.parametrize("number", ["?", "??", "*", "_", "#", "--", "।"])
def test_text_without_a_letter_or_a_digit_is_no_number_of_any_channel(number: str) -> None:
    for listed in ([], ["9999"]):
        settings = {"no_patient_ids": listed}
        assert call("cx", number, settings=settings) is None
        assert astm_ids(run_of(ASTM.replace("P|1||4711|", f"P|1||{number}|"), settings=settings)) is None


def test_the_number_of_the_order_or_specimen_is_no_patient_number() -> None:
    """Operators scan the tube where the analyzer asks for the patient. Another patient's order is no reason."""
    head = "MSH|^~\\&|AN|LAB|||20260301||ORU^R01|1|P|2.5.1\r"
    for order in ("OBR|1|S17", "OBR|1||S17", "ORC|RE|S17", "ORC|RE||S17^LAB", "OBR|1||9\rSPM|1|S17&LAB", "SAC|||S17"):
        run = run_of(f"{head}PID|1||S17^^^HOSP^MR\r{order}\r")
        assert FUNCTIONS["cx"].call(run, "S17^^^HOSP^MR") is None
        assert [issue.code for issue in run.issues] == ["NO_PATIENT_ID"]
        assert FUNCTIONS["cx"].call(run, "S18^^^HOSP^MR") is not None
        said = run_of(f"{head}PID|1||S17^^^HOSP^MR\r{order}\r", settings={"no_patient_ids": ["0"]})
        assert FUNCTIONS["cx"].call(said, "S17^^^HOSP^MR") is not None
    other = run_of(f"{head}PID|1||S17^^^HOSP^MR\rOBR|1||S18\rPID|2||S18^^^HOSP^MR\rOBR|1||S17\r")
    assert FUNCTIONS["cx"].call(other, "S17^^^HOSP^MR")["value"] == "S17"
    for order in ("O|1|S17", "O|1||S17", "O|1|2^4^          S17^B"):
        assert astm_ids(run_of(f"H|\\^&\rP|1||S17\r{order}\rL|1\r")) is None


def test_a_channel_says_what_stands_for_no_patient_number() -> None:
    def value(number: str, listed: object) -> Any:
        made = call("cx", number, settings={"no_patient_ids": listed})
        return made and made["value"]

    assert (value("9999", ["9999"]), value("qc", "QC"), value("000", ["0"])) == (None, None, None)
    assert (value("0", ["9999"]), value("UNKNOWN", [])) == ("0", "UNKNOWN")


def astm_ids(run: MessageContext) -> Any:
    patient = next(segment for segment in run.parsed.segments if segment.name == "P")
    return FUNCTIONS["astm_patient_ids"].call(run, patient)


def test_ei_and_identifier() -> None:
    assert simple(call("ei", "O1^HOSP", "PLAC")) == {
        "type": V2 + "0203 PLAC",
        "system": "https://hosp.example/id",
        "value": "O1",
    }
    assert call("ei", "O1^^1.2.3^ISO") == {"system": "urn:oid:1.2.3", "value": "O1"}
    assert call("ei", "^HOSP") is None
    assert call("identifier", None, "5") == {"value": "5"}
    assert simple(call("typed_identifier", "SNO", "urn:x", "5")) == {
        "type": V2 + "0203 SNO",
        "system": "urn:x",
        "value": "5",
    }


def test_preferred_takes_the_first_type_that_is_there() -> None:
    ids = [call("cx", raw) for raw in ("1^^^HOSP^PI", "2^^^HOSP^MR", "3")]
    assert call("preferred", ids, "XX", "MR")["value"] == "2"
    assert call("preferred", ids, "XX")["value"] == "1"


def test_hd_identifier() -> None:
    made = call("hd_identifier", "LAB^2.16.1^ISO")
    assert made[0] == {"system": "urn:ietf:rfc:3986", "value": "urn:oid:2.16.1"}
    assert made[1]["value"] == "LAB"
    assert call("hd_identifier", "") is None


def test_organization_and_person_identifiers() -> None:
    assert simple(call("xcn_identifier", "17^Smith^Al^^^Dr^^^HOSP^^^^LN")) == {
        "type": V2 + "0203 LN",
        "system": "https://hosp.example/id",
        "value": "17",
    }
    assert call("xon_identifier", "Lab^^3^^^HOSP")["value"] == "3"
    assert call("xon_identifier", "Lab^^3^^^HOSP^^^^10")["value"] == "10"
    assert call("xon_identifier", "Lab") is None


def test_astm_patient_ids_have_a_system_each() -> None:
    run = run_of(ASTM.replace("P|1||4711|", "P|1|11|22|33"), settings={"patient_system_lab": "urn:lab"})
    patient = next(segment for segment in run.parsed.segments if segment.name == "P")
    made = FUNCTIONS["astm_patient_ids"].call(run, patient)
    assert [(one["system"], one["value"]) for one in made] == [
        ("urn:labrelay:ns:xn:P-3", "11"),
        ("urn:lab", "22"),
        ("urn:labrelay:ns:xn:P-5", "33"),
    ]


@pytest.mark.parametrize(
    ("sent", "values"),
    [("Rabe^Marie^B", None), ("Rabe^^", ["Rabe"]), ("AB^7", ["AB"]), ("A77^Rabe", ["A77"])],
)
def test_a_name_in_the_place_of_an_astm_patient_id_identifies_nobody(sent: str, values: list[str] | None) -> None:
    made = astm_ids(run_of(ASTM.replace("P|1||4711|", f"P|1|||{sent}")))
    assert (made and [one["value"] for one in made]) == values


# -- people ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        (
            "xpn",
            "Doe^Jane^Q R^Jr^Dr^MD^L",
            {"use": "official", "family": "Doe", "given": ["Jane", "Q", "R"], "prefix": ["Dr"], "suffix": ["Jr", "MD"]},
        ),
        ("xpn", "Beethoven&van^Ludwig", {"family": "Beethoven", "given": ["Ludwig"]}),
        ("xpn", "&van&Beethoven", {"family": "van Beethoven"}),
        ("xpn", "Doe^^^^^^Z", {"family": "Doe"}),
        ("xpn", "^", None),
        (
            "xcn_name",
            "1^Smith^Al^B^III^Dr^^^^L",
            {"use": "official", "family": "Smith", "given": ["Al", "B"], "prefix": ["Dr"], "suffix": ["III"]},
        ),
        ("xcn_name", "1", None),
        (
            "xad",
            "1 Main St^Apt 2^Pune^MH^411001^IN^H^^Haveli",
            {
                "use": "home",
                "line": ["1 Main St", "Apt 2"],
                "city": "Pune",
                "district": "Haveli",
                "state": "MH",
                "postalCode": "411001",
                "country": "IN",
            },
        ),
        ("xad", "&Main St&1^^^^^^M", {"type": "postal", "line": ["Main St 1"]}),
        ("xad", "^^^^^^H", None),
        ("xtn", "555-1234^PRN^PH", {"system": "phone", "value": "555-1234", "use": "home"}),
        ("xtn", "^NET^Internet^a@b.example", {"system": "email", "value": "a@b.example"}),
        ("xtn", "^^CP^^91^20^5551234^9", {"system": "phone", "value": "+91 20 5551234 X9", "use": "mobile"}),
        ("xtn", "x@y.example", {"system": "email", "value": "x@y.example"}),
        ("xtn", "^WPN", None),
    ],
)
def test_people(name: str, raw: str, expected: dict[str, Any] | None) -> None:
    assert call(name, raw) == expected


@pytest.mark.parametrize(
    ("code", "use"),
    [
        ("L", "official"),
        ("R", "official"),
        ("D", "usual"),
        ("M", "maiden"),
        ("N", "nickname"),
        ("BAD", "old"),
        ("TEMP", "temp"),
        ("NAV", "temp"),
        ("MSK", "anonymous"),
        ("U", None),
        ("l", None),
    ],
)
def test_each_use_of_a_name_of_table_0200(code: str, use: str | None) -> None:
    assert call("xpn", f"Doe^Jane^^^^^{code}").get("use") == use
    assert call("xcn_name", f"7^Doe^Jane^^^^^^^{code}").get("use") == use


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("H", {"use": "home"}),
        ("P", {"use": "home"}),
        ("L", {"use": "home"}),
        ("B", {"use": "work"}),
        ("O", {"use": "work"}),
        ("C", {"use": "temp"}),
        ("BA", {"use": "old"}),
        ("BI", {"use": "billing"}),
        ("M", {"type": "postal"}),
        ("SH", {"type": "postal"}),
        ("N", {}),
    ],
)
def test_each_kind_of_address_of_table_0190(code: str, expected: dict[str, str]) -> None:
    assert call("xad", f"^^Pune^^^^{code}") == {"city": "Pune", **expected}


@pytest.mark.parametrize(
    ("code", "use"),
    [("PRN", "home"), ("ORN", "home"), ("VHN", "temp"), ("WPN", "work"), ("PRS", "mobile"), ("BPN", None)],
)
def test_each_use_of_a_number_of_table_0201(code: str, use: str | None) -> None:
    assert call("xtn", f"555-1234^{code}^PH").get("use") == use


@pytest.mark.parametrize(
    ("code", "system"),
    [
        ("PH", "phone"),
        ("CP", "phone"),
        ("FX", "fax"),
        ("BP", "pager"),
        ("MD", "other"),
        ("SAT", "other"),
        ("TDD", "other"),
        ("TTY", "other"),
        ("", "phone"),
        ("NEW", "phone"),
    ],
)
def test_each_equipment_of_table_0202(code: str, system: str) -> None:
    assert call("xtn", f"555-1234^^{code}")["system"] == system


def test_xtn_use_holds_where_the_field_says_nothing() -> None:
    assert call("xtn", "1", "work") == {"system": "phone", "value": "1", "use": "work"}
    assert call("xtn", "1^PRN", "work")["use"] == "home"


def test_astm_name() -> None:
    assert call("astm_name", "Doe^Jane^Q^Jr^Dr", message=ASTM) == {
        "family": "Doe",
        "given": ["Jane", "Q"],
        "prefix": ["Dr"],
        "suffix": ["Jr"],
    }
    assert call("astm_name", "DOE JANE", message=ASTM) == {"text": "DOE JANE"}


# -- coding ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("718-7^Hb^LN", {"coding": [{"system": "http://loinc.org", "code": "718-7", "display": "Hb"}], "text": "Hb"}),
        ("HGB^Hb^L", {"coding": [{"code": "HGB", "display": "Hb"}], "text": "Hb"}),
        ("HGB", {"coding": [{"code": "HGB"}], "text": "HGB"}),
        ("^only words", {"text": "only words"}),
        ("A  B^x^sct", {"coding": [{"system": "http://snomed.info/sct", "code": "A B", "display": "x"}], "text": "x"}),
        ("A^x^HL70078", {"coding": [{"system": V2 + "0078", "code": "A", "display": "x"}], "text": "x"}),
        ("1^x^HL70078", {"coding": [{"code": "1", "display": "x"}], "text": "x"}),
        ("B^x^LN", {"coding": [{"code": "B", "display": "x"}], "text": "x"}),
        ("LA6576-8^Positive^LN", {"coding": [LA_POSITIVE], "text": "Positive"}),
        ("1^x^2.16.840", {"coding": [{"system": "urn:oid:2.16.840", "code": "1", "display": "x"}], "text": "x"}),
        ("1-8^\\T\\x^LN", {"coding": [{"system": "http://loinc.org", "code": "1-8", "display": "&x"}], "text": "&x"}),
        (
            "^^^718-7^Hb^LN^^2.73^as written",
            {
                "coding": [{"system": "http://loinc.org", "version": "2.73", "code": "718-7", "display": "Hb"}],
                "text": "as written",
            },
        ),
        (
            "A^a^L^1-8^b^LN",
            {
                "coding": [
                    {"code": "A", "display": "a"},
                    {"system": "http://loinc.org", "code": "1-8", "display": "b"},
                ],
                "text": "a",
            },
        ),
        ("^^^", None),
    ],
)
def test_cwe(raw: str, expected: dict[str, Any] | None) -> None:
    assert call("cwe", raw) == expected


def test_a_senders_own_codes_get_the_channels_system() -> None:
    made = call("cwe", "HGB^Hb^99LAB", settings={"local_system": "urn:mine"})
    assert made["coding"][0]["system"] == "urn:mine"
    assert call("local_concept", "HGB", "Hb", settings={"local_system": "urn:mine"}) == {
        "coding": [{"system": "urn:mine", "code": "HGB"}],
        "text": "Hb",
    }


def test_coded_puts_the_table_first_and_repeats_nothing() -> None:
    row = Row({"loinc": "718-7", "display": "Hemoglobin"}, "HGB")
    table = {"system": "http://loinc.org", "code": "718-7", "display": "Hemoglobin"}
    assert call("coded", row, call("cwe", "HGB^Hb^L"))["coding"] == [table, {"code": "HGB", "display": "Hb"}]
    assert call("coded", row, call("cwe", "718-7^Hb^LN"))["coding"] == [table]
    assert call("coded", row, None) == {"coding": [table], "text": "Hemoglobin"}
    assert call("coded", row, {"text": "words"}) == {"coding": [table], "text": "words"}
    assert call("coded", None, {"text": "words"}) == {"text": "words"}
    assert call("table_code", row)["coding"] == [table]


def test_concepts() -> None:
    assert call("concept", "observation-category", "laboratory") == {
        "coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]
    }
    assert call("coding", "urn:x", "1", "one") == {"system": "urn:x", "code": "1", "display": "one"}
    assert call("coding_concept", "v2-0074", "HM^Hematology") == {
        "coding": [{"system": V2 + "0074", "code": "HM", "display": "Hematology"}]
    }
    local = {"coding": [{"system": "urn:mine", "code": "GL"}], "text": "GL"}
    assert call("coding_concept", "v2-0074", "GL", settings={"local_system": "urn:mine"}) == local
    blood = {"coding": [{"system": V2 + "0487", "code": "BLD", "display": "Blood"}]}
    assert call("coding_concept", "v2-0487", "BLD&Blood") == blood
    swab = {"coding": [{"system": "http://snomed.info/sct", "code": "257261003", "display": "Swab"}], "text": "Swab"}
    assert call("coding_concept", "v2-0487", "257261003&Swab&SCT") == swab
    assert call("inner_cwe", "257261003&Swab&SCT") == swab
    ids = [{"value": "1"}, {"value": "2"}, {"value": "1"}]
    assert call("each_once", ids) == ids[:2]
    assert call("coding_concept", "v2-0074", "^x") == {"text": "x"}
    assert call("coding_concept", "v2-0074", "") is None
    assert call("text_concept", "x") == {"text": "x"}
    one, two = call("cwe", "A^a^L"), call("cwe", "A^b^L")
    assert call("concepts", one, None, two)["coding"] == one["coding"]
    assert call("concepts", None) is None


# -- numbers -----------------------------------------------------------------------------------------------------


def measured(raw: str, **given: Any) -> dict[str, Any] | None:
    made = call("decimal", raw, **given)
    if made is None:
        return None
    names = ("value", "comparator", "low", "high", "numerator", "denominator", "failed")
    return {name: getattr(made, name) for name in names if getattr(made, name)}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("148.50", {"value": "148.50"}),
        (" 007.5 ", {"value": "7.5"}),
        ("+.5", {"value": "0.5"}),
        ("<5", {"value": "5", "comparator": "<"}),
        (">= 90", {"value": "90", "comparator": ">="}),
        ("≤1", {"value": "1", "comparator": "<="}),
        ("=<1", {"value": "1", "comparator": "<="}),
        ("=5", {"value": "5"}),
        ("<^5", {"value": "5", "comparator": "<"}),
        ("^100", {"value": "100"}),
        ("=^7", {"value": "7"}),
        ("^100^-^200", {"low": "100", "high": "200"}),
        ("^1^:^128", {"numerator": "1", "denominator": "128"}),
        ("^2^/^3", {"numerator": "2", "denominator": "3"}),
        ("^2^+", None),
        ("<>^5", None),
        ("5.4^^", {"value": "5.4"}),
        ("----", {"failed": True}),
        ("****", {"failed": True}),
        ("---", {"failed": True}),
        ("++++", None),  # a grade of a urine strip, as the next ones
        ("+++", None),
        ("+-", None),
        ("-", None),
        ("--", None),
        ("+1", None),
        ("+5", {"value": "5"}),
        ("+1.5", {"value": "1.5"}),
        ("***.**", {"failed": True}),
        ("ERR", {"failed": True}),
        ("NEG", None),
        ("1-5", None),
        ("0,9", None),
        ("12 mg", None),
        ("", None),
    ],
)
def test_decimal(raw: str, expected: dict[str, Any] | None) -> None:
    assert measured(raw) == expected


def test_decimal_comma_only_where_the_channel_says_so() -> None:
    assert measured("0,9", settings={"decimal_comma": "yes"}) == {"value": "0.9"}
    assert measured("<0,9", settings={"decimal_comma": "yes"}) == {"value": "0.9", "comparator": "<"}
    assert measured("1,000.5", settings={"decimal_comma": "yes"}) is None


def quantity(raw: str, row: Row | None = None, unit: str | None = None, **given: Any) -> Any:
    return call("quantity", call("decimal", raw), row, unit, **given)


UCUM = "http://unitsofmeasure.org"


def test_quantity_without_a_row_is_as_sent() -> None:
    assert quantity("148.50", None, "mg/dL") == {"value": "148.50", "unit": "mg/dL"}
    assert quantity("5", None, "mg/dL^milligram per deciliter^UCUM") == {
        "value": "5",
        "unit": "milligram per deciliter",
        "system": UCUM,
        "code": "mg/dL",
    }
    assert quantity("5", None, "10^3/uL") == {"value": "5", "unit": "10^3/uL"}
    assert quantity("<5", None, None) == {"value": "5", "comparator": "<"}
    assert quantity("5", None, "10^3/uL", message=ASTM) == {"value": "5", "unit": "10^3/uL"}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("g/dL^^", {"unit": "g/dL"}),  # empty components say nothing of a system
        ("g/dL^gram per deciliter^", {"unit": "g/dL"}),  # nor do words
        ("g/dL^gram per deciliter^L", {"unit": "g/dL"}),
        ("^gram per deciliter^UCUM", {"unit": "gram per deciliter"}),
        ("g/dL^^UCUM", {"unit": "g/dL", "system": UCUM, "code": "g/dL"}),
        ("g/dL^gram^2.16.840.1.113883.6.8", {"unit": "gram", "system": UCUM, "code": "g/dL"}),
        ("10^3/uL", {"unit": "10^3/uL"}),
        ("10^3/uL^UCUM", {"unit": "10^3/uL"}),  # not escaped: the code is not 10
        ("10^9/L^ISO+", {"unit": "10^9/L"}),
        ("^^", {}),
    ],
)
def test_a_unit_has_a_code_of_ucum_only_where_the_sender_says_so(sent: str, expected: dict[str, str]) -> None:
    assert quantity("5", None, sent) == {"value": "5", **expected}


def test_quantity_with_a_row_is_converted_and_named() -> None:
    row = Row({"unit": "g/L", "ucum": "g/L", "factor": "10", "digits": "1"}, "HGB")
    assert quantity("14.85", row, "g/dL") == {"value": "148.5", "unit": "g/L", "system": UCUM, "code": "g/L"}
    plain = Row({"unit_in": "10^3/uL", "ucum": "10*3/uL"}, "WBC")
    assert quantity("8", plain, "10^3/uL", message=ASTM) == {
        "value": "8",
        "unit": "10^3/uL",
        "system": UCUM,
        "code": "10*3/uL",
    }
    with pytest.raises(ContentError) as caught:
        quantity("14.8", row.without_unit())
    assert caught.value.reason is ReasonCode.UNMAPPED_UNIT


def test_a_row_adds_its_offset_after_its_factor() -> None:
    row = Row({"unit": "%", "ucum": "%", "factor": "0.09148", "offset": "2.152", "digits": "1"}, "HbA1c")
    assert quantity("48", row, "mmol/mol")["value"] == "6.5"  # 6.54304: IFCC to NGSP
    only = Row({"unit": "K", "ucum": "K", "offset": "273.15"}, "temperature")
    assert quantity("37.0", only, "Cel")["value"] == "310.15"


NUMBER, WORDS, PLAIN = Row({"type": "NM"}, "BE"), Row({"type": "ST"}, "BLD"), Row({"loinc": "1-8"}, "BLD")


@pytest.mark.parametrize(
    ("raw", "unit", "row", "kind", "said"),
    [
        ("+2", "mmol/L", None, "auto", "2"),
        ("+2", None, NUMBER, "auto", "2"),
        ("+2", None, None, "NM", "2"),
        ("+2", None, None, "SN", "2"),
        ("+2", None, None, "auto", None),
        ("+2", None, PLAIN, "auto", None),
        ("+2", None, WORDS, "NM", None),
        ("+2", "mmol/L", WORDS, "auto", None),
        ("+2", "^", None, "auto", None),
        ("+2", "neg/+1/+2", None, "auto", None),
        ("+3^^", None, None, "NM", "3"),
        ("+++", None, None, "auto", None),
        ("+++", "mmol/L", None, "auto", "sign"),
        ("+++", None, NUMBER, "auto", "failed"),
        ("+++", "mmol/L", WORDS, "NM", None),
        ("+++", None, None, "NM", "sign"),
        ("-+", None, None, "SN", "sign"),
        ("-", "mmol/L", None, "auto", "sign"),
        ("-", "mmol/L", PLAIN, "NM", "failed"),
        ("-", "neg/-/+", None, "auto", None),
        ("--", None, NUMBER, "auto", "failed"),
        ("-^^", None, None, "NM", "failed"),
        ("---", None, None, "auto", "failed"),
        ("*--*", None, WORDS, "auto", "failed"),
        ("+", "mmol/L", NUMBER, "NM", "sign"),
    ],
)
def test_signs_and_grades_are_words_where_nothing_says_that_the_test_is_a_number(
    raw: str, unit: str | None, row: Row | None, kind: str, said: str | None
) -> None:
    made = call("decimal", raw, unit, row, kind)
    assert said == (made and (made.value or ("failed" if made.failed else "sign")))
    assert made is None or made.sign is (said in ("failed", "sign") and set(raw) <= set("+-^") and raw != "---")


@pytest.mark.parametrize(
    ("ranges", "kept"),
    [
        (["3.5-5.1", "2.5-6.5^critical 1"], 2),
        (["50 to 100^therapeutic", ">100^toxic 2"], 2),
        (["3.5-5.1^Male 18+", "3.0-5.0^Female 18+"], 2),
        (["neg", "pos^2"], 2),
        (["4.5-11", "10^20"], 2),
        (["10^20", "4.5-11"], 2),
        (["<5", "10^20"], 2),
        (["4.5", ".4^12.5", "24"], 1),
        (["0^120"], 1),
    ],
)
def test_ranges_are_joined_where_one_is_none_in_itself(ranges: list[str], kept: int) -> None:
    assert len(call("whole_ranges", ranges, message=ASTM)) == kept


def test_units_of_their_own_table_give_the_code() -> None:
    units = Row({"ucum": "10*3/uL"}, "K/uL")
    assert call("quantity", call("decimal", "8"), None, "K/uL", units) == {
        "value": "8",
        "unit": "K/uL",
        "system": UCUM,
        "code": "10*3/uL",
    }


@pytest.mark.parametrize(
    ("sent", "comparator"),
    [("≤5", "<="), ("≥5", ">="), ("=<5", "<="), ("=>5", ">="), ("<=5", "<="), (">=5", ">="), ("<5", "<"), (">5", ">")],
)
def test_a_comparator_is_one_of_those_that_fhir_has(sent: str, comparator: str) -> None:
    assert quantity(sent) == {"value": "5", "comparator": comparator}
    assert quantity("=5") == {"value": "5"}


@pytest.mark.parametrize(
    ("sent", "as_it_is", "converted"),
    [
        ("<5", {"high": "5", "text": "<5"}, {"high": "50"}),
        (">=4", {"low": "4", "text": ">=4"}, {"low": "40"}),
        ("=<5", {"high": "5", "text": "=<5"}, {"high": "50"}),
        ("up to 5", {"high": "5", "text": "up to 5"}, {"high": "50"}),
        ("4-11", {"low": "4", "high": "11", "text": "4-11"}, {"low": "40", "high": "110"}),
        ("neg \\T\\ pos", {"text": "neg & pos"}, {"text": "neg & pos"}),
        ("\\F\\", {"text": "|"}, {"text": "|"}),
        ("0 \\T\\ 5", {"text": "0 & 5"}, {"text": "0 & 5 (g/dL)"}),  # beside a result in g/L
    ],
)
def test_a_range_with_one_end_or_none(sent: str, as_it_is: dict[str, str], converted: dict[str, str]) -> None:
    def made(row: Row | None) -> dict[str, str]:
        found = call("reference_range", sent, row, "g/dL")
        return {name: value if name == "text" else value["value"] for name, value in found.items()}

    assert made(None) == as_it_is
    assert made(Row({"unit": "g/L", "ucum": "g/L", "factor": "10"}, "HGB")) == converted


@pytest.mark.parametrize(("sent", "code"), [("E", "EMER"), ("I", "IMP"), ("O", "AMB"), ("P", "PRENC")])
def test_the_class_of_an_encounter_is_one_of_act_codes(sent: str, code: str) -> None:
    system = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
    assert CODE_MAPS["0004"].values[sent] == {"system": system, "code": code}


def test_the_channel_says_which_words_are_no_result() -> None:
    for words in ("ERROR", "error", "no result", " No  Result "):
        assert call("no_result", words, settings={"no_result": ["Error", "NO RESULT"]}) is True
    assert call("no_result", "NEGATIVE", settings={"no_result": ["Error", "NO RESULT"]}) is False
    assert call("no_result", "error", settings={"no_result": "Error"}) is True
    assert call("no_result", "E", settings={"no_result": "Error"}) is False
    assert call("no_result", "error") is False


def test_a_flag_says_that_there_is_no_value_wherever_it_stands_among_others() -> None:
    listed = {"no_result": ["INVALID"]}
    assert call("refusal", ["A", "invalid"], settings=listed) == "invalid"
    assert call("refusal", ["INVALID", "A"], settings=listed) == "INVALID"
    assert call("refusal", ["A", "INVALIDATED"], settings=listed) is None
    assert call("refusal", ["NA"]) is None  # may be said of the flag itself


@pytest.mark.parametrize(
    ("cells", "sent", "expected"),
    [
        ({"code": "WBC"}, "K/uL", {"unit": "K/uL", "system": UCUM, "code": "10*3/uL"}),  # the row has no unit at all
        ({"ucum": "10*9/L"}, "K/uL", {"unit": "K/uL", "system": UCUM, "code": "10*9/L"}),  # the row's code is nearer
        ({"unit": "thousands"}, "K/uL", {"unit": "thousands"}),  # words of the row: whose code is another's
        ({"factor": "2"}, "K/uL", {"unit": "K/uL"}),  # converted, so no longer in the unit that was sent
        (None, "K/uL", {"unit": "K/uL", "system": UCUM, "code": "10*3/uL"}),
        (
            None,
            "/nL^per nanoliter^UCUM",
            {"unit": "per nanoliter", "system": UCUM, "code": "10*3/uL"},
        ),  # not the sender's
        (None, "10\\S\\3/uL^^UCUM", {"unit": "10^3/uL", "system": UCUM, "code": "10^3/uL"}),  # the same code
        ({"unit": "thousands"}, "/nL^^UCUM", {"unit": "thousands"}),
        ({"factor": "2"}, "/nL^^UCUM", {"unit": "/nL"}),
    ],
)
def test_where_the_code_of_a_unit_comes_from(cells: dict[str, str] | None, sent: str, expected: dict[str, str]) -> None:
    units = Row({"ucum": "10*3/uL"}, "K/uL")
    row = None if cells is None else Row(cells, "WBC")
    made = call("quantity", call("decimal", "8"), row, sent, units)
    assert {name: value for name, value in made.items() if name != "value"} == expected


def test_ranges_and_ratios() -> None:
    assert call("range", call("decimal", "^100^-^200"), None, "mg") == {
        "low": {"value": "100", "unit": "mg"},
        "high": {"value": "200", "unit": "mg"},
    }
    assert call("range", call("decimal", "5"), None, None) is None
    assert call("ratio", call("decimal", "^1^:^128")) == {"numerator": {"value": "1"}, "denominator": {"value": "128"}}
    assert call("ratio", call("decimal", "5")) is None
    assert call("numeric_range", "1^5", None, None) == {"low": {"value": "1"}, "high": {"value": "5"}}
    assert call("quantity_of", "5^mL") == {"value": "5", "unit": "mL"}
    assert call("quantity_of", "much^mL") is None


@pytest.mark.parametrize(
    ("raw", "low", "high"),
    [
        ("4.0-11.0", "4.0", "11.0"),
        ("4.0 - 11.0", "4.0", "11.0"),
        ("4 to 11", "4", "11"),
        ("4 - 11 g/dL", "4", "11"),
        ("4 - 11 G/DL", "4", "11"),
        ("4-11^^", "4", "11"),
        ("4-11 g/L", None, None),
        ("> 60 mg/dL", None, None),
        ("0-1+", None, None),
        ("11-4", None, None),
        ("11 - 4 g/dL", None, None),
        ("5-5", "5", "5"),
        ("-5--1", "-5", "-1"),
        ("<5", None, "5"),
        ("<=5.0", None, "5.0"),
        ("> 60", "60", None),
        (">=60", "60", None),
        ("up to 5", None, "5"),
        ("negative", None, None),
        ("M 4-11, F 3-10", None, None),
    ],
)
def test_reference_range(raw: str, low: str | None, high: str | None) -> None:
    made = call("reference_range", raw, None, "g/dL")
    assert (made.get("low", {}).get("value"), made.get("high", {}).get("value")) == (low, high)
    assert made["text"] == raw


CONVERTED = Row({"unit": "g/L", "ucum": "g/L", "factor": "10", "digits": "1"}, "HGB")


@pytest.mark.parametrize(
    ("raw", "low", "high"),
    [
        ("13.5-17.5", "135.0", "175.0"),
        ("13.5 - 17.5 g/dL", "135.0", "175.0"),
        ("<17.5", None, "175.0"),
        (">= 13.5 g/dl", "135.0", None),
        ("up to 17.55", None, "175.5"),
        ("0.025-0.035", "0.2", "0.4"),  # half to even
    ],
)
def test_both_ends_of_a_reference_range_are_converted(raw: str, low: str | None, high: str | None) -> None:
    made = call("reference_range", raw, CONVERTED, "g/dL")
    assert (made.get("low", {}).get("value"), made.get("high", {}).get("value")) == (low, high)
    assert all(end["code"] == "g/L" for name, end in made.items() if name != "text")
    assert "text" not in made


@pytest.mark.parametrize(
    ("raw", "digits", "value"),
    [
        ("0.4", "0", "0"),
        ("<0.4", "0", "0.4"),
        ("<0.40", "1", "0.4"),
        (">0.6", "0", "1"),
        ("<0", "0", "0"),
        ("<0.0", "0", "0"),
        (">-0.4", "0", "-0.4"),
        ("<20.4", "0", "20"),
        ("-0.4", "0", "0"),
    ],
)
def test_a_limit_is_not_rounded_away(raw: str, digits: str, value: str) -> None:
    row = Row({"unit": "g/L", "ucum": "g/L", "digits": digits}, "HGB")
    made = call("quantity", call("decimal", raw), row, "g/L")
    assert made["value"] == value
    assert made.get("comparator") == (raw[0] if raw[0] in "<>" else None)


@pytest.mark.parametrize(
    ("sent", "digits", "is_percentage"),
    [
        ("0.415", "1", False),
        ("1.000", "1", False),  # all of it
        ("1.001", "1", True),
        ("0.41", "1", True),  # 0.41 % is as likely
        ("0", "1", False),  # nothing is nothing in either
        ("0.0", "1", False),
        ("1", "1", True),
        ("40.5", "1", True),
        ("0.4", "", False),
        ("1", "", False),
    ],
)
def test_a_percentage_is_never_made_of_what_may_be_one_already(sent: str, digits: str, is_percentage: bool) -> None:
    row = Row({"ucum": "%", "unit": "%", "factor": "100", **({"digits": digits} if digits else {})}, "HCT")
    assert call("misfits", row, call("decimal", sent)) is is_percentage


@pytest.mark.parametrize(
    ("cells", "unit", "made"),
    [
        ({"ucum": "g/L"}, "g/l", {"unit": "g/l", "code": "g/L"}),
        ({"ucum": "g/L"}, None, {"unit": "g/L", "code": "g/L"}),
        ({"ucum": "g/L", "unit_in": "g/l"}, "g/l", {"unit": "g/l", "code": "g/L"}),
        ({"ucum": "g/L", "unit_in": "g/l"}, "G/l", {"unit": "G/l", "code": "g/L"}),  # the unit is no key of this table
        # A row for any unit says what the code is, and nothing of what an analyzer calls it.
        ({"ucum": "g/L", "unit_in": "*"}, "G/L", {"unit": "G/L", "code": "g/L"}),
        ({"ucum": "g/L", "unit_in": "*", "unit": "g per L"}, "G/L", {"unit": "g per L", "code": "g/L"}),
        ({"unit": "g/L"}, "G/L", {"unit": "g/L"}),
    ],
)
def test_a_unit_is_called_what_the_row_or_else_the_analyzer_calls_it(
    cells: dict[str, str], unit: str | None, made: dict[str, str]
) -> None:
    found = call("quantity", call("decimal", "5"), Row(cells, "HGB"), unit)
    assert {name: found[name] for name in ("unit", "code") if name in found} == made


@pytest.mark.parametrize(
    ("repetitions", "kind", "words"),
    [
        (["NOT DETECTED^"], "CE", "NOT DETECTED"),
        (["^31.3"], "ST", "31.3"),
        (["one", "two"], "TX", "one\ntwo"),
        (["one", "^", "two"], "TX", "one\ntwo"),  # delimiters alone say nothing
        (["^"], "ST", None),
        ([">=^1^:^320"], "SN", ">=1:320"),
        (["5^+"], "SN", "5+"),
        (["a^b"], "CE", "a^b"),
        (["a^b"], None, "a^b"),
    ],
)
def test_a_value_in_words(repetitions: list[str], kind: str | None, words: str | None) -> None:
    assert call("value_text", repetitions, kind) == words


NDHM = "https://nrces.in/ndhm/fhir/r4/CodeSystem/ndhm-identifier-type-code"
ABHA = "https://healthid.example"


def test_an_abha_number_goes_out_as_both_types_and_an_address_as_one() -> None:
    ids = [call("cx", raw) for raw in ("7^^^HOSP^MR", "91123456789012^^^NDHM^HIN", "meera.rao@abdm^^^NDHM^ABHA")]
    number, again, address = call("abha_ids", ids, ABHA)
    assert (number["value"], number["system"]) == ("91-1234-5678-9012", ABHA)
    assert (again["value"], again["system"]) == ("91-1234-5678-9012", ABHA)
    assert number["type"]["coding"][0]["code"] == "MR"
    assert again["type"]["coding"][0] == {"system": NDHM, "code": "HIN", "display": "Health ID issued by NDHM"}
    assert address == {
        "type": {"coding": [{"system": NDHM, "code": "ABHA", "display": "ABHA"}]},
        "value": "meera.rao@abdm",
    }
    number, address = call("abha_ids", ids, ABHA, settings={"abdm_profile": "2.0.1"})
    assert number["type"]["coding"][0]["code"] == "MR"
    assert address == {"type": {"text": "ABHA address"}, "value": "meera.rao@abdm"}


def test_an_abha_number_is_known_by_its_system_too_and_whoever_has_none_has_none() -> None:
    by_system = call("abha_ids", [{"system": ABHA, "value": "91-1234-5678-9012"}], ABHA)
    assert [one["value"] for one in by_system] == ["91-1234-5678-9012"] * 2
    assert call("abha_ids", [call("cx", "7^^^HOSP^MR")], ABHA) is None


@pytest.mark.parametrize("raw", ["91-1234-5678-9015^^^HOSP^MR", "91-1234-5678-9015", "91123456789015^^^^PI"])
def test_fourteen_digits_of_another_kind_are_no_abha_number(raw: str) -> None:
    assert call("abha_ids", [call("cx", raw)], ABHA) is None


@pytest.mark.parametrize("patient_numbers", ["lasting", "counter"])
def test_a_counter_is_no_number_that_lasts(patient_numbers: str) -> None:
    run = run_of(HL7, namespaces=NAMESPACES, patient_numbers=patient_numbers)
    ids = [FUNCTIONS["cx"].call(run, raw) for raw in ("7^^^WARD^MR", "8^^^HOSP^MR")]
    found = [one["value"] for one in FUNCTIONS["lasting_ids"].call(run, ids)]
    assert found == (["7", "8"] if patient_numbers == "lasting" else ["8"]), "an authority of the site lasts"
    assert FUNCTIONS["lasting_ids"].call(run, []) is None


def test_the_form_says_which_is_the_number_and_which_the_address() -> None:
    """Many call the number "ABHA", too."""
    swapped = [call("cx", raw) for raw in ("91-1234-5678-9015^^^NDHM^ABHA", "meera.rao@abdm^^^NDHM^HIN")]
    assert [one["value"] for one in call("abha_ids", swapped, ABHA)] == [*["91-1234-5678-9015"] * 2, "meera.rao@abdm"]
    twice = [call("cx", raw) for raw in ("91-1234-5678-9015^^^NDHM^HIN", "91123456789015^^^X^HIN")]
    assert len(call("abha_ids", twice, ABHA)) == 2


@pytest.mark.parametrize(("last", "warnings"), [("5", []), ("2", ["ABHA_CHECK_DIGIT"])])
def test_a_check_digit_that_does_not_fit_is_told_and_not_corrected(last: str, warnings: list[str]) -> None:
    run = run_of(HL7)
    made = FUNCTIONS["abha_ids"].call(run, [call("cx", f"91-1234-5678-901{last}^^^NDHM^HIN")], ABHA)
    assert made[0]["value"] == f"91-1234-5678-901{last}"
    assert [issue.code for issue in run.issues] == warnings


@pytest.mark.parametrize(
    "raws",
    [
        ("9112345678901^^^NDHM^HIN",),
        ("meera.rao^^^NDHM^ABHA",),
        ("91-1234-5678-9015^^^NDHM^HIN", "91-1234-5678-9023^^^NDHM^HIN"),
    ],
)
def test_an_abha_that_is_none_or_two_numbers_go_nowhere(raws: tuple[str, ...]) -> None:
    with pytest.raises(ContentError) as caught:
        call("abha_ids", [call("cx", raw) for raw in raws], ABHA)
    assert not any(part in str(caught.value) for part in ("9112", "meera", "5678"))
    assert caught.value.reason is ReasonCode.BAD_VALUE


def test_codes_of_two_systems_have_their_own_versions_and_words() -> None:
    made = call("cwe", "GLU^Glucose^L^2345-7^Glucose SerPl^LN^1.0^2.74^as the analyzer says")
    assert made["text"] == "as the analyzer says"
    assert [(one["code"], one["version"], one["display"]) for one in made["coding"]] == [
        ("GLU", "1.0", "Glucose"),
        ("2345-7", "2.74", "Glucose SerPl"),
    ]
    assert call("cwe", "^^^2345-7^Glucose SerPl^LN^^2.74")["text"] == "Glucose SerPl"
    assert call("cwe", "^^^2345-7^^LN^^2.74")["text"] == "2345-7"
    assert call("cwe", "^^^^^^^^words alone") == {"text": "words alone"}
    assert call("cwe", "^^L^^^^^^") is None
    assert call("cwe", "^^^^^^^^^A1^^L")["coding"][0]["code"] == "A1"


@pytest.mark.parametrize(
    ("raw", "codes", "text"),
    [
        ("GLU&old^Glucose^L", ["GLU"], "Glucose"),
        ("GLU^H&E stain^L", ["GLU"], "H&E stain"),
        ('""^Glucose^L', [], "Glucose"),
        ('GLU^""^L', ["GLU"], "GLU"),
        ("^Glucose^L", [], "Glucose"),
        ("GLU^^L", ["GLU"], "GLU"),
        ("A  B^Glucose^L", ["A B"], "Glucose"),
        ("GLU^Glucose^L^2345-7", ["GLU", "2345-7"], "Glucose"),
    ],
)
def test_a_code_is_what_stands_in_its_component(raw: str, codes: list[str], text: str) -> None:
    made = call("cwe", raw)
    assert [one["code"] for one in made.get("coding", [])] == codes
    assert made["text"] == text
    third = call("cwe", "GLU^Glucose^L^^^^1.0^^^A1^Sugar^99X^7")["coding"]
    assert [(one["code"], one.get("version"), one["display"]) for one in third] == [
        ("GLU", "1.0", "Glucose"),
        ("A1", "7", "Sugar"),
    ]


# FHIR R4, 4.3 (code systems), and HL7's registry of object identifiers.
@pytest.mark.parametrize(
    ("code", "oid", "system"),
    [
        ("2345-7", "2.16.840.1.113883.6.1", "http://loinc.org"),
        ("260385009", "2.16.840.1.113883.6.96", "http://snomed.info/sct"),
        ("99213", "2.16.840.1.113883.6.12", "http://www.ama-assn.org/go/cpt"),
        ("E11.9", "2.16.840.1.113883.6.90", "http://hl7.org/fhir/sid/icd-10-cm"),
        ("E11", "2.16.840.1.113883.6.3", "http://hl7.org/fhir/sid/icd-10"),
        ("250.00", "2.16.840.1.113883.6.103", "http://hl7.org/fhir/sid/icd-9-cm"),
        ("0777-3105-02", "2.16.840.1.113883.6.69", "http://hl7.org/fhir/sid/ndc"),
        ("153165", "2.16.840.1.113883.6.88", "http://www.nlm.nih.gov/research/umls/rxnorm"),
        ("207", "2.16.840.1.113883.12.292", "http://hl7.org/fhir/sid/cvx"),
        ("mg/dL", "2.16.840.1.113883.6.8", "http://unitsofmeasure.org"),
    ],
)
def test_a_system_that_fhir_calls_otherwise_than_by_its_number(code: str, oid: str, system: str) -> None:
    assert call("cwe", f"{code}^words^{oid}")["coding"][0]["system"] == system


@pytest.mark.parametrize(
    ("raw", "text", "warning"),
    [
        # The analyzer's range is in the other unit already: times ten it would be 1350.
        ("135-175 g/L", "135-175 g/L", "RANGE_UNIT"),
        (">135 g/L", ">135 g/L", "RANGE_UNIT"),
        ("17.5-13.5", "17.5-13.5", "RANGE_REVERSED"),
        # Numbers in words stay in their unit, and say so beside a value in another.
        ("M 13-17, F 12-16", "M 13-17, F 12-16 (g/dL)", "RANGE_NOT_CONVERTED"),
        ("see below", "see below", "RANGE_NOT_CONVERTED"),
    ],
)
def test_a_range_that_is_in_doubt_stays_words(raw: str, text: str, warning: str) -> None:
    run = run_of()
    assert FUNCTIONS["reference_range"].call(run, raw, CONVERTED, "g/dL", None)["text"].startswith(text)
    assert warning in [issue.code for issue in run.issues]


def test_a_reference_range_that_cannot_be_converted_is_said() -> None:
    run = run_of()
    row = Row({"unit": "g/L", "ucum": "g/L", "factor": "10"}, "HGB")
    assert FUNCTIONS["reference_range"].call(run, "see below", row, "g/dL", None) == {"text": "see below"}
    assert [issue.code for issue in run.issues] == ["RANGE_NOT_CONVERTED"]


# -- the rest ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("concat", ("a", "-", "b"), "a-b"),
        ("join", (["a", "b"], ", "), "a, b"),
        ("join", (["a", None, "b"],), "a\nb"),
        ("join", ([],), None),
        ("whole", (" a^b ",), "a^b"),
        ("upper", ("aé",), "AÉ"),
        ("lower", ("AÉ",), "aé"),
        ("before", ("a-b-c", "-"), "a"),
        ("before", ("abc", "-"), "abc"),
        ("after", ("a-b-c", "-"), "b-c"),
        ("after", ("abc", "-"), None),
        ("replace", ("a-b", "-", ""), "ab"),
        ("left", ("abcdef", "3"), "abc"),
        ("starts_with", ("QC-1", "QC"), True),
        ("contains", ("a QC", "QC"), True),
        ("annotation", ("x",), {"text": "x"}),
        ("first", ([1, 2],), 1),
        ("last", ([1, 2],), 2),
        ("count", ([1, 2],), "2"),
        ("count", (None,), "0"),
        ("date", ("19800412101112",), "1980-04-12"),
        ("datetime", ("20260301",), "2026-03-01"),
        ("instant", ("20260301",), None),
        ("time", ("1015",), "10:15:00"),
        ("time", ("101530.5+0100",), "10:15:30.500"),
        ("time", ("2561",), None),
        ("period", ("2026", "2027"), {"start": "2026", "end": "2027"}),
        ("period", (None, None), None),
        ("not_after", ("20260301101530+0100", "20260301101530+0200"), None),
        ("not_after", ("20260301101530+0200", "20260301101530+0100"), "2026-03-01T10:15:30+02:00"),
        ("not_after", ("20260302", "20260301101530+0100"), None),
        ("not_after", ("202603", "20260301101530+0100"), "2026-03"),
        ("not_after", ("20260301", None), "2026-03-01"),
        ("called", ("^Smith (M)^Michael^^Jr^Dr",), {"display": "Dr Michael Smith (M) Jr"}),
        ("called", ("17",), None),
        ("email_beside", ("555^^^a@b.example",), {"system": "email", "value": "a@b.example"}),
        ("email_beside", ("^^^a@b.example",), None),
        ("email_beside", ("^NET^Internet^a@b.example",), None),
        ("email_beside", ("555^^^no address",), None),
        ("language", ("HI^Hindi^ISO639",), {"coding": [BCP_HINDI], "text": "Hindi"}),
        ("language", ("ENG-UK",), {"text": "ENG-UK"}),
        ("language", ("hin^Hindi^ISO639",), {"text": "Hindi"}),
        ("message_time", (), "2026-03-01T10:15:30+05:30"),
        ("number", ("1.50",), "1.50"),
        ("unit_text", ("10^3/uL",), "10^3/uL"),
        ("unit_text", ("g/dL^gram^UCUM",), "g/dL"),
        ("worst_status", (["F", "F"],), "final"),
    ],
)
def test_small_functions(name: str, arguments: tuple[Any, ...], expected: Any) -> None:
    assert call(name, *arguments) == expected


def test_attachments() -> None:
    pdf = base64.b64encode(b"%PDF-1.4").decode()
    made = call("attachment", f"^AP^PDF^Base64^{pdf}")
    assert (made["contentType"], made["data"], made["size"]) == ("application/pdf", pdf, "8")
    assert base64.b64decode(made["hash"]) == hashlib.sha1(b"%PDF-1.4").digest()
    assert call("attachment", "^TEXT^^A^plain words")["contentType"] == "text/plain"
    assert base64.b64decode(call("attachment", "^IM^JPEG^Hex^ffd8")["data"]) == b"\xff\xd8"
    assert call("attachment", "^IM^JPEG^Base64^!!!") is None
    assert call("attachment", "x") is None
    assert call("pointer", "a/b.pdf^https://x.example/^AP^PDF") == {
        "contentType": "application/pdf",
        "url": "https://x.example/a/b.pdf",
    }
    assert call("pointer", "a b") is None


def test_attachments_are_found_among_results() -> None:
    run = run_of(HL7 + "OBX|3|RP|DOC||https://x.example/r.pdf^^AP^PDF||||||F\n")
    segments = [segment for segment in run.parsed.segments if segment.name == "OBX"]
    assert [one["url"] for one in FUNCTIONS["attachments"].call(run, segments)] == ["https://x.example/r.pdf"]


@pytest.mark.parametrize(
    ("table", "code", "value"),
    [
        ("0001", "A", "other"),
        ("0085", "N", "final"),
        ("0085", "R", "preliminary"),
        ("0123", "A", "partial"),
        ("0119", "CA", "revoked"),
        ("0038", "HD", "on-hold"),
        ("astm-status", "W", "final"),
        ("0085", "W", "entered-in-error"),
    ],
)
def test_tables_of_the_standards(table: str, code: str, value: str) -> None:
    assert CODE_MAPS[table].values[code] == value


def test_codes_outside_a_table() -> None:
    run = run_of()
    assert miss("0001", CODE_MAPS["0001"], "f", run) == "female"
    assert miss("0001", CODE_MAPS["0001"], "X", run) == "unknown"
    assert miss("0078", CODE_MAPS["0078"], "*", run) == {"text": "*"}
    assert miss("0203", CODE_MAPS["0203"], "PT", run)["coding"][0]["code"] == "PT"
    for table, code, reason in (
        ("0085", "Q", ReasonCode.UNMAPPED_STATUS),
        ("0123", "Y", ReasonCode.BAD_STATUS),
        ("0123", "Q", ReasonCode.UNMAPPED_STATUS),
        ("astm-status", "N", ReasonCode.UNMAPPED_STATUS),
    ):
        with pytest.raises(ContentError) as caught:
            miss(table, CODE_MAPS[table], code, run)
        assert caught.value.reason is reason


def test_codes_are_those_of_the_elements_that_they_are_made_for() -> None:
    bindings = {
        "0001": "administrative-gender",
        "0038": "request-status",
        "0065": "request-intent",
        "0085": "observation-status",
        "0119": "request-status",
        "0123": "diagnostic-report-status",
        "0123-observation": "observation-status",
        "0136": "specimen-status",
        "0190": "address-use",
        "0200": "name-use",
        "0201": "contact-point-use",
        "0485": "request-priority",
        "astm-priority": "request-priority",
        "astm-report-status": "diagnostic-report-status",
        "astm-status": "observation-status",
    }
    for name, binding in bindings.items():
        table = CODE_MAPS[name]
        assert set(table.values.values()) | ({table.otherwise} if table.otherwise else set()) <= CODES[binding], name


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["final", "corrected"], "corrected"),
        (["final", "preliminary"], "partial"),
        (["registered", "preliminary"], "preliminary"),
        (["cancelled", "entered-in-error"], "cancelled"),
        (["final", "cancelled"], "final"),
        (["amended", "final"], "amended"),
    ],
)
def test_the_worst_status(statuses: list[str], expected: str) -> None:
    assert worst_status(statuses) == expected


def test_every_function_is_declared_with_types_that_exist() -> None:
    ours = {"any", "field", "flag", "literal", "measured", "row", "segment", "table", "text", "whole"}
    known = ours | PRIMITIVES | ELEMENTS.keys()
    for function in FUNCTIONS.values():
        assert function.kind in known, function.signature
        assert all(parameter.kind in known for parameter in function.parameters), function.signature
        assert function.doc.endswith((".", ":")) or function.details, function.name


@given(
    st.sampled_from(
        [name for name, function in FUNCTIONS.items() if [p.kind for p in function.parameters][:1] == ["field"]]
    ),
    st.text(alphabet=st.sampled_from('AB19^&~\\|.<>=-:/" TXFé\u00b5\n%'), min_size=1, max_size=30),
)
def test_no_field_makes_a_function_fail(name: str, raw: str) -> None:
    function = FUNCTIONS[name]
    run = run_of(settings={"decimal_comma": "yes"})
    rest = [None if parameter.optional else "x" for parameter in function.parameters[1:]]
    made = function.call(raw, *rest) if function.pure else function.call(run, raw, *rest)
    orjson.dumps(made, default=lambda value: value.__dict__)
