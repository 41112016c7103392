"""Records on their way: each transfer from its acknowledgement to its report, beside the dispatcher.

    1 seal       all pages of a transfer, in threads (`engine.features.abdm.flows.pages`); kept and synced before a byte
    is sent 2 wait       until the gateway has our acknowledgement
    3 look       before each attempt, in one transaction: window, consent, patient, context; then the attempt is kept
    4 send       the bytes as they are kept; once the connection is made all is looked at again
    5 settle     what came of it; with the last page the transfer ends, and its report is queued

A stop at any point resumes: pages that are sealed go as they are, and others are sealed with new keys. A report that
was amended before the first attempt is sealed anew; later the page stays, and the app hears of the new version.

Turns are taken page by page: a transfer waits for one behind all that wait. One reader has half of the places at most.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from random import uniform
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from engine.config import registry
from engine.features.abdm.config import ABDM
from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows import pages, requests, turns
from engine.features.abdm.flows.pages import Ready
from engine.features.abdm.rows import calls, transfers
from engine.features.abdm.rows import reading as queries
from engine.features.abdm.rows.transfers import KeptPage, KeptTransfer, NewPage
from engine.features.abdm.rules.network import PageState, TransferState
from engine.features.abdm.service import outbox
from engine.features.abdm.service.outbox import SetBack
from engine.model.errors import ContentError, FideliusError, GatewayDownError, IntegrityError, StoreError
from engine.model.process.clock import Clock, from_us
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal

AT_ONCE = 500  # transfers that are served; others wait in the journal
SEALED_AT_ONCE = 4  # transfers whose documents are read and sealed
THREADS = 2
IN_A_ROW = 8  # documents of a transfer, then another one has its turn in the thread
UNKEPT_BYTES = 4 * 1024 * 1024  # of pages that wait for the journal: with more than this none is sealed
IDLE_S = 30.0  # a look without a reason to
AGAIN_S = 1.0  # after a fault of ours
DAMAGED_AFTER = 2  # looks at a row that cannot be opened
FIRST_S, LONGEST_S = 1.0, 60.0  # of the back-off of a page
GONE = "gone"
P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("labrelay.abdm")


class Gateway(Protocol):
    """As `engine.features.abdm.client.gateway.Gateway`."""

    @property
    def ahead_s(self) -> float: ...
    async def token(self) -> str: ...
    def refused(self, token: str) -> None: ...


class Pushes(Protocol):
    """As `engine.features.abdm.client.pushes.Pushes`."""

    async def push(self, address: str, body: bytes, token: str, may_go: Callable[[], Awaitable[bool]]) -> Any: ...


class Pushing:
    """Of one site.

    Args:
        ended: called where a call to the gateway was queued.
    """

    def __init__(
        self,
        journal: Journal,
        gateway: Gateway,
        pushes: Pushes,
        ours: AbdmDestination,
        clock: Clock,
        ended: Callable[[], None],
    ) -> None:
        self._journal, self._gateway, self._pushes = journal, gateway, pushes
        self._ours, self._clock, self._ended = ours, clock, ended
        self._set_back = SetBack(clock)
        self._came = asyncio.Event()
        self._acknowledged: dict[int, asyncio.Event] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._begun = 0  # the newest transfer that is served
        self._sealing = asyncio.Semaphore(SEALED_AT_ONCE)
        self._unkept = _Unkept()
        self._threads = asyncio.Semaphore(THREADS)
        self._places = asyncio.Semaphore(ours.pushes)
        self._readers: dict[str, tuple[asyncio.Semaphore, list[int]]] = {}

    def came(self) -> None:
        """A callback was folded."""
        self._came.set()

    def heard(self, name: str, subject: int) -> None:
        """An attempt of a call has ended."""
        if name == requests.ON_REQUEST and (event := self._acknowledged.get(subject)) is not None:
            event.set()

    async def run(self) -> None:
        """Serve transfers until cancelled."""
        try:
            while True:
                self._came.clear()
                room = AT_ONCE - len(self._tasks)
                for number in self._open(room) if room > 0 else ():
                    self._begin(number)
                try:
                    async with asyncio.timeout(IDLE_S):
                        await self._came.wait()
                except TimeoutError:
                    self._begun = 0  # one that a fault of ours has left is begun again
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _open(self, most: int) -> list[int]:
        try:
            return queries.look(self._journal, transfers.open_numbers, self._begun, most)
        except StoreError as error:
            if error.fatal:
                raise
            logger.error("transfers to readers wait for the journal", extra={"detail": str(error)})
            asyncio.get_running_loop().call_later(AGAIN_S, self._came.set)
            return []

    def _begin(self, number: int) -> None:
        self._begun = max(self._begun, number)
        if number in self._tasks:
            return
        self._acknowledged[number] = asyncio.Event()
        task = asyncio.get_running_loop().create_task(self._serve(number))
        self._tasks[number] = task
        task.add_done_callback(partial(self._over, number))

    def _over(self, number: int, task: asyncio.Task[None]) -> None:
        self._tasks.pop(number, None)
        self._acknowledged.pop(number, None)
        if len(self._tasks) >= AT_ONCE - 1:
            self._came.set()  # others may wait in the journal
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a transfer to a reader ended by a fault", extra={"cause": type(error).__name__})

    # -- one transfer ----------------------------------------------------------------------------------------------

    async def _serve(self, number: int) -> None:
        """Until it has ended. A fault of ours costs time, and at the end of the window this transfer."""
        damaged = 0
        while True:
            try:
                if (transfer := await self._seal(number)) is not None:
                    if await self._is_acknowledged(number):
                        await self._send_all(transfer)
                    else:
                        await self._run(turns.give_up, number, requests.NOT_ACKNOWLEDGED)
                        self._ended()
                return
            except IntegrityError as error:
                damaged += 1
                if damaged >= DAMAGED_AFTER:
                    logger.error(
                        "a transfer to a reader has ended: a row of it is damaged",
                        extra={"count": number, "detail": str(error)},
                    )
                    await self._run(turns.give_up_damaged, number)
                    self._ended()
                    return
                await asyncio.sleep(AGAIN_S)
                continue
            except StoreError as error:
                if error.fatal:
                    raise
                logger.error("a transfer waits for the journal", extra={"count": number, "detail": str(error)})
            except (ContentError, FideliusError) as error:
                reason = requests.KEYS if isinstance(error, FideliusError) else GONE
                await self._run(turns.give_up, number, reason)
                self._ended()
                return
            except Exception as error:  # its words may name the patient
                logger.error(
                    "a transfer to a reader failed by a fault of LabRelay, and is tried again",
                    extra={"count": number, "cause": type(error).__name__},
                )
            await asyncio.sleep(AGAIN_S)
            if await self._run(turns.give_up_late, number):
                self._ended()
                return

    async def _seal(self, number: int) -> KeptTransfer | None:
        """Have the pages of a transfer kept; None: it has ended, or is none of ours to serve."""
        transfer = self._look(transfers.by_number, number)
        if transfer is None or transfer.state is TransferState.PUSHING:
            return transfer
        if transfer.state is not TransferState.ACKNOWLEDGED:
            return None
        left: dict[str, str] = {}
        async with self._sealing:
            await self._unkept.wait()
            found = await self._made(transfer, left)
        with self._unkept.holding(sum(len(one.body) for one in found)):
            is_open = await self._run(turns.keep, self._ours, number, found, left)
        if not is_open:
            self._ended()
            return None
        return transfer

    async def _made(self, transfer: KeptTransfer, left: dict[str, str]) -> list[NewPage]:
        """The pages of a transfer; of the reports that do not go ``left`` gets the reason."""
        request = requests.read(transfer)
        plan = self._look(turns.plan, self._ours, transfer, request, self._now())
        if plan is None:
            return []
        choices, others = plan
        left |= others
        ready: list[Ready] = []
        for first in range(0, len(choices), IN_A_ROW):
            await self._in_thread(self._read, transfer.number, choices[first : first + IN_A_ROW], ready, left)
        return await self._in_thread(pages.sealed, ready, request, now=self._now(), expiry=self._expiry(transfer))

    def _read(self, number: int, choices: list[pages.Choice], ready: list[Ready], left: dict[str, str]) -> None:
        """Add the documents that go to ``ready``, and why the others do not to ``left``. In a thread."""
        size = sum(len(one.body) for one in ready)
        for choice in choices:
            one = pages.ready(self._journal, self._ours, choice)
            if one.body and size + len(one.body) <= pages.MOST_BYTES:
                size += len(one.body)
                ready.append(one)
                continue
            left[one.choice.context.reference] = "too_many" if one.body else one.reason
            logger.warning(
                "a report that a patient has granted does not go out",
                extra={"count": number, "reason": left[one.choice.context.reference], "detail": one.detail},
            )

    async def _is_acknowledged(self, number: int) -> bool:
        """Once the call has ended: whether the gateway has taken our acknowledgement."""
        event = self._acknowledged[number]
        while True:
            event.clear()
            if not self._look(calls.is_open, requests.ON_REQUEST, number):
                return self._look(calls.is_done, requests.ON_REQUEST, number)
            try:
                async with asyncio.timeout(IDLE_S):
                    await event.wait()
            except TimeoutError:
                continue

    async def _send_all(self, transfer: KeptTransfer) -> None:
        number, address = transfer.number, requests.read(transfer).push_url
        logged_in: set[int] = set()  # pages for which a new session was begun
        while True:
            async with self._place(address):
                token = await self._token()
                can_send, ahead_s, set_back = token is not None, self._gateway.ahead_s, self._set_back()
                turn = await self._run(
                    turns.look, self._ours, number, can_send=can_send, ahead_s=ahead_s, set_back=set_back
                )
                sent = None
                if turn.page is not None and token is not None:
                    sent = await self._send(turn.page, turn.address, transfer, token, logged_in)
            if sent is not None:
                if await outbox.for_sure(sent):
                    self._ended()
                    return
                continue
            if turn.is_over:
                self._ended()
                return
            if turn.stale:
                await self._seal_anew(number, turn.stale)
            else:
                wait_s = (turn.until_us - self._clock.now_us()) / 1_000_000  # the clock may have been set back just now
                await asyncio.sleep(min(max(wait_s, 0.01), IDLE_S))

    async def _send(
        self, page: KeptPage, address: str, transfer: KeptTransfer, token: str, logged_in: set[int]
    ) -> "Callable[[], asyncio.Future[bool]]":
        """Send a page; return how to keep what came of it, which says whether the transfer has ended by it."""
        left_s = max((transfer.ends_us - self._clock.now_us()) / 1_000_000, 0.001)
        sent = False

        async def may_go() -> bool:
            nonlocal sent
            sent = await self._may_go(page)
            return sent

        try:
            async with asyncio.timeout(left_s):
                answer = await self._pushes.push(address, page.body, token, may_go)
            taken, status, cause, wait_s = answer.taken, answer.status, answer.cause, answer.retry_after_s
            sent = answer.sent
        except TimeoutError:
            taken, status, cause, wait_s = "again", 0, "no answer in time", 0.0
        again_s = 0.0 if taken == "stopped" else max(self._again_s(page.attempt), wait_s)
        if taken == "log-in":
            self._gateway.refused(token)
            taken, again_s = "final" if page.n in logged_in or not token else "again", 0.0
            logged_in.add(page.n)
        if taken not in ("delivered", "stopped"):
            logger.warning(
                "a page of records was not taken",
                extra={
                    "count": transfer.number, "seq": page.n, "attempt": page.attempt, "status": status, "cause": cause,
                },
            )  # fmt: skip
        state = {"delivered": PageState.DELIVERED, "final": PageState.FAILED}.get(taken, PageState.SEALED)
        return partial(
            self._journal.run, turns.settle, transfer.number, page.n, state, status=status, again_s=again_s, sent=sent
        )

    async def _may_go(self, page: KeptPage) -> bool:
        """Whether a page of which an attempt has begun may still go. A notice that is not folded is waited for."""
        while True:
            found = self._look(turns.look_again, self._ours, page, self._clock.now_us(), self._gateway.ahead_s)
            if found is not None:
                return found
            await asyncio.sleep(turns.FOLDING_US / 1_000_000)

    def _again_s(self, attempt: int) -> float:
        retry = self._ours.retry
        growing: float = min(retry.first, FIRST_S) * 2.0 ** min(attempt - 1, 20)
        return min(growing, LONGEST_S, retry.max) * uniform(0.8, 1.0)

    async def _seal_anew(self, number: int, n: int) -> None:
        """Put the newest version of a report into a page that was never sent."""
        transfer = self._look(transfers.by_number, number)
        if transfer is None or transfer.state is not TransferState.PUSHING:
            return
        request = requests.read(transfer)
        choice = self._look(turns.choice, transfer, request, n)
        page: NewPage | None = None
        reason = GONE
        if choice is not None:
            ready = await self._in_thread(pages.ready, self._journal, self._ours, choice)
            reason = ready.reason
            if ready.body:
                page = await self._in_thread(
                    pages.sealed_one, ready, request, n, transfer.pages, now=self._now(), expiry=self._expiry(transfer)
                )
        await self._run(turns.replace, number, n, page, reason)

    # -- help ------------------------------------------------------------------------------------------------------

    def _place(self, address: str) -> "_Place":
        return _Place(self._places, self._readers, registry.load(ABDM, "pushes").host_of(address), self._ours)

    async def _token(self) -> str | None:
        """Of our session; empty where none goes along; None: we have none now."""
        if not self._ours.push_token:
            return ""
        try:
            return await self._gateway.token()
        except GatewayDownError as error:
            logger.warning("records wait for a session at ABDM's gateway", extra={"cause": str(error)})
            return None

    async def _run(self, operation: Callable[Concatenate[Batch, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What the journal made of it; where it takes nothing now, it is asked again."""
        return await outbox.for_sure(partial(self._journal.run, operation, *args, **kwargs))

    def _look(self, read: Callable[..., T], *arguments: Any) -> T:
        """What ``read`` finds in a transaction of its own."""
        return queries.look(self._journal, read, *arguments)

    async def _in_thread(self, work: Callable[..., T], *arguments: Any, **keywords: Any) -> T:
        async with self._threads:
            return await asyncio.to_thread(work, *arguments, **keywords)

    def _now(self) -> datetime:
        return self._clock.now()

    def _expiry(self, transfer: KeptTransfer) -> str:
        """End of the window, by the gateway's clock."""
        at = from_us(transfer.ends_us) + timedelta(seconds=self._gateway.ahead_s)
        said: str = registry.load(ABDM, "times").written(at)
        return said


class _Unkept:
    """Bytes of pages that are sealed, and wait for the journal to keep them."""

    def __init__(self) -> None:
        self._bytes = 0
        self._room = asyncio.Event()
        self._room.set()

    async def wait(self) -> None:
        """Until there is room for more."""
        await self._room.wait()

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        self._add(size)
        try:
            yield
        finally:
            self._add(-size)

    def _add(self, size: int) -> None:
        self._bytes += size
        if self._bytes < UNKEPT_BYTES:
            self._room.set()
        else:
            self._room.clear()


class _Place:
    """A turn for one page: of the reader's first, so that those who wait for a slow one keep no other's place."""

    def __init__(
        self,
        places: asyncio.Semaphore,
        readers: dict[str, tuple[asyncio.Semaphore, list[int]]],
        reader: str,
        ours: AbdmDestination,
    ) -> None:
        self._places, self._readers, self._reader = places, readers, reader
        self._most = max(ours.pushes // 2, 1)

    async def __aenter__(self) -> None:
        semaphore, users = self._readers.setdefault(self._reader, (asyncio.Semaphore(self._most), [0]))
        users[0] += 1
        try:
            await semaphore.acquire()
            try:
                await self._places.acquire()
            except BaseException:
                semaphore.release()
                raise
        except BaseException:
            self._left(users)
            raise

    async def __aexit__(self, *_: object) -> None:
        semaphore, users = self._readers[self._reader]
        self._places.release()
        semaphore.release()
        self._left(users)

    def _left(self, users: list[int]) -> None:
        users[0] -= 1
        if not users[0]:
            del self._readers[self._reader]
