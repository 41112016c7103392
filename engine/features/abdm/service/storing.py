"""Wait for the journal where it takes nothing for a while: what has happened outside cannot be undone."""

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from engine.model.errors import IntegrityError, StoreError

RETRY_S = 1.0
T = TypeVar("T")

logger = logging.getLogger("labrelay.abdm")


async def for_sure(begin: Callable[[], "asyncio.Future[T]"]) -> T:
    """What the journal made of it; while it takes nothing (a full disk), it is asked again.

    Raises:
        StoreError: it has failed for good, or what it has cannot be read.
    """
    while True:
        try:
            return await begin()
        except IntegrityError:
            raise
        except StoreError as error:
            if error.fatal:
                raise
            logger.error("ABDM waits for the journal", extra={"detail": str(error)})
            await asyncio.sleep(RETRY_S)
