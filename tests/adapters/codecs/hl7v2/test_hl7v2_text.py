r"""Escape sequences and the parts of a field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.hl7v2.text import MAX_BLANKS, components, escape, repetitions, subcomponents, unescape
from engine.model.message import Delimiters

USUAL = Delimiters()
ODD = Delimiters("^", "~", "|", "$", "@")
NO_ESCAPE = Delimiters("|", "^", "~", "", "")

texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r" + "".join(map(chr, range(0x20))))
    | st.sampled_from("|^~\\&\n$@")
)


@pytest.mark.parametrize(
    ("escaped", "value"),
    [
        ("plain", "plain"),
        (r"Smith\S\Jones", "Smith^Jones"),
        (r"A\T\B \F\ \R\ ", "A&B | ~ "),
        (r"a\E\b", "a\\b"),
        ("\\", "\\"),  # a field that is only a backslash
        (r"tail\E", r"tail\E"),  # not closed before the field ends
        (r"tail\E\ ".strip(), "tail\\"),
        (r"\X41420D\ ".strip(), "AB\n"),
        (r"a\X0D\b\X0A\c\X0D0A\d", "a\nb\nc\nd"),
        (r"\X4\ ".strip(), r"\X4\ ".strip()),  # odd number of digits
        (r"\XZZ\ ".strip(), r"\XZZ\ ".strip()),
        (r"\X\ ".strip(), r"\X\ ".strip()),
        (r"\H\bold\N\ ".strip(), "bold"),
        (r"l1\.br\l2\.BR\l3", "l1\nl2\nl3"),
        (r"a\.sp\b\.sp 2\c\.sp+1\d", "a\nb\n\nc\nd"),
        (r"a\.in+4\b\.ti-2\c\.fi\d\.nf\e", "abcde"),
        (r"a\.ce\b\.sk 3\c", "a\nb   c"),
        (r"\P\ ".strip(), "#"),
        (r"\C2842\x\M243042\ ".strip(), r"\C2842\x\M243042\ ".strip()),
        (r"\Zabc\ x", r"\Zabc\ x"),
        (r"C:\temp\new \T\ old", r"C:\temp\new & old"),
        (r"\E\X09\E\ ".strip(), r"\X09\ ".strip()),  # one pass only
        (r"\E\F\E\ ".strip(), "\\F\\"),
    ],
)
def test_escape_sequences(escaped: str, value: str) -> None:
    assert unescape(escaped, USUAL) == value


def test_bytes_in_the_charset_of_the_message() -> None:
    assert unescape("M\\XFC\\ller", USUAL, "iso8859-1") == "Müller"
    assert unescape("M\\XC3BC\\ller", USUAL, "utf-8") == "Müller"
    assert unescape("\\XCDF5\\", USUAL, "gb18030") == "王"
    assert unescape("\\X41\\", USUAL, "utf-16-le") == "A"
    assert unescape("M\\XFC\\ller", USUAL, "utf-8") == "M\\XFC\\ller"  # no such character: as it stands


def test_what_is_left_as_it_stood_is_noted_once_a_text() -> None:
    for text, noted in [
        ("a\\T\\b", []),
        ("a\\b", ["unknown escape"]),
        ("\\Zx\\ \\Zy\\", ["unknown escape"]),
        ("\\C2842\\", []),
        ("\\XFC\\", ["unknown escape"]),
        ("\\X00\\", ["control character"]),
    ]:
        notes: list[str] = []
        unescape(text, USUAL, "utf-8", notes)
        assert notes == noted, text


def test_control_characters_become_replacement_characters() -> None:
    assert unescape("a\\X00\\b\\X1B\\c\\X09\\d", USUAL) == "a\ufffdb\ufffdc\td"


def test_a_number_from_the_wire_does_not_decide_how_much_memory_we_take() -> None:
    assert len(unescape("\\.sk999999999\\", USUAL)) == MAX_BLANKS
    assert unescape("\\.sk9999999999\\", USUAL) == "\\.sk9999999999\\"


def test_without_an_escape_character_nothing_is_escaped() -> None:
    assert unescape("a\\T\\b", NO_ESCAPE) == "a\\T\\b"
    assert escape("a|b^c~d", NO_ESCAPE) == "a b c d"


def test_other_delimiters_have_the_same_letters() -> None:
    assert unescape("$F$ $S$ $T$ $R$ $E$", ODD) == "^ ~ @ | $"
    assert escape("^ ~ @ | $ \\", ODD) == "$F$ $S$ $T$ $R$ $E$ \\"


def test_line_ends_go_out_as_asked() -> None:
    assert escape("a\r\nb\rc\nd", USUAL) == "a\\.br\\b\\.br\\c\\.br\\d"
    assert escape("a\nb", USUAL, line_break="X0A") == "a\\X0A\\b"


@given(texts, st.sampled_from([USUAL, ODD]))
def test_unescape_reverses_escape(text: str, delimiters: Delimiters) -> None:
    escaped = escape(text, delimiters)
    assert unescape(escaped, delimiters) == text
    for delimiter in (delimiters.field, delimiters.component, delimiters.repetition, delimiters.subcomponent):
        assert delimiter not in escaped


@given(
    st.text(st.sampled_from("\\XFSTREHN.brspk0123AZ+- |"), max_size=40),
    st.sampled_from(["utf-8", "ascii", "utf-16-le", "no such"]),
)
def test_any_text_can_be_unescaped(text: str, charset: str) -> None:
    unescape(text, USUAL, charset, [])


def test_parts_of_a_field() -> None:
    field = "1^A&B~2"
    assert repetitions(field, USUAL) == ["1^A&B", "2"]
    assert components("1^A&B", USUAL) == ["1", "A&B"]
    assert subcomponents("A&B", USUAL) == ["A", "B"]
    assert repetitions("", USUAL) == [""]
    assert subcomponents("A&B", NO_ESCAPE) == ["A&B"]
