"""Codes by SMS: rows that the journal has, to the service, and what came of each.

An SMS is tried a few times within two minutes: the patient waits with the app open. It is the same SMS each time, also
after a crash that hides whether the service took the first; there is one code for one choice. The app hears of it once
the service has taken it, or that it failed.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows import discovery
from engine.features.abdm.rows import offers
from engine.features.abdm.rows import reading as rows
from engine.features.abdm.rows.offers import Text
from engine.features.abdm.service import outbox
from engine.features.abdm.service.outbox import Outbox
from engine.model.errors import DeliveryError, TransientDeliveryError
from engine.model.process.clock import Clock
from engine.store.journal import Journal

AT_ONCE = 8  # SMS under way
LATE_US = 120_000_000  # an SMS that has waited longer is not sent
AGAIN_S = (2.0, 5.0, 10.0)  # after an attempt that may be repeated
NOT_TAKEN = "sms-not-taken"

logger = logging.getLogger("labrelay.abdm")


class Service(Protocol):
    """As `adapters.clients.http.templated.TemplatedRequests`."""

    async def send(self, values: Mapping[str, str]) -> None: ...


class Texting:
    """Of one site.

    Args:
        sent: called when an answer to the app was queued.
    """

    def __init__(
        self,
        journal: Journal,
        service: Service,
        ours: Callable[[], AbdmDestination],
        clock: Clock,
        sent: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._service = service
        self._ours = ours
        self._sent = sent
        self._outbox = Outbox(
            clock,
            places=AT_ONCE,
            claim=self._claim,
            attempt=self._attempt,
            put_off=lambda text: journal.run(offers.put_off, text.code, AGAIN_S[-1]),
            due_us=lambda: rows.look(journal, offers.next_due_us),
            fault="an SMS of ABDM ended by a fault",
        )

    async def recover(self) -> None:
        """Take over what an earlier process has left; before `carry_out`."""
        if under_way := await self._journal.run(offers.recover):
            logger.info("SMS of ABDM that were under way are sent again", extra={"count": under_way})

    def changed(self) -> None:
        """A callback was folded: it may have made a code."""
        self._outbox.changed()

    async def carry_out(self) -> None:
        """Send SMS until cancelled. Those that were under way when this ended before go out again."""
        await outbox.for_sure(lambda: self._journal.run(offers.recover))
        await self._outbox.carry_out()

    def _claim(self, most: int, set_back: bool) -> "asyncio.Future[list[Text]]":
        return self._journal.run(offers.claim, most, LATE_US, discovery.text_failed, set_back=set_back)

    async def _attempt(self, text: Text) -> None:
        place = self._ours().facilities.get(text.facility)
        try:
            facility = place.name if place is not None else ""
            async with self._outbox.place:
                await self._service.send({"mobile": text.mobile, "code": text.digits, "facility": facility})
        except DeliveryError as error:
            logger.warning("an SMS of ABDM was not taken", extra={"count": text.code, "detail": str(error)})
            may_repeat = isinstance(error, TransientDeliveryError) and text.attempt <= len(AGAIN_S)
            again_s = AGAIN_S[text.attempt - 1] if may_repeat else 0.0
            work = partial(self._journal.run, offers.not_sent, text.code, NOT_TAKEN, again_s, discovery.text_failed)
        else:
            work = partial(self._journal.run, offers.sent, text.code, discovery.text_sent)
        await outbox.for_sure(work)
        self._sent()
