"""Messages are found by the numbers that they bear, also by the worker's verdict, and the numbers stand nowhere."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from adapters.codecs.astm import records as astm_records
from adapters.codecs.hl7v2 import message as hl7v2
from engine.model.content.search_keys import MOST, NOT_ALL, Number, NumberKind, numbers_in, own_number
from engine.model.journal.journal_views import Filter
from engine.model.message import FormatOptions
from engine.model.outcome import Outcome
from engine.store.journal import Journal
from engine.store.operations import append, record_outcome, search_index
from engine.store.queries.messages import messages_page
from tests.support.journals import WINDOW_S, received, running, store
from tests.support.running import hl7_channel, running_site
from tests.support.senders import send_blocks
from tests.support.waiting import until


def from_hl7(*segments: str) -> set[tuple[str, str]]:
    text = "\r".join(["MSH|^~\\&|A|L|H|L|20260301101530||ORU^R01|M1|P|2.5.1", *segments, ""])
    return {(one.kind, one.text) for one in numbers_in(hl7v2.parse(text.encode(), FormatOptions()))}


def from_astm(*records: str) -> set[tuple[str, str]]:
    text = "\r".join(["H|\\^&|||A|||||||P|1|20260301101530", *records, "L|1|N", ""])
    return {(one.kind, one.text) for one in numbers_in(astm_records.parse(text.encode(), FormatOptions()))}


def test_each_number_of_a_patient_counts_by_itself() -> None:
    assert from_hl7("PID|1|old-1|P77^^^HOSP^MR~9988^^^GOV^NI|alt^x||Rao^Anil") == {
        ("patient", "OLD-1"), ("patient", "P77"), ("patient", "9988"), ("patient", "ALT"),
    }  # fmt: skip
    assert from_astm("P|1|prac-1|LAB-2|3^x||Rao^Anil") == {
        ("patient", "PRAC-1"), ("patient", "LAB-2"), ("patient", "3"),
    }  # fmt: skip


def test_specimens_and_orders() -> None:
    found = from_hl7("SPM|1|s1&lis^s2&ana", "ORC|RE|o1^his|f1|g1", "OBR|1|o2^his|f2^lis|GLU", "SAC|||c1^x")
    assert {text for kind, text in found if kind == "specimen"} == {"S1", "S2", "O1", "F1", "G1", "O2", "F2", "C1", "X"}
    assert from_astm("P|1", "O|1|26-4711^rack^5|ana-9|^^^GLU") == {("specimen", "26-4711"), ("specimen", "ANA-9")}


def test_an_escaped_sign_is_the_sign_that_a_label_shows() -> None:
    assert from_hl7("PID|1||A\\T\\B\\S\\1") == {("patient", "A&B^1")}


@pytest.mark.parametrize("text", ["", '""', "  ", "x" * 101, "1\x7f2"])
def test_what_nobody_can_type_is_no_number(text: str) -> None:
    assert from_hl7(f"PID|1||{text}") == set()
    assert own_number(text) in ((), (Number("control", '""'),))


def test_a_message_with_more_numbers_than_are_kept() -> None:
    records = [f"O|{n}|S{n}||^^^GLU" for n in range(1, MOST + 50)]
    numbers = from_astm("P|1", *records)
    assert (len(numbers), NOT_ALL in numbers) == (MOST + 1, True)
    assert NOT_ALL not in from_astm("P|1", *records[:MOST])


async def test_messages_are_found_by_number_across_blocks(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        payloads = [b"%d" % n for n in range(1, 2100)]
        stored = await asyncio.gather(
            *[journal.run(append.store_message, received(one), repeat_window_s=WINDOW_S) for one in payloads]
        )
        wanted = (stored[0], stored[1030], stored[2098])
        for one in wanted:
            numbers = (Number("patient", "P7700412"), Number("specimen", "S1"), Number("control", "M1"))
            await journal.run(record_outcome.record, one.id, Outcome("filtered", numbers=numbers))
        await journal.run(
            record_outcome.record, stored[5].id, Outcome("filtered", numbers=(Number("specimen", "P7700412"),))
        )
        ids = [one.id for one in reversed(wanted)]
        assert [view.id for view in messages_page(journal, Filter(patient=" p7700412 "))] == ids
        assert [view.id for view in messages_page(journal, Filter(specimen="s1", channel="chem"))] == ids
        assert [
            view.id for view in messages_page(journal, Filter(number="M1", patient="P7700412"), before_id=ids[0])
        ] == ids[1:]
        assert [view.id for view in messages_page(journal, Filter(specimen="P7700412"))] == [stored[5].id]
        assert messages_page(journal, Filter(patient="S1")) == []
        with journal.snapshot() as execute:
            assert search_index.messages(execute, journal.vault, "patient", ["P7700412", "P7700412"]) == sorted(ids)
        journal_bytes = (tmp_path / "journal.db").read_bytes() + (tmp_path / "journal.db-wal").read_bytes()
        assert b"P7700412" not in journal_bytes
        await journal.writer.submit(lambda batch: search_index.forget(batch.execute, stored[1030].id))
        assert [view.id for view in messages_page(journal, Filter(patient="P7700412"))] == [ids[0], ids[2]]


async def test_search_keys_are_indexed_hundreds_at_once(tmp_path: Path) -> None:
    def same_patient(n: int, ids: range) -> list[int]:
        return [one for one in ids if one % 7 == n % 7]

    async def process(journal: Journal, ids: Iterable[int]) -> None:
        numbers = {one: (Number("patient", f"P{one % 7}"), Number("specimen", f"S{one}")) for one in ids}
        await asyncio.gather(
            *(
                journal.run(record_outcome.record, one, Outcome("filtered", numbers=known))
                for one, known in numbers.items()
            )
        )

    async def receive(journal: Journal, ids: range) -> None:
        payloads = [received(b"%d" % one) for one in ids]
        await asyncio.gather(*(journal.run(append.store_message, one, repeat_window_s=WINDOW_S) for one in payloads))

    def indexed(journal: Journal) -> int:
        with journal.snapshot() as execute:
            (count,) = execute("SELECT count(*) FROM message_number").fetchone()
        return int(count)

    def found(journal: Journal, kind: NumberKind, *texts: str) -> list[int]:
        with journal.snapshot() as execute:
            return search_index.messages(execute, journal.vault, kind, texts)

    async with running(tmp_path) as journal:
        await receive(journal, range(1, 1401))
        await process(journal, (one for one in range(1, 257) if one != 5))  # it takes long
        assert (indexed(journal), journal.tail.unindexed) == (0, 255)
        assert found(journal, "patient", "P3") == same_patient(3, range(1, 257))
        await process(journal, [257])
        await until(lambda: indexed(journal) == 256 * 2)
        await process(journal, [5, 258, 259])
        assert (indexed(journal), journal.tail.unindexed) == (257 * 2, 2)
        assert found(journal, "patient", "P3") == same_patient(3, range(1, 260))
        assert found(journal, "specimen", "S5", "S257", "S258") == [5, 257, 258]
        for one in (3, 259):
            await journal.writer.submit(lambda batch, one=one: search_index.forget(batch.execute, one))
    async with running(tmp_path) as journal:  # as each start finds them
        assert journal.tail.unindexed == 2
        left = [one for one in same_patient(3, range(1, 260)) if one not in (3, 259)]
        assert found(journal, "patient", "P3") == left
        await process(journal, range(260, 1401))
        await until(lambda: journal.tail.unindexed < 256)
        assert indexed(journal) == (1400 - 2 - journal.tail.unindexed) * 2  # without the forgotten ones
        assert found(journal, "patient", "P3") == left + same_patient(3, range(260, 1401))


async def test_what_is_never_parsed_is_found_by_its_own_number(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        for known in ("M7", "M8"):  # the control id is known to change
            await store(journal, known.encode(), control_id=known)
        first, again = await store(journal, b"same", b"same", control_id="M9")
        assert again.repeat_of == first.id
        assert [view.id for view in messages_page(journal, Filter(number="m9"))] == [again.id]


async def test_people_find_messages_by_number(tmp_path: Path) -> None:
    channels = {"chem": hl7_channel()}
    async with running_site(tmp_path, channels) as site:
        text = (
            "MSH|^~\\&|A|L|H|L|20260301101530||ORU^R01|M1|P|2.5.1\rPID|1||P77^^^H^MR||Rao^A\rOBR|1|O1|F1|GLU\r"
            "OBX|1|NM|GLU||5|mmol/L|||||F\r"
        )
        await send_blocks(site.port("chem"), [text.encode(), text.replace("M1", "M2").replace("P77", "P78").encode()])
        await site.settled()
        for option, number, count in (
            ("--patient", "p77", 1), ("--specimen", "F1", 2), ("--control-id", "M2", 1), ("--patient", "F1", 0),
        ):  # fmt: skip
            ran = await site.labrelay("messages", "list", option, number, "-o", "json")
            assert len(ran.json["messages"]) == count, option
            assert "before" not in ran.err
