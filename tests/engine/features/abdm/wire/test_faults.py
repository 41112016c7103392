"""Errors of the gateway: each shape that was seen, with the code and the words that a person needs."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.features.abdm.rules.network import Verdict
from engine.features.abdm.wire import verdicts
from engine.features.abdm.wire.verdicts import (
    MAX_BODY_BYTES,
    MAX_FAULTS,
    MAX_MESSAGE,
    GatewayFault,
    has_error,
    read_faults,
)

# body -> shape, code, message of each error
BODIES: dict[bytes, list[tuple[str, str, str]]] = {
    b'{"error": {"code": "ABDM-1027", "message": "Blocked"}}': [("object", "ABDM-1027", "Blocked")],
    b'{"error": {"code": "ABDM-1027: ", "message": "Blocked"}, "response": {"requestId": "r"}}': [
        ("object", "ABDM-1027", "Blocked")
    ],
    b'{"error": {"code": "abdm-1027:", "message": " Blocked\\n now "}}': [("object", "ABDM-1027", "Blocked now")],
    b'{"error": [{"code": "ABDM-1006", "message": "a"}, {"code": 1016, "message": "b"}]}': [
        ("object", "ABDM-1006", "a"),
        ("object", "1016", "b"),
    ],
    b'[{"code": "ABDM-1006", "message": "a"}, {"error": {"code": "ABDM-2402", "message": "b"}}]': [
        ("list", "ABDM-1006", "a"),
        ("list", "ABDM-2402", "b"),
    ],
    b'{"code": "900901", "message": "Invalid Credentials", "description": "Make sure"}': [
        ("flat", "900901", "Invalid Credentials: Make sure")
    ],
    b'{"code": 900902, "message": "Missing"}': [("flat", "900902", "Missing")],
    b'{"code": "same", "message": "same"}': [("flat", "", "same")],
    b'{"code": "SOME_WORD", "message": "x"}': [("flat", "", "SOME_WORD: x")],
    b'{"code": {"x": 1}, "message": null}': [("flat", "", "")],
    b'{"message": "No message available", "timestamp": "2026-11-20"}': [("message", "", "No message available")],
    b'{"abhaNumber": "must match", "timestamp": "x", "careContexts": ["a", "b"]}': [
        ("fields", "", "abhaNumber: must match"),
        ("fields", "", "careContexts: a, b"),
    ],
    b'{"error": "Unauthorized"}': [("fields", "", "error: Unauthorized")],
    b'{"error": null, "message": "x"}': [("message", "", "x")],
    b"": [("empty", "", "")],
    b" \r\n ": [("empty", "", "")],
    b"{}": [("fields", "", "")],
    b"[]": [("list", "", "")],
    b"Access Denied": [("text", "", "Access Denied")],
    b'"Access Denied"': [("text", "", '"Access Denied"')],
    b"<html><body>502 Bad Gateway</body></html>": [("html", "", "")],
    b"<!DOCTYPE html>": [("html", "", "")],
    b'{"code": "ABDM-1006"': [("text", "", '{"code": "ABDM-1006"')],
    b"\xff\xfe": [("text", "", "��")],
    b"Access Denied " * MAX_BODY_BYTES: [("text", "", ("Access Denied " * 50)[: MAX_MESSAGE - 1] + "…")],
}


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body)[:50])
def test_each_shape(body: bytes) -> None:
    found = read_faults(body)
    assert list(found) == [GatewayFault(shape, code, message) for shape, code, message in BODIES[body]]  # type: ignore[arg-type]


def test_no_answer_makes_an_endless_list() -> None:
    many = json.dumps([{"code": "ABDM-1006", "message": "x" * 100}] * 400).encode()
    assert len(read_faults(many)) == MAX_FAULTS


def test_success_is_the_absence_of_an_error() -> None:
    assert not has_error({"status": "Successfully Linked care context"})
    assert not has_error({"error": None, "status": "FAILED"})
    assert has_error({"error": {"code": "ABDM-1056", "message": "already linked"}, "status": "SUCCESS"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "code", "message", "timestamp", "x"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.one_of(st.binary(max_size=300), JSON.map(lambda tree: json.dumps(tree).encode())))
def test_any_answer_has_an_error_and_a_short_text(body: bytes) -> None:
    found = read_faults(body)
    assert 0 < len(found) <= MAX_FAULTS
    assert all(len(one.message) <= MAX_MESSAGE and len(one.code) <= 13 for one in found)


def test_a_type_of_records_that_the_gateway_does_not_take_is_a_setting() -> None:
    """Of the same code as a notice that comes before its link, which is tried again soon."""
    for words, verdict in (
        ("Invalid HIType", Verdict.SETTINGS),
        ("Invalid hi type", Verdict.SETTINGS),
        ("No care context linked with the given details", Verdict.FINAL),
    ):
        body = orjson.dumps({"error": {"code": "ABDM-1006", "message": words}})
        assert verdicts.answer(400, body).verdict is verdict
        assert verdicts.result(orjson.loads(body), body).verdict is verdict
