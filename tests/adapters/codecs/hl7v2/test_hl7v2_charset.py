"""Decoding: what MSH-18 says, what the channel allows, and never a guess."""

import pytest

from adapters.codecs.hl7v2.charset import codec_for
from adapters.codecs.hl7v2.message import parse
from engine.model.errors import ContentError
from engine.model.message import FormatOptions, Parsed
from engine.model.texts.reasons import ReasonCode


def message(declared: str, name: str) -> str:
    return f"MSH|^~\\&|XN|LAB|||20260301||ORU^R01|1|P|2.5||||||{declared}\rPID|1||7||{name}\rOBR|1\r"


def name_of(parsed: Parsed) -> str:
    return parsed.segments[1].fields[5]


@pytest.mark.parametrize(
    ("declared", "codec", "name"),
    [
        ("", "utf-8", "शर्मा"),
        ("ASCII", "utf-8", "Müller"),
        ("UNICODE UTF-8", "utf-8", "शर्मा"),
        ("unicode  utf-8", "utf-8", "शर्मा"),
        ("UTF-8", "utf-8", "शर्मा"),
        ("UNICODE UTF-8~8859/1", "utf-8", "शर्मा"),
        ("8859/1", "iso8859-1", "Müller"),
        ("8859/2", "iso8859-2", "Dvořák"),
        ("8859/5", "iso8859-5", "Иванов"),
        ("8859/7", "iso8859-7", "Παππάς"),
        ("8859/9", "iso8859-9", "Işık"),
        ("8859/15", "iso8859-15", "Œuvre"),
        ("GB 18030-2000", "gb18030", "王"),
        ("BIG-5", "big5hkscs", "王"),
        ("KS X 1001", "euc_kr", "김"),
        ("ISO IR87", "iso2022_jp_2", "山田"),
        ("~ISO IR87", "iso2022_jp_2", "山田"),
        ("ASCII~ISO IR87", "iso2022_jp_2", "山田"),
        ("ISO IR6~ISO IR14~ISO IR87", "iso2022_jp_2", "山田"),
        ("ASCII~8859/1", "utf-8", "Müller"),
        ("~ISO IR87", "utf-8", "山田"),  # no escapes are in it
        ("CP1252", "cp1252", "O’Hara"),
        ("UNICODE", "utf-8", "王"),  # MSH is plainly 8-bit: analyzers mean UTF-8
    ],
)
def test_declared_sets(declared: str, codec: str, name: str) -> None:
    parsed = parse(message(declared, name).encode(codec), FormatOptions())
    assert name_of(parsed) == name
    assert parsed.charset == codec
    assert parsed.warnings == []


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("declared", ["", "UNICODE", "UNICODE UTF-16"])
def test_wide_sets(codec: str, mark: str, declared: str) -> None:
    parsed = parse((mark + message(declared, "शर्मा")).encode(codec), FormatOptions())
    assert name_of(parsed) == "शर्मा"
    assert parsed.charset == codec


def test_a_declaration_that_the_bytes_contradict_is_a_warning() -> None:
    for payload in (message("UNICODE UTF-16", "x").encode(), message("8859/1", "x").encode("utf-16-le")):
        assert [issue.code for issue in parse(payload, FormatOptions()).warnings] == ["CHARSET_CONTRADICTED"]


def test_the_list_of_the_channel_is_tried_in_order_and_a_later_one_flagged() -> None:
    options = FormatOptions(charsets=("utf-8", "cp1252"))
    assert parse(message("", "Müller").encode(), options).warnings == []
    parsed = parse(message("", "Müller").encode("cp1252"), options)
    assert name_of(parsed) == "Müller"
    assert [issue.code for issue in parsed.warnings] == ["CHARSET_FALLBACK"]


@pytest.mark.parametrize(
    ("payload", "charsets"),
    [
        (message("UNICODE UTF-8", "Müller").encode("latin-1"), ("utf-8", "cp1252")),  # declared wrong: no fallback
        (message("", "Müller").encode("latin-1"), ("utf-8",)),
        (message("UNICODE", "Müller").encode("latin-1"), ("utf-8", "cp1252")),
        (
            message("UNICODE", "王小明").encode().replace(b"\x98\x8e", b"\x98"),
            ("cp1252", "gb18030"),
        ),  # cut
        (message("ISO IR6", "Müller").encode(), ("utf-8",)),
        (message("CNS 11643-1992", "x").encode(), ("utf-8",)),
        (message("JAS2020", "x").encode(), ("utf-8",)),
        (message("KLINGON", "x").encode(), ("utf-8",)),
        (message("8859/10", "x").encode(), ("utf-8",)),
        (message("", "x").encode(), ("no such codec",)),
        (message("", "x").encode(), ("zlib",)),
        (message("", "xy").encode(), ("utf-16-le",)),
        (message("", "x").encode(), ()),
    ],
)
def test_what_cannot_be_decoded_is_dead_and_never_guessed(payload: bytes, charsets: tuple[str, ...]) -> None:
    with pytest.raises(ContentError) as caught:
        parse(payload, FormatOptions(charsets=charsets))
    assert caught.value.reason is ReasonCode.UNKNOWN_CHARSET


def test_an_error_holds_no_content() -> None:
    with pytest.raises(ContentError) as caught:
        parse(message("UNICODE UTF-8", "Müller").encode("latin-1"), FormatOptions())
    assert "ller" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_names_that_mean_the_list_of_the_channel() -> None:
    assert codec_for("") == codec_for(" ") == codec_for('""') == codec_for("ASCII") == ""
