"""Send the waiting orders of one channel to its analyzer unasked, and take back those that were cancelled.

    look up one specimen, and note it (one commit) -> dialogue writes it -> line sends it -> note the end -> the next

One message is under way at most. It is begun while the line rests, so results go first; and where the analyzer sends
something before it has begun, it is looked up anew. An order is *offered* once the link has confirmed all of its
message. Otherwise it waits, as ``MAYBE_KNOWN`` where the analyzer may have it, and is sent again with that mark.

After a failure nothing is sent for a while, longer with each failure in a row. A message that the analyzer refuses is
passed over until all others were sent; one that cannot be written, until the line is another one.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Protocol

import tenacity

from engine.features.orders import rows as worklist
from engine.features.orders.exchange.asking import Asking, about
from engine.model.errors import StoreError
from engine.model.link_events import SendEnd, Sent
from engine.model.orders import Reply, Tube
from engine.model.process import back_off
from engine.model.process.clock import Clock
from engine.model.worklist import Answered
from engine.store.journal import Journal

logger = logging.getLogger("labrelay.orders")

GATHERING_S = 0.3  # after an order came: the other tests of its tube may come in messages of their own
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 300.0
REFUSALS = 3  # messages refused in a row: then it is the line, or the analyzer, and not the message
PUT_OFF = "put_off"  # the analyzer had something to say before the message began
LEFT_OUT = "left_out"  # no message has the item: a text of it cannot be sent to this analyzer


class Outlet(Protocol):
    """A line to an analyzer, for messages that no question asked for."""

    async def free(self) -> bool:
        """Wait until nothing is under way on the line; False: it is gone."""

    async def send(self, reply: Reply) -> SendEnd:
        """Send one message, and wait for its end. `PUT_OFF`: no byte of it went out, and the line is needed for
        something else first."""


@dataclass(eq=False)
class Downloads:
    """The downloads of one channel by one line. ``asking``: as the configuration in force has it."""

    channel: str
    asking: Callable[[], Asking]
    outlet: Outlet
    _: KW_ONLY
    journal: Journal
    clock: Clock
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _gone: asyncio.Event = field(default_factory=asyncio.Event)
    _rounds: int = 0
    _unsendable: set[int] = field(default_factory=set)
    _refused: set[int] = field(default_factory=set)
    _refusals: int = 0

    def changed(self) -> None:
        """Orders of the worklist have changed."""
        self._wake.set()

    def close(self) -> None:
        """The line is gone: `run` ends."""
        self._gone.set()
        self._wake.set()

    async def run(self) -> None:
        """Send what waits, each time that it is time to, until the line is gone."""
        while await self._is_due():
            self._rounds += 1
            pausing = back_off.trying(back_off.NOT_YET, first_s=FIRST_PAUSE_S, max_s=LONGEST_PAUSE_S, sleep=self._pause)
            await pausing(self._round)

    # -- when ----------------------------------------------------------------------------------------------------------

    async def _is_due(self) -> bool:
        """Wait until it is time to look; False: the line is gone."""
        asking = self.asking()
        if self._rounds and asking.download == "batch":
            await self._pause(asking.download_every_s)
        elif self._rounds and asking.download == "on_connect":
            await self._gone.wait()
        elif self._rounds:
            await self._wake.wait()
            await self._pause(GATHERING_S)
        self._wake.clear()
        return not self._gone.is_set()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._gone.wait()

    # -- what ----------------------------------------------------------------------------------------------------------

    async def _round(self) -> bool:
        """Send all that waits. False: something did not arrive, and is tried again later."""
        try:
            while await self.outlet.free():
                asking = self.asking()
                found = await self._look(asking)
                if not found.tubes:
                    refused, self._refused = self._refused, set()
                    return not refused
                if not await self._send(asking, found):
                    return False
        except StoreError:
            logger.error("orders cannot be looked up, and are not sent", extra={"channel": self.channel})
            return False
        except Exception:  # an error of ours stops no later download
            logger.exception("orders cannot be sent", extra={"channel": self.channel})
            return False
        return True

    async def _look(self, asking: Asking) -> Answered:
        return await self.journal.run(
            worklist.download,
            asking.settings,
            frozenset(self._unsendable | self._refused),
            orders=asking.download is not None,
            cancels=asking.cancels,
        )

    async def _send(self, asking: Asking, found: Answered) -> bool:
        """Send the messages for one tube. False: pause before the next one."""
        (tube,) = found.tubes
        left = {item.number: None for item in tube.items}
        reason = LEFT_OUT
        for reply in self._written(asking, tube, found.query):
            end = await self.outlet.send(reply)
            for item in reply.items:
                left.pop(item, None)
            if not isinstance(end, Sent):
                reason = end.reason
                await self._note(worklist.not_offered, found.query, reply.items, reason, maybe=end.maybe)
                self._log("orders did not go out", reply.items, reason)
                if reason == "rejected" and not end.maybe:
                    self._refused |= {*reply.items, *left}
                break
            takes_back = any(item.line.action == "cancel" for item in tube.items)
            noting = worklist.taken_back if takes_back else worklist.offered
            await self._note(noting, found.query, reply.items, self.channel, self.clock.now_us())
            self._log("orders taken back" if takes_back else "orders sent", reply.items)
        if left:
            await self._note(worklist.not_offered, found.query, tuple(left), reason, maybe=False)
        if reason == LEFT_OUT:
            self._unsendable |= left.keys()
            self._refusals = 0
            return True
        self._refusals = self._refusals + 1 if reason == "rejected" else 0
        return reason == PUT_OFF or 0 < self._refusals < REFUSALS

    def _written(self, asking: Asking, tube: Tube, query: int) -> list[Reply]:
        try:
            return asking.dialogue.download(tube, asking.context(self.clock.now_us(), f"D{query}", unasked=True))
        except Exception:  # an error of ours costs this tube alone
            logger.exception("orders cannot be written", extra=about(self.channel, [one.number for one in tube.items]))
            return []

    async def _note(self, operation: Callable[..., Any], /, *arguments: Any, **more: Any) -> None:
        """Note what has happened. Where it cannot be stored it is tried again while there is a line: what was noted as
        under way is looked up by nothing else, and only the next start would find it."""
        storing = back_off.trying(tenacity.retry_if_exception(self._can_be_tried_again), sleep=self._pause)
        await storing(self.journal.run, operation, *arguments, **more)

    def _can_be_tried_again(self, error: BaseException) -> bool:
        return isinstance(error, StoreError) and not error.fatal and not self._gone.is_set()

    def _log(self, words: str, items: Sequence[int], reason: str = "") -> None:
        said = about(self.channel, items)
        if reason and reason != PUT_OFF:
            logger.warning(words, extra={**said, "reason": reason})
        elif not reason:
            logger.info(words, extra=said)
