"""Names, addresses and delays of log-ins, pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.features.access.rules.accounts import (
    FREE_OF_USER,
    LONGEST_DELAY_US,
    delay_us,
    name_key,
    network_of,
    shown_name,
)
from engine.model.errors import RefusedError


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("::ffff:10.0.0.5", "10.0.0.5"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("no address", ""),
    ],
)
def test_refusals_of_one_computer_are_counted_together(address: str, network: str) -> None:
    assert network_of(address) == network


@given(st.integers(0, 10_000))
def test_a_delay_doubles_up_to_its_limit(refused: int) -> None:
    delay, next_one = delay_us(refused, FREE_OF_USER), delay_us(refused + 1, FREE_OF_USER)
    assert (delay == 0) == (refused < FREE_OF_USER)
    assert delay <= next_one <= LONGEST_DELAY_US
    assert next_one in (0, 15_000_000, min(2 * delay, LONGEST_DELAY_US))


@given(st.text(max_size=80))
def test_a_name_that_is_taken_is_shown_in_one_form_and_found_in_any_case(name: str) -> None:
    try:
        shown = shown_name(name)
    except RefusedError:
        return
    assert shown_name(shown) == shown
    assert shown.isprintable()
    assert name_key(shown) == name_key(name) == name_key(name_key(name))
