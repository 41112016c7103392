"""What a command may ask for: each field is checked, and one that is wrong is named without its value."""

from typing import Any

import pytest

from engine.actions.control import Request
from engine.actions.selection import Selection
from engine.model.errors import LabRelayError, RefusedError
from engine.runtime.control_requests import (
    ActOnSelection,
    AlertTest,
    Backup,
    ContentsExported,
    ContentsShown,
    EntrySnooze,
    Erase,
    NoArguments,
    OneOperation,
    OrderAdd,
    OrderChange,
    Replay,
    Tap,
    TapContents,
    read,
)

CHOSEN = {"selection": {"ids": [5]}}


@pytest.mark.parametrize(
    ("model", "args", "named"),
    [
        (ContentsShown, {}, "message: "),
        (ContentsShown, {"message": "SHARMA"}, "message: "),
        (ContentsShown, {"message": True}, "message: "),
        (ContentsShown, {"message": 1}, "purpose: "),
        (ContentsShown, {"message": 1, "purpose": ""}, "purpose: "),
        (ContentsExported, {"what": {"patient": "SHARMA"}, "purpose": ""}, ": "),
        (TapContents, {"channel": "a", "stages": ["raw"], "purpose": ""}, "purpose: "),
        (ActOnSelection, {**CHOSEN, "dry_run": "SHARMA"}, "dry_run: "),
        (ActOnSelection, {**CHOSEN, "becuase": "SHARMA"}, "becuase: "),
        (ActOnSelection, {**CHOSEN, "reason": ["SHARMA"]}, "reason: "),
        (ActOnSelection, {}, "selection: "),
        (Replay, {**CHOSEN, "rate": 0}, "rate: "),
        (Replay, {**CHOSEN, "rate": None}, "rate: "),
        (Replay, {**CHOSEN, "rate": 100_001}, "rate: "),
        (Replay, {**CHOSEN, "rate": "SHARMA"}, "rate: "),
        (OneOperation, {"number": "SHARMA"}, "number: "),
        (Erase, {"messages": [1, "SHARMA"], "numbers": [], "reason": "asked"}, "messages.1: "),
        (Backup, {"do": "SHARMA"}, "do: "),
        (Tap, {"channel": "a", "stages": []}, "stages: "),
        (NoArguments, {"all": "SHARMA"}, "all: "),
        (OneOperation, {"number": 0}, "number: "),
        (OrderChange, {"order": 0, "reason": "typed twice"}, "order: "),
        (AlertTest, {"sink": ""}, "sink: "),
        (EntrySnooze, {"key": "down/a", "seconds": 5e-324, "reason": "later"}, "seconds: "),
        *((OrderAdd, {"specimen": f"SHARMA{sign}1", "tests": ["GLU"]}, "specimen: ") for sign in "|\\^&"),
    ],
)
def test_a_field_that_is_wrong_is_named_and_its_value_is_not(
    model: type[NoArguments], args: dict[str, Any], named: str
) -> None:
    with pytest.raises(LabRelayError) as caught:
        read(model, Request(verb="verb", actor="", args=args))
    assert str(caught.value).startswith(f"verb: {named}")
    assert "SHARMA" not in str(caught.value)


def test_nothing_selected_is_never_everything() -> None:
    with pytest.raises(RefusedError, match="nothing was selected"):
        read(ActOnSelection, Request(verb="dismiss", actor="", args={"selection": {}}))


def test_what_a_command_sends_is_taken() -> None:
    asked = read(Replay, Request(verb="replay", actor="", args={**CHOSEN, "reason": None, "to": None, "rate": 5}))
    assert (asked.selection, asked.why, asked.rate, asked.dry_run) == (Selection(ids=(5,)), "", 5.0, False)
