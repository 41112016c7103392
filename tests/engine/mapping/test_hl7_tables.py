"""The fixed tables, code by code, as the sources say; each difference from the v2-to-FHIR guide names its reason.

`IG` is what the guide's concept maps say (HL7, v2-to-FHIR, maps of tables 0001 to 0916); `ours` is chosen where it is
silent or wrong. Codes and their meanings: HL7 v2.5.1 chapters 2C (tables), 3, 4 and 7; ASTM E1394 8.4 and 9.4.
"""

from typing import Any

import pytest

from engine.mapping.functions.code_maps import CODE_MAPS, miss
from engine.mapping.functions.systems import hd
from engine.model.errors import ContentError
from engine.model.texts.reasons import ReasonCode
from tests.support.mapping_texts import run_of

INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"


def of(table: str, code: str) -> tuple[Any, list[str]]:
    """The value of a code, and the codes of warnings."""
    run = run_of()
    code_map = CODE_MAPS[table]
    value = code_map.values.get(code) or miss(table, code_map, code, run)
    return value, [issue.code for issue in run.issues]


IG = {
    "0001": "F female M male O other U unknown",
    "0038": "CA revoked CM completed DC revoked ER entered-in-error HD on-hold IP active RP revoked SC active",
    "0085": "C corrected D entered-in-error F final P preliminary X cancelled W entered-in-error A amended",
    "0119": (
        "NW active OK active RL active RO active RQ active PR active AF active CR revoked DC revoked OC revoked "
        "OD revoked DR revoked DF revoked HR on-hold OH on-hold FU completed"
    ),
    "0123": "O registered I registered S registered P preliminary C corrected R partial F final X cancelled",
    "0190": "H home B work O work C temp BA old BI billing",
    "0200": "L official R official D usual M maiden N nickname BAD old TEMP temp NAV temp MSK anonymous",
    "0201": "PRN home WPN work PRS mobile",
    "0485": "S stat A asap R routine",
    "0136": "Y available N unavailable",
}
OURS = [
    # The guide has no target for ambiguous and not applicable: a person whose sex was asked about, and is neither.
    ("0001", "A", "other"),
    ("0001", "N", "other"),
    # A result that is on its way is no error: the guide leaves these without a target.
    ("0038", "A", "active"),
    ("0085", "B", "amended"),
    ("0085", "I", "registered"),
    ("0085", "O", "registered"),
    ("0085", "R", "preliminary"),
    ("0085", "S", "preliminary"),
    ("0085", "U", "final"),
    ("0085", "V", "final"),
    ("0085", "N", "final"),
    # The guide keeps a cancelled order active.
    ("0119", "CA", "revoked"),
    ("0119", "SC", "active"),
    ("0119", "XO", "active"),
    ("0119", "SN", "active"),
    ("0119", "NA", "active"),
    ("0119", "RE", "active"),  # completed beside a final report: hl7_request
    ("0123", "A", "partial"),
    ("0123", "N", "registered"),
    ("0123", "M", "preliminary"),
    ("0190", "P", "home"),
    ("0190", "L", "home"),
    ("0201", "ORN", "home"),
    ("0201", "VHN", "temp"),
    ("0485", "T", "urgent"),
    ("0485", "TS30", "urgent"),
    ("0485", "TH4", "urgent"),
    ("0065", "G", "reflex-order"),
    ("0065", "A", "order"),  # the guide's #add-on# is no code
    # ASTM: W is doubt about the validity, not an error; R was sent before; M is a MIC level.
    ("astm-status", "W", "final"),
    ("astm-status", "R", "final"),
    ("astm-status", "X", "cancelled"),
    ("astm-status", "V", "final"),
]


def pairs(text: str) -> list[tuple[str, str]]:
    words = text.split()
    return list(zip(words[::2], words[1::2], strict=True))


@pytest.mark.parametrize(
    ("table", "code", "value"), [(table, code, value) for table, text in IG.items() for code, value in pairs(text)]
)
def test_codes_that_the_guide_maps(table: str, code: str, value: str) -> None:
    assert of(table, code) == (value, [])
    assert of(table, code.lower()) == (value, []), "senders write small letters, too"


@pytest.mark.parametrize(("table", "code", "value"), OURS)
def test_codes_where_the_guide_is_silent_or_wrong(table: str, code: str, value: str) -> None:
    assert of(table, code) == (value, [])


FLAGS = (
    "< > A AA B CAR D DET E EX EXP H HH HU I IE IND L LL LU MS N NCL ND NEG NR NS POS R RR S SDD SYN-R SYN-S U UNE "
    "VS W WR"
)


@pytest.mark.parametrize("code", FLAGS.split())
def test_flags_have_the_code_that_hl7_gave_them_in_version_3(code: str) -> None:
    assert of("0078", code) == ({"coding": [{"system": INTERPRETATION, "code": code}]}, [])


@pytest.mark.parametrize("code", ["AC", "HM", "OBX", "QCF", "TOX"])
def test_flags_that_version_3_lacks_stay_those_of_version_2(code: str) -> None:
    value, _ = of("0078", code)
    assert value["coding"] == [{"system": "http://terminology.hl7.org/CodeSystem/v2-0078", "code": code}]


@pytest.mark.parametrize(("table", "code"), [("0078", "*"), ("0078", "!"), ("astm-flag", "Q"), ("astm-flag", "+")])
def test_a_makers_own_flag_stays_words(table: str, code: str) -> None:
    assert of(table, code) == ({"text": code}, [])


@pytest.mark.parametrize(
    ("table", "code", "value"),
    [
        ("0001", "X", "unknown"),
        ("0038", "Z9", None),
        ("0119", "Z9", "unknown"),
        ("0190", "ZZ", None),
        ("0200", "ZZ", None),
        ("0201", "ZZ", None),
        ("0485", "soon", None),  # routine would be a guess: somebody asked for something
        ("0485", "T3", None),
        ("0136", "maybe", None),
        ("astm-priority", "N", None),
    ],
)
def test_an_unknown_code_is_told_and_never_guessed(table: str, code: str, value: str | None) -> None:
    assert of(table, code) == (value, ["UNKNOWN_CODE"])


@pytest.mark.parametrize(
    ("table", "code", "reason"),
    [
        ("0085", "Q", ReasonCode.UNMAPPED_STATUS),
        ("0123", "Q", ReasonCode.UNMAPPED_STATUS),
        ("0123", "Y", ReasonCode.BAD_STATUS),
        ("0123", "Z", ReasonCode.BAD_STATUS),
        ("0123-observation", "Y", ReasonCode.BAD_STATUS),
        ("astm-status", "N", ReasonCode.UNMAPPED_STATUS),
        ("astm-status", "Q", ReasonCode.UNMAPPED_STATUS),
        ("astm-report-status", "Y", ReasonCode.BAD_STATUS),
        ("astm-report-status", "?", ReasonCode.UNMAPPED_STATUS),
    ],
)
def test_an_unknown_status_keeps_the_message_back(table: str, code: str, reason: ReasonCode) -> None:
    with pytest.raises(ContentError) as caught:
        of(table, code)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("table", "codes"),
    [
        ("0190", "BDL BR F HV M N RH S SH TM V"),
        ("0200", "A B C CAN DN I K MI NB NOUSE P REL S T U"),
        ("0201", "ASN BPN EMR NET"),
        ("0485", "P C PRN"),
        ("astm-priority", "C P"),
    ],
)
def test_codes_of_hl7_without_a_counterpart_are_left_out_silently(table: str, codes: str) -> None:
    for code in codes.split():
        assert of(table, code) == (None, [])


@pytest.mark.parametrize(
    ("raw", "uri"),
    [
        ("HOSP^1.2.840.113^ISO", "urn:oid:1.2.840.113"),
        ("HOSP^550E8400-E29B-41D4-A716-446655440000^UUID", "urn:uuid:550e8400-e29b-41d4-a716-446655440000"),
        ("HOSP^lab.example.org^DNS", "lab.example.org"),  # https:// is not invented
        ("^urn:x:y^URI", "urn:x:y"),
        ("HOSP^1.2.840.113", "urn:oid:1.2.840.113"),
    ],
)
def test_universal_ids_of_table_0301_are_uris(raw: str, uri: str) -> None:
    assert hd(run_of(), raw) == uri


@pytest.mark.parametrize("raw", ["HOSP^not an oid^ISO", "HOSP^05D^CLIA", "HOSP^x^ZZZ", "HOSP^1.2.x^UUID"])
def test_other_universal_ids_are_a_name_of_the_site(raw: str) -> None:
    assert hd(run_of(namespaces={"HOSP": "urn:hosp"}), raw) == "urn:hosp"
    found = hd(run_of(), raw)
    assert found is not None
    assert found.startswith("urn:labrelay:ns:")
