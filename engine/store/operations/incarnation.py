"""Incarnations: one journal that goes on on several machines, one after the other.

A restore begins the next one: a number, and an id, for two machines may restore the same copy. Each full copy has the
incarnation of its journal. A restored machine may be there for a trial: it writes no copies, not into an empty folder
either, until a person says that it goes on (`go_on`). From then on it claims the folder of copies, before its first
copy is whole. A machine that finds a later one there, or another of the same number, writes nothing there and delivers
nothing: the journal went on elsewhere (`engine.store.recovery.backups.catalog`, `engine.store.integrity.rollback`). The
same act of a person lets that machine go on with the journal that it has, and shuts out a clone, which has the same
incarnation.
"""

import os
import socket
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import orjson

from engine.model.errors import RefusedError
from engine.store.core.connecting import Execute
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import audit

GO_ON = (
    "If this machine goes on with the journal: labrelay backup go-on --reason TEXT. If not, stop it; or restore the "
    "newest copy here. Until a person decides, the other machine may deliver, too"
)
LAST = 1_000_000  # a number that a file names is no higher
LONGEST_TEXT = 64  # of a host's name, too
_KEY, _LATER = "incarnation", "overtaken_by"  # of the table `meta`; none before the first restore, or a later one


@dataclass(frozen=True, slots=True, order=True)
class Incarnation:
    """Attributes:
    history: its id; empty for the first.
    machine: the name of the machine with the journal, where it is known.
    at: when that machine wrote this, ISO 8601.
    claims: the folder of copies is its own; False after a restore, until a person says so.
    """

    number: int = 1
    history: str = ""
    machine: str = field(default="", compare=False)
    at: str = field(default="", compare=False)
    claims: bool = field(default=True, compare=False)

    def __str__(self) -> str:
        at = f", {self.at[:16].replace('T', ' ')} UTC" if self.at else ""
        return f"incarnation {self.number} on {self.machine or 'another machine'}{at}"

    @classmethod
    def read(cls, number: Any, history: Any, machine: Any, at: str) -> "Incarnation":
        """One that a file in the folder of copies names; more accounts may write there.

        Raises:
            ValueError: it is none.
        """
        if not isinstance(number, int) or not 1 <= number <= LAST:
            raise ValueError("number")
        for text in (history, machine):
            if not isinstance(text, str) or len(text) > LONGEST_TEXT or not text.isprintable():
                raise ValueError("text")
        return cls(number, history, machine, at)

    def overtaken_by(self, others: Iterable["Incarnation"]) -> "Incarnation | None":
        """The latest of those that are no earlier ones; None without one."""
        return max((one for one in others if one.number >= self.number and one != self), default=None)


def of(execute: Execute) -> Incarnation:
    """That of a journal, which this machine has."""
    row = execute("SELECT value FROM meta WHERE name = ?", (_KEY,)).fetchone()
    number, history, claims = orjson.loads(row[0]) if row is not None else (1, "", True)
    host = "".join(sign if sign.isprintable() else "?" for sign in socket.gethostname())
    return Incarnation(number, history, host[:LONGEST_TEXT], claims=claims)


def named(snapshot: Callable[[], AbstractContextManager[Execute]], journal_id: bytes) -> str:
    """A journal and its incarnation, for a reader who must tell two of them apart: numbers of lanes may be used twice.

    The state is read anew at each call, for a person may let it go on (`go_on`) at any time.
    """
    with snapshot() as execute:
        own = of(execute)
    return f"{journal_id.hex()}/{own.number}{own.history and f'/{own.history}'}"


def begin(execute: Execute, after: int, *, claims: bool = False) -> None:
    """Begin one that is later than number ``after``, and than the journal's own."""
    said = orjson.dumps([max(of(execute).number, after) + 1, os.urandom(8).hex(), claims])
    execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (_KEY, said))


def is_noted(execute: Execute, later: Incarnation) -> bool:
    """Whether ``later`` was found before."""
    row = execute("SELECT value FROM meta WHERE name = ?", (_LATER,)).fetchone()
    return row is not None and Incarnation(*orjson.loads(row[0])) == later


def note(execute: Execute, later: Incarnation) -> None:
    """Note that the journal goes on elsewhere, as ``later``."""
    said = orjson.dumps([later.number, later.history])
    execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (_LATER, said))


def raise_if_overtaken(execute: Execute) -> None:
    """Raises RefusedError where the journal goes on elsewhere, and no person has said that it goes on here."""
    row = execute("SELECT value FROM meta WHERE name = ?", (_LATER,)).fetchone()
    own = of(execute)
    if row is not None and (later := own.overtaken_by([Incarnation(*orjson.loads(row[0]))])) is not None:
        raise RefusedError(f"this journal goes on elsewhere, as {later}; from here nothing is delivered. {GO_ON}")


@operation(priority=Priority.SETTLE)
def go_on(batch: Batch, actor: str, reason: str, others: Iterable[Incarnation]) -> Incarnation:
    """A person says that the journal goes on here, and not where the ``others`` are: begin the next one, and return
    it.
    """
    latest = max(others, default=None)
    begin(batch.execute, latest.number if latest is not None else 0, claims=True)
    own = of(batch.execute)
    audit.note(batch, actor, "go-on", {"incarnation": own.number, "after": str(latest or ""), "reason": reason})
    return own
