"""Views: each field is there, and table and JSON say the same."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from engine.features.reagents import lists as reagents
from engine.features.results import lists
from engine.features.rework.lists import dead_letters
from engine.model.journal.journal_views import (
    AttemptView,
    DeadLetter,
    DeliveryView,
    DocumentView,
    MessageView,
    ReagentView,
    Trace,
)
from engine.model.journal.records import ChannelView, LaneView, Pause, PossibleOtherPerson
from engine.store.operations.dead_letters import Group
from engine.store.recovery.backups.catalog import Copy
from engine.views import message_in_full, messages, site, trail
from engine.views.trail import Entry
from engine.views.view import ZONE, Head, View, table

SHOWN: list[tuple[View[Any], type]] = [
    *((trail.ACT, Entry), (site.COPY, Copy), (reagents.LOT, ReagentView)),
    *((dead_letters.LETTER, DeadLetter), (dead_letters.LETTER_GROUP, Group), (lists.HELD, DeadLetter)),
    *((lists.PERSON, PossibleOtherPerson), (messages.MESSAGE, MessageView), (messages.DELIVERY, DeliveryView)),
    *((messages.ATTEMPT, AttemptView), (messages.DOCUMENT, DocumentView), (message_in_full.TRACE, Trace)),
    *((site.STORED_CHANNEL, ChannelView), (site.STORED_LANE, LaneView), (site.PAUSE, Pause)),
]
LETTER = DeadLetter(
    message_id=7, delivery_id=0, channel="chemistry", destination="", state="dead", reason="NO_ROUTE",
    at_us=1_772_323_200_000_000, message_type="ORU^R01",
)  # fmt: skip


@pytest.mark.parametrize(("view", "of"), SHOWN, ids=[f"{view.name} {of.__name__}" for view, of in SHOWN])
def test_what_a_field_is_read_from_is_there(view: View[Any], of: type) -> None:
    read = [field.of or field.name for field in view.fields if isinstance(field.of, str)]
    assert [name for name in read if not hasattr(of, name)] == []
    names = [field.name for field in view.fields if field.name]
    assert len(names) == len(set(names))


def test_table_and_json_are_of_the_same_fields() -> None:
    ZONE.set(lambda: timezone(timedelta(hours=5, minutes=30)))
    heading, line = table([LETTER], dead_letters.LETTER.columns)
    assert isinstance(heading, Head)
    assert heading.split() == ["MESSAGE", "CHANNEL", "STATE", "CODE", "SINCE", "TYPE"]  # none for a destination
    assert line.split() == ["7", "chemistry", "dead", "NO_ROUTE", "2026-03-01", "05:30:00+0530", "ORU^R01"]
    assert dead_letters.LETTER.row(LETTER) == {
        "message": 7, "delivery": None, "channel": "chemistry", "destination": "", "state": "dead",
        "code": "NO_ROUTE", "since": datetime(2026, 3, 1, tzinfo=UTC), "type": "ORU^R01",
    }  # fmt: skip
    assert dead_letters.LETTER.row(LETTER, {"message", "code"}) == {"message": 7, "code": "NO_ROUTE"}
