"""From committed callbacks to state, and from queued calls to their answers.

    fold         callbacks in the order in which they were committed, one transaction each: state and new calls together
    carry out    calls that are due: journaled with their REQUEST-ID, sent, and the answer journaled

A stop at any point resumes: a callback that was not folded is folded at the next start, a call that was under way is
made again, with another REQUEST-ID. A callback that cannot be used is set aside with a reason and holds up no other.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import uniform
from typing import Any, Protocol

from engine.config import registry
from engine.features.abdm.config import ABDM
from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows import consents, discovery, inviting, leaving, linking, reports, requests
from engine.features.abdm.flows.flow import CallKind, Flow, Handler, Refused
from engine.features.abdm.rows import callbacks, calls
from engine.features.abdm.rows import reading as rows
from engine.features.abdm.rules.network import Attempt, Call, Callback, CallState, GatewayAnswer, Verdict
from engine.features.abdm.service import outbox
from engine.features.abdm.service.outbox import Outbox
from engine.model.errors import CallbackBodyError, StoreError
from engine.model.process.clock import Clock
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal

FLOWS: tuple[Flow, ...] = (
    linking.FLOW,
    leaving.FLOW,
    consents.FLOW,
    requests.FLOW,
    reports.FLOW,
    discovery.FLOW,
    inviting.FLOW,
)

AT_ONCE = 100  # callbacks that are read back at once
AWAY_S = 3600.0  # for so long calls wait of a laboratory that the configuration does not name
REPEAT, UNKNOWN_REQUEST, OTHER_CALL, NO_RESPONSE, NO_PATH = (
    "repeat",
    "unknown-request",
    "result-of-another-call",
    "no-response",
    "unknown-path",
)

logger = logging.getLogger("labrelay.abdm")


class Gateway(Protocol):
    """As `engine.features.abdm.client.gateway.Gateway`."""

    async def call(
        self, method: str, path: str, body: Any, *, request_id: str, headers: Mapping[str, str] | None = None
    ) -> GatewayAnswer: ...


@dataclass(frozen=True, slots=True)
class Table:
    """What all flows declare together."""

    callbacks: Mapping[str, Handler]
    calls: Mapping[str, CallKind]
    results: frozenset[str]
    refused: Mapping[str, Refused]

    @classmethod
    def of(cls, flows: Sequence[Flow]) -> "Table":
        """
        Raises:
            ValueError: two flows declare the same.
        """
        handlers: dict[str, Handler] = {}
        kinds: dict[str, CallKind] = {}
        refused: dict[str, Refused] = {}
        for one in flows:
            if handlers.keys() & one.callbacks.keys() or kinds.keys() & {kind.name for kind in one.calls}:
                raise ValueError("two flows take the same callback, or make the same call")
            handlers |= one.callbacks
            kinds |= {kind.name: kind for kind in one.calls}
            refused |= one.refused
        return cls(handlers, kinds, frozenset(kind.result for kind in kinds.values() if kind.result), refused)

    @property
    def paths(self) -> frozenset[str]:
        """Of all callbacks that are taken."""
        return self.results | self.callbacks.keys()


class Dispatcher:
    """Of one site.

    Args:
        ours: the destination of kind ``abdm`` in force.

    Attributes:
        is_elsewhere: whether the gateway sends our callbacks to another system: no call is made then whose result comes
            by one.
    """

    def __init__(
        self,
        journal: Journal,
        gateway: Gateway,
        ours: Callable[[], AbdmDestination],
        clock: Clock,
        flows: Sequence[Flow] = FLOWS,
    ) -> None:
        self._journal = journal
        self._gateway = gateway
        self._ours = ours
        self._clock = clock
        self.table = Table.of(flows)
        self._verdicts = registry.load(ABDM, "verdicts")
        self._came = asyncio.Event()
        self._outbox = Outbox(
            clock,
            places=ours().concurrency,
            claim=self._claim,
            attempt=self._attempt,
            put_off=lambda attempt: journal.run(calls.put_off, attempt.call.number, ours().retry.max),
            due_us=lambda: rows.look(journal, calls.next_due_us),
            fault="a call to ABDM ended by a fault",
        )
        self._followers: list[Callable[[], None]] = []
        self._followers_of_calls: list[Callable[[str, int], None]] = []
        self.is_elsewhere: Callable[[], bool] = lambda: False
        self._logged_in_again: set[int] = set()  # calls whose last answer was that our session has ended

    async def recover(self) -> None:
        """Take over what an earlier process has left; before `fold` and `carry_out`.

        Callbacks first: a call that was under way may have its result there, and is then not made again.
        """
        while await self.fold_all():
            pass
        if under_way := await self._journal.run(calls.recover):
            logger.info("calls to ABDM that were under way are made again", extra={"count": under_way})

    def follow(self, folded: Callable[[], None]) -> None:
        """Have a function called whenever a callback was folded: its rows may be work of another loop."""
        self._followers.append(folded)

    def follow_calls(self, answered: Callable[[str, int], None]) -> None:
        """Have a function called with name and subject of a call whenever an attempt of it has ended."""
        self._followers_of_calls.append(answered)

    def stored(self) -> None:
        """A callback is durable."""
        self._came.set()

    def changed(self) -> None:
        """A call was queued."""
        self._outbox.changed()

    # -- callbacks -------------------------------------------------------------------------------------------------

    async def fold(self) -> None:
        """Fold callbacks until cancelled."""
        while True:
            self._came.clear()
            if not await self.fold_all():
                await outbox.wait(self._came, outbox.IDLE_S)

    async def fold_all(self) -> int:
        """Fold those that are there; return how many.

        They are handed to the journal together, in their order: it folds them so, and many share one transaction on
        the disk. One by one, 200 that come at once take seconds. One that comes too early, since the journal
        did not take the one before, is left for the next look.
        """
        numbers = rows.look(self._journal, callbacks.waiting, AT_ONCE)
        await asyncio.gather(*(self._fold_one(number) for number in numbers))
        return len(numbers)

    async def _fold_one(self, number: int) -> None:
        try:
            await outbox.for_sure(lambda: self._journal.run(callbacks.fold, number, self._handle, self._refused))
        except StoreError:
            raise
        except Exception as error:  # a fault of ours costs this callback; its words may name the patient
            logger.error(
                "a callback of ABDM could not be used, by a fault of LabRelay; it is kept",
                extra={"count": number, "cause": type(error).__name__},
            )
            await self._set_aside(number)
        self._outbox.changed()
        for folded in self._followers:
            folded()

    async def _set_aside(self, number: int) -> None:
        refuse, fault = callbacks.refuse, callbacks.FAULT
        try:
            await outbox.for_sure(lambda: self._journal.run(refuse, number, fault, self._refused))
        except StoreError:
            raise
        except Exception as error:
            logger.error(
                "nothing follows on a callback of ABDM that could not be used; look at it",
                extra={"count": number, "cause": type(error).__name__},
            )
            await outbox.for_sure(lambda: self._journal.run(refuse, number, fault))

    def _refused(self, batch: Batch, callback: Callback) -> None:
        if (follows := self.table.refused.get(callback.path)) is not None:
            follows(batch, self._ours(), callback)

    def _handle(self, batch: Batch, callback: Callback) -> str:
        if callback.path in self.table.results:
            return self._result(batch, callback)
        handler = self.table.callbacks.get(callback.path)
        if handler is None:
            raise CallbackBodyError(NO_PATH)
        return handler(batch, self._ours(), callback)

    def _result(self, batch: Batch, callback: Callback) -> str:
        """The result of a call of ours, which the callback names by the REQUEST-ID of one of its attempts."""
        response = callback.body.get("response")
        named = response.get("requestId") if isinstance(response, dict) else None
        if not isinstance(named, str):
            raise CallbackBodyError(NO_RESPONSE)
        call = calls.by_request(batch, named)
        if call is None:
            raise CallbackBodyError(UNKNOWN_REQUEST)
        kind = self.table.calls.get(call.name)
        if kind is None or kind.result != callback.path or call.facility != callback.facility:
            raise CallbackBodyError(OTHER_CALL)
        is_left = call.body is not None  # else its patient has left, or was erased
        is_late = is_left and not callback.body.get("error") and calls.is_given_up(batch, call.number)
        if call.state is CallState.DONE:
            return REPEAT
        answer = self._verdicts.result(callback.body, callback.raw)
        if call.state is CallState.FAILED and not is_late:
            kind.late(batch, self._ours(), call, answer)
            return REPEAT
        calls.finish(batch, call, answer, again_s=self._again_s(call, answer), ended=self._ended)
        return ""

    # -- calls -----------------------------------------------------------------------------------------------------

    async def carry_out(self) -> None:
        """Make calls until cancelled. Those that were under way when this ended before are made again."""
        await outbox.for_sure(lambda: self._journal.run(calls.recover))
        await self._outbox.carry_out()

    def _claim(self, most: int, set_back: bool) -> "asyncio.Future[list[Attempt]]":
        return self._journal.run(calls.claim, most, self._headers, self._ended, set_back=set_back)

    async def _attempt(self, attempt: Attempt) -> None:
        call, ours = attempt.call, self._ours()
        kind = self.table.calls[call.name]
        headers = {**attempt.headers, **({"X-HIP-ID": call.facility} if kind.names_facility else {})}
        async with self._outbox.place:
            answer = await self._gateway.call(
                kind.method, kind.path, call.body, request_id=attempt.request_id, headers=headers
            )
        again_s = self._again_s(call, answer)
        if not answer.is_taken:
            logger.log(
                logging.ERROR if answer.verdict in (Verdict.LOG_IN, Verdict.SETTINGS) else logging.WARNING,
                "a call to ABDM was not taken",
                extra={
                    "count": call.number,
                    "detail": f"{call.name}: {answer.status} {answer.code}",
                    "cause": answer.cause,
                },
            )
        await outbox.for_sure(
            lambda: self._journal.run(
                calls.answered,
                call.number,
                answer,
                result_within_s=ours.answer_within if kind.result else 0.0,
                again_s=again_s,
                ended=self._ended,
            )
        )

        for answered in self._followers_of_calls:
            answered(call.name, call.subject)

    def _again_s(self, call: Call, answer: GatewayAnswer) -> float:
        """Seconds until the next attempt. Where our session has ended a call goes out again at once, but once."""
        retry = self._ours().retry
        if answer.verdict is Verdict.LOG_IN and not answer.cause and call.number not in self._logged_in_again:
            self._logged_in_again.add(call.number)
            return 0.0
        if answer.verdict is not Verdict.LOG_IN:
            self._logged_in_again.discard(call.number)
        if answer.verdict in (Verdict.SLOW, Verdict.SETTINGS) or (
            answer.verdict is Verdict.LOG_IN and not answer.cause
        ):
            return retry.max
        growing: float = retry.first * 2.0 ** min(call.attempt - 1, 30)
        return min(growing, retry.max) * uniform(0.8, 1.0)

    def _headers(self, batch: Batch, call: Call) -> Mapping[str, str] | None:
        kind = self.table.calls.get(call.name)
        if kind is None:  # of a release before
            calls.withdraw(batch, call, NO_PATH)
            return None
        if call.facility not in self._ours().facilities:  # taken out of the configuration; it may come back
            calls.again(batch, call, AWAY_S)
            return None
        if kind.result and self.is_elsewhere():
            calls.again(batch, call, self._ours().retry.max)
            return None
        return kind.headers(batch, self._ours(), call)

    def _ended(self, batch: Batch, call: Call, answer: GatewayAnswer) -> None:
        if (kind := self.table.calls.get(call.name)) is not None:
            kind.ended(batch, self._ours(), call, answer)
