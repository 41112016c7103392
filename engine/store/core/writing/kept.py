"""What was read before and need not be read again: in bounded memory, the oldest go first."""

from collections.abc import Sized
from typing import Generic, TypeVar

K = TypeVar("K")
S = TypeVar("S", bound=Sized)


class Kept(dict[K, S], Generic[K, S]):
    """``most``: members of all values together, and values."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most, self._size = most, 0

    def keep(self, key: K, value: S) -> None:
        """What would fill it alone is not kept."""
        self.drop(key)
        if len(value) > self._most:
            return
        self[key] = value
        self._size += 1 + len(value)
        while self._size > self._most:
            self.drop(next(iter(self)))

    def drop(self, key: K) -> None:
        if (value := self.pop(key, None)) is not None:
            self._size -= 1 + len(value)

    def forget(self) -> None:
        self.clear()
        self._size = 0
