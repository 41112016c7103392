"""The daemon's side of the local socket; `engine.actions.control` defines the protocol.

The kernel identifies the client (SO_PEERCRED), and `engine.actions.admission` decides which verbs it may give. One
request per connection. A client that sends no request, or not all of it, is disconnected; a client that does not read
its stream delays only itself.
"""

import asyncio
import base64
import logging
import os
import socket
import stat
import struct
from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from engine.actions import control
from engine.actions.admission import Admission, Person, is_own
from engine.model.errors import LabRelayError
from engine.model.site.actor import of_process, stated_by
from engine.model.site.permissions import SEEING_PATIENTS, Principal

logger = logging.getLogger("labrelay.actions")

REQUEST_TIMEOUT_S = 5.0  # for the head of a request, and again for the rest of it
HANDLER_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 2.0
MAX_CLIENTS = 16  # requests at once of root, or of the service's user
MAX_OF_ANOTHER = 4  # of each other account
NDJSON = "application/x-ndjson"

_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid
_NOT_A_REQUEST = (
    f"not a request of version {control.VERSION}; "
    "a text in it may not be UTF-8, or the command and the daemon may differ"
)


class ControlServer:
    """Serve the handlers on one socket. The caller holds the data folder's lock, so an old socket file is stale."""

    def __init__(
        self,
        path: Path,
        handlers: Mapping[str, control.Handler],
        *,
        followers: Mapping[str, control.Follower] | None = None,
        admission: Admission | None = None,
    ) -> None:
        self._path = path
        self._handlers = handlers
        self._followers = followers or {}
        self._admission = admission or Admission()
        self._http = web.Server(
            self._serve,
            handler_cancellation=True,
            access_log=None,
            lingering_time=REQUEST_TIMEOUT_S,
            auto_decompress=False,  # a small request stays one
        )
        self._runner = web.ServerRunner(self._http, handle_signals=False, shutdown_timeout=STOP_TIMEOUT_S)
        self._server: asyncio.Server | None = None
        self._silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}  # connections without a request so far
        self._under_way: set[asyncio.Future[Any]] = set()
        self._asking: Counter[int] = Counter()  # requests under way of each account

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            OSError: the folder cannot be written.
        """
        await self._runner.setup()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with control.short(self._path) as address:
                self._path.unlink(missing_ok=True)
                listener.bind(address)
            # No client can connect between bind and listen, so the socket is never open to others.
            self._path.chmod(0o600)
            self._server = await asyncio.get_running_loop().create_unix_server(self._accept, sock=listener)
        except BaseException:
            listener.close()
            raise

    def open_to_group(self, is_open: bool) -> None:
        """Whether members of the service's group may connect; what they may ask, each request's admission says.

        The data folder then lets them through to the socket: its other files stay closed to them (mode 0600).
        """
        try:
            self._path.chmod(0o660 if is_open else 0o600)
            mode = stat.S_IMODE(self._path.parent.stat().st_mode)
            if is_open and not mode & stat.S_IXGRP:
                self._path.parent.chmod(mode | stat.S_IXGRP)
        except OSError as error:
            logger.warning("the control socket is closed to system users", extra={"detail": error.strerror})

    async def stop(self) -> None:
        """Stop listening, end requests under way and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        for timer in self._silent.values():
            timer.cancel()
        under_way = list(self._under_way)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._runner.cleanup()
        self._path.unlink(missing_ok=True)
        self._server = None

    # -- requests ----------------------------------------------------------------------------------------------

    def _accept(self) -> asyncio.BaseProtocol:
        connection = self._http()
        self._silent[connection] = asyncio.get_running_loop().call_later(REQUEST_TIMEOUT_S, self._cut, connection)
        return connection

    def _cut(self, connection: web.RequestHandler) -> None:
        del self._silent[connection]
        connection.force_close()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if (timer := self._silent.pop(request.protocol, None)) is not None:
            timer.cancel()
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        status, uid = 400, -1
        try:
            uid, pid = _peer(request.transport)
            self._asking[uid] += 1
            asked = await self._read(request, uid, pid)
            if asked.verb in self._followers:
                return await self._follow(asked, request)
            answer, status = await self._run(asked), 200
        except LabRelayError as error:
            answer = control.said(error)
        except Exception as error:  # an error of ours fails this request, never the daemon
            logger.exception("control handler failed", extra={"verb": request.path.rpartition("/")[2]})
            answer, status = control.said(_inside(error)), 500
        finally:
            self._under_way.discard(task)
            self._asking[uid] -= 1
            self._asking += Counter()  # without those of zero
        response = web.json_response(answer, status=status)
        response.force_close()
        return response

    async def _read(self, request: web.BaseRequest, uid: int, pid: int) -> control.Request:
        if self._asking[uid] > (MAX_CLIENTS if is_own(uid) else MAX_OF_ANOTHER):
            raise LabRelayError("too many requests at once; try again")
        version, _, verb = request.path.removeprefix("/").partition("/")
        if request.method != "POST" or version != f"v{control.VERSION}":
            raise LabRelayError(_NOT_A_REQUEST)
        if verb not in self._handlers and verb not in self._followers:
            raise LabRelayError(f"the daemon does not know '{verb}'; restart it after an upgrade")
        await self._admitted(uid, pid, verb)
        most = control.MAX_REQUEST_BYTES + (
            control.MAX_CONTENT_BYTES * 4 // 3 + 4 if verb in control.WITH_CONTENT else 0
        )
        body = bytearray()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                async for chunk in request.content.iter_any():
                    body += chunk
                    if len(body) > most:
                        raise LabRelayError(f"the request is larger than {most} bytes")
        except TimeoutError:
            raise LabRelayError(f"no whole request within {REQUEST_TIMEOUT_S:g} s") from None
        person = await self._admitted(uid, pid, verb)  # again: a slow body may outlast a role
        try:
            args = orjson.loads(body)  # not of ``json``: it passes half a surrogate pair, which no row can hold
            content = base64.b64decode(args.pop("content", ""), validate=True)
            stated = stated_by(args.pop("stated", {}))
            if content and verb not in control.WITH_CONTENT:
                raise ValueError
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise LabRelayError(_NOT_A_REQUEST) from None
        actor = of_process(uid, pid, stated, role=person.role)
        found = Principal(actor, person.permissions)
        may = {"reads_notes": found.reads_notes, "sees_contents": found.may(SEEING_PATIENTS)}
        return control.Request(verb=verb, args=args, actor=actor, content=content, **may)

    async def _admitted(self, uid: int, pid: int, verb: str) -> Person:
        """
        Raises:
            RefusedError: this account may not give this verb.
        """
        person = await self._admission.person(uid)
        await self._admission.admit(person, verb, of_process(uid, pid, role=person.role))
        return person

    async def _run(self, asked: control.Request) -> dict[str, Any]:
        # A handler that has begun is completed, also without a waiting client: half a reload is worse than none.
        task = asyncio.ensure_future(self._handlers[asked.verb](asked))
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(HANDLER_TIMEOUT_S):
                return await asyncio.shield(task)
        except TimeoutError:
            raise LabRelayError(f"not done within {HANDLER_TIMEOUT_S:g} s; it may still be going on") from None

    def _ended(self, task: asyncio.Future[dict[str, Any]]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # a waiting client gets the error; else its action's audit row has the result

    async def _follow(self, asked: control.Request, request: web.BaseRequest) -> web.StreamResponse:
        """Send items until the client is gone. While it does not read, items wait elsewhere."""
        stream = web.StreamResponse(headers={"Content-Type": NDJSON})
        stream.force_close()
        try:
            async with aclosing(self._followers[asked.verb](asked)) as items:
                async for item in items:
                    if not stream.prepared:
                        await stream.prepare(request)
                    await stream.write(control.packed({"item": item}) + b"\n")
        except OSError:
            logger.debug("control client went away")
        except Exception as error:
            if not stream.prepared:
                raise
            if not isinstance(error, LabRelayError):
                logger.exception("control handler failed", extra={"verb": asked.verb})
                error = _inside(error)
            await stream.write(control.packed(control.said(error)) + b"\n")
        return stream


def _inside(error: Exception) -> LabRelayError:
    return LabRelayError(f"the daemon failed inside ({type(error).__name__}); its log says where")


def _peer(transport: asyncio.BaseTransport | None) -> tuple[int, int]:
    """User and process of the client, according to the kernel."""
    if transport is None:
        raise LabRelayError("the client is gone")
    # A duplicate: event loops differ in the abilities of their transport's socket object.
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as peer:
        pid, uid, _ = _PEER.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return int(uid), int(pid)
