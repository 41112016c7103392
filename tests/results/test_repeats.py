"""The same bytes again: a repeat of an answered message, or another patient's equal result.

The table is what a laboratory may expect. A repeat is answered and not delivered; so the same bytes are one only where
something else says so. Else they are delivered and flagged, and the server has both.
"""

import asyncio
import contextlib
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml

from adapters.codecs.astm.sender import frames_of
from engine.model.process.clock import ManualClock
from engine.store.core.writing.batch import Batch
from tests.support.running import RunningSite, astm_channel, hl7_channel, running_app, running_site
from tests.support.senders import AstmAnalyzer, lines, send_blocks, session
from tests.support.waiting import until

REPEAT, FLAGGED, FRESH = "repeat", "delivered and flagged", "delivered"
PROTOCOLS = ("hl7", "astm")


@dataclass(frozen=True)
class Text:
    """One message of a qualitative analyzer: no name, no number, one result."""

    id: str = ""
    sent: str = ""
    measured: str = ""
    value: str = "NEG"
    patient: str = ""
    order: str = ""


def hl7(text: Text) -> bytes:
    """HL7 demands a control id: where there is none, it is a constant."""
    return (
        f"MSH|^~\\&|QUAL|LAB|||{text.sent}||ORU^R01|{text.id or 'X'}|P|2.5\r"
        + (f"PID|1||{text.patient}||SHARMA^ANITA\r" if text.patient else "")
        + f"OBR|1||{text.order}|HCG^Pregnancy test^99L\r"
        f"OBX|1|ST|HCG^Pregnancy test^99L||{text.value}||||||F|||{text.measured}\r"
    ).encode()


def astm(text: Text) -> bytes:
    return (
        f"H|\\^&|{text.id}||QUAL|||||||P|1394-97|{text.sent}\r"
        f"P|1|{text.patient}|||{'SHARMA^ANITA' if text.patient else ''}\r"
        f"O|1|{text.order}||^^^HCG\r"
        f"R|1|^^^HCG|{text.value}|||||F||||{text.measured}\r"
        "L|1|N\r"
    ).encode()


MESSAGE = {"hl7": hl7, "astm": astm}
CHANNEL = {"hl7": hl7_channel, "astm": astm_channel}


@contextlib.asynccontextmanager
async def site_of(folder: Path, protocol: str, clock: ManualClock) -> AsyncIterator[RunningSite]:
    async with running_site(folder, {protocol: CHANNEL[protocol]()}, clock=clock) as site:
        yield site


async def send(site: RunningSite, protocol: str, text: Text) -> str:
    """Send a message, be answered that it is kept, and say what became of it."""
    before = len(site.messages())
    await put_on_the_line(site.port(protocol), protocol, text)
    await until(lambda: len(site.messages()) > before)
    await site.settled()
    await until(lambda: not site.app.parts.sources[protocol].channel.connections)
    return end_of(site)


async def put_on_the_line(port: int, protocol: str, text: Text) -> None:
    if protocol == "hl7":
        (answer,) = await send_blocks(port, [hl7(text)])
        assert lines(answer)["MSA"][1] == "AA"
    else:
        played = await AstmAnalyzer(port).play(session(b"".join(frames_of(astm(text), 240, "record"))))
        assert not played.gave_up


def end_of(site: RunningSite) -> str:
    view = site.messages()[-1]
    if view.repeat_of is not None:
        assert (view.state, view.reason) == ("filtered", "REPEAT")
        return REPEAT
    assert site.end_of(view.id) == "delivered"
    return FLAGGED if view.equal_to is not None else FRESH


# -- the table -----------------------------------------------------------------------------------------------------


def minute(number: int) -> str:
    return f"{datetime(2026, 3, 1, 9, 10) + timedelta(minutes=number):%Y%m%d%H%M}"


def counting(number: int) -> str:
    return f"A{number + 1}"


def random_id(number: int) -> str:
    return ("5b1f-c", "77aa-e", "0c0d-x", "f00d-q", "beef-k", "cafe-m")[number]


def constant(_: int) -> str:
    return "1"


def absent(_: int) -> str:
    return ""


Said = Callable[[int], str]


@dataclass(frozen=True)
class History:
    """Three results, then the text in question, perhaps others, and that text again.

    Attributes:
        id, sent, measured: of the number-th message of the channel.
        then: other results in between.
        hours: between the two.
    """

    id: Said
    sent: Said
    measured: Said
    end: str
    then: int = 0
    hours: float = 0.1
    before: int = 3


HISTORIES = {
    # control id, time of the message, time of the result
    "it counts": History(counting, absent, absent, REPEAT),
    "it counts, a day less a minute": History(counting, absent, absent, REPEAT, hours=23.9),
    "it counts, more than a day": History(counting, absent, absent, FLAGGED, hours=24.1),
    "it counts, and is not known to": History(counting, absent, absent, FLAGGED, before=0),
    "it counts, and has begun anew": History(counting, absent, absent, FLAGGED, then=2, hours=12),
    "no number: it changes": History(random_id, absent, absent, REPEAT, then=2, hours=12),
    "constant": History(constant, absent, absent, FLAGGED),
    "absent": History(absent, absent, absent, FLAGGED),
    "once it was used for another result": History(
        lambda n: ("A1", "A2", "A3", "A3", "A4")[n], absent, absent, FLAGGED, before=4
    ),
    "once it counted back": History(lambda n: ("A7", "A8", "A9", "A1", "A2")[n], absent, absent, FLAGGED, before=4),
    "the time of the message": History(absent, minute, absent, REPEAT, then=2, hours=12),
    "the time of the message, more than a day": History(absent, minute, absent, FLAGGED, hours=24.1),
    "the time of the result": History(constant, absent, minute, REPEAT, then=2, hours=12),
    "a day is no time": History(absent, lambda n: minute(n)[:8], absent, FLAGGED),
    "midnight is no time": History(absent, lambda n: f"202603{n + 1:02}000000", absent, FLAGGED),
    "the clock stands": History(absent, lambda _: minute(0), absent, FLAGGED),
    "the clock begins anew in 2000": History(absent, lambda n: "2000" + minute(n)[4:], absent, FLAGGED, hours=12),
    "the time is not known to change": History(absent, minute, absent, FLAGGED, before=0),
    "an id that is constant, and a time": History(constant, minute, absent, REPEAT),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", HISTORIES)
async def test_the_same_bytes_are_a_repeat_only_where_something_says_so(
    tmp_path: Path, name: str, protocol: str
) -> None:
    history = HISTORIES[name]

    def text(number: int, value: str) -> Text:
        return Text(history.id(number), history.sent(number), history.measured(number), value)

    clock = ManualClock()
    async with site_of(tmp_path, protocol, clock) as site:
        for number in range(history.before):
            assert await send(site, protocol, text(number, f"POS {number}")) == FRESH
        once = text(history.before, "NEG")
        assert await send(site, protocol, once) == FRESH
        for number in range(history.before + 1, history.before + 1 + history.then):
            assert await send(site, protocol, text(number, f"POS {number}")) == FRESH
        observations = site.sandbox.count("Observation")
        clock.advance(history.hours * 3600)
        assert await send(site, protocol, once) == history.end
        assert site.sandbox.count("Observation") - observations == (history.end == FLAGGED)
        keys = [key for view in site.messages() for key in (one.key for one in site.deliveries(view.id))]
        assert len(set(keys)) == len(keys) == len(site.sandbox.deliveries())


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_clock_that_stands_is_noticed_by_other_results_with_its_time(tmp_path: Path, protocol: str) -> None:
    clock = ManualClock()
    async with site_of(tmp_path, protocol, clock) as site:
        for number in range(4):
            clock.advance(600)
            assert await send(site, protocol, Text(sent=minute(number * 10), value=f"POS {number}")) == FRESH
        for number in range(2):
            clock.advance(600)
            assert await send(site, protocol, Text(sent=minute(40), value=f"POS {number}")) == FRESH
        assert await send(site, protocol, Text(sent=minute(40))) == FRESH
        clock.advance(600)
        assert await send(site, protocol, Text(sent=minute(40))) == FLAGGED


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_minute_from_before_the_clock_was_set_back_may_come_twice(tmp_path: Path, protocol: str) -> None:
    clock = ManualClock()
    async with site_of(tmp_path, protocol, clock) as site:
        for number in (1, 2, 3):
            assert await send(site, protocol, Text(sent=minute(number), value=f"POS {number}")) == FRESH
        assert await send(site, protocol, Text(sent=minute(90))) == FRESH
        clock.advance(3600)
        assert await send(site, protocol, Text(sent=minute(4), value="POS 4")) == FRESH
        clock.advance(3600)
        assert await send(site, protocol, Text(sent=minute(90))) == FLAGGED
        assert await send(site, protocol, Text(sent=minute(91), value="POS 5")) == FRESH
        assert await send(site, protocol, Text(sent=minute(92))) == FRESH
        assert await send(site, protocol, Text(sent=minute(92))) == REPEAT


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_two_patients_with_equal_texts_are_two_results_on_the_server(tmp_path: Path, protocol: str) -> None:
    """Of the same microsecond, too: the clock of this test stands."""
    async with site_of(tmp_path, protocol, ManualClock()) as site:
        ends = [await send(site, protocol, Text()) for _ in range(3)]
        assert ends == [FRESH, FLAGGED, FLAGGED]
        assert site.sandbox.count("Observation") == site.sandbox.count("DiagnosticReport") == 3
        first, second, third = site.messages()
        assert (second.equal_to, third.equal_to) == (first.id, second.id)
        shown = await site.labrelay("messages", "list", "-o", "json")
        (looked,) = site.app.observer.take().channels
        assert (looked.today_received, looked.today_same_bytes, looked.today_repeat) == (3, 2, 0)
        told = [row["flags"] for row in shown.json["messages"]]
        assert told == [[f"same bytes as {second.id}"], [f"same bytes as {first.id}"], []]


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_so_they_are_where_counters_for_patients_and_orders_begin_anew(tmp_path: Path, protocol: str) -> None:
    """Switched off at noon, the analyzer numbers its patients and tubes from 1 again."""
    clock = ManualClock()
    async with site_of(tmp_path, protocol, clock) as site:
        for number in range(2):
            ends = [await send(site, protocol, Text(value=one, patient="1", order="1")) for one in ("NEG", "NEG")]
            assert ends == ([FRESH, FLAGGED] if not number else [FLAGGED, FLAGGED])
            clock.advance(4 * 3600)
        assert site.sandbox.count("Observation") == 4


# -- our answer ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def standing_writer(site: RunningSite) -> "Iterator[None]":
    """The journal's thread waits, as for a disk that hangs."""
    go_on = threading.Event()

    def wait(batch: Batch) -> None:
        assert go_on.wait(120.0)

    site.app.journal.writer.submit(wait)
    try:
        yield
    finally:
        go_on.set()


async def send_and_leave(site: RunningSite, protocol: str, text: Text) -> None:
    """Send a message, and end the connection before its answer can be written."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port(protocol))
    before = len(site.messages())
    if protocol == "hl7":
        with standing_writer(site):
            writer.write(b"\x0b" + hl7(text) + b"\x1c\r")
            await _end(site, protocol, writer)
    else:
        frames = frames_of(astm(text), 240, "record")
        writer.write(b"\x05")
        for frame in frames[:-1]:
            assert await reader.readexactly(1) == b"\x06"
            writer.write(frame)
        assert await reader.readexactly(1) == b"\x06"
        with standing_writer(site):
            writer.write(frames[-1])
            await _end(site, protocol, writer)
    await until(lambda: len(site.messages()) > before)
    await until(lambda: not site.app.parts.sources[protocol].channel.connections)
    await site.settled()


async def _end(site: RunningSite, protocol: str, writer: asyncio.StreamWriter) -> None:
    served = site.app.parts.sources[protocol].channel
    await until(lambda: len(served.connections) == 1)
    (connection,) = served.connections.values()
    await writer.drain()
    writer.close()
    await until(connection.line.gone)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("minutes", "end"), [(1, REPEAT), (9, REPEAT), (11, FLAGGED)])
async def test_a_sender_that_had_no_answer_sends_the_same_message_again(
    tmp_path: Path, protocol: str, minutes: float, end: str
) -> None:
    clock = ManualClock()
    async with site_of(tmp_path, protocol, clock) as site:
        await send_and_leave(site, protocol, Text())
        assert end_of(site) == FRESH
        clock.advance(minutes * 60)
        assert await send(site, protocol, Text()) == end
        assert await send(site, protocol, Text()) == FLAGGED, "the answer is written now, so this is another result"


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_sender_that_never_has_an_answer_sends_one_message(tmp_path: Path, protocol: str) -> None:
    async with site_of(tmp_path, protocol, ManualClock()) as site:
        for _ in range(3):
            await send_and_leave(site, protocol, Text())
        first = site.messages()[0].id
        assert [view.repeat_of for view in site.messages()] == [None, first, first]
        assert [view.reason for view in site.messages()] == ["", "REPEAT", "REPEAT"]
        assert site.sandbox.count("Observation") == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_after_a_crash_nothing_tells_which_answers_were_written(tmp_path: Path, protocol: str) -> None:
    """The folder is copied while the daemon runs, as a crash would leave it. It may be the next patient's text."""
    clock = ManualClock()
    async with site_of(tmp_path / "a", protocol, clock) as site:
        assert await send(site, protocol, Text(value="POS")) == FRESH
        assert await send(site, protocol, Text()) == FRESH
        shutil.copytree(tmp_path / "a", tmp_path / "b", ignore=shutil.ignore_patterns("*.sock"))
        async with running_app(tmp_path / "b", clock=clock) as app:
            crashed = RunningSite(tmp_path / "b", app, site.sandbox)
            assert await send(crashed, protocol, Text()) == FLAGGED
            assert await send(crashed, protocol, Text(value="POS")) == FLAGGED


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_after_a_stop_in_order_the_last_message_is_answered_and_what_was_learned_is_kept(
    tmp_path: Path, protocol: str
) -> None:
    clock = ManualClock()
    async with site_of(tmp_path, protocol, clock) as site:
        for number in range(4):
            assert await send(site, protocol, Text(id=counting(number), value=f"POS {number}")) == FRESH
        assert await send(site, protocol, Text(id=counting(4))) == FRESH
        first, *_, last = (view.id for view in site.messages())
    async with running_app(tmp_path, clock=clock) as app:
        again = RunningSite(tmp_path, app, site.sandbox)  # of which nothing is asked: it is down
        for text in (Text(id=counting(4)), Text(id=counting(0), value="POS 0"), Text(id=counting(4))):
            before = len(again.messages())
            await put_on_the_line(again.port(protocol), protocol, text)
            await until(lambda before=before: len(again.messages()) > before)
        repeat, anew, distrusted = again.messages()[-3:]
        assert (repeat.repeat_of, repeat.equal_to) == (last, None)
        assert (anew.repeat_of, anew.equal_to) == (None, first)
        assert (distrusted.repeat_of, distrusted.equal_to) == (None, last)


# -- what came to nothing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_a_route_filtered_by_mistake_is_taken_when_it_comes_again(tmp_path: Path, protocol: str) -> None:
    clock = ManualClock()
    wrong = CHANNEL[protocol]()
    wrong["routes"] = [{"filter": "everything", "when": "=true"}]
    async with running_site(tmp_path, {protocol: wrong}, clock=clock) as site:
        for number in range(3):
            await put_on_the_line(site.port(protocol), protocol, Text(id=counting(number), value=f"POS {number}"))
        await until(lambda: len(site.messages()) == 3)
        await site.settled()
        assert site.ends() == ["FILTERED"] * 3
        right = CHANNEL[protocol](source=wrong["source"])
        (tmp_path / "channels" / f"{protocol}.yaml").write_text(yaml.safe_dump({"channel": protocol, **right}))
        ran = await site.labrelay("reload")
        assert ran.code == 0, ran.err
        assert await send(site, protocol, Text(id=counting(2), value="POS 2")) == FRESH
        assert await send(site, protocol, Text(id=counting(2), value="POS 2")) == REPEAT
