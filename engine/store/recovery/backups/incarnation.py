"""Incarnations: one journal that goes on on several machines, one after the other.

A restore begins the next one: a number, and an id, for two machines may restore the same copy. Each full copy has the
incarnation of its journal. A machine with a second or later one claims the folder of copies at its start, before its
first copy is whole. A machine that finds a later one there, or another of the same number, writes nothing there: the
journal went on elsewhere (`engine.store.recovery.backups.catalog`).
"""

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from engine.store.core.rows import Execute

_KEY = "incarnation"  # of the table `meta`; none before the first restore


@dataclass(frozen=True, slots=True, order=True)
class Incarnation:
    """Attributes:
    history: its id; empty for the first.
    machine: the name of the machine with the journal, where it is known.
    at: when that machine wrote this, ISO 8601.
    """

    number: int = 1
    history: str = ""
    machine: str = field(default="", compare=False)
    at: str = field(default="", compare=False)

    def __str__(self) -> str:
        at = f", {self.at[:16].replace('T', ' ')} UTC" if self.at else ""
        return f"incarnation {self.number} on {self.machine or 'another machine'}{at}"

    def overtaken_by(self, others: Iterable["Incarnation"]) -> "Incarnation | None":
        """The latest of those that are no earlier ones; None without one."""
        return max((one for one in others if one.number >= self.number and one != self), default=None)


def of(execute: Execute) -> Incarnation:
    """That of a journal, which this machine has."""
    row = execute("SELECT value FROM meta WHERE name = ?", (_KEY,)).fetchone()
    number, history = orjson.loads(row[0]) if row is not None else (1, "")
    return Incarnation(number, history, socket.gethostname())


def begin(execute: Execute, after: int) -> None:
    """Begin one that is later than number ``after``, and than the journal's own."""
    said = orjson.dumps([max(of(execute).number, after) + 1, os.urandom(8).hex()])
    execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (_KEY, said))
