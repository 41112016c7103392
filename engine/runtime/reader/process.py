"""The daemon's side: start the reader, give it what it does not have, ask it."""

import asyncio
import logging
import pickle
from asyncio.subprocess import Process
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from aiohttp import web

from engine.actions import control
from engine.config.load import Site
from engine.model.errors import ElsewhereError, LabRelayError, LargeProcessError
from engine.model.site.todo import Since
from engine.model.texts.phrases import Said
from engine.runtime.large.process import ChildProcess, environment, launch, log_setting
from engine.runtime.large.wire import Frame, Pipe, encode
from engine.runtime.reader import BUILD, Audience
from engine.web import apart
from engine.web.identity import language_of
from engine.web.routes import CHANNELS, PRINCIPAL, Route
from engine.web.running import Ask, Running

if TYPE_CHECKING:
    from engine.runtime.app import App

logger = logging.getLogger("labrelay.web")

HUNG_S = 15.0  # it sends a beat each two seconds
ANSWER_S = 20.0
EVENT_S = 40.0  # a stream without news says so each 15 seconds
LONGEST_BACK_OFF_S = 60.0
HEALTHY_S = 600.0
MANY = 3  # ends within `HEALTHY_S`
PUSH_S = 1.0  # to those who follow the overview
MOST_LISTS = 64  # of those who see some channels alone

ELSEWHERE = Frame("elsewhere", [], [])


class PageReader(ChildProcess):
    """The reader of one site (`engine.web.running.Apart`)."""

    called = "the process that draws pages"

    @property
    def hung_s(self) -> float:
        return HUNG_S

    def __init__(self, app: "App") -> None:
        super().__init__()
        self._app = app
        self._asked = asyncio.Event()
        self._numbers = count(1)
        self._under_way: dict[int, tuple[asyncio.Future[Frame], Ask]] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._site: Site | None = None  # that it has, or is to take over
        self._keys: tuple[int, ...] = ()
        self._epoch = 0
        self._web: object = None
        self._answered = float("-inf")  # monotonic
        self._snapshot: object = None
        self._lists: dict[Audience, object] = {}
        self._left = False
        self._ends: deque[float] = deque(maxlen=MANY)

    @property
    def fault(self) -> str:
        """A sentence for the page: it ends again and again."""
        now = self._app.clock.monotonic()
        if len(self._ends) < MANY or now - self._ends[0] > HEALTHY_S:
            return ""
        return Said("the program that draws the pages has ended {n} times within ten minutes", n=MANY)

    async def run(self) -> None:
        """As of `ChildProcess`, once a page is asked for."""
        await self._asked.wait()
        try:
            await super().run()
        except LargeProcessError:
            self._ends.append(self._app.clock.monotonic())
            raise

    async def draw(
        self, request: web.Request, route: Route, running: Running, since: Since | None, tell: Ask
    ) -> web.Response | None:
        """As of `Apart`."""
        self._asked.set()
        listed = await running.todo() if route.todo and self.ready else None
        if not self._is_current():
            return None
        try:
            self._push(request.get(CHANNELS), listed)
            asked = pickle.dumps(apart.given(request, running.bell(), since))
        except Exception:  # a value of ours that cannot go there
            logger.exception("a request cannot be given to the process that draws pages")
            return None
        frame = await self._answer("draw", (), (asked,), within_s=ANSWER_S, tell=tell)
        if frame.kind == "drawn":
            return apart.response_of(*frame.fields[1:], *frame.blobs)
        return web.Response() if request.transport is None else None  # its sender is gone

    def events(self, request: web.Request, running: Running, last: str) -> AsyncGenerator[bytes, None] | None:
        """As of `Apart`."""
        told = language_of(request), request[PRINCIPAL].reads_notes, last
        return self._events(request.get(CHANNELS), running, told, self._epoch) if self._is_current() else None

    async def _events(
        self, audience: Audience, running: Running, told: Sequence[object], epoch: int
    ) -> AsyncGenerator[bytes, None]:
        """They end with ``epoch``: its site there is known to nothing that comes after."""
        stream, channels = next(self._numbers), None if audience is None else sorted(audience)
        answer: asyncio.Future[Frame] | None = None
        try:
            while self._is_current():
                listed = await running.todo()
                if self._epoch != epoch:
                    return
                self._push(audience, listed)
                answer = asyncio.ensure_future(self._answer("event", (stream, channels, *told), within_s=EVENT_S))
                while not answer.done():
                    await asyncio.wait({answer}, timeout=PUSH_S)
                    listed = await running.todo()
                    if self._epoch != epoch:
                        return
                    self._push(audience, listed)
                if (frame := answer.result()).kind != "drawn":
                    return
                yield frame.blobs[0]
        finally:
            if answer is not None:
                answer.cancel()
            self._send(encode("unfollow", (stream,)))

    def leave(self) -> None:
        """As of `Apart`."""
        self._left = True
        self._lost()
        for task in self._telling:
            task.cancel()

    async def _answer(
        self,
        kind: str,
        fields: Sequence[object],
        blobs: Sequence[bytes] = (),
        *,
        within_s: float,
        tell: Ask = apart.elsewhere,
    ) -> Frame:
        """What it says to a frame of this kind; "elsewhere" where it ends, or does not answer."""
        if self._pipe is None or self._left:
            return ELSEWHERE
        number = next(self._numbers)
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._under_way[number] = answer, tell
        self._send(encode(kind, (number, *fields), blobs))
        try:
            async with asyncio.timeout(within_s):
                return await answer
        except TimeoutError:
            if self._app.clock.monotonic() - self._answered >= ANSWER_S:  # else it has much to do
                self._break("it does not answer")
            return ELSEWHERE
        finally:
            del self._under_way[number]
            if answer.cancelled():
                self._send(encode("drop", (number,)))

    def _is_current(self) -> bool:
        """Whether it has the configuration and the keys in force; else it gets them."""
        if self._pipe is None or self._left:
            return False
        app = self._app
        if app.page is None:  # it starts, or stops
            return False
        given = self._site is app.parts.built.site and self._web is app.page.config
        if not given or self._keys != app.journal.vault.known:
            self._configure()
        return self.ready

    def _push(self, audience: Audience, listed: object) -> None:
        """Send what is new since it was sent, before the request that shows it."""
        if not self.ready:
            return
        snapshot = self._app.observer.snapshot()
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._send(encode("snapshot", (), (pickle.dumps(snapshot),)))
        if listed is not None and self._lists.get(audience) is not listed:
            if len(self._lists) >= MOST_LISTS:
                self._lists.clear()
            self._lists[audience] = listed
            self._send(encode("todo", (), (pickle.dumps((audience, listed)),)))

    # -- as `ChildProcess` asks ------------------------------------------------------------------------------------

    async def _launch(self, descriptor: int) -> Process:
        return await launch(descriptor, environment(), "engine.runtime.reader")

    def _configure(self) -> None:
        site, vault = self._app.parts.built.site, self._app.journal.vault
        assert self._app.page is not None
        self._web = self._app.page.config
        self.ready, self._site, self._keys, self._epoch = False, site, vault.known, self._epoch + 1
        self._snapshot, self._lists = None, {}
        taken = (str(site.folder), site.hash, site.corrections, self._web, vault.opened(), log_setting())
        self._send(encode("configure", (self._epoch, BUILD), (pickle.dumps(taken),)))

    def _frame(self, frame: Frame) -> None:
        match frame.kind:
            case "drawn" | "elsewhere":
                self._answered = self._app.clock.monotonic()
                answer, _ = self._under_way.get(frame.fields[0], (None, None))
                if answer is not None and not answer.done():
                    answer.set_result(frame)
            case "ask" if self._pipe is not None:
                self._answered = self._app.clock.monotonic()
                telling = self._tell(self._pipe, *frame.fields, content=frame.blobs[0])
                task = asyncio.get_running_loop().create_task(telling)
                self._telling.add(task)
                task.add_done_callback(self._telling.discard)
            case "ready":
                self.ready = frame.fields[0] == self._epoch
            case "refused" if frame.fields[0] == self._epoch:
                logger.error("pages are drawn beside the messages", extra={"detail": frame.fields[1]})
            case "leaving":
                self.ready = False

    async def _tell(self, pipe: Pipe, number: int, question: int, *asked: Any, content: bytes) -> None:
        """Answer what the one at ``pipe`` asks for a request under way."""
        parts = encode("no answer", (question, None))
        _, tell = self._under_way.get(number, (None, apart.elsewhere))
        try:
            parts = encode("answer", (question,), (pickle.dumps(await tell(*asked, content=content)),))
        except ElsewhereError:
            pass
        except LabRelayError as error:
            if type(error) in control.ERRORS.values():  # else it is another one there
                parts = encode("no answer", (question, control.said(error)))
        except Exception:
            logger.exception("the process that draws pages is not answered")
        pipe.send(parts)

    def _replaced(self, extra: Mapping[str, object]) -> None:
        logger.error("the process that draws pages is replaced", extra=extra)

    def _lost(self) -> None:
        for answer, _ in self._under_way.values():
            if not answer.done():
                answer.set_result(ELSEWHERE)
