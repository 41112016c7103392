"""Where a partition is read on: the table of all that the journal, the group and the log can say."""

import pytest
from pydantic import TypeAdapter

from adapters.codecs.text.whole_link import ACK, WholeLink, links
from adapters.transports.kafka import Place, place
from engine.config.sources.source import source_type
from engine.model.link_events import Block, SessionEnd

OURS, EARLIER, OTHER, REMOVED = "a1/2 T", "a1/1 T", "b2/1 T", "a1/2 S"
SHORTER = "the log is shorter than what was read of it; it is read from its beginning"
# own, noted, note | low, high | where, lost, and what is said
TABLE = [
    (0, -1, "", 5, 50, 5, 0, ""),  # never read
    (0, 20, "", 5, 50, 20, 0, ""),  # a person has set the group's place
    (30, 40, "", 5, 50, 30, 0, ""),  # ... of what the journal has read: its own counts
    (30, -1, "", 5, 50, 30, 0, ""),  # the group has forgotten us
    (30, 30, OURS, 5, 50, 30, 0, ""),
    (30, 25, OURS, 5, 50, 30, 0, ""),  # killed between message and note
    (30, 33, OURS, 5, 50, 33, 0, ""),  # records without content are no messages
    (30, 40, EARLIER, 5, 50, 30, 0, ""),  # a restored journal lacks what was read after the copy
    (0, 40, EARLIER, 0, 50, 0, 0, ""),  # ... all of it
    (30, 40, OTHER, 5, 50, 40, 0, ""),  # another feeder has read on
    (30, 20, OTHER, 5, 50, 30, 0, ""),  # another feeder was behind us
    (0, 40, OTHER, 5, 50, 40, 0, ""),
    (0, 40, REMOVED, 0, 50, 0, 0, ""),  # a place in the topic that was there before
    (0, 40, REMOVED, 0, 7, 0, 0, ""),
    (0, 40, "b2/1 S", 0, 50, 0, 0, ""),
    (30, 30, OURS, 35, 50, 35, 5, ""),
    (0, 40, OTHER, 45, 50, 45, 5, ""),
    (30, 30, OURS, 30, 30, 30, 0, ""),  # all read, all deleted
    (60, 60, OURS, 5, 50, 5, 0, SHORTER),
]


@pytest.mark.parametrize("row", TABLE)
def test_a_partition_is_read_on_where_nothing_is_lost(row: tuple[int, int, str, int, int, int, int, str]) -> None:
    own, noted, note, low, high, where, lost, said = row
    found = place(own=own, noted=noted, note=note, journal="a1/2", topic="T", low=low, high=high)
    assert found == Place(where, lost, said)


def test_a_record_is_one_message_whatever_is_in_it() -> None:
    keys = {"kind": "kafka", "connect": "k:9092", "topic": "t", "group": "g", "format": "hl7v2", "max_message": "1KiB"}
    make = links(TypeAdapter(source_type()).validate_python(keys))
    two = b"\x0bMSH|^~\\&|1\r\x1c\r\x0bMSH|^~\\&|2\r\x1c\r"
    link: WholeLink = make()
    assert link.receive(two, 0.0) == [Block(two)]
    link = make()
    [end] = link.receive(b"x" * 1025, 0.0)
    assert isinstance(end, SessionEnd)
    assert end.too_large  # its beginning is kept as evidence
    assert link.outgoing() == ACK  # ... and reading goes on
