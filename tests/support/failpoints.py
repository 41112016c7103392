"""Named steps of a message's way at which a test has the process end itself, as if it were killed just there.

The product knows nothing of them: in a process of the test's own (`tests.support.forking`) the function that *is* the
step is replaced by one that counts its calls, and ends the process by SIGKILL at the n-th, just before or just after;
or it never returns from there (``hangs``), with the event loop or the thread that called it.
"""

import functools
import inspect
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

When = Literal["before", "after", "hangs"]


@dataclass(frozen=True, slots=True)
class Step:
    """A function of the product: its module, and its name there."""

    module: str
    name: str


STEPS = {
    # what comes in
    "receive": Step("engine.receiving.channel", "Channel._append"),
    "receive a frame": Step("engine.receiving.channel", "Channel._take_frame"),
    "store the last frame": Step("engine.store.operations.append", "store_completing_frame"),
    "store a message": Step("engine.store.operations.append", "store_message"),
    "store a frame": Step("engine.store.operations.append", "store_frame"),
    "store a version": Step("engine.store.operations.servers", "store_polled"),
    "move the cursor": Step("engine.store.operations.servers", "move_cursor"),
    "answer": Step("adapters.transports.sockets.tcp_stream", "TcpStream.write"),
    # a transaction of the writer, from BEGIN to the hand-over of its results
    "begin": Step("engine.store.journal.upkeep", "StoreUpkeep.begin"),
    "flush": Step("engine.store.core.writing.batch", "Batch.flush"),  # after it: COMMIT is next
    "commit": Step("engine.store.core.writing.batch", "Batch.committed"),  # before it: COMMIT has returned
    "anchor": Step("engine.store.core.anchor", "Anchor.write"),
    "sync the anchor": Step("engine.store.core.anchor", "Anchor.sync"),
    "hand over": Step("engine.store.core.writing.writer", "Writer._call"),
    "checkpoint": Step("engine.store.journal.upkeep", "StoreUpkeep._run_checkpoint"),
    "close": Step("engine.store.journal.upkeep", "StoreUpkeep.close"),
    # intake
    "process": Step("engine.processing.intake", "process"),
    "map": Step("engine.store.operations.record_outcome", "record"),
    # delivery
    "claim": Step("engine.store.operations.outbox.claims", "claim"),
    "send": Step("adapters.destinations.http_out", "HttpOut.deliver"),
    "settle": Step("engine.store.operations.outbox.attempts", "settle"),
    "postpone": Step("engine.store.operations.outbox.attempts", "postpone"),
    "bury": Step("engine.store.operations.outbox.attempts", "bury"),
    # a start
    "create": Step("engine.store.journal.opening", "_found_journal"),
    "create the anchor": Step("engine.store.core.anchor", "Anchor.__init__"),
    "void the leases": Step("engine.store.operations.outbox.claims", "void_leases"),
    "assemble": Step("engine.store.operations.append", "assemble"),
    # a question, or a download
    "look up the orders": Step("engine.features.orders.rows", "answer"),
    "look up a download": Step("engine.features.orders.rows", "download"),
    "write the answer": Step("adapters.codecs.astm.dialogue", "AstmDialogue.answer"),
    "write a download": Step("adapters.codecs.astm.dialogue", "AstmDialogue.download"),
    "give it to the link": Step("engine.features.orders.exchange.lines", "Line.offer"),
    "note that it was sent": Step("engine.features.orders.rows", "offered"),
    "note what an analyzer said": Step("engine.features.orders.rows", "confirmed"),
    "make the answers": Step("engine.features.orders.exchange.service", "announce"),
    # a call to ABDM's gateway, and a callback of it
    "take a report": Step("engine.features.abdm.flows.reports", "take"),
    "begin a call": Step("engine.features.abdm.rows.calls", "claim"),
    "make a call": Step("engine.features.abdm.client.gateway", "Gateway.call"),
    "note what the gateway answered": Step("engine.features.abdm.rows.calls", "answered"),
    "prove a callback": Step("engine.features.abdm.rules.gateway_tokens", "prove"),
    "keep a callback": Step("engine.features.abdm.rows.callbacks", "store"),
    "fold a callback": Step("engine.features.abdm.rows.callbacks", "fold"),
    "keep a consent": Step("engine.features.abdm.rows.consents", "put"),
    "end what a consent allowed": Step("engine.features.abdm.rows.transfers", "end_of_consent"),
    # records on their way to a reader
    "read a report": Step("engine.features.abdm.flows.pages", "ready"),
    "seal the pages": Step("engine.features.abdm.flows.pages", "sealed"),
    "keep the pages": Step("engine.features.abdm.flows.turns", "keep"),
    "begin a page": Step("engine.features.abdm.flows.turns", "look"),
    "push a page": Step("engine.features.abdm.client.pushes", "Pushes.push"),
    "note what the reader answered": Step("engine.features.abdm.flows.turns", "settle"),
    "end a transfer": Step("engine.features.abdm.flows.requests", "end"),
    # a code by SMS, for a link that a patient makes
    "begin an SMS": Step("engine.features.abdm.rows.offers", "claim"),
    "send an SMS": Step("adapters.clients.http.templated", "TemplatedRequests.send"),
    "note that it was taken": Step("engine.features.abdm.rows.offers", "sent"),
    # a patient who leaves the network; an SMS of the network to one without ABHA
    "let a patient go": Step("engine.features.abdm.rows.leaving", "leave"),
    "begin an invitation": Step("engine.features.abdm.rows.invitations", "begin"),
    "end an invitation": Step("engine.features.abdm.rows.invitations", "end"),
    # an upgrade of the journal
    "keep a copy": Step("engine.store.integrity.before_upgrade", "keep"),
    "copy": Step("engine.store.integrity.before_upgrade", "_copy"),
    "copy the anchor": Step("engine.store.integrity.before_upgrade", "read_own"),
    "name the copy": Step("engine.store.integrity.before_upgrade", "sync_folder"),
    "upgrade": Step("engine.store.core.connecting", "upgrade"),
    # what people do
    "begin an act": Step("engine.store.operations.audit", "begin"),
    "replay": Step("engine.store.operations.outbox.queueing", "replay"),
    "end an act": Step("engine.store.operations.audit", "end_always"),
    # what comes with a key: a form, a request of a program
    "note the key": Step("engine.store.operations.kept_answers", "begin"),
    "carry it out": Step("engine.actions.kept", "KeptActs._carry_out"),
    "keep the answer": Step("engine.store.operations.kept_answers", "end"),
}

ORDERS = (
    "look up the orders", "look up a download", "write the answer", "write a download", "give it to the link",
    "note that it was sent", "note what an analyzer said", "make the answers",
)  # fmt: skip
ABDM = (
    "take a report", "begin a call", "make a call", "note what the gateway answered", "prove a callback",
    "keep a callback", "fold a callback",
)  # fmt: skip
CONSENTS = ("keep a consent", "end what a consent allowed")
RECORDS = (
    "read a report", "seal the pages", "keep the pages", "begin a page", "push a page",
    "note what the reader answered", "end a transfer",
)  # fmt: skip
SMS = ("begin an SMS", "send an SMS", "note that it was taken")
LEAVING = ("let a patient go",)
INVITATIONS = ("begin an invitation", "end an invitation")
KEYS = ("note the key", "carry it out", "keep the answer")
UPGRADE = ("keep a copy", "copy", "copy the anchor", "name the copy", "upgrade")


def arm(name: str, when: When, nth: int) -> None:
    """Have this process end itself at the ``nth`` call (from 1) of a step."""
    step = STEPS[name]
    owner: Any = import_module(step.module)
    *path, attribute = step.name.split(".")
    for part in path:
        owner = getattr(owner, part)
    setattr(owner, attribute, _ending(getattr(owner, attribute), when, nth))


def _ending(original: Callable[..., Any], when: When, nth: int) -> Callable[..., Any]:
    calls = 0

    def count(at: When) -> None:
        nonlocal calls
        if at != when and not (when == "hangs" and at == "before"):
            return
        calls += 1
        if calls >= nth and when == "hangs":
            threading.Event().wait()
        elif calls >= nth:
            os.kill(os.getpid(), signal.SIGKILL)

    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def wrapped_async(*arguments: Any, **keywords: Any) -> Any:
            count("before")
            result = await original(*arguments, **keywords)
            count("after")
            return result

        return wrapped_async

    @functools.wraps(original)
    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        count("before")
        result = original(*arguments, **keywords)
        count("after")
        return result

    return wrapped
