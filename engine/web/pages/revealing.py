"""Show the contents of a message to a person who states a purpose: the audit trail has it before anything is read."""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from engine.actions.control import Request
from engine.model.errors import ConfigError, LabRelayError, StoreError
from engine.store.queries.contents import why_absent
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import Reader
from engine.web.pages.frame import Frame, Values
from engine.web.routes import PRINCIPAL

VERB = "shown"


async def reveal(
    frame: Frame, request: web.Request, message: int, purpose: str, read: Callable[..., Values], *given: Any
) -> tuple[int, str, Values]:
    """The status, a sentence where nothing can be shown, and what ``read(reader, message, *given)`` has read."""
    words = frame.asking(request).words
    try:
        if absent := await frame.read(_absent, message):
            return 404, absent, {}
        args = {"message": message, "purpose": purpose}
        await frame.verbs[VERB].work(Request(verb=VERB, actor=request[PRINCIPAL].actor, args=args))
        return 200, "", await frame.read(read, message, *given)
    except (StoreError, ConfigError) as error:
        status, trouble = frame.why_not(error, words)
        return status, trouble, {}
    except LabRelayError:
        return 400, words.say("Say what you look at it for."), {}


def _absent(reader: Reader, message: int) -> str:
    """Why there is no such message; empty: there is."""
    return "" if trace_of(reader, message) is not None else str(why_absent(reader, "message", message))
