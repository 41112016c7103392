"""JSON in and out: numbers keep their text, anything unreadable is our own error."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import MalformedError
from workbench.sandbox.exact_json import parse, render

numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
leaves = st.none() | st.booleans() | st.integers() | st.text(alphabet=st.characters(exclude_categories=["Cs"]))
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner), max_leaves=20)


@given(st.lists(numbers, min_size=1))
def test_every_number_keeps_its_text(texts: list[str]) -> None:
    body = f'{{"n":[{",".join(texts)}]}}'.encode()
    assert render(parse(body)) == body


@given(values)
def test_everything_else_keeps_its_value(value: object) -> None:
    assert json.loads(render(parse(json.dumps(value).encode()))) == value


@given(st.binary(max_size=60))
def test_whatever_comes_nothing_but_our_own_error_is_raised(body: bytes) -> None:
    with contextlib.suppress(MalformedError):
        render(parse(body))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"NaN", b"[Infinity]", b"\xff", b"\xef\xbb\xbf{}", b"[" * 5000 + b"]" * 5000, b"1 2", b"01"]
)
def test_what_is_not_json(body: bytes) -> None:
    with pytest.raises(MalformedError):
        render(parse(body))


def test_half_a_surrogate_pair_cannot_be_written() -> None:
    with pytest.raises(MalformedError):
        render(parse(rb'"\ud83d"'))
