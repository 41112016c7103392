"""Where a partition is read on: the table of all that the journal, the group and the log can say."""

import subprocess
import sys
from typing import Any, cast

import pytest
from pydantic import TypeAdapter

from adapters.clients.kafka import Causes, settings
from adapters.codecs.text.whole_link import ACK, WholeLink, links
from adapters.transports.kafka import Place, build, place, probe
from engine.config.sources.source import source_type
from engine.model.errors import ConfigError
from engine.model.link_events import Block, SessionEnd
from tests.support.waiting import until

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
    (60, 60, OTHER, 5, 50, 5, 0, SHORTER),
]


@pytest.mark.parametrize("row", TABLE)
def test_a_partition_is_read_on_where_nothing_is_lost(row: tuple[int, int, str, int, int, int, int, str]) -> None:
    own, noted, note, low, high, where, lost, said = row
    found = place(own=own, noted=noted, note=note, journal="a1/2", topic="T", low=low, high=high)
    assert found == Place(where, lost, said, other=note == OTHER)  # then what waits here is held for a person


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


class NoMemory:
    """A journal that has read nothing."""

    def number(self, resource: str) -> int:
        return 0

    def journal(self) -> str:
        return "a1/2"


def source(**keys: Any) -> Any:
    block = {"kind": "kafka", "connect": "127.0.0.1:9", "topic": "t", "group": "g"} | keys
    return TypeAdapter(source_type()).validate_python(block)


async def test_without_the_extra_the_channel_is_down_and_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    reader = build(source(), cast(Any, None), cast(Any, NoMemory()))
    await reader.start()
    try:
        await until(lambda: "labrelay[kafka]" in reader.fault)
    finally:
        await reader.stop()
    with pytest.raises(ConfigError, match="labrelay"):
        await probe(source())


def test_without_a_topic_the_library_is_not_loaded() -> None:
    """Also where the transport itself was imported, as help and schemas do."""
    code = "import sys, adapters.transports.kafka; print('confluent_kafka' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


AUTH = {"basic": {"user": "feeder", "password": "${SECRET}"}}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, {}),
        ({"tls": {}}, {"security.protocol": "ssl"}),
        ({"auth": AUTH}, {"security.protocol": "sasl_plaintext", "sasl.mechanism": "SCRAM-SHA-512"}),
        (
            {"auth": AUTH, "tls": {}, "mechanism": "PLAIN"},
            {"security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN", "sasl.password": "s3cret"},
        ),
    ],
)
def test_the_log_in_is_the_same_for_a_source_and_a_destination(
    keys: Any, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    found = settings("source", source(**keys), "us", Causes())
    assert {key: found[key] for key in found if key.startswith(("sasl.", "security."))}.items() >= expected.items()
    assert ("security.protocol" in found) == bool(expected)
    shown = [text for _, text in source(**keys, connect="k1.example.org:9092").in_clear()]
    assert any("user and password" in text for text in shown) == ("auth" in keys and "tls" not in keys)
