"""The side of the reader: draw what the daemon at the other end of the pipe has admitted."""

import asyncio
import logging
import os
import pickle
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from socket import socket
from types import SimpleNamespace
from typing import Any, cast

from engine.actions import control
from engine.actions.admission import Refusals
from engine.actions.control import Request
from engine.actions.declaring import Verb
from engine.actions.kept import KeptActs
from engine.actions.verbs import all_acts
from engine.config.load import Site, load_site
from engine.model.errors import ConfigError, ElsewhereError
from engine.model.process import allocator
from engine.model.process.clock import Clock, SystemClock
from engine.model.routes import ChannelRoutes
from engine.monitoring.counters import Counters
from engine.monitoring.logs import loop_exception_handler, setup_logging
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.runtime.build import build_site
from engine.runtime.compiled_code import CompiledCode
from engine.runtime.control_handlers import sources_of
from engine.runtime.large import frames
from engine.runtime.large.wire import Frame, Pipe, encode
from engine.runtime.pages import Seen, server_of
from engine.runtime.reader import BUILD, Audience
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.core.vault import Vault
from engine.store.queries.listing import others_of
from engine.store.queries.reader import Reader
from engine.web.apart import Given, elsewhere
from engine.web.api.lists import Sources
from engine.web.pages.frame import Trial
from engine.web.running import Ask, Running
from engine.web.server import StatusServer

logger = logging.getLogger("labrelay.web")

MOST_BYTES = 512 * 1024 * 1024
LOOK_S = 1.0  # at its own memory


DRAWN: ContextVar[int] = ContextVar("drawn", default=0)  # the number of the request that is drawn


class Known:
    """`engine.runtime.pages.Behind`: the running site, as far as the daemon has said how it is.

    Attributes:
        whole: the snapshot.
        lists, bells: the to-do list and the open alerts, by the channels that those see who ask; None: all.
    """

    trial: Trial | None = None

    def __init__(self, site: Site, journal: Reader, ask: Ask) -> None:
        """``ask``: the daemon, for the request that is drawn."""
        self.clock: Clock = SystemClock()
        self.refused = Refusals(elsewhere)
        self.journal = journal
        self.whole: SiteSnapshot
        self.lists: dict[Audience, Sequence[Any]] = {}
        self.bells: dict[Audience, int] = {}
        self._site = site
        self._ask = ask
        self._routes: dict[str, ChannelRoutes] | None = None
        self._building = threading.Lock()

    def site(self) -> Site:
        return self._site

    def snapshot(self) -> SiteSnapshot:
        return self.whole

    def routes(self) -> Mapping[str, ChannelRoutes]:
        """Compiled when a page first asks."""
        with self._building:
            if self._routes is None:
                key = self.journal.vault.identity_key
                with self.journal.snapshot() as execute:
                    others = others_of(execute)
                built = build_site(self._site, identity_key=key, clock=self.clock, others=others)
                CompiledCode(self._site.config.data, key).read(built.programs)
                self._routes = {name: channel.routes for name, channel in built.channels.items()}
            return self._routes

    def sources(self) -> Sources:
        return sources_of(self.journal, self.site, self.snapshot, self.routes)

    def running(self, acts: KeptActs, seen: Seen | None = None) -> Running:
        audience, ask = None if seen is None else seen.channels, self._ask

        async def todo() -> Sequence[Any]:
            return self.lists[audience] if audience in self.lists else elsewhere()

        return Running(
            snapshot=self.snapshot if seen is None else seen.snapshot,
            missing=elsewhere,
            metrics=elsewhere,
            todo=todo,
            bell=lambda: self.bells.get(audience, 0),
            ends=cast(Any, SimpleNamespace(channel=partial(ask, "channel"), destination=partial(ask, "destination"))),
            acts=acts,
            accounts=cast(Any, self),  # the daemon knows who asks
            ask=ask,
        )


class Child:
    """The reader, connected."""

    def __init__(self, leave: Callable[[], None]) -> None:
        """``leave`` ends the process; called when the daemon is gone."""
        self.pipe = Pipe(self._received, leave)
        self.stopped = asyncio.Event()
        self._known: Known | None = None
        self._server: StatusServer | None = None
        self._configuring = asyncio.Lock()
        self._drawing: set[asyncio.Task[None]] = set()
        self._drawn: dict[int, asyncio.Task[None]] = {}
        self._questions = count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._streams: dict[int, AsyncGenerator[bytes, None]] = {}
        self._waiting: dict[int, asyncio.Task[None]] = {}  # for the next event of each

    def _received(self, frame: Frame) -> None:
        match frame.kind:
            case "draw":
                number = frame.fields[0]
                self._drawn[number] = task = self._begin(self._draw(number, _taken(frame)))
                task.add_done_callback(lambda _: self._drawn.pop(number))
            case "drop" if frame.fields[0] in self._drawn:
                self._drawn[frame.fields[0]].cancel()
            case "answer" | "no answer" if frame.fields[0] in self._asked:
                _tell(self._asked[frame.fields[0]], frame)
            case "event":
                number, stream, *told = frame.fields
                self._waiting[stream] = self._begin(self._event(number, stream, *told))
            case "unfollow":
                events = self._streams.pop(frame.fields[0], None)
                if events is not None:
                    self._waiting.pop(frame.fields[0]).cancel()
                    self._begin(_closed(events))
            case "snapshot" if self._known is not None:
                self._known.whole = _taken(frame)
            case "todo" if self._known is not None:
                audience, listed = _taken(frame)
                self._known.lists[audience] = listed
            case "ping":
                self.pipe.send(frames.PONG)
            case "configure" if frame.fields[1] != BUILD:
                self.pipe.send(encode("refused", (frame.fields[0], "another LabRelay was installed since the start")))
            case "configure":
                self._begin(self._take_over(frame.fields[0], *_taken(frame)))
            case "stop":
                self.stopped.set()

    async def _ask(self, *about: Any, content: bytes = b"") -> Any:
        """As of `Ask`.

        Raises:
            LabRelayError: it was refused.
            ElsewhereError: the daemon does not say it.
        """
        if not (number := DRAWN.get()):
            elsewhere()
        question, answer = next(self._questions), asyncio.get_running_loop().create_future()
        self.pipe.send(encode("ask", (number, question, *about), (content,)))
        self._asked[question] = answer
        try:
            return await answer
        finally:
            del self._asked[question]

    async def _give(self, asked: Request) -> Any:
        return await self._ask("give", asked.verb, asked.args, content=asked.content)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._drawing.add(task)
        task.add_done_callback(self._drawing.discard)
        return task

    async def _take_over(self, epoch: int, folder: str, wanted: str, *given: Any) -> None:
        async with self._configuring:
            try:
                corrections, web, opened, (style, level) = given
                setup_logging(Counters(), level=level, style=style)
                site = replace(await asyncio.to_thread(load_site, Path(folder)), corrections=corrections)
                if site.hash != wanted:
                    raise ConfigError("the files of the configuration are not those that the daemon has read")
            except (ConfigError, OSError) as error:
                why = error.problems[0] if isinstance(error, ConfigError) else error.strerror or "its files"
                self.pipe.send(encode("refused", (epoch, why)))
                return
            journal = Reader(site.config.data / JOURNAL_NAME, Vault.of(opened))
            self._known = Known(site, journal, self._ask)
            verbs = {name: Verb(act.needs, act.arguments, self._give) for name, act in all_acts().items()}
            self._server = server_of(self._known, KeptActs(verbs, cast(Any, journal)))
            self._server.config = web
            self._server.draw_apart()
            allocator.settle()
            self.pipe.send(frames.ready(epoch))

    async def _draw(self, number: int, asked: Given) -> None:
        assert self._known is not None, "configured first"
        assert self._server is not None
        DRAWN.set(number)
        channels = asked.principal.channels
        self._known.bells[None if channels is None else frozenset(channels)] = asked.bell
        try:
            status, headers, body = await self._server.draw(asked)
            # A fault may be this process's alone: a row of a key that was made since.
            parts = (
                encode("elsewhere", (number,)) if status == 500 else encode("drawn", (number, status, headers), (body,))
            )
        except ElsewhereError:
            parts = encode("elsewhere", (number,))
        except Exception:
            logger.exception("a page cannot be drawn")
            parts = encode("elsewhere", (number,))
        self.pipe.send(parts)

    async def _event(
        self, number: int, stream: int, channels: list[str] | None, language: str, notes: bool, last: str
    ) -> None:
        """Send the next live update of a stream, which begins with the first one."""
        assert self._server is not None, "configured first"
        if stream not in self._streams:
            server = self._server if channels is None else await self._server.part(frozenset(channels))
            self._streams[stream] = server.events(language, notes, last)
        async for event in self._streams[stream]:
            self.pipe.send(encode("drawn", (number,), (event,)))
            return
        self.pipe.send(encode("elsewhere", (number,)))

    async def look(self) -> None:
        """At the memory of this process, without end; too large it takes no further request, and ends."""
        while True:
            await asyncio.sleep(LOOK_S)
            if _resident() >= MOST_BYTES:
                break
        logger.warning("the process that draws pages is too large, and ends", extra={"size_bytes": _resident()})
        self.pipe.send(encode("leaving"))
        await asyncio.gather(*self._drawing, return_exceptions=True)
        self.stopped.set()


def _taken(frame: Frame) -> Any:
    return pickle.loads(frame.blobs[0])  # noqa: S301  (of the daemon, which has started us)


def _tell(answer: asyncio.Future[Any], frame: Frame) -> None:
    if answer.done():  # its request is being dropped
        return
    if frame.kind == "answer":
        answer.set_result(_taken(frame))
    else:
        said = frame.fields[1]
        answer.set_exception(ElsewhereError() if said is None else control.error_of(said))


async def _closed(events: AsyncGenerator[bytes, None]) -> None:
    with suppress(RuntimeError):  # its reader is being cancelled, which closes it
        await events.aclose()


def _resident() -> int:
    """Bytes."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


async def serve(end: socket) -> None:
    """Work for the daemon at the other end of ``end`` until it sends stop."""
    child = Child(leave=lambda: None if child.stopped.is_set() else os._exit(0))
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(loop_exception_handler)
    await loop.create_unix_connection(lambda: child.pipe, sock=end)
    looking = loop.create_task(child.look())
    await child.stopped.wait()
    looking.cancel()
