"""How groups of dead letters look to a person."""

from datetime import UTC, datetime
from typing import Any

import pytest

from engine.commands import dlq

AT = datetime(2026, 3, 1, tzinfo=UTC)


def group(cause: str, channels: int, fix: str = "mend it") -> dict[str, Any]:
    names = [f"c{number}" for number in range(channels)]
    return {
        "reason": "REFUSED", "cause": cause, "count": channels, "oldest": AT, "newest": AT, "channels": names,
        "destinations": ["fhir"], "example": 7, "fix": fix,
    }  # fmt: skip


def test_of_many_channels_a_few_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    dlq._show_groups([group("HTTP 422", 32), group("HTTP 400", 4), group("HTTP 409", 5)])
    _, all_, few, some, *_ = capsys.readouterr().out.splitlines()
    assert "c0, c1, c2 and 29 more  fhir" in all_
    assert "c0, c1, c2, c3 " in few
    assert "c0, c1, c2 and 2 more" in some


def test_what_helps_is_said_once_for_all_causes_of_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    dlq._show_groups([group("HTTP 422", 2), group("HTTP 400", 2), group("HTTP 409", 1, "mend it in c0")])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("REFUSED:")] == ["REFUSED: mend it", "REFUSED: mend it in c0"]
