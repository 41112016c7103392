"""Operations: functions of a `Batch` that `Journal.run` executes in the writer's next transaction.

    @operation(priority=Priority.SETTLE, can_linger=True)
    def settle(batch: Batch, delivery_id: int, delivered_us: int) -> None: ...

    await journal.run(attempts.settle, delivery_id, delivered_us)

An operation is declared once, where it is implemented. An unmarked function cannot be run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Priority(Enum):
    """Whether the writer accepts an operation while its queue is full.

    RECEIVE: it brings new work, and is refused. SETTLE: it ends work; refusing it would free nothing.
    """

    RECEIVE = "receive"
    SETTLE = "settle"


@dataclass(frozen=True, slots=True)
class Traits:
    """How the writer treats an operation.

    Attributes:
        can_linger: neither a sender nor a person waits for it, so it may wait for others to share a sync.
        size: payload bytes that it brings, from its arguments; None: none. While the disk is full, an operation with
            payload is refused.
    """

    priority: Priority
    can_linger: bool = False
    size: Callable[..., int] | None = None


def operation(
    *, priority: Priority, can_linger: bool = False, size: Callable[..., int] | None = None
) -> Callable[[F], F]:
    """Mark a function of a batch as an operation of the journal."""

    def mark(function: F) -> F:
        function.__dict__["traits"] = Traits(priority, can_linger, size)
        return function

    return mark


def traits_of(function: Callable[..., Any]) -> Traits:
    """The traits of an operation.

    Raises:
        KeyError: the function is not marked as one.
    """
    traits: Traits = function.__dict__["traits"]
    return traits
