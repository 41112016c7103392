"""How groups of dead letters look to a person."""

import pytest

from engine.features.rework.commands import dlq
from engine.store.operations.dead_letters import Group, likely_fix

AT_US = 1_772_323_200_000_000


def group(cause: str, channels: int) -> Group:
    return Group(
        reason="REFUSED", cause=cause, count=channels, oldest_us=AT_US, newest_us=AT_US, example=7,
        channels={f"c{number:02}" for number in range(channels)}, destination="fhir",
    )  # fmt: skip


def test_of_many_channels_a_few_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    dlq._show_groups([group("HTTP 422", 32), group("HTTP 400", 4), group("HTTP 409", 5)])
    _, all_, few, some, *_ = capsys.readouterr().out.splitlines()
    assert "c00, c01, c02 and 29 more  fhir" in all_
    assert "c00, c01, c02, c03 " in few
    assert "c00, c01, c02 and 2 more" in some


def test_what_helps_is_said_once_for_all_causes_of_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    dlq._show_groups([group("HTTP 422", 2), group("HTTP 400", 2), group("HTTP 409", 1)])
    lines = capsys.readouterr().out.splitlines()
    of_any, of_one = likely_fix("REFUSED"), likely_fix("REFUSED", "c00")
    assert of_any != of_one
    assert [line for line in lines if line.startswith("REFUSED:")] == [f"REFUSED: {of_any}", f"REFUSED: {of_one}"]
