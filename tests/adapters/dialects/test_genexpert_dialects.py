"""The dialects of the GeneXpert: what is a value, which comma is a decimal point, what a cut record still says."""

import pytest

from adapters.codecs.astm import records as astm_records
from adapters.codecs.hl7v2 import message as hl7v2
from adapters.dialects import cepheid_genexpert, cepheid_genexpert_hl7
from adapters.dialects.shared.fields import get
from engine.model.message import FormatOptions, Parsed

OPTIONS = FormatOptions()
INSTRUMENT = "Cepheid-1F23904^846682^913994^940366684^19902^20260111"


def astm(*records: str, name: str = "^^^^") -> Parsed:
    text = ("H|@^\\|1||GeneXpert PC^GeneXpert^6.2", f"P|1|||7|{name}", "O|1|S1||^^^VL", *records, "L|1|N")
    return cepheid_genexpert.adapt(astm_records.parse("\r".join(text).encode(), OPTIONS))


def results(parsed: Parsed, *numbers: int) -> list[tuple[str, ...]]:
    return [tuple(get(one, number) for number in numbers) for one in parsed.segments if one.name == "R"]


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        ("^", ""),
        ("^^", ""),
        ("DETECTED^", "DETECTED^"),
        ("DETECTED^1250", "DETECTED^1250"),
        ("^38.4", "^38.4"),
        ("ERROR^0", "ERROR"),
        ("invalid^0.0", "invalid"),
        ("NO  RESULT^", "NO  RESULT"),
        ("NON DÉTECTÉ^", "NON DÉTECTÉ^"),
        ("", ""),
        ("NO RESULT - REPEAT TEST^1250", "NO RESULT - REPEAT TEST"),
        ("ERREUR^0", "ERREUR"),
        ("ERREUR^0,00", "ERREUR"),
        ("INVALIDE^1250", "INVALIDE^1250"),
        ("^0.0", "^0.0"),
        ("DETECTED^0.5", "DETECTED^0.5"),
    ],
)
def test_a_call_that_says_there_is_no_result_wins_over_a_number(value: str, becomes: str) -> None:
    assert results(astm(f"R|1|^^^VL^Xpert^3|{value}|copies/mL"), 4) == [(becomes,)]


@pytest.mark.parametrize(
    ("values", "becomes"),
    [
        (("^1250,5", "^3,10"), ("^1250.5", "^3.10")),
        (("^1,250", "^3,1"), ("^1.250", "^3.1")),
        (("^1,250", "^12,500"), ("^1,250", "^12,500")),
        (("^1,250,000", "^3,1"), ("^1,250,000", "^3.1")),
        (("POS, 1^38,4", "NEG^"), ("POS, 1^38.4", "NEG^")),
        (("^38.4", "^1,25"), ("^38.4", "^1.25")),
    ],
)
def test_a_comma_is_a_decimal_point_where_the_message_shows_it(
    values: tuple[str, str], becomes: tuple[str, str]
) -> None:
    read = astm(*(f"R|{at}|^^^VL^^^HIV^Ct|{value}|" for at, value in enumerate(values, 1)))
    assert results(read, 4) == [(becomes[0],), (becomes[1],)]


def test_a_range_with_decimal_commas_shows_it_for_the_value_beside_it() -> None:
    read = astm("R|1|^^^VL^Xpert^3|DÉTECTÉ^1,250|copies/mL|40,00 to 10000000,00")
    assert results(read, 4, 6) == [("DÉTECTÉ^1.250", "measuring range 40.00 to 10000000.00")]


def test_a_record_that_lost_its_middle_keeps_value_and_unit_and_nothing_in_the_wrong_place() -> None:
    read = astm(f"R|1|^^^VL^Xpert^1^^|^3078.31|IU/mL|10.00 to...114709|{INSTRUMENT}|")
    assert results(read, 3, 4, 5, 6, 7, 9, 14) == [("^^^VL^Xpert^1^^", "^3078.31", "IU/mL", "", "", "", INSTRUMENT)]
    assert [issue.code for issue in read.warnings] == ["cut-record"]


@pytest.mark.parametrize("rest", ["10.00 to...|A||F", f"10.00 to 20.00|{INSTRUMENT}", "...|<"])
def test_what_is_not_sure_to_be_a_cut_record_stays(rest: str) -> None:
    read = astm(f"R|1|^^^VL^Xpert^1^^|^3078.31|IU/mL|{rest}")
    assert results(read, 7) == [(rest.split("|")[1],)]
    assert read.warnings == []


def test_a_name_of_delimiters_is_none_and_a_name_stays() -> None:
    for name, becomes in (("^^^^", ""), ("Rao^Meera^^^", "Rao^Meera^^^")):
        (patient,) = (one for one in astm(name=name).segments if one.name == "P")
        assert get(patient, 6) == becomes


def test_the_parts_of_a_comment_become_a_sentence() -> None:
    read = astm("R|1|^^^VL|ERROR^", "C|1|I|Error^2097^Operation terminated^^|N", "C|2|I|Notes^^clotted|I")
    assert [get(one, 4) for one in read.segments if one.name == "C"] == ["Error, 2097, Operation terminated", "clotted"]


@pytest.mark.parametrize(
    ("value", "kind", "becomes", "flags"),
    [
        ("NOT DETECTED^", "ST", "NOT DETECTED", "A"),
        ("^31.3", "NM", "31.3", "A"),
        ("DETECTED^1250", "NM", "1250", "A~DETECTED"),
        ("DETECTED^< 40", "NM", "< 40", "A~DETECTED"),
        ("ERROR^0", "ST", "ERROR", "A"),
        ("ERREUR^0.00", "ST", "ERREUR", "A"),
        ("NO RESULT - REPEAT TEST^12", "ST", "NO RESULT - REPEAT TEST", "A"),
        ("NO RESULT^", "ST", "NO RESULT", "A"),
        ("^", "ST", "", "A"),
        ("A^B", "ST", "A^B", "A"),
        ("one^two^3", "ST", "one^two^3", "A"),
        ("plain", "ST", "plain", "A"),
    ],
)
def test_over_hl7_a_number_is_the_value_and_its_call_a_flag(value: str, kind: str, becomes: str, flags: str) -> None:
    header = "MSH|^~\\&|x^GeneXpert||LIS||20260302||ORU^R32^ORU_R30|1|P|2.5"
    text = f"{header}\rPID|1\rOBR|1|||VL\rOBX|1|ST|VL&VL&X||{value}|||A"
    read = cepheid_genexpert_hl7.adapt(hl7v2.parse(text.encode(), OPTIONS))
    (result,) = (one for one in read.segments if one.name == "OBX")
    assert (get(result, 2), get(result, 5), get(result, 8)) == (kind, becomes, flags)


def test_over_hl7_coded_values_are_left_alone() -> None:
    text = "MSH|^~\\&|GENEXPERT||LIS||20260302||ORU^R01|1|P|2.5\rOBR|1|||X\rOBX|1|CE|X||260415000^Not detected^SCT"
    read = cepheid_genexpert_hl7.adapt(hl7v2.parse(text.encode(), OPTIONS))
    assert get(read.segments[-1], 5) == "260415000^Not detected^SCT"


@pytest.mark.parametrize(
    ("sent", "first"),
    [
        ("20120527~01502~100886755~619078~708373~REBOLI-HP840", "708373"),
        ("708373~20120527", "708373"),
        ("20120527~01502~100886755~619078~~REBOLI-HP840", "20120527"),
        ("", ""),
    ],
)
def test_over_hl7_the_device_is_the_instrument_and_not_the_expiry_of_a_cartridge(sent: str, first: str) -> None:
    header = "MSH|^~\\&|x^GeneXpert||LIS||20260302||ORU^R32^ORU_R30|1|P|2.5"
    text = f"{header}\rOBR|1|||VL\rOBX|1|ST|VL&VL&X||NEG^||||||F|||||||{sent}"
    result = cepheid_genexpert_hl7.adapt(hl7v2.parse(text.encode(), OPTIONS)).segments[-1]
    assert get(result, 18) in (sent, f"{first}~{sent}")
    assert get(result, 18).split("~")[0] == first
