"""What features say of a delivery right before it is sent: whether newer results were delivered meanwhile, and what its
document has to say besides.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from engine.feature import Hook
from engine.store.core.writing.batch import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class BeforeSend:
    """Operations of the journal (`engine.store.core.writing.operation`), each about one delivery.

    Attributes:
        overtaken: how much of it newer messages have had delivered; empty: nothing.
        close: it is overtaken and ends without being sent; takes ``whole``, whether all of it is.
        alike: whether the receiver could mistake its results for those of others that may be there before it.
        joined: the document that goes out in place of the stored one; None: the stored one does.
    """

    overtaken: Callable[[Batch, int], Literal["", "part", "whole"]]
    close: Callable[..., int]
    alike: Callable[[Batch, int, Iterable[int]], bool]
    joined: Callable[[Batch, int], bytes | None]


GUARDS: Hook[BeforeSend] = Hook("before_send")
