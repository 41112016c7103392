"""A process that writes a journal, backs it up, and kills itself just before a named step of that.

    python -m tests.support.backup_life SITE FOLDER STEP

It says ``stored N`` for each message once that is durable, and ``made`` once a copy is whole.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.model.outcome import Outcome
from engine.model.process.clock import SystemClock
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from engine.store.operations import append, record_outcome
from engine.store.recovery.backups import catalog, checking, copying, increments, state_snapshot
from tests.support.copies import complete
from tests.support.journals import received, routed

AMID = "amid the pages"
# The step -> where it is: a module or class, the name in it, and before which call of that the process dies.
STEPS: dict[str, tuple[Any, str, int]] = {
    "the folder is made": (catalog.Shelf, "begin", 1),
    "the first page": (copying, "job", 1),
    "the anchor of the copy": (copying, "Anchor", 1),
    "the configuration": (copying, "_configuration", 1),
    "the sync of the copy": (copying, "sync_file", 1),
    "the manifest": (catalog, "write_json", 1),
    "the copy gets its name": (Path, "rename", 1),
    "the copy is read back": (checking, "run", 1),
    "what was found is kept": (checking, "write_json", 1),
    "older copies go": (catalog.Shelf, "tidy", 1),
    "a piece is written": (increments, "store", 1),
    "a piece gets its name": (Path, "replace", 3),
    "how messages stand is read": (state_snapshot, "_collect", 1),
    "how messages stand gets its name": (Path, "replace", 4),
    "what the next is compared with gets its name": (Path, "replace", 5),
    "what the last was compared with goes": (state_snapshot, "_remove", 2),
}


def arm(step: str) -> None:
    where, name, number = STEPS[step]
    called = getattr(where, name)
    calls = 0

    def dying(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return called(*arguments, **named)

    setattr(where, name, dying)


async def live(site: Path, folder: Path, say: Callable[[str], None]) -> None:
    journal = Journal.open(site / "var", clock=SystemClock())
    recover(journal)
    journal.start(asyncio.get_running_loop())
    for _ in range(30):
        stored = await journal.run(append.store_message, received(os.urandom(12_000)), repeat_window_s=60.0)
        say(f"stored {stored.id}")
    copies = catalog.Shelf(folder, journal.journal_id)
    copies.open()
    making = copies.begin()

    def progress(done: int, total: int) -> None:
        if STEP == AMID and done > total // 2:
            os.kill(os.getpid(), signal.SIGKILL)

    await journal.lend(copying.job(making / JOURNAL_NAME, progress))
    copy = complete(copies, making, journal, site)
    checking.run(copy)
    copies.tidy(1)
    stored = await journal.run(append.store_message, received(b"one more"), repeat_window_s=60.0)
    say(f"stored {stored.id}")
    await journal.run(record_outcome.record, stored.id, Outcome("mapped"), [routed(b"one more")])
    state_snapshot.write(copy, site / "var" / JOURNAL_NAME)
    say("made")
    await journal.stop()


if __name__ == "__main__":
    STEP = sys.argv[3]
    if STEP in STEPS:
        arm(STEP)
    asyncio.run(live(Path(sys.argv[1]), Path(sys.argv[2]), lambda text: print(text, flush=True)))
