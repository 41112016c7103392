"""Payloads made to cost time or memory: everything here is quick, and a quadratic search would take minutes."""

import contextlib

import pytest

from adapters.codecs.hl7v2.acknowledgement import acknowledge
from adapters.codecs.hl7v2.message import MAX_DELIMITERS, MAX_SEGMENTS, header, parse, split, unescape
from adapters.codecs.hl7v2.mllp import MllpLink, MllpOptions
from engine.model.errors import ContentError
from engine.model.message import Delimiters, FormatOptions
from engine.model.texts.reasons import ReasonCode

MIB = 1 << 20
HEAD = b"MSH|^~\\&|A|B|||1||ORU^R01|1|P|2.5\r"
JOIN = FormatOptions(fixes=frozenset({"unescaped_newlines"}))

pytestmark = pytest.mark.timeout(120)

PAYLOADS = {
    "line ends": HEAD + b"\r\n" * MIB,
    "blanks": b" " * MIB + HEAD + b" " * MIB,
    "blank lines before another message": HEAD + b"\r \t" * MIB + HEAD,
    "tiny segments": HEAD + b"Z01\r" * 9_990,
    "separators": HEAD + b"OBX|" + b"|" * 390_000,
    "one long line of header": b"MSH|^~\\&" + b"|" * MIB,
    "header without end": b"MSH" * MIB,
    "lines without a segment": HEAD + b"OBX|1|TX|A||x\r" + b"text\r" * 9_990,
    "unknown segments": HEAD + b"".join(b"Q%02d|\r" % (number % 100) for number in range(9_990)),
    "notes about a specimen, then results": HEAD + b"OBR|1\rSPM|1\r" + b"NTE|1\r" * 4_990 + b"OBX|1\r" * 4_990,
    "zero bytes": b"\x00" * MIB + HEAD,
    "vertical tabs": HEAD + b"\x0b" * MIB,
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_reading_takes_time_in_proportion(name: str) -> None:
    payload = PAYLOADS[name]
    for part in split(payload)[:3]:
        header(part)
        for options in (FormatOptions(), JOIN):
            with contextlib.suppress(ContentError):
                parse(part, options)
        acknowledge(part, now_text="1", control_id="2")


@pytest.mark.parametrize(
    "filler",
    [
        b"Z01\r" * (MAX_SEGMENTS + 1),
        *(b"PID|1||" + (b"a" + each) * MAX_DELIMITERS for each in (b"|", b"^", b"~", b"&", b"\\T\\")),
    ],
    ids=["segments", "fields", "components", "repetitions", "subcomponents", "escapes"],
)
def test_more_than_any_message_has_is_refused(filler: bytes) -> None:
    with pytest.raises(ContentError) as caught:
        parse(HEAD + filler, FormatOptions())
    assert caught.value.reason is ReasonCode.TOO_LARGE


@pytest.mark.parametrize("text", ["\\", "\\X", "\\Z", "\\.sp ", "\\.sk1", "\\X41", " "])
def test_unescaping_takes_time_in_proportion(text: str) -> None:
    unescape(text * 300_000, Delimiters())
    unescape("\\.sp" + text * 300_000, Delimiters())


@pytest.mark.parametrize("filler", [b"\x1c", b"\x0b", b"\x0b\x00", b"\x0b\r", b"\x1c\x0b", b"\x00", b"x"])
def test_framing_takes_time_in_proportion(filler: bytes) -> None:
    link = MllpLink(MllpOptions(max_message=8 * MIB))
    link.receive(b"\x0bMSH|", 0.0)
    chunk = filler * (65536 // len(filler))
    for _ in range(64):
        link.receive(chunk, 0.0)
    link.closed()


def test_equal_short_fields_of_many_segments_are_one_object() -> None:
    """Of 22,000 results they take 5 MiB; the segments are in the order of the message."""
    lines = [f"OBX|{n}|NM|{n}^{'name' * 9}^L||4.5|mmol/L" for n in range(1, 1501)]
    head = r"MSH|^~\&|A|L|||20260301101530||ORU^R01|M1|P|2.5" + "\rPID|1||P1\rOBR|1|O1|F1|GLU\r"
    segments = parse((head + "\r".join(lines)).encode(), FormatOptions()).segments[3:]
    assert ["|".join(one.fields) for one in segments] == lines
    assert [one.ordinal for one in segments] == list(range(1, 1501))
    assert len({id(one.fields[6]) for one in segments}) == 1
