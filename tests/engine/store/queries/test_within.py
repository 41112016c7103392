"""Reading some channels alone: each query finds what it finds of the whole journal, where that is of these channels."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from engine.features.rework.rows.letter_groups import letter_groups
from engine.model.journal.journal_views import Filter
from engine.store.journal import Journal
from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.letters import count_dead_letters, dead_letters, held_deliveries
from engine.store.queries.messages import count_messages, messages_page, trace_of, waiting_deliveries
from engine.store.queries.within import Within
from tests.support.journals import NOW_US
from tests.support.many_messages import CHANNELS, HOUR_US, fill

STATES = ("stored", "mapped", "dead", "filtered", "dismissed", "waiting", "held", "delivered")
FILTERS = [
    Filter(),
    *(Filter(state=state) for state in STATES),
    *(Filter(code=code) for code in ("NO_ROUTE", "QUALITY_CONTROL")),
    *(Filter(message_type=name) for name in ("ORU^R01", "QRY^A19")),
    *(Filter(destination=name, state=state) for name in ("a", "none") for state in (None, "held", "delivered")),
    Filter(specimen="S7"),
    Filter(bears="S7"),
    Filter(after_us=NOW_US + 100 * HOUR_US, before_us=NOW_US + 300 * HOUR_US),
    *(Filter(channel=name) for name in CHANNELS),
]


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    made = fill(tmp_path_factory.mktemp("many"), 600)
    yield made
    made.close()


@pytest.mark.parametrize("channels", [{"chem"}, {"chem", "urine"}, set(CHANNELS), set(), {"none'; --"}])
def test_a_list_has_the_rows_of_the_channels_alone(journal: Journal, channels: set[str]) -> None:
    theirs = Within(journal, channels)
    for wanted in FILTERS:
        every = messages_page(journal, wanted, limit=1000)
        expected = [one for one in every if one.channel in channels]
        assert messages_page(theirs, wanted, limit=1000) == expected, wanted
        assert messages_page(theirs, wanted, limit=7) == expected[:7], wanted
        assert count_messages(theirs, wanted, most=1000) == len(expected), wanted
        by_filter = replace(wanted, channels=tuple(sorted(channels)))
        assert messages_page(journal, by_filter, limit=1000) == expected, wanted
    for pages in (dead_letters, held_deliveries):
        expected_letters = [one for one in pages(journal, Filter(), limit=1000) if one.channel in channels]
        assert list(pages(theirs, Filter(), limit=1000)) == expected_letters
        assert list(pages(journal, Filter(channels=tuple(channels)), limit=1000)) == expected_letters
    assert count_dead_letters(theirs, Filter()) == len(dead_letters(theirs, Filter(), limit=1000))
    for read in (list_lanes, list_channels):
        assert read(theirs) == [
            one for one in read(journal) if getattr(one, "channel", getattr(one, "name", "")) in channels
        ]
    waiting = [one for one in waiting_deliveries(journal, limit=1000) if one.channel in channels]
    assert waiting_deliveries(theirs, limit=1000) == waiting
    assert sum(one.count for one in letter_groups(theirs)) == count_dead_letters(theirs, Filter())
    theirs.close()


def test_one_message_is_there_or_not(journal: Journal) -> None:
    theirs = Within(journal, {"chem"})
    for one in messages_page(journal, limit=60):
        assert trace_of(theirs, one.id) == (trace_of(journal, one.id) if one.channel == "chem" else None)
        assert theirs.has("journal", "id", one.id) == (one.channel == "chem")
    with pytest.raises(Exception, match="readonly"):
        theirs.rows("DELETE FROM main.journal")
    theirs.close()
