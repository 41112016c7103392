"""The choices of a history: drawn from its seed, or as a list of its acts has them.

Each act draws from a generator of its own, and from lists that the seed alone decides. So the acts of a seed are always
the same ones; only of what is there at that moment (``if_``) another one may be chosen where the machine is slower. A
list of acts has each choice as it was made.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
Act = list[Any]  # its name, then each choice, as JSON has it


class NothingThereError(Exception):
    """There is nothing to choose from."""


class Choices:
    """Attributes:
    acts: all so far.
    """

    def __init__(self, seed: str, told: Sequence[Act] | None = None) -> None:
        self._seed, self._told = seed, told
        self._rng = random.Random(seed)
        self._given: list[Any] = []
        self.acts: list[Act] = []

    def begin(self, names: Sequence[str], weights: Sequence[int]) -> str:
        """The next act."""
        step = len(self.acts)
        self.acts.append([])
        self._rng = random.Random(f"{self._seed} {step}")
        if self._told is not None:
            self._given = list(self._told[step])
        return self.one_of(names, weights)

    def one_of(
        self, items: Iterable[T], weights: Sequence[float] | None = None, *, if_: Callable[[T], bool] | None = None
    ) -> T:
        """One of these.

        Args:
            if_: whether one is there now; the seed says which of those that are is chosen.

        Raises:
            NothingThereError: none is.
        """
        there = list(items)
        if self._told is not None:
            there = [one for one in there if self._given and plain(one) == self._given[0]]
            self._given = self._given[1:]
        elif weights is not None:
            there = self._rng.choices(there, weights)
        else:
            there = sorted(there, key=lambda _: self._rng.random())
        for one in there:
            if if_ is None or if_(one):
                self.acts[-1].append(plain(one))
                return one
        raise NothingThereError

    def chance(self, of_one: float) -> bool:
        return self.one_of((True, False), (of_one, 1 - of_one))


def plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
