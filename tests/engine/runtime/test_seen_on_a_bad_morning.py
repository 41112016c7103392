"""What the page says on a bad morning, in the words that the runbook quotes. A whole site, in the test's own loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from engine.model.texts.link_words import FAULT_WORDS, stranger_words
from engine.receiving.link_monitor import UNREAD_SAID
from engine.runtime.app import App
from engine.store.core.vault import KEY_NAME
from engine.store.queries.lanes import list_channels, list_lanes
from tests.support.ports import quiet_ports
from tests.support.running import running_app
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]
MESSAGE = b"\x0bMSH|^~\\&|XN|LAB|||20260301101530||ORU^R01|1|P|2.5\rPID|1\r\x1c\r"


@pytest.fixture
def port() -> int:
    return quiet_ports(1)[0]


@asynccontextmanager
async def site(folder: Path, port: int) -> AsyncIterator[App]:
    for name in ("config", "channels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    whole = {
        "site": {"name": "Lab", "timezone": "Asia/Kolkata"},
        "web": {"enabled": False},
        "destinations": {"shelf": {"kind": "file", "folder": "var/shelf"}},
    }
    (folder / "config" / "labrelay.yaml").write_text(yaml.safe_dump(whole))
    channel = {
        "channel": "chem",
        "source": {"kind": "mllp", "listen": f"127.0.0.1:{port}"},
        "routes": [{"to": "shelf"}],
    }
    (folder / "channels" / "chem.yaml").write_text(yaml.safe_dump(channel))
    async with running_app(folder) as app:
        yield app


def said(app: App) -> list[str]:
    return [str(finding.phrase) for finding in app.observer.take()._findings()]


async def send(port: int, *parts: bytes, answered: bool = False) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    if answered:
        await asyncio.wait_for(reader.readuntil(b"\x1c\r"), 240.0)
    writer.close()


async def test_bytes_that_give_no_message_are_named_until_one_comes(
    tmp_path: Path, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with site(tmp_path, port) as app:
        counts = app.parts.sources["chem"].channel.counts
        for number in range(1, UNREAD_SAID + 1):
            assert not [text for text in said(app) if "cannot be read" in text]
            await send(port, b"\xc7\x93\xfe of another speed\r\n")
            await until(lambda number=number: counts.faults["noise"] == number)
        (text,) = [text for text in said(app) if "cannot be read" in text]
        assert text.startswith("chem: incoming bytes cannot be read (")
        assert "last from 127.0.0.1:" in text
        assert "bytes that belong to no message" in text
        (warned,) = [one for one in caplog.records if one.levelname == "WARNING" and "cannot be read" in one.message]
        assert vars(warned)["channel"] == "chem"
        await send(port, MESSAGE, answered=True)
        await until(lambda: counts.unread.faults == 0)
        assert not [text for text in said(app) if "cannot be read" in text]


async def test_a_stranger_at_a_port_is_named_at_once_beside_bytes_that_cannot_be_read(
    tmp_path: Path, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with site(tmp_path, port) as app:
        counts = app.parts.sources["chem"].channel.counts
        assert not [text for text in said(app) if "first bytes" in text]
        await send(port, b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: counts.faults["stranger"] == 1)
        (text,) = [text for text in said(app) if "first bytes" in text]
        assert text.startswith("chem: connections refused at their first bytes: 1 (last from 127.0.0.1:")
        assert "it speaks HTTP" in text
        (warned,) = [one for one in caplog.records if one.levelname == "WARNING" and "first bytes" in one.message]
        assert vars(warned)["channel"] == "chem"
        for number in range(1, UNREAD_SAID + 1):
            await send(port, b"noise\r\n")
            await until(lambda number=number: counts.faults["noise"] == number)
        (text,) = [text for text in said(app) if "first bytes" in text]
        assert text.startswith("chem: incoming bytes cannot be read (")
        await send(port, MESSAGE, answered=True)
        await until(lambda: counts.unread.faults == 0)
        (text,) = [text for text in said(app) if "first bytes" in text]
        assert text.startswith("chem: connections refused at their first bytes: 1")


@pytest.mark.parametrize(
    ("first", "word"), [(b"GET / HTTP/1.1", "HTTP"), (b"\x16\x03\x01\x02", "TLS"), (b"SSH-2.0-x", "SSH")]
)
def test_a_stranger_is_named_by_its_first_bytes(first: bytes, word: str) -> None:
    assert word in stranger_words(first)


@pytest.mark.parametrize("first", [b"\x0bMSH|", b"\x05", b"\x021H|", b"MSH|^~", b"G", b""])
def test_what_analyzers_begin_with_is_no_stranger(first: bytes) -> None:
    assert stranger_words(first) == ""
    assert "stranger" in FAULT_WORDS


async def test_a_message_that_is_younger_than_the_clock_says_so(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(tmp_path, port) as app:
        await send(port, MESSAGE, answered=True)
        assert not [text for text in said(app) if "clock" in text]
        year_us = 365 * 86_400 * 1_000_000
        (view,) = list_channels(app.journal)
        monkeypatch.setattr(app.clock, "now_us", lambda: view.last_us - year_us, raising=False)
        (text,) = [text for text in said(app) if "the clock of this machine says" in text]
        assert "chem has a message of" in text
        assert "Set the clock" in text


async def test_a_full_disk_says_once_what_to_do_and_is_over_when_there_is_room(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(tmp_path, port) as app:
        counts = app.parts.sources["chem"].channel.counts
        await send(port, MESSAGE, answered=True)
        await until(
            lambda: [one.delivered_us > 0 for one in list_lanes(app.journal)] == [True]
        )  # nothing is on its way to the store
        await until(lambda: not app.journal.writer.waiting)
        upkeep = type(app.journal.upkeep)
        now = app.clock.monotonic()
        counts.store_fault = ("the disk is full: nothing new is kept until there is room", now)
        with monkeypatch.context() as full:
            full.setattr(upkeep, "full", True)
            full.setattr(upkeep, "lacking", (90 << 20) + 1)
            (text,) = [text for text in said(app) if "disk is full" in text]
            assert text.startswith(
                "The disk is full: nothing is stored, so nothing is acknowledged; free 91 MiB on the "
            )
            assert str(app.parts.built.site.config.data) in text
            assert "is kept for acts of people" in text
            full.setattr(upkeep, "spent", True)
            (text,) = [text for text in said(app) if "disk is full" in text]
            assert "is used up, too" in text
            assert app.observer.obstacles()
        assert app.observer.obstacles()  # a channel's own fault, which nobody has tried since
        monkeypatch.setattr(upkeep, "full_until", now + 0.001)
        assert app.observer.obstacles() == []
        assert not [text for text in said(app) if "is full" in text]


async def test_a_destination_that_refuses_is_said_until_it_takes_documents_again(tmp_path: Path, port: int) -> None:
    async with site(tmp_path, port) as app:
        refused = app.parts.delivery_workers["shelf"].counts.refused
        refused.extend([True] * 4)
        assert not [text for text in said(app) if "refuses" in text]
        refused.extend([False, True])
        (text,) = [text for text in said(app) if "refuses" in text]
        assert text == "shelf refuses documents: 5 of the last 6"
        refused.extend([False] * 20)
        assert not [text for text in said(app) if "refuses" in text]


async def test_a_key_file_that_is_gone_is_said_while_there_is_time(tmp_path: Path, port: int) -> None:
    async with site(tmp_path, port) as app:
        file = app.parts.built.site.config.data / KEY_NAME
        assert not [text for text in said(app) if "key" in text]
        content = file.read_bytes()
        file.unlink()
        (text,) = [text for text in said(app) if "is gone" in text]
        assert text.startswith(f"{file} is gone: LabRelay runs on, and does not start again without the key.")
        assert "take the recovery sheet" in text
        file.write_bytes(content)
        assert not [text for text in said(app) if "is gone" in text]


@pytest.mark.parametrize(
    "line",
    [
        "The disk is full: nothing is stored, so nothing is acknowledged;",
        "the disk is full: nothing new is kept",
        "there is room on the disk again: messages are kept as before",
        "incoming bytes cannot be read (",
        "refuses documents: ",
        "is gone: LabRelay runs on, and does not start again without the key",
        "the clock of this machine says ",
        "the copy is not whole (",
        "no acknowledged row is missing",
        "the key is not the one that this journal was made with",
        "going on where the last run ended",
        "frames of the last run assembled",
    ],
)
def test_what_the_runbook_quotes_is_what_is_said(line: str) -> None:
    quoted = " ".join((ROOT / "docs" / "runbook.md").read_text().split())
    assert line in quoted
    assert any(line in file.read_text() for file in (ROOT / "engine").rglob("*.py"))
