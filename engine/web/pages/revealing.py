"""Show the contents of a message to a person who states a purpose: the audit trail has it before anything is read."""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from engine.actions.control import Request
from engine.model.errors import ConfigError, LabRelayError, StoreError
from engine.store.queries.contents import why_absent
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import Reader
from engine.web.desk import sentence
from engine.web.pages.frame import Frame, Values
from engine.web.routes import PRINCIPAL

VERB = "shown"


async def reveal(
    frame: Frame, request: web.Request, message: int, purpose: str, read: Callable[..., Values], *given: Any
) -> tuple[int, str, Values]:
    """Record the purpose, then read.

    Args:
        read: ``read(reader, message, *given)``; an error of it is shown as a sentence.

    Returns: the status, the sentence where nothing can be shown, and what was read.
    """
    words, args = frame.asking(request).words, {"message": message, "purpose": purpose}
    try:
        if absent := await frame.read(_absent, message):
            return 404, absent, {}
        try:
            await frame.verbs[VERB].work(Request(verb=VERB, actor=request[PRINCIPAL].actor, args=args))
        except (StoreError, ConfigError):
            raise
        except LabRelayError:
            return 400, words.say("Say what you look at it for."), {}
        return 200, "", await frame.read(read, message, *given)
    except (StoreError, ConfigError) as error:
        return *frame.why_not(error, words), {}
    except LabRelayError as error:
        return 409, sentence(str(error)), {}


def _absent(reader: Reader, message: int) -> str:
    """Why there is no such message; empty: there is."""
    return "" if trace_of(reader, message) is not None else str(why_absent(reader, "message", message))
