"""Which messages another machine received, and came in later (`engine.store.recovery.adopting`)."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from engine.store.core.connecting import Execute


class Adopted(NamedTuple):
    """
    Attributes:
        to, chain: the last row of the old machine that was looked at; the chain value in hexadecimal digits.
        ranges: [the last row that both had, before the first, the last] of rows that came in at once.
    """

    to: int = 0
    chain: str = ""
    ranges: Sequence[list[int]] = ()

    @classmethod
    def read(cls, execute: Execute) -> "Adopted":
        row = execute("SELECT value FROM meta WHERE name = 'adopted'").fetchone()
        return cls(*orjson.loads(row[0])) if row is not None else cls()

    def write(self, execute: Execute) -> None:
        execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('adopted', ?)", (orjson.dumps([*self]),))

    def came_meanwhile(self, message_id: int) -> tuple[int, int]:
        """The rows behind the first and up to the second, which came after an adopted message; (0, 0): it is none."""
        return next(((both, first) for both, first, last in self.ranges if first < message_id <= last), (0, 0))
