"""A process that uses a journal until it is killed, and says what it was promised.

    python -m tests.support.store_worker FOLDER

Each line on stdin starts a life: ``live`` goes on until it is killed, ``die N`` kills itself just before the N-th time
that its database writes or syncs a file; ``survived`` says that it never came to that.

It imports once and forks a life at a time, so that a kill costs milliseconds. Lines on stdout, each one write:
``pid N`` a life has begun, ``m ID DIGEST`` a message is durable, ``f ID`` a frame is durable, ``q ID`` a message is
mapped and queued, ``d ID`` a delivery is settled, ``failed ...`` what must not happen, ``ended`` the life is over.
"""

import asyncio
import os
import random
import signal
import sys
from hashlib import sha256
from pathlib import Path

from engine import upkeep
from engine.clock import SystemClock
from engine.journal import Journal
from engine.message import Document, Received
from engine.records import Routed
from tests.support.failing_disk import FailingDisk
from tests.support.journals import WINDOW_S, opened

SENDERS = 6


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def digest(payload: bytes) -> str:
    return sha256(payload).hexdigest()[:16]


async def live(data: Path) -> None:
    journal = opened(data, clock=SystemClock())
    journal.recover()
    journal.start(asyncio.get_running_loop())
    await asyncio.gather(*(send(journal, sender) for sender in range(SENDERS)))


async def die(data: Path, step: int) -> None:
    """A short life of all kinds of work, checkpoints too, ended just before the ``step``-th write or sync."""
    upkeep.CHECKPOINT_BYTES = 200_000
    journal = opened(data, clock=SystemClock())
    journal.recover()
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


async def send(journal: Journal, sender: int, times: int = 10**9) -> None:
    """One analyzer's life: store, map, deliver, settle, and again."""
    chance = random.Random(os.getpid() * 100 + sender)
    channel = f"c{sender % 3}"
    for n in range(times):
        payload = b"%d-%d-%d" % (os.getpid(), sender, n) + chance.randbytes(chance.choice((10, 900, 9000)))
        message = Received(channel=channel, payload=payload, received_us=SystemClock().now_us(), control_id=str(n))
        if sender == 0:
            session = journal.new_session()
            say("f", await journal.append_frame(channel, session, b"1H", message.received_us))
            (stored,) = await journal.append_frame_completing(
                channel, session, b"2L", message.received_us, [message], WINDOW_S
            )
        else:
            stored = await journal.append(message, repeat_window_s=WINDOW_S)
        say("m", stored.id, digest(payload))
        routed = Routed(document=Document(body=payload * 3), destinations=("a", "b"), claimed=(n % 2 == 0, False))
        outcome = await journal.map_done(stored.id, routes=[routed], state="mapped")
        say("q", stored.id)
        for delivery in [*outcome.deliveries, *await journal.claim(channel, "b", 4)]:
            await journal.settle(delivery.id, delivered_us=1)
            say("d", delivery.id)


def main() -> None:
    data = Path(sys.argv[1])
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            say("pid", os.getpid())
            try:
                asyncio.run(live(data) if line == "live\n" else die(data, int(line.split()[1])))
            except BaseException as error:  # a life must not go on as a second parent
                say("failed", repr(error))
            os._exit(1)
        os.waitpid(pid, 0)
        say("ended")


if __name__ == "__main__":
    main()
