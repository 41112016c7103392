"""Which messages another machine received, and came in later (`engine.store.recovery.adopting`)."""

from typing import NamedTuple

import orjson

from engine.store.core.connecting import Execute


class Adopted(NamedTuple):
    """
    Attributes:
        to, chain: the last row of the old machine that was looked at.
        ranges: (the last row that both had, before the first, the last) of rows that came in at once.
    """

    to: int = 0
    chain: bytes = b""
    ranges: tuple[tuple[int, int, int], ...] = ()

    @classmethod
    def read(cls, execute: Execute) -> "Adopted":
        row = execute("SELECT value FROM meta WHERE name = 'adopted'").fetchone()
        if row is None:
            return cls()
        to, chain, ranges = orjson.loads(row[0])
        return cls(to, bytes.fromhex(chain), tuple(map(tuple, ranges)))

    def write(self, execute: Execute) -> None:
        said = orjson.dumps([self.to, self.chain.hex(), self.ranges])
        execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('adopted', ?)", (said,))

    def came_meanwhile(self, message_id: int) -> tuple[int, int]:
        """The rows behind the first and up to the second, which came after an adopted message; (0, 0): it is none."""
        return next((one[:2] for one in self.ranges if one[1] < message_id <= one[2]), (0, 0))
