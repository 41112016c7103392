"""Whose tube a result is of, where either comes first: the specimen (OUL^R22) or the order (ORU^R01). Of which order it
is, where its code is another one.
"""

from pathlib import Path

import pytest

from adapters.codecs.astm import records as astm
from adapters.codecs.hl7v2 import message as hl7v2
from adapters.codecs.hl7v2.dialogues import dialogue
from engine.model.message import FormatOptions
from engine.model.order_results import tubes_in

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
    "specimen behind each order": (
        "ORU^R01",
        ["PID|1||P1", "OBR|1||X1", GLU, "SPM|1|A", "OBR|2||X2", GLU, "SPM|1|B"],
        [("A", 1), ("B", 1)],
    ),
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
    "two specimens behind one order: it is not known of which": (
        "ORU^R01",
        ["PID|1||P1", "OBR|1||X1", GLU, "SPM|1|A", "SPM|2|B", "OBR|2||X2", GLU, "SPM|1|C"],
        [("C", 1)],
    ),
    "an empty specimen before its order takes no number of the next": (
        "OUL^R22",
        ["PID|1||P1", "SPM|1|", "OBR|1", GLU, "SPM|2|B", "OBR|2", GLU],
        [("B", 1)],
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
    found = tubes_in(hl7v2.parse(payload, FormatOptions()), {"GLU": "GLU"})
    assert [(one.specimen, len(one.tests)) for one in found] == wanted


CORPUS = Path(__file__).parents[4] / "shared/corpus/hl7-analyzers"


@pytest.mark.parametrize(
    ("file", "dialect", "codes", "wanted"),
    [
        ("cepheid-genexpert-oru-r32", "cepheid-genexpert-hl7", {"CTNG": "CT-NG"}, {("CT-NG", "CTNG")}),
        ("cepheid-genexpert-oru-r32", "cepheid-genexpert-hl7", {"CT": "C"}, {("", "CTNG&CT"), ("", "CTNG&NG")}),
        ("mindray-bc5380-oru", None, {"CBC": "BLOOD"}, {("BLOOD", "CBC")}),
        ("mindray-bc5380-oru", None, {"CBC+5DIFF": "BLOOD"}, {("", "6690-2"), ("", "718-7")}),
    ],
)
def test_a_result_is_of_the_order_for_its_assay_or_mode(
    file: str, dialect: str | None, codes: dict[str, str], wanted: set[tuple[str, str]]
) -> None:
    """Of the maker's example. An assay or mode that was not ordered is never taken for another one."""
    parsed = hl7v2.parse((CORPUS / f"{file}.hl7").read_bytes(), FormatOptions())
    (tube,) = tubes_in(parsed, codes, dialogue=dialogue(dialect))
    found = {(one.test, one.code) for one in tube.tests}
    assert wanted <= found
    assert {test for test, _ in found} <= {"", *codes.values()}
    assert bool({test for test, _ in found} - {""}) == bool({test for test, _ in wanted} - {""})


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
    found = tubes_in(astm.parse(payload, FormatOptions()), {"WBC": "WBC"})
    assert [one.specimen for one in found] == ([] if tube is None else [tube])


@pytest.mark.parametrize(("counts", "tubes"), [(False, ["20115"]), (True, [])])
def test_a_count_of_the_instrument_names_no_tube(counts: bool, tubes: list[str]) -> None:
    """A cobas c311 that read no barcode has its own count in O-4."""
    payload = b"H|\\^&|||c311^1\rP|1\rO|1||20115|^^^717/|R\rR|1|^^^717/|6.10\rL|1|N\r"
    found = tubes_in(astm.parse(payload, FormatOptions()), {"717": "GLU"}, counts=counts)
    assert [one.specimen for one in found] == tubes
