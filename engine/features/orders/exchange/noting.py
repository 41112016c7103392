"""What happens to an answer is noted in the journal, and in the log by item ids alone."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from engine.model.errors import StoreError
from engine.model.orders import item_id

if TYPE_CHECKING:
    from engine.store.journal import Journal

logger = logging.getLogger("labrelay.orders")

ITEMS_LOGGED = 20


class Notes:
    """Of one channel."""

    def __init__(self, channel: str, journal: "Journal") -> None:
        self._channel = channel
        self._journal = journal

    def note(self, operation: Callable[..., Any], /, *arguments: Any, **more: Any) -> None:
        """Have the journal note what has happened. Where it cannot, the next start finds an answer without an end."""
        try:
            future = self._journal.run(operation, *arguments, **more)
        except StoreError as error:
            self._not_noted(error)
            return
        future.add_done_callback(self._noted)

    def _noted(self, done: "asyncio.Future[Any]") -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self._not_noted(error)

    def _not_noted(self, error: BaseException) -> None:
        logger.error(
            "the end of an answer cannot be stored", extra={"channel": self._channel, "detail": type(error).__name__}
        )


def about(channel: str, items: Sequence[int] = ()) -> dict[str, Any]:
    """The fields of a log line about some items."""
    more = {"detail": " ".join(map(item_id, items[:ITEMS_LOGGED]))} if items else {}
    return {"channel": channel, **more}
