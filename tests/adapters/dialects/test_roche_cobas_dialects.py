"""The dialects of Roche's analyzers: what a value is, whose specimen it is, what is a control."""

import pytest

from adapters.codecs.astm import records as astm_records
from adapters.codecs.hl7v2 import message as hl7v2
from adapters.dialects import roche_cobas_6800, roche_cobas_c111, roche_cobas_c311, roche_cobas_e411
from adapters.dialects.shared.fields import get
from engine.model.message import FormatOptions, Parsed, Segment

OPTIONS = FormatOptions()


def astm(*records: str) -> Parsed:
    return astm_records.parse(
        "\r".join(("H|\\^&|||x|||||host|RSUPL^REAL|P|1", "P|1", *records, "L|1")).encode(), OPTIONS
    )


def the(parsed: Parsed, name: str) -> Segment:
    (found,) = (segment for segment in parsed.segments if segment.name == name)
    return found


@pytest.mark.parametrize(
    ("value", "unit", "becomes", "flags"),
    [
        ("1.95", "uIU/ml", "1.95", "N"),
        ("<3.00", "ng/ml", "<3.00", "N"),
        ("132.1^27", "ng/dl", "132.1", "N\\result message 27"),
        ("-1^0.282", "COI", "-1^0.282", "N\\negative (non-reactive)"),
        ("0^0.95", "COI", "0^0.95", "N\\borderline"),
        ("1^152.7", "COI", "1^152.7", "N\\positive (reactive)"),
        ("-1^0.5", "IU/l", "-1^0.5", "N\\negative (non-reactive)"),
        ("-1^       ", "COI", "negative (non-reactive)", "N"),
        ("1", "COI", "positive (reactive)", "N"),
        ("1^27", "mIU/ml", "1 / 27", "N"),
        ("0^27", "mIU/ml", "0 / 27", "N"),
        ("12.5^0.9", "ng/ml", "12.5 / 0.9", "N"),
        ("       ", "ng/ml", "", "N"),
        ("       ^       ", "COI", "", "N"),
    ],
)
def test_e411_tells_a_quantity_from_a_call(value: str, unit: str, becomes: str, flags: str) -> None:
    read = the(roche_cobas_e411.adapt(astm("O|1|S1|1^0^1^^S1^SC", f"R|1|^^^8/1/not|{value}|{unit}||N||F")), "R")
    assert (get(read, 4), get(read, 7)) == (becomes, flags)


def test_e411_flags_a_result_that_had_no_flag() -> None:
    read = the(roche_cobas_e411.adapt(astm("O|1|S1", "R|1|^^^5/1/not|1^9.9|COI")), "R")
    assert get(read, 7) == "positive (reactive)"


@pytest.mark.parametrize(
    ("place", "action", "control"),
    [
        ("1^0^1^^S1^SC", "N", False),
        ("1^0^1^^S1^SC", "X\\Q", True),
        ("1^0^1^^S1^SC", "Q", True),
        ("1^0^1^^QC^SC", "N", True),
        ("1^0^1^^CONTROL^NORMAL", "", True),
        ("1", "", False),
    ],
)
def test_e411_knows_a_control_by_action_or_by_kind_of_sample(place: str, action: str, control: bool) -> None:
    order = the(roche_cobas_e411.adapt(astm(f"O|1|S1|{place}|^^^8^1|R||||||{action}", "R|1|^^^8/1/not|1|x")), "O")
    assert (get(order, 12) == "Q") is control


@pytest.mark.parametrize(
    ("sent", "words"), [("1", "blood serum"), ("2", "urine"), ("5", "other"), ("9", "9"), ("", "")]
)
def test_e411_says_what_is_in_the_tube(sent: str, words: str) -> None:
    order = the(roche_cobas_e411.adapt(astm(f"O|1|S1|1^0^1|^^^8|R||||||N||||{sent}")), "O")
    assert get(order, 16) == words


@pytest.mark.parametrize(
    ("range_", "becomes"),
    [("0.27^4.20", "0.27-4.20"), ("10.0\\50.0", "10.0-50.0"), ("0.27-4.20", "0.27-4.20"), ("^4.20", "^4.20"), ("", "")],
)
def test_a_range_in_two_parts_is_joined_and_nothing_else(range_: str, becomes: str) -> None:
    for dialect in (roche_cobas_c111, roche_cobas_c311, roche_cobas_e411):
        assert get(the(dialect.adapt(astm("O|1|S1", f"R|1|^^^1|5.0|g/L|{range_}")), "R"), 6) == becomes


@pytest.mark.parametrize(
    ("comment", "becomes"),
    [
        ("43", "data alarm 43"),
        ("0", ""),
        ("50^Below measuring range", "data alarm 50: Below measuring range"),
        ("haemolytic", "haemolytic"),
        ("", ""),
    ],
)
def test_the_number_of_an_alarm_says_that_it_is_one(comment: str, becomes: str) -> None:
    read = roche_cobas_c311.adapt(astm("O|1|S1", "R|1|^^^1|5.0|g/L", f"C|1|I|{comment}|I"))
    assert get(the(read, "C"), 4) == becomes


def test_a_number_in_the_comment_of_an_order_is_no_alarm() -> None:
    read = roche_cobas_c311.adapt(astm("O|1|S1", "C|1|I|43|G", "R|1|^^^1|5.0|g/L"))
    assert get(the(read, "C"), 4) == "43"


@pytest.mark.parametrize(
    ("specimen", "number", "counter"),
    [
        ("11625^CL-PL-24-0370         ^1^^004", "CL-PL-24-0370", "11625"),
        ("11625^                      ^1^^004", "", "11625"),
        ("2603020072", "2603020072", ""),
        ("2603020072^B", "2603020072^B", ""),
        ("^CL-9^1", "CL-9", ""),
        ("CL-9^1^1^^004", "CL-9^1^1^^004", ""),
        ("", "", ""),
    ],
)
def test_c311_finds_the_number_of_the_specimen_behind_its_counter(specimen: str, number: str, counter: str) -> None:
    order = the(roche_cobas_c311.adapt(astm(f"O|1|{specimen}|R1|^^^685/|R||||||N||^^||SC")), "O")
    assert (get(order, 3), get(order, 4), get(order, 16)) == (number, counter, "")


def test_6800_takes_out_the_word_for_no_value_and_keeps_the_call() -> None:
    text = (
        "MSH|^~\\&|COBAS6800/8800||LIS||20260302||OUL^R22|1|P|2.5\rSPM||S1\rOBR|1|||70241-5^HIV^LN\r"
        'OBX|1|ST|70241-5^HIV^LN|1/1|ValueNotSet|||RR|||F\rOBX|2|ST|70241-5^HIV^LN|1/2|< Titer min|||""|||F'
    )
    read = roche_cobas_6800.adapt(hl7v2.parse(text.encode(), OPTIONS))
    assert [(get(one, 5), get(one, 8)) for one in read.segments if one.name == "OBX"] == [
        ("", "RR"),
        ("< Titer min", '""'),
    ]


def test_records_that_end_early_are_left_as_they_are() -> None:
    for dialect in (roche_cobas_c111, roche_cobas_c311, roche_cobas_e411):
        read = dialect.adapt(astm("O", "O|1", "R", "R|1|^^^1", "C"))
        assert [segment.name for segment in read.segments] == ["H", "P", "O", "O", "R", "R", "C", "L"]


@pytest.mark.parametrize(
    ("sender", "named"),
    [
        ("CITYLAB^Roche^c111^4.2.2.1730^1^13147", "c111 13147^Roche^c111^4.2.2.1730^1^13147"),
        ("CITYLAB^Roche^c111^4.2.2.1730^1", "CITYLAB^Roche^c111^4.2.2.1730^1"),
        ("c111", "c111"),
    ],
)
def test_c111_is_named_by_its_model_and_serial_number(sender: str, named: str) -> None:
    text = f"H|\\^&|||{sender}|||||host\rP|1\rO|1||S1\rR|1|^^^413|40|g/L\rL|1"
    assert get(roche_cobas_c111.adapt(astm_records.parse(text.encode(), OPTIONS)).segments[0], 5) == named
