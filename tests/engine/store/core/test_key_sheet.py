"""A key on paper: what is typed right comes back, and a slip is noticed in its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.store.core import key_encryption_key

KEY = bytes(range(32))


@given(st.binary(min_size=32, max_size=32))
def test_what_was_printed_is_read_again(key: bytes) -> None:
    assert key_encryption_key.read(key_encryption_key.write(key)) == key


def test_people_type_as_they_like() -> None:
    lines = key_encryption_key.write(KEY)
    typed = [
        lines[0].lower(),
        lines[1].replace("-", "  "),
        f"3  {lines[2]}",
        lines[3].replace("1", "l").replace("0", "o"),
    ]
    assert key_encryption_key.read(typed) == KEY


@given(st.integers(0, 3), st.integers(0, 15), st.sampled_from("0123456789ABCDEFGHJKMNPQRSTVWXYZ"))
def test_one_wrong_sign_is_named_by_its_line(line: int, place: int, sign: str) -> None:
    lines = key_encryption_key.write(KEY)
    signs = list(lines[line].replace("-", ""))
    if signs[place] == sign:
        return
    signs[place] = sign
    lines[line] = "".join(signs)
    with pytest.raises(ValueError, match=f"line {line + 1} is mistyped"):
        key_encryption_key.read(lines)


def test_lines_in_another_order_are_noticed() -> None:
    lines = key_encryption_key.write(KEY)
    with pytest.raises(ValueError, match="line 1 is mistyped"):
        key_encryption_key.read([lines[1], lines[0], *lines[2:]])


@pytest.mark.parametrize("text", ["", "7QK2", "7QK2-M9XD-04TE-HW3A-7QK2", "7QK2-M9XD-04TE-HW3U"])
def test_what_no_line_can_be(text: str) -> None:
    with pytest.raises(ValueError, match="line 2") as raised:
        key_encryption_key.read_line(2, text)
    assert not text or text not in str(raised.value)
    with pytest.raises(ValueError, match="4 lines"):
        key_encryption_key.read([text])
