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
from functools import partial
from random import uniform
from typing import Any, Protocol, TypeVar

import orjson

from engine.abdm import linking
from engine.abdm.flow import CallKind, Flow, Handler
from engine.config import registry
from engine.config.destination_abdm import AbdmDestination
from engine.model.abdm import Attempt, Call, Callback, CallState, GatewayAnswer, Verdict
from engine.model.clock import Clock
from engine.model.errors import CallbackBodyError, IntegrityError, StoreError
from engine.store.core.batch import Batch
from engine.store.journal import Journal
from engine.store.operations.abdm import callbacks, calls
from engine.store.queries import abdm as rows

FLOWS: tuple[Flow, ...] = (linking.FLOW,)

AT_ONCE = 100  # callbacks that are read back at once
IDLE_S = 30.0  # a look without a reason to
STORE_RETRY_S = 1.0
REPEAT, UNKNOWN_REQUEST, OTHER_CALL, NO_RESPONSE, NO_PATH = (
    "repeat",
    "unknown-request",
    "result-of-another-call",
    "no-response",
    "unknown-path",
)
T = TypeVar("T")

logger = logging.getLogger("labrelay.abdm")


class Gateway(Protocol):
    """As `adapters.clients.abdm.gateway.Gateway`."""

    async def call(
        self, method: str, path: str, body: Any, *, request_id: str, headers: Mapping[str, str] | None = None
    ) -> GatewayAnswer: ...


@dataclass(frozen=True, slots=True)
class Table:
    """What all flows declare together."""

    callbacks: Mapping[str, Handler]
    calls: Mapping[str, CallKind]
    results: frozenset[str]

    @classmethod
    def of(cls, flows: Sequence[Flow]) -> "Table":
        """
        Raises:
            ValueError: two flows declare the same.
        """
        handlers: dict[str, Handler] = {}
        kinds: dict[str, CallKind] = {}
        for one in flows:
            if handlers.keys() & one.callbacks.keys() or kinds.keys() & {kind.name for kind in one.calls}:
                raise ValueError("two flows take the same callback, or make the same call")
            handlers |= one.callbacks
            kinds |= {kind.name: kind for kind in one.calls}
        return cls(handlers, kinds, frozenset(kind.result for kind in kinds.values() if kind.result))

    @property
    def paths(self) -> frozenset[str]:
        """Of all callbacks that are taken."""
        return self.results | self.callbacks.keys()


class Dispatcher:
    """Of one site.

    Args:
        ours: the destination of kind ``abdm`` in force.
    """

    def __init__(
        self,
        journal: Journal,
        gateway: Gateway,
        ours: Callable[[], AbdmDestination],
        clock: Clock,
        flows: Sequence[Flow] = FLOWS,
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._gateway = gateway
        self._ours = ours
        self.table = Table.of(flows)
        self._verdicts = registry.load(registry.ABDM, "verdicts")
        self._came, self._due = asyncio.Event(), asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._logged_in_again: set[int] = set()  # calls whose last answer was that our session has ended

    async def recover(self) -> None:
        """Take over what an earlier process has left; before `fold` and `carry_out`.

        Callbacks first: a call that was under way may have its result there, and is then not made again.
        """
        while await self.fold_all():
            pass
        if under_way := await self._journal.run(calls.recover):
            logger.info("calls to ABDM that were under way are made again", extra={"count": under_way})

    def stored(self) -> None:
        """A callback is durable."""
        self._came.set()

    def changed(self) -> None:
        """A call was queued."""
        self._due.set()

    # -- callbacks -------------------------------------------------------------------------------------------------

    async def fold(self) -> None:
        """Fold callbacks until cancelled."""
        while True:
            self._came.clear()
            if not await self.fold_all():
                await _wait(self._came, IDLE_S)

    async def fold_all(self) -> int:
        """Fold those that are there; return how many."""
        numbers = rows.callbacks_waiting(self._journal, AT_ONCE)
        for number in numbers:
            await self._fold_one(number)
            self._due.set()
        return len(numbers)

    async def _fold_one(self, number: int) -> None:
        try:
            await self._stored_for_sure(lambda: self._journal.run(callbacks.fold, number, self._handle))
        except StoreError:
            raise
        except Exception as error:  # a fault of ours costs this callback; its words may name the patient
            logger.error(
                "a callback of ABDM could not be used, by a fault of LabRelay; it is kept",
                extra={"count": number, "cause": type(error).__name__},
            )
            await self._stored_for_sure(lambda: self._journal.run(callbacks.refuse, number, callbacks.FAULT))

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
        if call.state in (CallState.DONE, CallState.FAILED):
            return REPEAT
        body = orjson.dumps(callback.body)
        answer = (
            self._verdicts.error(body) if callback.body.get("error") else GatewayAnswer(0, Verdict.TAKEN, body=body)
        )
        calls.finish(batch, call, answer, again_s=self._again_s(call, answer), ended=self._ended)
        return ""

    # -- calls -----------------------------------------------------------------------------------------------------

    async def carry_out(self) -> None:
        """Make calls until cancelled."""
        try:
            while True:
                self._due.clear()
                room = self._ours().concurrency - len(self._under_way)
                begun: list[Attempt] = []
                if room > 0:
                    claim = partial(self._journal.run, calls.claim, room, self._headers, self._ended)
                    begun = await self._stored_for_sure(claim)
                for attempt in begun:
                    task = asyncio.get_running_loop().create_task(self._attempt(attempt))
                    self._under_way.add(task)
                    task.add_done_callback(self._over)
                if len(begun) < room or room <= 0:
                    await _wait(self._due, self._until_due_s())
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._due.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a call to ABDM ended by a fault", extra={"cause": type(error).__name__})

    def _until_due_s(self) -> float:
        due_us = rows.next_call_us(self._journal)
        if due_us is None:
            return IDLE_S
        return min(max((due_us - self._clock.now_us()) / 1_000_000, 0.01), IDLE_S)

    async def _attempt(self, attempt: Attempt) -> None:
        call, ours = attempt.call, self._ours()
        kind = self.table.calls[call.name]
        headers = {**attempt.headers, **({"X-HIP-ID": call.facility} if kind.names_facility else {})}
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
        await self._stored_for_sure(
            lambda: self._journal.run(
                calls.answered,
                call.number,
                answer,
                result_within_s=ours.answer_within if kind.result else 0.0,
                again_s=again_s,
                ended=self._ended,
            )
        )

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
        return kind.headers(batch, self._ours(), call)

    def _ended(self, batch: Batch, call: Call, answer: GatewayAnswer) -> None:
        if (kind := self.table.calls.get(call.name)) is not None:
            kind.ended(batch, self._ours(), call, answer)

    async def _stored_for_sure(self, begin: Callable[[], "asyncio.Future[T]"]) -> T:
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
                await asyncio.sleep(STORE_RETRY_S)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
