"""What passed on a line stays to be seen: refused frames, answers, times; bounded, sealed, and in nobody's way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.commands.shared.output import ExitCode
from engine.diagnostics.lines.dialogue import dialogue
from engine.store.operations.line_trace import (
    KEPT_SESSIONS,
    SESSION_BYTES,
    SWEEP_EVERY,
    WRITE_AT,
    LineEntry,
    LineRecord,
    LineTrace,
    LineWay,
    pack,
    unpack,
)
from engine.store.queries.acts import acts_page
from engine.store.queries.line import line_of
from engine.store.queries.reader import stored_payload
from tests.support.astm_peer import ACK, ENQ, EOT, NAK, one_record_a_frame, wire_frame
from tests.support.journals import running
from tests.support.running import ASTM, MLLP, RunningSite, astm_channel, make_running_site, running_app
from tests.support.waiting import until
from workbench.sandbox import Sandbox

RECORDS = b"H|\\^&|||XN\rP|1||77||Doe^Jane\rO|1|S1\rR|1|^^^WBC|5.1\rL|1|N\r"
FRAMES = one_record_a_frame(RECORDS)
ENTRIES = st.lists(st.builds(LineEntry, st.sampled_from(LineWay), st.integers(0, 2**60), st.binary(max_size=20)))


@given(ENTRIES)
def test_entries_come_back_as_they_were(entries: list[LineEntry]) -> None:
    assert list(unpack(pack(entries))) == entries


def test_bytes_behind_the_end_of_a_session_begin_the_next() -> None:
    trace = LineTrace()
    trace.heard(FRAMES[0] + EOT + b"\r\n" + ENQ, 5)
    first = trace.session_over("chem", 1, "eot")
    trace.heard(FRAMES[1], 100_000)
    second = trace.session_over("chem", 2, "closed")

    assert [entry.data for entry in first.entries] == [FRAMES[0] + EOT]
    assert [entry.data for entry in second.entries] == [b"\r\n" + ENQ, FRAMES[1]]


def test_bytes_that_come_one_by_one_are_one_entry_until_a_pause_or_an_answer() -> None:
    trace = LineTrace()
    for at, byte in enumerate(FRAMES[0]):
        trace.heard(bytes([byte]), at * 1000)
    trace.said(ACK, 60_000)
    trace.heard(EOT, 61_000)
    record = trace.session_over("chem", 1, "eot")

    assert len(record.entries) == 3
    assert record.entries[0] == LineEntry(LineWay.IN, 0, FRAMES[0])


def test_a_keep_alive_leaves_nothing() -> None:
    trace = LineTrace()
    trace.heard(ENQ, 1)
    trace.said(ACK, 2)
    trace.heard(EOT, 3)

    assert trace.at_rest("chem") is None
    assert trace.entries == []


def test_a_message_of_ours_is_kept_also_where_the_journal_holds_the_rest() -> None:
    for trace in (LineTrace(), LineTrace(answers_only=True)):
        trace.said(FRAMES[0], 1)
        trace.heard(ACK, 2)
        trace.spoke = True
        made = trace.at_rest("chem")
        assert made is not None
        assert [entry.data for entry in made.entries] == [FRAMES[0], ACK]
        trace.said(ACK, 3)
        assert trace.at_rest("chem") is None
    only = LineTrace(answers_only=True)
    only.heard(FRAMES[0], 4)
    assert only.at_rest("chem") is None


def test_a_session_without_end_shows_its_beginning_and_says_so() -> None:
    trace = LineTrace()
    for at in range(SESSION_BYTES // 1000 + 10):
        trace.heard(b"\x02" + bytes(999), at * 100_000)
    made = trace.at_rest("chem")

    assert made is not None
    assert sum(len(entry.data) for entry in made.entries) <= SESSION_BYTES + 100
    assert b"bytes more are not kept here" in made.entries[-1].data


def test_a_dialogue_names_numbers_and_sums() -> None:
    bad = FRAMES[0].replace(b"XN", b"XM")
    entries = [
        LineEntry(LineWay.IN, 1, ENQ),
        LineEntry(LineWay.OUT, 2, ACK),
        LineEntry(LineWay.IN, 3, bad),
        LineEntry(LineWay.ABOUT, 4, b"bad-checksum: ..."),
        LineEntry(LineWay.OUT, 4, NAK),
        LineEntry(LineWay.IN, 5, FRAMES[0][:9]),
        LineEntry(LineWay.IN, 6, FRAMES[0][9:-2]),
        LineEntry(LineWay.OUT, 7, ACK),
        LineEntry(LineWay.IN, 8, wire_frame(4, b"P|1\r")),
    ]
    steps = list(dialogue(entries))

    assert [(step.way, step.what.split(",")[0], step.good) for step in steps] == [
        ("in", "ENQ", None),
        ("out", "ACK", None),
        ("in", "frame 1 (expected 1)", False),
        ("--", "bad-checksum: ...", None),
        ("out", "NAK", None),
        ("in", "frame 1 (expected 1)", True),
        ("out", "ACK", None),
        ("in", "frame 4 (expected 2)", True),
    ]
    assert steps[2].sum_given != steps[2].sum_computed
    assert f"checksum {steps[2].sum_given}, computed {steps[2].sum_computed}: wrong" in steps[2].what


# -- through the daemon --------------------------------------------------------------------------------------------


class Peer:
    """One connection to the daemon; waits for an answer where there is one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, *parts: bytes) -> bytes:
        answers = b""
        for part in parts:
            self._writer.write(part)
            answers += await asyncio.wait_for(self._reader.readexactly(1), 240.0)
        return answers

    async def tell(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


@contextlib.asynccontextmanager
async def peer_at(port: int) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def running_channel(folder: Path, name: str) -> AsyncIterator[tuple[RunningSite, Peer]]:
    async with running_app(folder) as app:
        site = RunningSite(folder, app, Sandbox())
        async with peer_at(site.port(name)) as peer:
            yield site, peer


def site_of(folder: Path, **channels: dict[str, object]) -> None:
    make_running_site(folder, channels, {"lab-fhir": {"kind": "file", "folder": "var/out"}})


async def test_each_frame_in_and_out_is_shown_with_the_reason_of_a_refusal(tmp_path: Path) -> None:
    site_of(tmp_path, chem=astm_channel())
    async with running_channel(tmp_path, "chem") as (site, peer):
        bad = FRAMES[1].replace(b"Doe", b"Dof")
        assert await peer.ask(ENQ, FRAMES[0], bad, FRAMES[1], *FRAMES[2:]) == ACK * 2 + NAK + ACK * 4
        await peer.tell(EOT)
        await until(lambda: bool(site.messages("chem")))
        (message,) = site.messages("chem")
        await until(lambda: bool(line_of(site.journal, "chem")))

        ran = await site.labrelay("messages", "show", str(message.id), "--wire")
        assert ran.code == ExitCode.OK
        assert "frame 2 (expected 2)" in ran.out
        assert "NAK" in ran.out
        assert "bad-checksum: checksum" in ran.out
        assert "number 2, expected 2" in ran.out
        assert "Doe" not in ran.out
        assert "STX 2P|9||99||xxx^xxxx CR ETX" in ran.out

        ran = await site.labrelay(
            "messages", "show", str(message.id), "--wire", "--unmask", "--purpose", "a test", "-o", "json"
        )
        steps = ran.json["wire"]["steps"]
        assert [step["what"] for step in steps if step["way"] == "out"] == ["ACK"] * 2 + ["NAK"] + ["ACK"] * 4
        assert [step["good"] for step in steps if step["number"] is not None] == [True, False, True, True, True, True]
        assert any("Doe^Jane" in step["text"] for step in steps)
        acts = [act.what for act in acts_page(site.journal) if act.verb == "unmask"]
        assert acts == [{"message": message.id, "purpose": "a test"}]


async def test_what_never_became_a_message_is_shown_by_channel(tmp_path: Path) -> None:
    site_of(tmp_path, chem=astm_channel())
    async with running_channel(tmp_path, "chem") as (site, peer):
        bad = FRAMES[0].replace(b"XN", b"XM")
        assert await peer.ask(ENQ, bad, bad) == ACK + NAK + NAK
        await peer.tell(EOT)
        await until(lambda: bool(line_of(site.journal, "chem")))

        ran = await site.labrelay("messages", "line", "chem")
        assert ran.out.count("NAK") == 2
        assert "computed" in ran.out
        assert site.messages("chem") == []


async def test_sessions_of_two_analyzers_at_one_port_are_kept_apart(tmp_path: Path) -> None:
    site_of(tmp_path, chem=astm_channel())
    async with running_channel(tmp_path, "chem") as (site, one), peer_at(site.port("chem")) as two:
        others = one_record_a_frame(RECORDS.replace(b"S1", b"S2").replace(b"XN", b"XP"))
        for mine, theirs in zip([ENQ, *FRAMES], [ENQ, *others], strict=True):
            await one.ask(mine)
            await two.ask(theirs)
        await one.tell(EOT)
        await two.tell(EOT)
        await until(lambda: len(line_of(site.journal, "chem")) == 2)

        for message in site.messages("chem"):
            (record,) = line_of(site.journal, "chem", session=site.trace(message.id).session)
            came = b"".join(entry.data for entry in record.entries if entry.way is LineWay.IN)
            assert came in (ENQ + b"".join(FRAMES) + EOT, ENQ + b"".join(others) + EOT)
            assert (b"|XN" in came) == (b"|S1" in stored_payload(site.journal, message.id))


async def test_frames_of_a_session_that_is_no_longer_traced_are_still_shown(tmp_path: Path) -> None:
    site_of(tmp_path, chem=astm_channel())
    async with running_channel(tmp_path, "chem") as (site, peer):
        await peer.ask(ENQ, *FRAMES)
        await until(lambda: bool(site.messages("chem")))  # and its session has no end yet
        (message,) = site.messages("chem")

        ran = await site.labrelay("messages", "show", str(message.id), "--wire", "-o", "json")
        assert "not kept any more" in ran.json["wire"]["note"]
        assert [step["number"] for step in ran.json["wire"]["steps"]] == [1, 2, 3, 4, 5]


async def test_a_block_says_that_it_was_one(tmp_path: Path) -> None:
    site_of(tmp_path, hl7={"source": MLLP, "routes": [{"to": "lab-fhir"}]})
    async with running_channel(tmp_path, "hl7") as (site, peer):
        await peer.ask(b"\x0bMSH|^~\\&|A||||20260301||ORU^R01|1|P|2.5\r\x1c\r")
        (message,) = site.messages("hl7")

        ran = await site.labrelay("messages", "show", str(message.id), "--wire")
        assert "one whole block" in ran.out
        assert line_of(site.journal, "hl7") == []


@pytest.mark.parametrize("source", [ASTM, {**ASTM, "kind": "auto"}], ids=["astm", "auto"])
async def test_a_session_that_the_link_took_message_by_message_is_shown_too(
    tmp_path: Path, source: dict[str, object]
) -> None:
    site_of(tmp_path, chem=astm_channel(source={**source, "commit": "message"}))
    async with running_channel(tmp_path, "chem") as (site, peer):
        await peer.ask(ENQ, *FRAMES)
        await peer.tell(EOT)
        await until(lambda: bool(line_of(site.journal, "chem")))
        (message,) = site.messages("chem")

        ran = await site.labrelay("messages", "show", str(message.id), "--wire", "-o", "json")
        assert [step["number"] for step in ran.json["wire"]["steps"] if step["number"]] == [1, 2, 3, 4, 5]


# -- the store -----------------------------------------------------------------------------------------------------


async def test_the_oldest_sessions_go(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        last = (KEPT_SESSIONS + 3 * SWEEP_EVERY) // WRITE_AT * WRITE_AT
        for number in range(1, last + 1):
            journal.keep_line(LineRecord("chem", number, (LineEntry(LineWay.IN, number, ENQ),)))
            if number % WRITE_AT == 0:
                await until(lambda written=number: bool(line_of(journal, "chem", session=written)))

        kept = line_of(journal, "chem", limit=10_000)
        assert KEPT_SESSIONS <= len(kept) < KEPT_SESSIONS + 2 * SWEEP_EVERY
        assert kept[0].session == last


async def test_what_is_kept_is_sealed(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        journal.keep_line(LineRecord("chem", 1, (LineEntry(LineWay.IN, 1, b"Doe^Jane" * 20),)))
        await until(lambda: bool(line_of(journal, "chem")))

    assert b"Doe^Jane" not in all_bytes(tmp_path)


def all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())


async def test_what_waits_is_written_at_a_stop(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        journal.keep_line(LineRecord("chem", 1, (LineEntry(LineWay.IN, 1, ENQ),)))
    async with running(tmp_path) as journal:
        assert [record.session for record in line_of(journal, "chem")] == [1]
