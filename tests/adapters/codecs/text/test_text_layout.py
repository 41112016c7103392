"""The language of layouts: what each word of it does, what it refuses, and that nothing is lost or mixed up."""

import codecs
import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.codecs.text.layout import TextFormat
from adapters.codecs.text.layout_reader import read_layout
from engine.config.layouts import layout_files, load_layout
from engine.config.reading.yaml_nodes import read
from engine.model.errors import ConfigError, ContentError
from engine.model.message import FormatOptions, Parsed
from engine.model.texts.reasons import ReasonCode
from tests.support.examples import examples

LINES = "layout: a\ntext: {as: lines}\n"
CSV = "layout: a\ntext: {as: csv, key: Id}\n"


def format_of(yaml: str) -> TextFormat:
    return TextFormat(read_layout(read(yaml, "a.yaml")))


def parsed(yaml: str, text: str | bytes, **options: tuple[str, ...]) -> Parsed:
    payload = text if isinstance(text, bytes) else text.encode()
    return format_of(yaml).parse(payload, FormatOptions(**options))  # type: ignore[arg-type] # only charsets are given


def records(yaml: str, text: str | bytes, **options: tuple[str, ...]) -> list[str]:
    """The records between H and L as E1394 writes them."""
    return ["|".join(segment.fields[1:]) for segment in parsed(yaml, text, **options).segments][1:-1]


def refused(yaml: str, text: str | bytes) -> ContentError:
    with pytest.raises(ContentError) as caught:
        parsed(yaml, text)
    return caught.value


# -- pieces and rules ----------------------------------------------------------------------------------------------


def test_lines_by_regular_expression() -> None:
    rules = """
rules:
  - {line: "ID (?P<id>.*)", set: {O-3: "{id}"}}
  - {line: "(?P<test>[A-Z]+) = (?P<value>.*)", new: R, set: {R-3: "{test}", R-4: "{value}"}}
"""
    assert records(LINES + rules, "ID  S1 \r\n\r\nNA = 131\r\nK = 4.1") == ["O|1|S1", "R|1|NA|131", "R|2|K|4.1"]


def test_fixed_columns() -> None:
    rules = """
rules:
  - {begins: R, columns: {test: 2-5, value: 6-10, flag: 11, rest: 12-}, new: R,
     set: {R-3: "{test}", R-4: "{value}", R-7: "{flag}", R-14: "{rest}"}}
"""
    assert records(LINES + rules, "RWBC   5.1H and more\rRHGB 12.3") == [
        "R|1|WBC|5.1|||H|||||||and more",
        "R|2|HGB|12.3",
    ]


def test_several_results_in_a_line() -> None:
    rules = """
rules:
  - {find: "(?P<test>Na|K) +(?P<value>[0-9.]+)", new: R, set: {R-3: "{test}", R-4: "{value}"}}
  - {find: "#(?P<id>[0-9]+)", set: {O-3: "{id}"}}
"""
    made = parsed(LINES + rules, "#12 Na 131 ?? K 4.1")
    assert ["|".join(one.fields[1:]) for one in made.segments][1:-1] == [
        "O|1|12",
        "R|1|Na|131",
        "M|1|unread|line 1, character 12|??",
        "R|2|K|4.1",
    ]
    assert [(issue.code, issue.place) for issue in made.warnings] == [("unread", "line 1, character 12")]


def test_tagged_fields() -> None:
    layout = 'layout: a\ntext: {as: fields, separator: ";", until: "="}\n'
    rules = """
rules:
  - {tag: t, new: R, set: {R-3: "{value}"}}
  - {tag: v, value: "(?P<n>[0-9.]+) ?(?P<u>.*)", set: {R-4: "{n}", R-5: "{u}"}}
  - {tag: v, set: {R-4: "{value}"}}
"""
    assert records(layout + rules, "t=GLU;v=5.4 mmol/L;t=ALB;v=low;") == ["R|1|GLU|5.4|mmol/L", "R|2|ALB|low"]


def test_sections_tell_lines_that_look_alike_apart_and_a_range_goes_to_its_result() -> None:
    rules = """
rules:
  - {line: Results, section: results}
  - {line: Ranges, section: ranges}
  - {in: results, line: "(?P<t>.+) (?P<v>[0-9.]+)", new: R, set: {R-3.4: "{t}", R-4: "{v}"}}
  - {in: ranges, line: "(?P<t>.+) (?P<r>[0-9.-]+)", amend: {R-3.4: "{t}"}, set: {R-6: "{r}"}}
"""
    made = parsed(LINES + rules, "Results\npH 7.4\nNa 140\nRanges\nNa 135-145\nCl 90-100")
    assert ["|".join(one.fields[1:]) for one in made.segments][1:-1] == [
        "R|1|^^^pH|7.4",
        "R|2|^^^Na|140||135-145",
        "M|1|unread|line 6|Cl 90-100",  # a range without a result
    ]


def test_rules_for_controls() -> None:
    rules = """
rules:
  - {line: "ID (?P<id>.*)", if: {id: "QC.*"}, set: {O-3: "{id}", O-12: Q}}
  - {line: "ID (?P<id>.*)", set: {O-3: "{id}"}}
"""
    assert records(LINES + rules, "ID QC1") == ["O|1|QC1|||||||||Q"]
    assert records(LINES + rules, "ID 17") == ["O|1|17"]


def test_values_that_are_remembered_belong_to_the_record_that_is_open() -> None:
    rules = """
rules:
  - {line: "at (?P<at>.*)", remember: {at: "{at}"}}
  - {line: "test (?P<t>.*)", new: R, set: {R-3: "{t}"}}
  - {line: "by (?P<by>.*)", remember: {by: "{by}"}}
  - {at_end_of: R, set: {R-11: "{by}", R-13: "{at}"}}
"""
    text = "at 10:15\ntest A\nby XY\ntest B"
    assert records(LINES + rules, text) == ["R|1|A||||||||XY||10:15", "R|2|B||||||||||10:15"]


@pytest.mark.parametrize(
    ("at", "sent"),
    [
        ("01.03.2026 10:15", "202603011015"),
        ("1.3.2026", "20260301"),
        ("2026/03/01 10:15:30", "20260301101530"),
        ("soon", "soon"),
        ("31.02.2026", "31.02.2026"),
    ],
)
def test_times_are_as_exact_as_they_were_written(at: str, sent: str) -> None:
    rules = """
rules:
  - {line: "(?P<at>.*)", set: {O-8: {take: "{at}", time: ["%d.%m.%Y %H:%M", "%d.%m.%Y", "%Y/%m/%d %H:%M:%S"]}}}
"""
    made = parsed(LINES + rules, at)
    assert made.segments[1].fields[8] == sent
    assert [issue.code for issue in made.warnings] == (["unreadable-time"] if at == sent else [])


def test_words_are_replaced_and_a_new_word_is_kept_and_told() -> None:
    rules = """
rules:
  - {line: "(?P<m>.*)", new: R, set: {R-3: x, R-7: {take: "{m}", words: {"+": H, "-": L}}}}
"""
    made = parsed(LINES + rules, "+\n-\n*")
    assert [one.fields[7] for one in made.segments if one.name == "R"] == ["H", "L", "*"]
    assert [(issue.code, issue.place) for issue in made.warnings] == [("unknown-word", "line 3")]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("0,12", "0.12"),
        ("<0,1", "<0.1"),
        ("-1,5", "-1.5"),
        ("1.234,5", "1.234,5"),
        ("positiv, schwach", "positiv, schwach"),
        ("5.4", "5.4"),
    ],
)
def test_a_decimal_comma_in_a_number_alone(value: str, sent: str) -> None:
    rules = 'decimal: ","\nrules:\n  - {line: "(?P<v>.*)", new: R, set: {R-3: x, R-4: "{v}", R-6: "{v}"}}\n'
    assert records(LINES + rules, value) == [f"R|1|x|{sent}||{sent}"]


def test_a_point_that_may_group_thousands_is_told() -> None:
    rules = 'decimal: ","\nrules:\n  - {line: "(?P<v>.*)", new: R, set: {R-3: x, R-4: "{v}"}}\n'
    made = parsed(LINES + rules, "1.234\n5.4\n0,123")
    assert [(issue.code, issue.place) for issue in made.warnings] == [("unclear-point", "line 1")]


def test_delimiters_in_values_are_escaped_and_come_out_as_they_were() -> None:
    rules = 'rules:\n  - {line: "(?P<v>.*)", new: R, set: {R-3.4: "{v}", R-4: "{v}"}}\n'
    made = parsed(LINES + rules, "a|b^c&d\\e")
    assert made.segments[1].fields[4] == "a&F&b&S&c&E&d&R&e"
    assert made.segments[1].fields[3] == "^^^a&F&b&S&c&E&d&R&e"


# -- what is not there, and what is not known ----------------------------------------------------------------------


NEEDS = """
required: [O-3, R-4]
rules:
  - {line: "ID (?P<id>.*)", set: {O-3: "{id}"}}
  - {line: "R ?(?P<v>.*)", new: R, set: {R-3: x, R-4: "{v}"}}
  - {line: Short sample, no_result: true}
"""


@pytest.mark.parametrize(
    ("text", "detail", "place"),
    [
        ("R 5", "O[1]-3 is missing (required in a.yaml:4)", "line 1"),
        ("ID 1", "there is no R record (required in a.yaml:4)", ""),
        ("ID 1\nR 5\nR ", "R[2]-4 is missing (required in a.yaml:4)", "line 3"),
        ("ID \nR 5", "O[1]-3 is missing (required in a.yaml:4)", "line 2"),
        ("", "there is no O record (required in a.yaml:4)", ""),
    ],
)
def test_a_text_without_what_is_required_is_unreadable(text: str, detail: str, place: str) -> None:
    error = refused(LINES + NEEDS, text)
    assert (error.reason, error.detail, error.place) == (ReasonCode.UNREADABLE, detail, place)


def test_a_text_that_says_that_there_is_no_result_needs_none() -> None:
    assert records(LINES + NEEDS, "Short sample") == []
    assert refused(LINES + NEEDS, "Short sample\nR 5").reason is ReasonCode.UNREADABLE  # unless it has one all the same


def test_what_no_rule_takes_is_kept_or_refuses_the_text() -> None:
    keep = LINES + NEEDS
    assert records(keep, "ID 1\nR 5\nsomething else") == ["O|1|1", "R|1|x|5", "M|1|unread|line 3|something else"]
    error = refused(keep + "unread: refuse\n", "ID 1\nR 5\nsomething else")
    assert (error.reason, error.place) == (ReasonCode.UNREADABLE, "line 3")
    assert "something" not in str(error)


def test_a_rule_can_refuse_a_text() -> None:
    rules = "rules:\n  - {line: ERROR.*, refuse: the analyzer reports an error}\n"
    error = refused(LINES + rules, "ERROR in the sample of A. Kumar")
    assert str(error) == "UNREADABLE at line 1: the analyzer reports an error (rule a.yaml:4)"


def test_two_specimens_in_one_text_are_never_one() -> None:
    rules = """
rules:
  - {line: "ID (?P<id>.*)", set: {O-3: "{id}"}}
  - {line: "R (?P<v>.*)", new: R, set: {R-3: x, R-4: "{v}"}}
"""
    assert "several specimens" in refused(LINES + rules, "ID 1\nR 5\nID 2\nR 6").detail
    each = rules.replace("set: {O-3", "new: O, set: {O-3")
    assert records(LINES + each, "ID 1\nR 5\nID 2\nR 6") == ["O|1|1", "R|1|x|5", "O|2|2", "R|1|x|6"]


def test_what_is_remembered_of_one_specimen_is_never_taken_for_another() -> None:
    rules = """
rules:
  - {line: "PAT (?P<p>.*)", remember: {pat: "{p}"}}
  - {line: "ID (?P<id>.*)", new: O, set: {O-3: "{id}", P-3: "{pat}"}}
  - {line: "R (?P<v>.*)", new: R, set: {R-3: x, R-4: "{v}"}}
"""
    text = "PAT 17\nID 1\nR 5\nPAT 18\nID 2\nR 6"
    error = refused(LINES + rules, text)
    assert (error.place, "another pat is remembered" in error.detail) == ("line 4", True)
    assert records(LINES + rules, text.replace("18", "17"))[0] == "P|1|17"
    begun = rules.replace("remember:", "new: P, remember:")
    assert records(LINES + begun, text) == [
        "P|1|17", "O|1|1", "R|1|x|5", "P|2|18", "O|1|2", "R|1|x|6",
    ]  # fmt: skip


def test_results_without_a_number_are_not_those_of_the_specimen_before() -> None:
    rules = """
rules:
  - {line: "ID(?P<id>.*)", set: {O-3: "{id}"}}
  - {line: "R (?P<v>.*)", new: R, set: {R-3: x, R-4: "{v}"}}
"""
    error = refused(LINES + rules, "ID 1\nR 5\nID\nR 6")
    assert (error.place, "O-3 is empty, and was not before" in error.detail) == ("line 3", True)
    assert records(LINES + rules, "ID\nR 5\nID 1") == ["O|1|1", "R|1|x|5"]
    rows = 'rules:\n  - {new: R, set: {O-3: "{Id}", R-3: x, R-4: "{V}"}}\n'
    assert refused("layout: a\ntext: {as: csv}\n" + rows, "Id,V\n1,5\n,6\n").place == "row 3"


def test_a_result_before_its_specimen_lacks_what_is_required_of_it() -> None:
    """As where the beginning of a text is lost, and the rest holds another specimen."""
    rules = """
required: [O-3]
rules:
  - {line: "ID (?P<id>.*)", new: O, set: {O-3: "{id}"}}
  - {line: "R (?P<v>.*)", new: R, set: {R-3: x, R-4: "{v}"}}
"""
    assert refused(LINES + rules, "R 5\nID 2\nR 6").detail == "O[1]-3 is missing (required in a.yaml:4)"
    assert records(LINES + rules, "ID 1\nR 5\nID 2\nR 6")[0] == "O|1|1"


def test_two_results_are_never_one() -> None:
    rules = """
rules:
  - {line: RESULTS, new: R, set: {R-9: F}}
  - {line: "(?P<t>[A-Z]+) (?P<v>[0-9.]+)", set: {R-3: "{t}", R-4: "{v}"}}
  - {line: "(?P<t>[A-Z]+) corrected (?P<v>.*)", amend: {R-3: "{t}"}, set: {R-4: "{v}"}}
"""
    assert "several results" in refused(LINES + rules, "RESULTS\nNA 131\nK 4.1").detail
    assert "several results" in refused(LINES + rules, "RESULTS\nNA 131\nNA 132").detail
    assert records(LINES + rules, "RESULTS\nNA 131\nNA corrected 132") == ["R|1|NA|132|||||F"]


def test_a_byte_that_a_driver_could_not_read_makes_no_other_number() -> None:
    """A serial driver reads NUL in its place; at the ends of lines NULs are what old printers needed to come back."""
    rules = 'rules:\n  - {line: "(?P<v>[0-9.]+)", new: R, set: {R-3: x, R-4: "{v}"}}\n'
    text = "\0\x001.2\0\r\n\0\x003.4\r\x001\x002\n\0"
    assert records(LINES + rules, text) == ["R|1|x|1.2", "R|2|x|3.4", "M|1|unread|line 3|1\ufffd2"]
    assert refused(LINES + "unread: refuse\n" + rules, text).place == "line 3"


def test_a_value_without_its_result_is_refused() -> None:
    rules = 'rules:\n  - {line: "(?P<v>.*)", set: {R-4: "{v}"}}\n'
    assert refused(LINES + rules, "5").detail == "R-4 without an R record before it (rule a.yaml:4)"


def test_long_lines_and_many_of_them_are_refused() -> None:
    rules = "rules:\n  - {line: .*, skip: true}\n"
    assert refused(LINES + rules, "x" * 4097).reason is ReasonCode.TOO_LARGE
    assert refused(LINES + rules, "x\n" * 10_001).reason is ReasonCode.TOO_LARGE


# -- rows ----------------------------------------------------------------------------------------------------------


WIDE = """
rules:
  - set: {O-3: "{Id}"}
  - {each: '(?P<test>\\S+) \\((?P<unit>.+)\\)', new: R, set: {R-3: "{test}", R-4: "{value}", R-5: "{unit}"}}
"""


def test_a_column_for_each_result() -> None:
    text = "Id,WBC (10*9/L),HGB (g/dL),Operator\n1,5.1,12.3,XY\n2,,11.0,XY\n"
    made = parsed(CSV + WIDE, text)
    assert ["|".join(one.fields[1:]) for one in made.segments][1:-1] == [
        "O|1|1",
        "R|1|WBC|5.1|10*9/L",
        "R|2|HGB|12.3|g/dL",
        "O|1|2",
        "R|1|HGB|11.0|g/dL",
    ]
    assert [(issue.code, issue.place) for issue in made.warnings] == [("unread-column", "column 4")]


def test_rows_without_a_header() -> None:
    layout = "layout: a\ntext: {as: csv, header: false, delimiter: <TAB>, key: 1}\n"
    rules = 'rules:\n  - {new: R, set: {O-3: "{1}", R-3: "{2}", R-4: "{3}"}}\n'
    assert records(layout + rules, "S1\tNa\t140\nS1\tK\t4\n") == ["O|1|S1", "R|1|Na|140", "R|2|K|4"]


def test_lines_around_the_rows_can_be_left_out() -> None:
    layout = "layout: a\ntext: {as: csv, skip: 2, skip_lines: 'Total.*', key: Id}\n"
    rules = 'rules:\n  - {new: R, set: {O-3: "{Id}", R-3: x, R-4: "{V}"}}\n'
    assert records(layout + rules, "Plate 17\n\nId,V\n1,5\nTotal 1\n") == ["O|1|1", "R|1|x|5"]


QUOTED = 'Id,V,Note\r\n1,5,"a, ""b""\r\nc"\r\n2,6,x\r\n1,7,y\r\n'
LONG = 'rules:\n  - {new: R, set: {O-3: "{Id}", R-3: x, R-4: "{V}", R-14: "{Note}"}}\n'


def test_a_file_is_split_by_its_key_and_reads_the_same_as_the_whole() -> None:
    reads = format_of(CSV + LONG)
    parts = reads.split(QUOTED.encode())
    assert parts == [
        b'Id,V,Note\r\n1,5,"a, ""b""\r\nc"\r\n1,7,y\r\n',
        b"Id,V,Note\r\n2,6,x\r\n",
    ]
    whole = records(CSV + LONG, QUOTED)
    assert [line for part in parts for line in records(CSV + LONG, part)] == whole
    assert whole[1] == 'R|1|x|5||||||||||a, "b"&X0D&&X0A&c'


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "cp1252"])
def test_files_of_spreadsheets_in_their_character_sets(codec: str) -> None:
    reads = format_of(CSV + LONG)
    sent = "Id,V,Note\r\n1,5,é\r\n2,6,ü".encode(codec)
    notes = []
    for part in reads.split(sent):
        made = reads.parse(part, FormatOptions(charsets=("utf-8", "cp1252")))
        notes += [one.fields[14] for one in made.segments if one.name == "R"]
    assert notes == ["é", "ü"]


def test_a_row_that_no_rule_knows_is_kept_or_refuses_the_text() -> None:
    rules = """
rules:
  - {set: {O-3: "{Id}"}}
  - {if: {V: "[0-9]+"}, new: R, set: {R-3: x, R-4: "{V}"}}
"""
    text = "Id,V\n1,5\n1,?\n"
    made = parsed(CSV + rules, text)
    assert [(issue.code, issue.place) for issue in made.warnings] == [("unread", "row 3")]
    assert records(CSV + rules, text)[2:] == ["M|1|unread|row 3|1,?"]
    assert refused(CSV + "unread: refuse" + rules, text).place == "row 3"
    known = rules + '  - {if: {V: "[?]"}, skip: true}\n'
    assert records(CSV + "unread: refuse" + known, text) == ["O|1|1", "R|1|x|5"]


@pytest.mark.parametrize("codec", ["utf-8", "cp1252"])
def test_a_mark_before_a_quoted_header_is_no_part_of_it(codec: str) -> None:
    """As chemistry middleware exports: the mark of UTF-8, whatever the channel says, and sometimes not even UTF-8."""
    reads = format_of(CSV + LONG)
    parts = reads.split(codecs.BOM_UTF8 + '"Id","V","Note"\r\n"1","5","é"\r\n"2","6","ü"\r\n'.encode(codec))
    made = [reads.parse(part, FormatOptions(charsets=("cp1252",))) for part in parts]
    assert [one.fields[14] for each in made for one in each.segments if one.name == "R"] == ["é", "ü"]


@pytest.mark.parametrize(
    ("text", "detail", "place"),
    [
        ("Nr,V,Note\n1,5,x\n", "the header has no column Id", "row 1"),
        ("Id,V,V,Note\n1,5,5,x\n", "the header names a column twice", "row 1"),
        ("Id,V,Note\n1,5\n", "2 cells, and the header names 3 columns", "row 2"),
        ("Id,V,Note\n1,5,x,y\n", "4 cells, and the header names 3 columns", "row 2"),
        ('Id,V,Note\n1,5,"x\n', "no readable CSV: unexpected end of data", "row 2"),
        ("", "there is no row with the names of the columns", ""),
    ],
)
def test_damaged_rows_are_unreadable(text: str, detail: str, place: str) -> None:
    error = refused(CSV + LONG, text)
    assert (error.reason, error.detail, error.place) == (ReasonCode.UNREADABLE, detail, place)


def test_a_last_row_without_its_line_end_is_told() -> None:
    made = parsed(CSV + LONG, "Id,V,Note\n1,5,x\n1,6,12")
    assert [(issue.code, issue.place) for issue in made.warnings] == [("no-line-end", "last row")]


CELL = st.text(st.characters(codec="ascii", exclude_characters="\x00\r\n\"',"), max_size=6)


@given(rows=st.lists(st.tuples(st.sampled_from("123"), st.integers(0, 99), CELL), min_size=1, max_size=12))
@settings(max_examples=examples(100))
def test_every_row_comes_out_under_its_own_key(rows: list[tuple[str, int, str]]) -> None:
    text = "Id,V,Note\n" + "".join(f"{key},{value},{note}\n" for key, value, note in rows)
    reads = format_of(CSV + LONG)
    found = []
    for part in reads.split(text.encode()):
        key = ""
        for segment in reads.parse(part, FormatOptions()).segments:
            if segment.name == "O":
                key = segment.fields[3]
            if segment.name == "R":
                found.append((key, segment.fields[4]))
    order = list(dict.fromkeys(key for key, *_ in rows))
    assert found == [(key, str(value)) for one in order for key, value, _ in rows if key == one]


# -- whatever comes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", layout_files(None))
@given(data=st.binary(max_size=200))
@settings(max_examples=examples(100))
def test_any_bytes_are_read_or_refused(name: str, data: bytes) -> None:
    reads = TextFormat(load_layout(layout_files(None)[name], name))
    for part in reads.split(data):
        assert reads.header(part).problem == ""
        with contextlib.suppress(ContentError):
            made = reads.parse(part, FormatOptions())
            assert not [one for one in made.segments if one.name == "R"]


REPORT = b"""--- Siemens Diagnostics  348 ---
Blood Gas Report
348-D718  12:58    20 Nov 2019
Sample No.   1386      Syringe
Patient  ID    000008233
Measured      37 'C
  pH          7.973^
  Na+           134    mmol/L
^ ,v  = outside ref. range
Reference Ranges
  pH          7.350 - 7.450
Calculated Data
  AnGap        22.6    mmol/L
--------------------------------
"""


@given(st.integers(0, len(REPORT) - 1), st.integers(0, 255))
@settings(max_examples=examples(400))
def test_a_report_with_a_wrong_byte_names_no_other_test_and_loses_no_result_silently(at: int, byte: int) -> None:
    """Without a checksum a digit can become another one; everything else is refused or warned about."""
    name = "siemens-rapidlab-348"
    reads = TextFormat(load_layout(layout_files(None)[name], name))
    right = _results(reads, REPORT)
    damaged = REPORT[:at] + bytes([byte]) + REPORT[at + 1 :]
    try:
        found = _results(reads, damaged)
    except ContentError:
        return
    assert len(found) == len(right)
    changed = [(one, other) for one, other in zip(found, right, strict=True) if one != other]
    assert len(changed) <= 1


def _results(reads: TextFormat, data: bytes) -> list[tuple[str, ...]]:
    (part,) = reads.split(data)
    made = reads.parse(part, FormatOptions())
    return [tuple(one.fields[3:5]) for one in made.segments if one.name == "R"]


# -- what is wrong with a layout -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("yaml", "problem"),
    [
        ("text: {as: lines}\nrules: []\n", "1:1: layout is missing; add layout: the layout's name"),
        (
            "layout: a\nrules: []\n",
            "1:1: text is missing; add text: how a text is cut into pieces, as text: {as: lines}",
        ),
        ("layout: a\ntext: {as: lines}\n", "1:1: rules is missing; add rules: a list of rules"),
        ("layout: a\ntext: {as: line}\nrules: []\n", "2:12: expected lines, fields or csv; did you mean lines?"),
        (LINES + "rule: []\nrules: []\n", "3:1: unknown key 'rule'; did you mean rules?"),
        (LINES + "rules:\n  - {line: 'x(', skip: true}\n", "4:13: not a regular expression of Python: "),
        (LINES + "rules:\n  - {line: x}\n", "4:5: does nothing; give one of set, remember, "),
        (LINES + "rules:\n  - {skip: true}\n", "4:5: says nothing about what it takes; give line, find, "),
        (LINES + "rules:\n  - {tag: x, skip: true}\n", "4:11: tag is not for this kind of text; use line or find "),
        (
            LINES + "rules:\n  - {line: x, find: y, skip: true}\n",
            "4:5: a rule takes one kind of piece; line and find are",
        ),
        (
            LINES + 'rules:\n  - {line: x, set: {O-3: "{id}"}}\n',
            "4:27: nothing is called 'id' here; name it as (?P<name>",
        ),
        (
            LINES + 'rules:\n  - {line: "(?P<idd>x)", set: {O-3: "{id}"}}\n',
            "4:38: nothing is called 'id' here; did you mean idd?",
        ),
        (LINES + "rules:\n  - {line: x, set: {O-2: y}}\n", "4:21: expected a field from 3 to 60; fields 1 and 2 are"),
        (
            LINES + "rules:\n  - {line: x, set: {X-3: y}}\n",
            "4:21: expected a field of an E1394 record, as O-3 or R-3.4",
        ),
        (
            LINES + "rules:\n  - {line: x, set: {O-3: {id}}}\n",
            '4:26: expected a text, as "{name}" with quotes around it',
        ),
        (LINES + 'rules:\n  - {line: x, set: {O-3: "{"}}\n', "4:27: a brace without its partner; write {{ or }}"),
        (LINES + "rules:\n  - {line: x, set: {C-4: y}}\n", "4:21: C-4 needs new: C in the same rule"),
        (LINES + "rules:\n  - {line: x, new: H}\n", "4:20: expected P, O, R, C or M"),
        (LINES + "rules:\n  - {line: x, in: y, skip: true}\n", "4:19: no rule begins a section 'y'"),
        (LINES + "rules:\n  - {line: x, skip: yes}\n", "4:21: expected true; leave it out where it does not hold"),
        (LINES + "rules:\n  - {columns: {a: 0-3}, skip: true}\n", "4:19: expected the first character, from 1"),
        (
            LINES + "rules:\n  - {line: x, set: {O-8: {take: y, time: yyyy}}}\n",
            "4:42: expected the parts of a time, as %d/%m/%Y %H:%M",
        ),
        (
            LINES + "rules:\n  - {line: x, set: {R-13: {take: y, time: '%H:%M'}}}\n",
            "4:44: a time without day, month and year would become one of 1900; put date and time together",
        ),
        (
            LINES + "rules:\n  - {line: x, set: {O-8: {take: y, time: '%d.%m.%Y %I:%M'}}}\n",
            "4:43: %I is an hour of 1 to 12, and needs %p",
        ),
        (LINES + "framing: {start: <STX>}\nrules: []\n", "3:10: give one of end, idle and lines: what ends a text"),
        (
            LINES + "framing: {end: <STXX>}\nrules: []\n",
            "3:16: no control character is called <STXX>; write it as <STX>",
        ),
        (LINES + "framing: {start: '==', end: '='}\nrules: []\n", "3:19: start holds the end bytes"),
        (
            LINES + "framing: {end: <ETX>, checksum: {kind: crc}}\nrules: []\n",
            "3:40: expected sum, negated-sum or xor",
        ),
        (LINES + "framing: {start: <STX>, lines: 3, checksum: {}}\nrules: []\n", "3:45: a checksum needs end bytes"),
        (
            LINES + "framing: {lines: 3}\nrules: []\n",
            "3:18: lines needs start; else a text that lost a line would end in",
        ),
        (
            LINES + "framing: {end: <ETX>, checksum: {place: before, written: byte}}\nrules: []\n",
            "3:58: a byte before the end bytes could be an end byte itself; only hex can be",
        ),
        (
            LINES + "framing: {end: <ETX>, replies: {A: <ACK>}}\nrules: []\n",
            "3:33: expected one control byte, as <ENQ>",
        ),
        (LINES + "framing: {end: <ETX>, answer: {bad: <NAK>}}\nrules: []\n", "3:31: answer needs good: what the "),
        (LINES + "framing: {idle: 2h}\nrules: []\n", "3:17: expected a time of up to an hour, as 500ms, 2s or 5m"),
        (
            LINES + "framing: {start: STX, end: <ETX>}\nrules: []\n",
            "3:18: this is the text STX, letter by letter; for the control character write <STX>",
        ),
        (
            LINES + "framing: {end: 0x03}\nrules: []\n",
            "3:16: this is the text 0x03, letter by letter; for the control character write <0x03>",
        ),
        (LINES + "rules:\n  - {line: x, value: y, skip: true}\n", "4:22: value goes with tag"),
        (CSV + "rules:\n  - {columns: {a: 1-2}, skip: true}\n", "4:15: columns is not for this kind of text; use each"),
        (
            "layout: a\ntext: {as: csv, delimiter: ;, quote: ;}\nrules: []\n",
            "2:38: delimiter and quote are two characters",
        ),
        (
            LINES + 'rules:\n  - {line: "\\d+", skip: true}\n',
            "4:13: not readable as YAML: found unknown escape character",
        ),
        (LINES + "required: [O]\nrules: []\n", "3:12: expected a field of an E1394 record"),
        ("layout: a\ntext: {as: fields, separator: ;}\nrules: []\n", "2:7: give tag: how many characters, or until"),
        ("layout: a\ntext: {as: csv, delimiter: ab}\nrules: []\n", "2:28: expected one character, as ; or <TAB>"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(yaml: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_layout(read(yaml, "a.yaml"))
    assert caught.value.problems[0].startswith(f"a.yaml:{problem}"), caught.value.problems


def test_all_problems_are_said_at_once() -> None:
    yaml = "layout: a\ntext: {as: lines}\nx: 1\nrules:\n  - {line: '('}\n  - {set: {Q-1: a}}\n"
    with pytest.raises(ConfigError) as caught:
        read_layout(read(yaml, "a.yaml"))
    assert [re.match(r"a.yaml:(\d+)", problem)[1] for problem in caught.value.problems] == ["3", "5", "5", "6", "6"]  # type: ignore[index] # each begins so


def test_a_copy_under_another_name_is_not_taken_for_the_first(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("layouts") / "b.yaml"
    path.write_text(LINES + "rules: []\n")
    with pytest.raises(ConfigError, match=r"b\.yaml:1:9: the file is for layout: b; write that, or rename the file"):
        load_layout(path, "b")
