"""JSON to a tree: every digit is kept, what two readers could read as two things is refused, and nothing else fails."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs import json_tree
from adapters.codecs.json_tree import MAX_DEPTH, Digits, build, path_of, read, text_at, values_at
from engine.model.errors import ContentError
from engine.model.message import FormatOptions, Header
from engine.model.texts.reasons import ReasonCode

OPTIONS = FormatOptions()
SAFE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | SAFE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SAFE, inner, max_size=4),
    max_leaves=20,
)


def digits(value: Any) -> Any:
    """As the codec gives it: numbers are the text that was sent."""
    if isinstance(value, dict):
        return {name: digits(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [digits(inner) for inner in value]
    return Digits(value) if isinstance(value, int) and not isinstance(value, bool) else value


@given(st.lists(TREES, max_size=3) | st.dictionaries(SAFE, TREES, max_size=3), st.booleans(), st.booleans())
def test_what_was_written_is_read(tree: Any, ascii_only: bool, marked: bool) -> None:
    text = json.dumps(tree, ensure_ascii=ascii_only)
    payload = (b"\xef\xbb\xbf" if marked else b"") + text.encode()
    assert read(payload) == (digits(tree), [])


@given(st.lists(TREES, max_size=3) | st.dictionaries(SAFE, TREES, max_size=3))
def test_what_was_read_is_written_as_it_was_sent(tree: Any) -> None:
    text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
    assert json_tree.write(read(text.encode())[0]) == text.encode()


@given(st.binary(max_size=200) | st.text('[]{}",:0-.eE\\untrfalse \ud7ff', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_with_a_reason(payload: bytes) -> None:
    made: Any = build(SimpleNamespace(format="json", control_id="$.id", message_type="$.type"))
    assert isinstance(made.header(payload), Header)
    assert made.split(payload) == [payload]
    reason = None
    try:
        parsed = made.parse(payload, OPTIONS)
    except ContentError as error:
        reason = error.reason
    else:
        assert isinstance(parsed.tree, dict | list)
        assert (parsed.format, parsed.structure, parsed.segments) == ("json", "json", [])
    assert reason in (None, ReasonCode.UNREADABLE, ReasonCode.UNKNOWN_CHARSET, ReasonCode.TOO_LARGE)


@pytest.mark.parametrize("number", ["148.50", "1e3", "-0", "0.1000000000000000055", "9" * 5000, "1E+400", "-0.0e-7"])
def test_a_number_keeps_its_digits(number: str) -> None:
    tree, _ = read(b'{"n": %s, "t": "%s"}' % (number.encode(), number.encode()))
    assert tree == {"n": number, "t": number}
    assert isinstance(tree["n"], Digits)
    assert not isinstance(tree["t"], Digits)
    assert json_tree.write(tree) == b'{"n":%s,"t":"%s"}' % (number.encode(), number.encode())


def test_each_character_is_written_as_json_has_it() -> None:
    every = "".join(map(chr, (*range(0x20), *range(0x7F, 0xD800), *range(0xE000, 0x11_0000))))
    assert json_tree.write([every]) == json.dumps([every], ensure_ascii=False).encode()


def test_a_value_that_no_reader_makes_is_not_written() -> None:
    with pytest.raises(TypeError):
        json_tree.write([type("Word", (str,), {})("1")])


REFUSED: dict[str, tuple[bytes, ReasonCode]] = {
    "nothing": (b"", ReasonCode.UNREADABLE),
    "a number alone": (b"1", ReasonCode.UNREADABLE),
    "a text alone": (b'"a"', ReasonCode.UNREADABLE),
    "a name twice": (b'{"a": 1, "b": {"c": 1, "c": 1}}', ReasonCode.UNREADABLE),
    "a name twice, escaped": (b'{"a": 1, "\\u0061": 1}', ReasonCode.UNREADABLE),
    "names that would be one": (b'{"\\u0001": 1, "\\u0002": 1}', ReasonCode.UNREADABLE),
    "NaN": (b"[NaN]", ReasonCode.UNREADABLE),
    "Infinity": (b"[-Infinity]", ReasonCode.UNREADABLE),
    "a leading zero": (b"[01]", ReasonCode.UNREADABLE),
    "a comma too many": (b"[1,]", ReasonCode.UNREADABLE),
    "a comment": (b"[1] // x", ReasonCode.UNREADABLE),
    "two documents": (b"{}{}", ReasonCode.UNREADABLE),
    "a tab in a text": (b'["\t"]', ReasonCode.UNREADABLE),
    "cut short": (b'{"a": [1, 2', ReasonCode.UNREADABLE),
    "HL7": (b"MSH|^~\\&|", ReasonCode.UNREADABLE),
    "latin-1": ('["Müller"]'.encode("latin-1"), ReasonCode.UNKNOWN_CHARSET),
    "UTF-16": ("[1]".encode("utf-16"), ReasonCode.UNKNOWN_CHARSET),
    "a surrogate in bytes": (b'["\xed\xa0\x80"]', ReasonCode.UNKNOWN_CHARSET),
    "too deep": (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), ReasonCode.TOO_LARGE),
    "far too deep": (b"[" * 100_000 + b"]" * 100_000, ReasonCode.TOO_LARGE),
    "far too deep objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, ReasonCode.TOO_LARGE),
    "too many values": (b"[" + b"1," * json_tree.MAX_VALUES + b"1]", ReasonCode.TOO_LARGE),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_sound_json_is_refused_without_a_word_of_it(name: str) -> None:
    payload, reason = REFUSED[name]
    with pytest.raises(ContentError) as caught:
        json_tree.parse(payload, OPTIONS)
    assert caught.value.reason is reason
    assert "ller" not in str(caught.value)
    assert json_tree.header(payload) == Header()


def test_the_deepest_and_the_largest_that_are_taken() -> None:
    read(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    tree, _ = read(b"[" + b"1," * (json_tree.MAX_VALUES - 1) + b"1]")
    assert len(tree) == json_tree.MAX_VALUES


def test_characters_that_no_document_may_hold_are_replaced_and_said() -> None:
    tree, warnings = read(b'{"a\\u0000": "x\\u0007\\ud800\\n\\ud83d\\ude00", "n": 1, "l": [null, true]}')
    assert tree == {"a\ufffd": "x\ufffd\ufffd\n\U0001f600", "n": "1", "l": [None, True]}
    assert [warning.code for warning in warnings] == ["CONTROL_CHARACTER"]


# -- paths and headers -----------------------------------------------------------------------------------------------

TREE = {"a": {"b-c": [{"d e": " x "}, Digits("1.50"), True, False, None, {}]}}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("$.a['b-c'][0]['d e']", "x"),
        ("$['a']['b-c'][1]", "1.50"),
        ("$.a['b-c'][2]", "true"),
        ("$.a['b-c'][3]", "false"),
        ("$.a['b-c'][4]", ""),
        ("$.a['b-c'][5]", ""),
        ("$.a['b-c'][6]", ""),
        ("$.a['b-c']", ""),
        ("$.a[0]", ""),
        ("$[0]", ""),
        ("$.a['b-c'].d", ""),
        ("$.A", ""),
        ("$", ""),
    ],
)
def test_a_path_reads_one_value(path: str, text: str) -> None:
    assert text_at(TREE, path_of(path)) == text


@pytest.mark.parametrize("path", ["", "a.b", "@.a", "$.", "$.a.", "$.a[", "$.b-c", "$..a", "$.a[-1]", "$['']", "$.1"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"expected a path, as \$\.payload\.id"):
        path_of(path)


def test_the_header_of_json_is_where_the_channel_says() -> None:
    made: Any = build(SimpleNamespace(format="json", control_id="$.event.id", message_type="$.event.kind"))
    payload = b'{"event": {"id": 4711, "kind": "payment.captured"}}'
    assert made.header(payload) == Header(control_id="4711", message_type="payment.captured")
    parsed = made.parse(payload, OPTIONS)
    assert (parsed.control_id, parsed.message_type) == ("4711", "payment.captured")
    assert values_at(parsed.tree, path_of("$.event[*]")) == []
    assert made.header(b'{"event": {"kind": "Rao Asha, born 1980"}}') == Header()  # no type: it is not shown
    for person in (b"91-2345-6789-0123", b"1980-03-01", b"MRN:0012345", b"9812345678"):
        assert made.header(b'{"event": {"kind": "%s"}}' % person) == Header()
    for kind in (b"ORU^R01", b"20001", b"urn:lab/result.v2", b"cmd-123456"):
        assert made.header(b'{"event": {"kind": "%s"}}' % kind).message_type == kind.decode()
    assert made.header(b'{"event": {"id": "%s"}}' % (b"x" * 300)).control_id == "x" * 199
    assert made.header(b" " * json_tree.HEADER_BYTES + payload) == Header()
    plain: Any = build(SimpleNamespace(format="json", control_id=None, message_type=None))
    assert plain.header(payload) == Header()


def test_the_header_of_fhir_is_its_own() -> None:
    made: Any = build(SimpleNamespace(format="fhir", control_id=None, message_type=None))
    bundle = b'{"resourceType": "Bundle", "identifier": {"value": "B7"}, "timestamp": "2026-03-01T10:15:30.5+05:30"}'
    assert made.header(bundle) == Header(control_id="B7", message_type="Bundle", sent="20260301101530")
    patient = b'{"resourceType": "Patient", "id": "7", "identifier": [{"value": "MRN7"}]}'
    assert made.header(patient) == Header(message_type="Patient")
