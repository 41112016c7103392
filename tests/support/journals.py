"""Journals to try things on: on real files, with a clock that stands still."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.model.errors import StoreError
from engine.model.journal.records import Routed
from engine.model.link_events import Line
from engine.model.message import Document, Received, Report, Stored
from engine.model.outcome import Outcome
from engine.model.process.clock import Clock, ManualClock
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from engine.store.operations import append, record_outcome

DAY_S = 86_400.0
WINDOW_S = DAY_S
NOW_US = ManualClock().now_us()


def received(
    payload: bytes = b"MSH|1", *, channel: str = "chem", control_id: str = "", at_us: int = NOW_US, lost: bool = False
) -> Received:
    """``lost``: the sender has gone without an answer, so that the same bytes within minutes are a repeat."""
    return Received(
        channel=channel,
        payload=payload,
        received_us=at_us,
        peer="127.0.0.1:5000",
        control_id=control_id,
        message_type="ORU^R01",
        notes=("no CR after FS",),
        line=Line("127.0.0.1", ended_us=at_us) if lost else None,
    )


def routed(body: bytes = b"{}", *to: str, claimed: bool = False, reports: tuple[Report, ...] = ()) -> Routed:
    destinations = to or ("fhir",)
    return Routed(
        document=Document(
            body=body, media_type=media_type_of(body), reports=reports, conditional=(b"c" * 16, b"d" * 16)
        ),
        destinations=destinations,
        claimed=(claimed,) * len(destinations),
    )


def media_type_of(body: bytes) -> str:
    """Of what is no Bundle, one that results are not compared by."""
    return "application/fhir+json" if b'"Bundle"' in body else "application/octet-stream"


def unexpected(error: StoreError) -> None:
    raise AssertionError(f"fatal: {error}")


def replaced(
    monkeypatch: pytest.MonkeyPatch, journal: Journal, *operations: Callable[..., Any], by: Callable[..., Any]
) -> None:
    """``by(run, ...)`` is called in place of these operations; ``run(...)`` has the operation carried out."""
    real = journal.run

    def run(function: Any, /, *given: Any, **named: Any) -> Any:
        if function in operations:
            return by(partial(real, function), *given, **named)
        return real(function, *given, **named)

    monkeypatch.setattr(journal, "run", run)


def opened(
    data: Path,
    *,
    clock: Clock | None = None,
    accept_loss: bool = False,
    zone: tzinfo | None = None,
) -> Journal:
    return Journal.open(
        data,
        clock=clock or ManualClock(),
        on_fatal=unexpected,
        accept_loss=accept_loss,
        **({"zone": zone} if zone else {}),
    )


async def started(data: Path, *, clock: Clock | None = None, accept_loss: bool = False) -> Journal:
    journal = opened(data, clock=clock, accept_loss=accept_loss)
    recover(journal)
    journal.start(asyncio.get_running_loop())
    return journal


@asynccontextmanager
async def running(data: Path, *, clock: Clock | None = None, accept_loss: bool = False) -> AsyncIterator[Journal]:
    journal = await started(data, clock=clock, accept_loss=accept_loss)
    try:
        yield journal
    finally:
        await journal.stop()


async def store(
    journal: Journal, *payloads: bytes, channel: str = "chem", control_id: str = "", lost: bool = False
) -> list[Stored]:
    """Append messages, one after the other; ``lost`` as in `received`."""
    made = [received(payload, channel=channel, control_id=control_id, lost=lost) for payload in payloads]
    return [await journal.run(append.store_message, one, repeat_window_s=WINDOW_S) for one in made]


async def queue(
    journal: Journal,
    *bodies: bytes,
    to: tuple[str, ...] = ("fhir",),
    claimed: bool = False,
    critical: tuple[int, ...] = (),
) -> list[int]:
    """Append and map messages whose documents are their bodies; the message ids."""
    outcome: Outcome[Any] = Outcome("mapped", critical=critical)
    stored = await store(journal, *bodies)
    for one in stored:
        await journal.run(record_outcome.record, one.id, outcome, [routed(one.payload, *to, claimed=claimed)])
    return [one.id for one in stored]
