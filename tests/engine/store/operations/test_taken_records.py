"""A record of a log and its place there are one transaction; a known key is a repeat, of the same bytes alone."""

from pathlib import Path

from engine.model.ports import PolledVersion
from engine.store.operations import servers
from engine.store.queries.servers import taken_number
from tests.support.journals import received, running

A, B = b"MSH|^~\\&|a\r", b"MSH|^~\\&|b\r"
# The records of a partition as they come: key and bytes, and which of them each is a repeat of.
TABLE = [
    ("k1", A, None),
    ("k2", B, None),
    ("k1", A, 0),  # its gateway sent it again
    ("k3", A, None),  # the same bytes as a document of their own: A, B and A again is a correction taken back
    ("k1", B, None),  # other bytes under a known key
    ("", A, None),  # of a program that gives no key
    ("", A, None),
    ("k2", B, 1),
]


async def test_each_record_is_new_or_a_repeat_as_its_key_says(tmp_path: Path) -> None:
    found = []
    async with running(tmp_path) as journal:
        assert taken_number(journal, "chem", "kafka/id/0") == 0
        for offset, (key, content, _) in enumerate(TABLE):
            polled = PolledVersion(resource="kafka/id/0", version=str(offset), updated_us=0, number=offset + 1, key=key)
            found.append(await journal.run(servers.store_polled, received(content, channel="chem"), polled))
            assert taken_number(journal, "chem", "kafka/id/0") == offset + 1
        assert taken_number(journal, "chem", "kafka/id/1") == 0
        assert taken_number(journal, "other", "kafka/id/0") == 0
    assert [one.id for one in found] == list(range(found[0].id, found[0].id + len(TABLE)))  # each is in the journal
    assert [one.repeat_of for one in found] == [None if of is None else found[of].id for _, _, of in TABLE]
