"""A destination in a window of expected downtime: nothing is lost, nothing is given up, and nobody is called for it."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from engine.delivery.breaker import Breaker
from engine.delivery.retry import RetryPolicy
from engine.model.errors import DestinationDownError, TransientDeliveryError
from engine.model.site.downtime_windows import DowntimeCalendar
from engine.model.texts.reasons import ReasonCode
from tests.support.plant import Plant, ScriptedDestination, numbers, plant

HOUR_US = 3_600_000_000


@pytest_asyncio.fixture
async def made(tmp_path: Path) -> AsyncIterator[Plant]:
    async with plant(tmp_path) as made:
        yield made


def down(*_: object) -> Exception:
    return TransientDeliveryError(ReasonCode.NO_ANSWER, "refused")


class Hours(DowntimeCalendar):
    """One window, in hours from now."""

    def __init__(self, made: Plant, first: float, last: float) -> None:
        begin = made.clock.now_us()
        self.start, self.end = begin + int(first * HOUR_US), begin + int(last * HOUR_US)

    def until_us(self, now_us: int) -> int | None:
        return self.end if self.start <= now_us < self.end else None

    def spared_us(self, since_us: int, until_us: int) -> int:
        return max(0, min(until_us, self.end) - max(since_us, self.start))


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


async def failing(
    made: Plant,
    downtime: DowntimeCalendar,
    **retry: float,
) -> ScriptedDestination:
    server = await made.destination(
        "server",
        retry=RetryPolicy(**{"first": 1.0, "max": 300.0, **retry}),
        breaker=Breaker(threshold=2, first_open=10.0),
        downtime=downtime,
    )
    server.script = down
    for channel in "ab":
        made.channel(channel, "server")
        await made.send(channel, *numbers(3))
    await made.settle()
    return server


async def test_a_whole_window_is_one_calm_line(made: Plant, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "labrelay")
    server = await failing(made, Hours(made, 0, 2))
    for _ in range(100):
        await made.advance(60.0)
    server.script = lambda *_: None
    await made.drain()
    assert said(caplog) == [("INFO", "destination fails in its expected downtime")]
    assert getattr(caplog.records[0], "until", "").endswith("+00:00")
    assert all(server.of(channel) == numbers(3) for channel in "ab")
    assert made.workers["server"].counts.breaker_opened == 1


async def test_what_is_still_down_after_the_window_is_told_then(made: Plant, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "labrelay")
    server = await failing(made, Hours(made, 0, 1))
    for _ in range(70):
        await made.advance(60.0)
    assert sorted(set(said(caplog)[1:])) == [
        ("WARNING", "delivery postponed"),
        ("WARNING", "destination is not reachable"),
    ]
    server.script = lambda *_: None
    await made.drain()
    assert said(caplog)[-1] == ("INFO", "destination is reachable again")


async def test_what_was_down_before_the_window_stays_told(made: Plant, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "labrelay")
    server = await failing(made, Hours(made, 0.5, 1))
    for _ in range(45):
        await made.advance(60.0)
    server.script = lambda *_: None
    await made.drain()
    lines = [text for _, text in said(caplog) if "destination" in text]
    assert lines == [
        "destination is not reachable",
        "destination fails in its expected downtime",
        "destination is reachable again",
    ]


async def test_nothing_is_given_up_within_a_window(made: Plant) -> None:
    server = await failing(made, Hours(made, 0, 2), give_up_after=600.0)
    for _ in range(129):  # it has been over for 9 minutes, and the destination has had only these
        await made.advance(60.0)
    assert "dead" not in made.states("server")
    for _ in range(10):
        await made.advance(60.0)
    assert "dead" in made.states("server")
    assert sum(server.attempts.values()) > 0


async def test_negative_acknowledgements_count_from_the_end_of_the_window_on(made: Plant) -> None:
    """The receiver answers, and has no database: AE for each document, which at other times makes a dead letter."""
    server = await made.destination(
        "server",
        retry=RetryPolicy(first=1.0, max=60.0),
        breaker=Breaker(threshold=1_000_000),
        downtime=Hours(made, 0, 2),
    )
    server.script = lambda *_: TransientDeliveryError(ReasonCode.NEGATIVE_ACK, "answered AE", limit=5)
    made.channel("a", "server")
    await made.send("a", *numbers(3))
    await made.settle()
    for _ in range(119):
        await made.advance(60.0)
    assert server.attempts["a", "00001"] > 20
    assert "dead" not in made.states("server")
    for _ in range(3):
        await made.advance(60.0)
    assert "dead" not in made.states("server")
    for _ in range(4):
        await made.advance(60.0)
    assert made.states("server")[0] == "dead"
    server.script = lambda *_: None
    await made.drain()
    assert server.of("a") == ["00002", "00003"]


async def test_what_the_receiver_says_it_did_not_take_is_waited_for_in_no_window(made: Plant) -> None:
    """With `order: none` an older result waits for a newer one that the server may have; this one it does not."""
    server = await made.destination("server", breaker=Breaker(threshold=1_000_000), downtime=Hours(made, 0, 2))
    refusal = TransientDeliveryError(ReasonCode.NEGATIVE_ACK, "answered AE", limit=5)
    server.script = lambda _, body, attempt: refusal if body.startswith("2") or not attempt else None
    made.channel("a", "server", order="none")
    await made.send("a", "1|report", "2|report")
    await made.settle()
    await made.advance(60.0)
    assert made.states("server") == ["delivered", "waiting"]


async def test_what_waits_goes_out_soon_after_the_window(made: Plant) -> None:
    """The back-off would be an hour by then."""
    server = await made.destination(
        "server",
        retry=RetryPolicy(first=2.0, max=3600.0),
        breaker=Breaker(threshold=1_000_000),
        downtime=Hours(made, 0, 2),
    )
    server.script = down
    made.channel("a", "server")
    await made.send("a", "00001")
    await made.settle()
    for _ in range(119):
        await made.advance(60.0)
    server.script = lambda *_: None
    await made.advance(60.0)
    await made.advance(3.0)
    assert server.of("a") == ["00001"]


async def test_a_destination_that_answers_when_to_come_back_is_obeyed(made: Plant) -> None:
    server = await made.destination("server", breaker=Breaker(threshold=1_000_000), downtime=Hours(made, 0, 0.1))
    server.script = lambda *_: TransientDeliveryError(ReasonCode.BUSY, "503", retry_after=1800.0)
    made.channel("a", "server")
    await made.send("a", "00001")
    await made.settle()
    await made.advance(1700.0)
    assert sum(server.attempts.values()) == 1


async def test_a_refused_login_is_no_less_expected(made: Plant, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "labrelay")
    server = await made.destination("server", downtime=Hours(made, 0, 1))
    server.script = lambda *_: DestinationDownError(ReasonCode.NOT_AUTHORIZED, "401")
    made.channel("a", "server")
    await made.send("a", *numbers(2))
    await made.advance(600.0)
    assert [level for level, _ in said(caplog)] == ["INFO"]
