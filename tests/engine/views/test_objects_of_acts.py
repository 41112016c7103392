"""The objects of an act in one line, for people: no form of a program's values."""

from typing import Any

import pytest

from engine.views.trail import LONGEST, Entry, about

# What the audit trail has of an act -> how a list shows it.
LINES: dict[str, tuple[dict[str, Any], str]] = {
    "names": ({"user": "asha", "role": "operator"}, "user asha, role operator"),
    "a yes": ({"user": "asha", "sees_patients": True}, "user asha, sees_patients"),
    "nothing": ({"user": "asha", "sees_patients": False, "note": ""}, "user asha"),
    "a selection": ({"selection": {"all": True, "last": 26}, "reason": "x"}, "selection (all, last 26)"),
    "several": ({"ids": [7, 8]}, "ids (7, 8)"),
    "people's words": ({"message": 7, "purpose": "asked by the ward", "reason": "x"}, "message 7"),
}


def entry(what: dict[str, Any]) -> Entry:
    return Entry(id=1, at_us=0, actor="asha", verb="retry", what=what, state="done")


@pytest.mark.parametrize("name", LINES)
def test_the_objects_of_an_act_are_in_words(name: str) -> None:
    what, expected = LINES[name]
    assert about(entry(what)) == expected


def test_a_long_one_is_cut() -> None:
    line = about(entry({"selection": {"code": "x" * 100}}))
    assert len(line) == LONGEST
    assert line.endswith("…")
