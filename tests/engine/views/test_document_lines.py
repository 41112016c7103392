"""A document as lines: the tokens as they were written, each value with its pointer."""

import json

import pytest

from engine.views import document_lines
from engine.views.document_lines import Line, lines_of


def test_lines_are_the_document_with_its_digits() -> None:
    body = b'{"a":{"b":148.50,"c":[1,"x\\u00e9"]},"d":[],"e":{},"f":true,"g~h/i":null}'
    lines, more = lines_of(body, "application/fhir+json")
    assert not more
    text = "\n".join("  " * line.depth + line.text for line in lines)
    assert json.loads(text) == json.loads(body)
    assert Line(2, '"b": 148.50,', "/a/b") in lines
    assert Line(3, '"xé"', "/a/c/1") in lines
    assert Line(1, '"g~h/i": null', "/g~0h~1i") in lines
    assert Line(1, '"d": [],') in lines


def test_a_document_that_is_no_json_has_its_own_lines() -> None:
    lines, _ = lines_of(b"MSH|^~\\&|a\rPID|1\r", "x-application/hl7-v2+er7")
    assert [line.text for line in lines] == ["MSH|^~\\&|a", "PID|1"]


def test_there_is_an_end_to_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_lines, "MAX_LINES", 10)
    lines, more = lines_of(json.dumps(list(range(100))).encode(), "application/json")
    assert (len(lines), more) == (10, True)
