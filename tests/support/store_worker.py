"""A process that uses a journal until it is killed, and says what it was promised.

    python -m tests.support.store_worker FOLDER

Each line on stdin starts a life: ``live`` goes on until it is killed, ``die N`` kills itself just before the N-th time
that its database writes or syncs a file; ``survived`` says that it never came to that. ``fail N CODE`` makes the N-th
write, truncation or sync since the opening of the journal fail; ``cut N SEED`` is a power cut there: what was not
synced is lost, or with a SEED other than 0 a random part of it.

It imports once and forks a life at a time, so that a kill costs milliseconds. Lines on stdout, each one write:
``pid N`` a life has begun, ``m ID DIGEST`` a message is durable, ``f ID`` a frame is durable, ``q ID`` a message is
mapped and queued, ``d ID`` a delivery is settled, ``failed ...`` what must not happen, ``ended`` the life is over;
of ``fail``: ``at FILE CALL`` it failed there, ``refused`` something was not kept, ``fatal`` the journal gave up for
good (and what was not synced is lost), ``calls WRITES SYNCS`` and ``closed`` it ended in order. ``careless N`` is a
``cut`` of a store that does not sync: a test must notice. ``upgrade N`` opens a journal as a program with made-up
schema steps, and ends before the N-th statement of these, ``upgrade_step K 0|1`` before or after the K-th of
`failpoints.UPGRADE`; ``closed N`` where it came to its end. ``move FOLDER`` starts no life: the next ones are there.
"""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import sys
from collections.abc import Callable, Coroutine
from hashlib import sha256
from pathlib import Path
from typing import Any

from engine.model.errors import StoreError
from engine.model.journal.records import Routed
from engine.model.message import Document, Received
from engine.model.outcome import Outcome
from engine.model.process.clock import SystemClock
from engine.store.core import connecting
from engine.store.journal import Journal, upkeep
from engine.store.journal.starting import recover
from engine.store.operations import append, record_outcome
from engine.store.operations.outbox import attempts, claims
from tests.support.failing_disk import IOERR_FSYNC, FailingDisk
from tests.support.failpoints import UPGRADE, arm
from tests.support.fragile_files import IOERR_TRUNCATE, FragileFiles, nth
from tests.support.journals import WINDOW_S, opened
from tests.support.made_up_steps import with_made_up_steps

SENDERS = 6


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def digest(payload: bytes) -> str:
    return sha256(payload).hexdigest()[:16]


async def live(data: Path) -> None:
    journal = opened(data, clock=SystemClock())
    recover(journal)
    journal.start(asyncio.get_running_loop())
    await asyncio.gather(*(send(journal, sender) for sender in range(SENDERS)))


async def die(data: Path, step: int) -> None:
    """A short life of all kinds of work, checkpoints too, ended just before the ``step``-th write or sync."""
    upkeep.CHECKPOINT_BYTES = 200_000
    journal = opened(data, clock=SystemClock())
    recover(journal)
    journal.start(asyncio.get_running_loop())
    await send(journal, 2, 1)  # the log is open now
    steps = 0

    def decide(file: str, what: str) -> int:
        nonlocal steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    assert journal._connection is not None
    FailingDisk(journal._connection, decide)
    await asyncio.gather(send(journal, 0, 3), send(journal, 1, 3))
    say("survived", steps)


async def fail(data: Path, step: int, code: int) -> None:
    """The same short life; one call of its files fails, and what is refused is tried again, as analyzers do."""
    upkeep.CHECKPOINT_BYTES = 200_000
    calls = ("sync",) if code == IOERR_FSYNC else ("write", "truncate")

    def then(file: str, call: str) -> int:
        say("at", file, call)
        return IOERR_TRUNCATE if call == "truncate" else code

    files = FragileFiles(nth(step, calls, then))
    await _short_life(data, files)


async def cut(data: Path, step: int, seed: int) -> None:
    """The same short life; the power goes just before one call of its files."""
    upkeep.CHECKPOINT_BYTES = 200_000

    def then(file: str, call: str) -> int:
        files.power_cut(random.Random(seed) if seed else None)
        return 0

    files = FragileFiles(nth(step, ("write", "truncate", "sync"), then))
    await _short_life(data, files)


def learn_made_up_steps() -> None:
    known = with_made_up_steps()
    setattr(connecting, "steps", lambda: known)  # noqa: B010 - this process is the test's own


async def upgrade(data: Path, statement: int) -> None:
    """Open a journal as a program with more schema steps does; end before so many statements of these."""
    learn_made_up_steps()
    real, statements = connecting.upgrade, 0

    def trace(sql: str) -> None:
        nonlocal statements
        statements += 1
        if statements == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(connection: sqlite3.Connection) -> int:
        connection.set_trace_callback(trace)
        try:
            return real(connection)
        finally:
            connection.set_trace_callback(None)

    setattr(connecting, "upgrade", traced)  # noqa: B010 - this process is the test's own
    opened(data).close()
    say("closed", statements)


async def upgrade_step(data: Path, number: int, after: int) -> None:
    """The same; end before or after a named step of it."""
    learn_made_up_steps()
    arm(UPGRADE[number], "after" if after else "before", 1)
    opened(data).close()
    say("closed", 0)


async def careless(data: Path, step: int) -> None:
    """As `cut`, of a store that does not sync."""
    begin = Journal.start

    def start(journal: Journal, loop: asyncio.AbstractEventLoop) -> None:
        assert journal._connection is not None
        journal._connection.execute("PRAGMA synchronous = OFF")
        begin(journal, loop)

    setattr(Journal, "start", start)  # noqa: B010 - this process is the test's own
    await cut(data, step, 0)


async def _short_life(data: Path, files: FragileFiles) -> None:
    loop = asyncio.get_running_loop()
    try:
        journal = Journal.open(data, clock=SystemClock(), on_fatal=lambda error: _give_up(files))
        recover(journal)
    except StoreError as error:
        say("refused")
        if error.fatal:
            _give_up(files)
        return
    journal.start(loop)
    await asyncio.gather(*(_insist(journal, sender) for sender in range(3)))
    await journal.stop()
    say("calls", files.calls["write"] + files.calls["truncate"], files.calls["sync"])
    say("closed")


def _give_up(files: FragileFiles) -> None:
    """What `labrelay run` does; and the kernel drops what it could not sync, as it may."""
    say("fatal")
    files.lose()
    os._exit(6)


async def _insist(journal: Journal, sender: int) -> None:
    for n in range(3):
        with contextlib.suppress(StoreError):
            await send(journal, sender, 1, first=n)
            continue
        say("refused")
        await asyncio.sleep(0.001)


async def send(journal: Journal, sender: int, times: int = 10**9, *, first: int = 0) -> None:
    """One analyzer's life: store, map, deliver, settle, and again."""
    chance = random.Random(os.getpid() * 100 + sender)
    channel = f"c{sender % 3}"
    for n in range(first, first + times):
        payload = b"%d-%d-%d" % (os.getpid(), sender, n) + chance.randbytes(chance.choice((10, 900, 9000)))
        message = Received(channel=channel, payload=payload, received_us=SystemClock().now_us(), control_id=str(n))
        if sender == 0:
            session = journal.new_session()
            say("f", await journal.run(append.store_frame, channel, session, b"1H", message.received_us))
            (stored,) = await journal.run(
                append.store_completing_frame,
                channel,
                session,
                b"2L",
                message.received_us,
                [message],
                repeat_window_s=WINDOW_S,
            )
        else:
            stored = await journal.run(append.store_message, message, repeat_window_s=WINDOW_S)
        say("m", stored.id, digest(payload))
        routed = Routed(document=Document(body=payload * 3), destinations=("a", "b"), claimed=(n % 2 == 0, False))
        outcome = await journal.run(record_outcome.record, stored.id, Outcome("mapped"), [routed])
        say("q", stored.id)
        for delivery in [*outcome.deliveries, *await journal.run(claims.claim, channel, "b", 4)]:
            await journal.run(attempts.settle, delivery.id, delivered_us=1)
            say("d", delivery.id)


def _life(data: Path, kind: str, *numbers: str) -> Coroutine[Any, Any, None]:
    kinds: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
        "live": live, "die": die, "fail": fail, "cut": cut, "careless": careless,
        "upgrade": upgrade, "upgrade_step": upgrade_step,
    }  # fmt: skip
    return kinds[kind](data, *map(int, numbers))


def main() -> None:
    data = Path(sys.argv[1])
    for line in sys.stdin:
        if line.startswith("move "):
            data = Path(line.removeprefix("move ").rstrip("\n"))
            continue
        pid = os.fork()
        if pid == 0:
            say("pid", os.getpid())
            try:
                asyncio.run(_life(data, *line.split()))
            except BaseException as error:  # a life must not go on as a second parent
                say("failed", repr(error))
            os._exit(1)
        os.waitpid(pid, 0)
        say("ended")


if __name__ == "__main__":
    main()
