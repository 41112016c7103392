"""Whose tube a result is of, where either comes first: the specimen (OUL^R22) or the order (ORU^R01). Of which order it
is, where its code is another one.
"""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.codecs.astm import records as astm
from adapters.codecs.astm.capture import text_of_capture
from adapters.codecs.astm.dialogue import dialogue as astm_dialogue
from adapters.codecs.hl7v2 import message as hl7v2
from adapters.codecs.hl7v2.dialogues import dialogue
from adapters.dialects import cepheid_genexpert
from engine.model.message import FormatOptions, Parsed
from engine.model.process.clock import to_us
from tests.support.corpus import CORPUS
from tests.support.tubes_read import tubes

HEAD = "MSH|^~\\&|X|L|Y|L|20260301101500||{}|1|P|2.5.1"
GLU = "OBX|1|NM|GLU^Glucose||5.1|mmol/l|||||F"
CASES = {
    "specimen before each order": (
        "OUL^R22",
        ["PID|1||P1", "SPM|1|A", "OBR|1||X1", GLU, "SPM|2|B", "OBR|2||X2", GLU],
        [("A", 1), ("B", 1)],
    ),
    "container before each order": (
        "OUL^R23",
        ["PID|1||P1", "SPM|1|S", "SAC|||A", "OBR|1", GLU, "SAC|||B", "OBR|2", GLU],
        [("A", 1), ("B", 1)],
    ),
    "container before each order, without a specimen": (
        "OUL^R22",
        ["PID|1||P1", "SAC|||A", "OBR|1", GLU, "SAC|||B", "OBR|2", GLU],
        [("A", 1), ("B", 1)],
    ),
    "specimen behind each order": (
        "ORU^R01",
        ["PID|1||P1", "OBR|1||X1", GLU, "SPM|1|A", "OBR|2||X2", GLU, "SPM|1|B"],
        [("A", 1), ("B", 1)],
    ),
    "the number of the one who takes the specimen": (
        "ORU^R01",
        ["PID|1||P1", "OBR|1||X1", GLU, "SPM|1|^A"],
        [("A", 1)],
    ),
    "the container of a specimen": ("ORU^R01", ["PID|1||P1", "OBR|1||X1", GLU, "SPM|1|S", "SAC|||A"], [("A", 1)]),
    "only the first order has a specimen behind it": (
        "ORU^R01",
        ["PID|1||P1", "OBR|1||X1", GLU, "SPM|1|A", "OBR|2||X2", GLU],
        [("A", 1), ("X2", 1)],
    ),
    "specimen between order and results": (
        "OUL^R24",
        ["PID|1||P1", "OBR|1", "SPM|1|S", "SAC|||A", GLU, "OBR|2", "SPM|1|B", GLU],
        [("A", 1), ("B", 1)],
    ),
    "specimen before each order, whatever the type says": (
        "ORU^R01",
        ["PID|1||P1", "SPM|1|A", "OBR|1||X1", GLU, "SPM|2|B", "OBR|2||X2", GLU, "SPM|3|C", "OBR|3||X3", GLU],
        [("A", 1), ("B", 1), ("C", 1)],
    ),
    "specimen before each order of R24": (
        "OUL^R24",
        ["PID|1||P1", "SPM|1|S", "SAC|||A", "OBR|1", GLU, "SPM|2|B", "OBR|2", GLU, "SPM|3|C", "OBR|3", GLU],
        [("A", 1), ("B", 1), ("C", 1)],
    ),
    "controls around a patient, each specimen before its order": (
        "ORU^R01",
        [
            "PID|1||P1",
            "SPM|1|A|||||||||Q",
            "OBR|1||X1",
            GLU,
            "SPM|2|B|||||||||P",
            "OBR|2||X2",
            GLU,
            "SPM|3|C|||||||||Q",
            "OBR|3||X3",
            GLU,
        ],
        [("B", 1)],
    ),
    "two specimens behind one order: it is not known of which": (
        "ORU^R01",
        ["PID|1||P1", "OBR|1||X1", GLU, "SPM|1|A", "SPM|2|B", "OBR|2||X2", GLU, "SPM|1|C"],
        [("C", 1)],
    ),
    "an answer at order entry is no result": (
        "ORU^R01",
        ["PID|1||P1", "OBR|1||X1", f"{GLU}{'|' * 18}QST", "OBR|2||X2", f"{GLU}{'|' * 18}RSLT"],
        [("X2", 1)],
    ),
    "an empty specimen before its order takes no number of the next": (
        "OUL^R22",
        ["PID|1||P1", "SPM|1|", "OBR|1", GLU, "SPM|2|B", "OBR|2", GLU],
        [("B", 1)],
    ),
    "a control among patients": (
        "OUL^R22",
        ["PID|1||P1", "SPM|1|A|||||||||P", "OBR|1", GLU, "SPM|2|B|||||||||Q", "OBR|2||X2", GLU],
        [("A", 1)],
    ),
    "a pool": ("OUL^R22", ["SPM|1|A|||||||||L^^HL70369", "SAC|||A", "OBR|1||A", GLU], []),
    "a group of patients' specimens": ("OUL^R22", ["SPM|1|A|||||||||G", "OBR|1||A", GLU], []),
    "a pool whose order comes first": ("ORU^R01", ["OBR|1||A", GLU, "SPM|1|A|||||||||L"], []),
    "a control by its order alone": (
        "ORU^R01",
        ["PID|1||P1", "OBR|1||A||||||||||||^^^^^^Q", GLU, "OBR|2||B", GLU],
        [("B", 1)],
    ),
    "a role in lower case": ("ORU^R01", ["PID|1||P1", "OBR|1||A", GLU, "SPM|1|A|||||||||q"], []),
    "a left knee is no pool": ("ORU^R01", ["PID|1||P1", "OBR|1||A||||||||||||SYN^^^^^^L", GLU], [("A", 1)]),
    "a right knee is no control": ("ORU^R01", ["PID|1||P1", "OBR|1||A||||||||||||SYN^^^^^^r", GLU], [("A", 1)]),
    "a right knee in upper case": ("ORU^R01", ["PID|1||P1", "OBR|1||A||||||||||||SYN^^^^^^R", GLU], [("A", 1)]),
    "a replicate as a control": ("ORU^R01", ["PID|1||P1", "OBR|1||A", GLU, "SPM|1|A|||||||||R"], []),
    "a patient's specimen of a verifier": (
        "ORU^R01",
        ["PID|1||P1", "OBR|1||A||||||||||||B^^^^^^V", GLU, "SPM|1|A|||||||||P", "OBR|2||B||||||||||||B^^^^^^V", GLU],
        [("A", 1)],
    ),
    "a patient's specimen before a verifier": (
        "OUL^R22",
        [
            "PID|1||P1",
            "SPM|1|A|||||||||P",
            "OBR|1||A||||||||||||B^^^^^^V",
            GLU,
            "SPM|2|B",
            "OBR|2||||||||||||||B^^^^^^V",
            GLU,
        ],
        [("A", 1)],
    ),
    "no specimen at all": (
        "ORU^R01",
        ["PID|1||P1", "OBR|1||X1", GLU, "PID|2||P2", "OBR|1||X2", GLU],
        [("X1", 1), ("X2", 1)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_result_is_of_its_own_tube(name: str) -> None:
    kind, lines, wanted = CASES[name]
    payload = "".join(f"{line}\r" for line in [HEAD.format(kind), *lines]).encode()
    found = tubes(hl7v2.parse(payload, FormatOptions()), {"GLU": "GLU"})
    assert [(one.specimen, len(one.tests)) for one in found] == wanted


FINAL, CORRECTED = (True, False, False), (True, True, False)
EARLY, WRONG, NEVER = (False, False, False), (False, True, True), (False, False, True)
STATUSES = {  # table 0085; E1394, R-9
    "hl7v2": {
        **dict.fromkeys("FUV", FINAL), **dict.fromkeys("ABC", CORRECTED), **dict.fromkeys("DW", WRONG), "X": NEVER,
        **dict.fromkeys(("P", "S", "R", "I", "N", "O", ""), EARLY),
    },
    "astm": {
        **dict.fromkeys(("F", "V", "R", "M", "W", ""), FINAL), "C": CORRECTED, "X": NEVER,
        **dict.fromkeys(("P", "S", "I"), EARLY),
    },
}  # fmt: skip


@pytest.mark.parametrize(("kind", "status"), [(kind, status) for kind, found in STATUSES.items() for status in found])
def test_a_status_says_whether_an_order_has_its_result(kind: str, status: str) -> None:
    if kind == "hl7v2":
        parsed = hl7v2.parse(f"{HEAD.format('ORU^R01')}\rOBR|1||A\r{GLU[:-1]}{status}\r".encode(), FormatOptions())
    else:
        text = f"H|\\^&\rP|1\rO|1|A||^^^GLU\rR|1|^^^GLU|5.1|||||{status}\rL|1\r"
        parsed = astm.parse(text.encode(), FormatOptions())
    ((one,),) = [tube.tests for tube in tubes(parsed, {"GLU": "GLU"})]
    assert (one.final, one.corrects, one.withdrawn) == STATUSES[kind][status]


XPERT = (  # of captures: the assay has a status, its analytes have none
    "R|1|^^^HBV^Xpert HBV^1^^|DETECTED^1250|IU/mL||||{}",
    "R|2|^^^HBV^^^HBV^|POS^|||",
    "R|3|^HBV^^Trace^^^^|NEG^|||",
)
OF_ORDER = {  # O-26, R-9 of the first -> whether the results of HBV and of Trace are final
    ("F", "F"): (True, True),
    ("F", "P"): (False, True),
    ("P", "P"): (False, False),
    ("P", ""): (False, False),
    ("I", ""): (False, False),
    ("X", ""): (False, False),
    ("", "P"): (False, False),  # it has statuses: one without is not known to be final
    ("", "F"): (True, False),
    ("", ""): (True, True),  # an analyzer that has none at all
    ("Q", ""): (True, True),  # O-26 of an order: no status of a report
}


@pytest.mark.parametrize(("report", "status"), OF_ORDER)
def test_a_result_without_a_status_has_that_of_its_test_or_report(report: str, status: str) -> None:
    order = f"O|1|A||^^^HBV{'|' * 21}{report}"
    lines = ["H|@^\\", "P|1", order, XPERT[0].format(status), *XPERT[1:], "L|1|N"]
    (tube,) = tubes(astm.parse("\r".join(lines).encode(), FormatOptions()), {})
    found = [{one.final for one in tube.tests if one.code == code} for code in ("HBV", "Trace")]
    assert found == [{one} for one in OF_ORDER[report, status]]


@pytest.mark.parametrize(
    ("report", "final"), [("F", True), ("C", True), ("P", False), ("A", False), ("I", False), ("", False)]
)
def test_over_hl7_it_has_that_of_obr_25(report: str, final: bool) -> None:
    text = f"{HEAD.format('ORU^R32')}\rOBR|1||A||||||||||||||||||||||{report}\r{GLU[:-1]}\r"
    ((one,),) = [tube.tests for tube in tubes(hl7v2.parse(text.encode(), FormatOptions()), {"GLU": "GLU"})]
    assert one.final is final


SAMPLES = Path(__file__).parents[4] / "samples"
XPERTS, PANEL = SAMPLES / "cepheid_genexpert", SAMPLES / "cepheid_genexpert/03-panel.astm"
HL7, ASTM, FLU = CORPUS / "hl7-analyzers", CORPUS / "astm", CORPUS / "astm/cepheid-guidance-cov2flursv.astm"
GENEXPERT = "cepheid-genexpert-hl7"


def of_capture(*values: object) -> object:
    return pytest.param(*values, marks=pytest.mark.corpus)


@pytest.mark.parametrize(
    ("file", "dialect", "codes", "wanted"),
    [
        (SAMPLES / "cepheid_genexpert_hl7/01-ct-ng.hl7", GENEXPERT, {"CTNG": "CT-NG"}, {("CT-NG", "CTNG")}),
        (SAMPLES / "cepheid_genexpert_hl7/01-ct-ng.hl7", GENEXPERT, {"CT": "C"}, {("", "CTNG/CT"), ("", "CTNG/NG")}),
        (SAMPLES / "mindray_bc5380/08-two-counts.hl7", None, {"CBC": "BLOOD"}, {("BLOOD", "CBC")}),
        (SAMPLES / "mindray_bc5380/08-two-counts.hl7", None, {"CBC+5DIFF": "BLOOD"}, {("", "6690-2"), ("", "718-7")}),
        of_capture(HL7 / "cepheid-genexpert-oru-r32.hl7", GENEXPERT, {"CTNG": "CT-NG"}, {("CT-NG", "CTNG")}),
        of_capture(HL7 / "cepheid-genexpert-oru-r32.hl7", GENEXPERT, {"CT": "C"}, {("", "CTNG/CT"), ("", "CTNG/NG")}),
        of_capture(HL7 / "mindray-bc5380-oru.hl7", None, {"CBC": "BLOOD"}, {("BLOOD", "CBC")}),
        of_capture(HL7 / "mindray-bc5380-oru.hl7", None, {"CBC+5DIFF": "BLOOD"}, {("", "6690-2"), ("", "718-7")}),
    ],
    ids=lambda value: getattr(value, "stem", None),
)
def test_a_result_is_of_the_order_for_its_assay_or_mode(
    file: Path, dialect: str | None, codes: dict[str, str], wanted: set[tuple[str, str]]
) -> None:
    """An assay or mode that was not ordered is never taken for another one."""
    parsed = hl7v2.parse(file.read_bytes(), FormatOptions())
    (tube,) = tubes(parsed, codes, dialogue(dialect))
    found = {(one.test, one.code) for one in tube.tests}
    assert wanted <= found
    assert {test for test, _ in found} <= {"", *codes.values()}
    assert bool({test for test, _ in found} - {""}) == bool({test for test, _ in wanted} - {""})


@pytest.mark.parametrize(
    ("file", "codes", "wanted"),
    [
        (PANEL, {"RESP": "PANEL"}, {("PANEL", "RESP")}),
        (PANEL, {"FLUA": "A"}, {("A", "FLUA"), ("", "SARSCOV2"), ("", "FLUB"), ("", "RSV")}),
        (PANEL, {"CTNG": "CT-NG"}, {("", "FLUA"), ("", "SARSCOV2"), ("", "FLUB"), ("", "RSV")}),
        (XPERTS / "07-tuberculosis.astm", {"TB-ULTRA": "MTB"}, {("MTB", "TB-ULTRA"), ("", "Trace")}),  # and ``TB-ULTR``
        (XPERTS / "08-off-the-scale.astm", {"VL1": "HIV"}, {("HIV", "VL1")}),
        (XPERTS / "05-cut-short.astm", {"HBV": "HBV"}, {("HBV", "HBV")}),
        of_capture(FLU, {"COVFLURSVPLUS": "PANEL"}, {("PANEL", "COVFLURSVPLUS")}),
        of_capture(FLU, {"FLUA": "A"}, {("A", "FLUA"), ("", "SARSCOV2"), ("", "FLUB"), ("", "RSV")}),
        of_capture(FLU, {"CTNG": "CT-NG"}, {("", "FLUA"), ("", "SARSCOV2"), ("", "FLUB"), ("", "RSV")}),
        of_capture(ASTM / "cepheid-genexpert-mtb.astm", {"MTB-RIF": "MTB"}, {("MTB", "MTB-RIF"), ("", "Trace")}),
        of_capture(ASTM / "cepheid-guidance-hivvl-below40.astm", {"HIVVL": "HIV"}, {("HIV", "HIVVL")}),
        of_capture(ASTM / "cepheid-genexpert-hbv.astm", {"hbv_test": "HBV"}, {("HBV", "hbv_test")}),
    ],
    ids=lambda value: getattr(value, "stem", None),
)
def test_a_result_over_astm_is_of_the_order_for_its_assay(
    file: Path, codes: dict[str, str], wanted: set[tuple[str, str]]
) -> None:
    """An assay that was not ordered is never taken for another one."""
    data = file.read_bytes()
    parsed = astm.parse(data if data.startswith(b"H") else b"".join(text_of_capture(data)), FormatOptions())
    (tube,) = tubes(cepheid_genexpert.adapt(parsed), codes, astm_dialogue("cepheid-genexpert"))
    assert {(one.test, one.code) for one in tube.tests} == wanted


def _astm_results(*records: str) -> Parsed:
    lines = ("H|@^\\|", "P|1", *records, "L|1|N")
    return astm.parse("".join(f"{line}\r" for line in lines).encode(), FormatOptions())


@pytest.mark.parametrize(
    ("order", "dialect", "test"),
    [
        ("O|1|S1||^^^CTNG", "cepheid-genexpert", "CT-NG"),
        ("O|1|S1||^^^FLU@^^^CTNG", "cepheid-genexpert", "CT-NG"),
        ("O|1|S1||^^^FLU", "cepheid-genexpert", ""),
        ("O|1|S1", "cepheid-genexpert", ""),
        ("O|1|S1||^^^CTNG", None, ""),
        ("O|1|S1||^^^CTNG", "sysmex", ""),
    ],
)
def test_an_assay_that_was_not_ordered_closes_nothing(order: str, dialect: str | None, test: str) -> None:
    """Neither does one at an analyzer of another maker: R-3, component 2, has no such meaning in E1394."""
    parsed = _astm_results(order, "R|1|^CTNG^^CT^Xpert CT_NG^1^CT^|NEGATIVE^|||||F", "O|2|S2||^^^CTNG")
    (tube,) = tubes(parsed, {"CTNG": "CT-NG", "FLU": "FLU"}, astm_dialogue(dialect))
    assert [(one.test, one.code) for one in tube.tests] == [(test, "CTNG" if test else "CT")]


COBAS = ("roche-cobas-e411", "roche-cobas-c311", "roche-cobas-c111")
OTHERS = (None, "horiba-pentra-400", "sysmex", "mindray-bs-astm", "cepheid-genexpert")


@pytest.mark.parametrize(
    ("dialects", "codes", "result", "test"),
    [
        (COBAS, {"8/1/not": "TSH"}, "8/1/not", "TSH"),
        (COBAS, {"8/1/not": "TSH"}, "8/10/not", "TSH"),
        (COBAS, {"8/1/not": "TSH"}, "8/1/10", "TSH"),
        (COBAS, {"8/1/not": "TSH"}, "8", "TSH"),
        (COBAS, {"8": "TSH"}, "8/10/not", "TSH"),
        (COBAS, {"685/": "UREA"}, "685", "UREA"),
        (COBAS, {"685": "UREA"}, "685/", "UREA"),
        (COBAS, {"8/1/not": "TSH"}, "80/1/not", ""),
        (COBAS, {"80/1/not": "TSH", "8": "FT4"}, "80/10/not", "TSH"),
        (COBAS, {"8/1/not": "TSH", "8/10/not": "FT4"}, "8/10/not", "FT4"),
        (COBAS, {"8/1/not": "TSH", "8/10/not": "FT4"}, "8/5/not", ""),  # two tests: it is not known which
        (OTHERS, {"A/1/not": "TSH"}, "A/10/not", ""),
        (OTHERS, {"A": "ALB"}, "A/G", ""),  # a test of its own
        (OTHERS, {"A/G": "RATIO"}, "A/G", "RATIO"),
    ],
)
def test_a_result_at_another_dilution_is_of_its_order_where_the_maker_writes_it_so(
    dialects: tuple[str | None, ...], codes: dict[str, str], result: str, test: str
) -> None:
    for dialect in dialects:
        parsed = _astm_results("O|1|S1", f"R|1|^^^{result}|1.95|uIU/ml||N||F")
        (tube,) = tubes(parsed, codes, astm_dialogue(dialect))
        code = next((code for code, one in codes.items() if one == test), result)
        assert [(one.test, one.code) for one in tube.tests] == [(test, code)]


def test_a_control_over_astm_is_of_no_tube() -> None:
    lines = ["H|\\^&", "P|1", "O|1|A||^^^GLU|R||||||Q", "R|1|^^^GLU|5.1", "O|2|B||^^^GLU|R", "R|1|^^^GLU|5.2", "L|1|N"]
    parsed = astm.parse("".join(f"{line}\r" for line in lines).encode(), FormatOptions())
    assert [one.specimen for one in tubes(parsed, {"GLU": "GLU"})] == ["B"]


TIMES = {
    (
        "OBR|1||A||||20260301080000|||||||||||||||20260301100000",
        "OBX|1|NM|GLU||5||||||F|||20260301093000",
    ): "20260301093000",
    ("OBR|1||A||||20260301080000", "OBX|1|NM|GLU||5||||||F||||||||20260301091500"): "20260301091500",
    ("OBR|1||A||||20260301080000|||||||||||||||20260301100000", "OBX|1|NM|GLU||5||||||F"): "20260301080000",
    ("OBR|1||A|||||||||||||||||||20260301100000", "OBX|1|NM|GLU||5||||||F|||yesterday"): "20260301100000",
    ("OBR|1||A", "OBX|1|NM|GLU||5||||||F"): 0,
}


@pytest.mark.parametrize("lines", TIMES)
def test_when_a_result_was_measured(lines: tuple[str, str]) -> None:
    payload = "".join(f"{line}\r" for line in (HEAD.format("ORU^R01"), *lines)).encode()
    ((test,),) = [one.tests for one in tubes(hl7v2.parse(payload, FormatOptions()), {})]
    at = TIMES[lines]
    assert test.measured_us == (at and to_us(datetime.strptime(f"{at}+0530", "%Y%m%d%H%M%S%z")))


MOMENTS = {
    "20260301093000": datetime(2026, 3, 1, 4, 0, tzinfo=UTC),
    "20260301093000+0000": datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
    "20260301": datetime(2026, 3, 1, 18, 30, tzinfo=UTC),  # the end of the day in India
    "202612": datetime(2026, 12, 31, 18, 30, tzinfo=UTC),
    "2026": datetime(2026, 12, 31, 18, 30, tzinfo=UTC),
    "20000101000312": None,  # a clock that has lost its battery
    "19700101": None,
    "00000000": None,
    "soon": None,
    "": None,
}


@pytest.mark.parametrize("text", MOMENTS)
def test_a_time_is_its_last_moment(text: str) -> None:
    line = f"OBR|1||A\rOBX|1|NM|GLU||5||||||F|||{text}"
    ((test,),) = [
        one.tests for one in tubes(hl7v2.parse(f"{HEAD.format('ORU^R01')}\r{line}\r".encode(), FormatOptions()), {})
    ]
    at = MOMENTS[text]
    assert (test.measured_us, test.own_us) == (0 if at is None else to_us(at),) * 2


@pytest.mark.parametrize(
    ("order", "tube"),
    [
        ("O|1||^^             00012^B|^^^^WBC", "00012"),
        ("O|1||^^             00012^M|^^^^WBC", "00012"),
        ("O|1|2^1^             00012^C||^^^^WBC", "00012"),
        ("O|1||^^             00012^A|^^^^WBC", None),
        ("O|1|2^1^             00012^A||^^^^WBC", None),
    ],
)
def test_a_number_that_the_analyzer_has_counted_names_no_tube(order: str, tube: str | None) -> None:
    payload = f"H|\\^&|||XN-550\rP|1\r{order}\rR|1|^^^^WBC^1|7.8\rL|1|N\r".encode()
    found = tubes(astm.parse(payload, FormatOptions()), {"WBC": "WBC"})
    assert [one.specimen for one in found] == ([] if tube is None else [tube])


@pytest.mark.parametrize(("counts", "wanted"), [("no", ["20115"]), ("yes", [])])
def test_a_count_of_the_instrument_names_no_tube(counts: str, wanted: list[str]) -> None:
    """A cobas c311 that read no barcode has its own count in O-4."""
    payload = b"H|\\^&|||c311^1\rP|1\rO|1||20115|^^^717/|R\rR|1|^^^717/|6.10\rL|1|N\r"
    found = tubes(astm.parse(payload, FormatOptions()), {"717": "GLU"}, instrument_specimens=counts)
    assert [one.specimen for one in found] == wanted
