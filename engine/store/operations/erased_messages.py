"""What features are told of a message that is erased, while its documents are still there."""

from collections.abc import Callable, Set
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedMessage:
    """A message that is erased.

    Attributes:
        id, channel: of the message.
        patients: the keyed hashes of the patients of its reports.
        person: all that is stored of its patient goes, also what other messages have brought.
    """

    id: int
    channel: str
    patients: Set[bytes]
    person: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedAgain:
    """One that was erased after the backup that is restored.

    Attributes:
        at_us: when it was erased.
        is_known: the state of messages that is restored is one from after that.
        is_his: whether a number of the laboratory is one of the patient's who was erased.
    """

    message: ErasedMessage
    at_us: int
    is_known: bool
    is_his: Callable[[str], bool]
