"""The daemon's local socket: how a command asks the running daemon for something.

``<data>/labrelay.sock``, mode 0600; the kernel says who is at the other end (SO_PEERCRED), and only the daemon's own
user and root are served. One request a connection, one line of JSON each way:

    {"v": 1, "verb": "retry", "args": {...}}
    {"v": 1, "result": {...}}                        or
    {"v": 1, "error": "config", "problems": ["channels/a.yaml:3:1: ..."]}

A verb that follows something is answered by any number of ``{"v": 1, "item": {...}}``, until either side closes.

``error`` is one of `ERRORS`; the client raises the same class that the daemon's handler raised. Requests and answers
carry names, numbers and reason codes, never the content of messages; but for verbs of `WITH_CONTENT`, where so many
bytes as the request's ``content`` says follow its line, and for a tap, whose lines are masked unless the audit row that
says who looks is durable.

Verbs and their shapes (a selection is `engine.actions.selection.Selection.to_json`):

    status    {}                                                   -> `SiteSnapshot.to_json()`
    reload    {}                                                   -> {"config_hash", "changed", "warnings": [...]}
    retry     {"selection", "because", "dry_run"}                  -> outcome   `because` where it overwrites (CONFLICT)
    dismiss   {"selection", "because", "dry_run"}                  -> outcome
    release   {"selection", "because", "dry_run"}                  -> outcome   of held results
    reject    {"selection", "because", "dry_run"}                  -> outcome   of held results
    tell_apart {"message", "answer", "because", "dry_run"}         -> outcome   "answer": same, other,
                                                                      withdraw or both
    edit      {"message", "because", "dry_run"} and content        -> outcome with "message", "verdict", "reason", "to"
    replay    {"selection", "to", "rate", "dry_run"}               -> outcome, with "new" where "to" is named: how many
                                                                      messages were never sent there
    replay_resume {"number", "rate"}                               -> outcome
    replay_status, replay_stop {"number"}                          -> engine.actions.replay_messages.Run.progress
    replay_forget {"number"}                                       -> {}
    reprocess {"selection", "because", "rate", "config_hash",
               "mapping", "mapping_hash"}                          -> outcome   the last two: null, or name and digest
    shown     {"message"}                                          -> {}   contents are about to be shown to a person
    exported  {"what"}                                             -> {}   contents are about to be written to a file
    prune     {}                                                   -> {}   a walk of retention is begun
    backup    {"do": "now" | "drill" | "state"}                    -> {"busy", "running", "fault"}
    key       {"step": "rotate", "discard_old"}                    -> engine.store.lifecycle.key_rotation.Rotated
              {"step": "show" | "restored", "key"}                 -> {}   the key is about to be printed; was typed in
              {"step": "confirm"}                                  -> {}   its recovery sheet is in safe hands
    pause     {"kind", "name", "reason", "dry_run"}                -> `engine.actions.pause_resume.Switches.carry_out`
    resume    the same                                             -> the same
    restart   the same                                             -> the same
    underway  {"kind", "name"}                                     -> `engine.actions.pause_resume.Switches.look`
    tap       {"channel", "stages": [...], "unmask"}               -> items: `engine.monitoring.taps.Taps.follow`

An outcome is ``{"count", "act", "done", "going_on"}``: how many were selected, the number of the row that was stored
before the act began (null for a dry run, or where the act is one row), what became of them by name, and whether it
takes longer than a command waits and goes on in the daemon. That of a dry run about dead letters or held results has
``counted_us`` beside, which the selection of the act that follows repeats: no more is done than was counted.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.model.actor import of_process
from engine.model.errors import ConfigError, ErasedError, IntegrityError, LabRelayError, LockedError, StoreError

logger = logging.getLogger("labrelay." + __name__)

VERSION = 1
SOCKET_NAME = "labrelay.sock"
MAX_REQUEST_BYTES = 64 * 1024
MAX_CONTENT_BYTES = 64 * 1024 * 1024  # more than any channel takes
WITH_CONTENT = frozenset({"edit"})
MAX_ANSWER_BYTES = 16 * 1024 * 1024
REQUEST_TIMEOUT_S = 5.0  # from connecting to the whole request; a client that dawdles is cut off
HANDLER_TIMEOUT_S = 60.0
MAX_CLIENTS = 16
MAX_PATH_BYTES = 100  # the kernel's limit is 108 with the final NUL

_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


class UnreachableError(LabRelayError):
    """No daemon answers on this site's socket. Exit code 4."""


class RefusedError(LabRelayError):
    """Not allowed: missing rights, or a confirmation that was not given. Exit code 7."""


# The name on the wire and the class on both ends; the first that fits is sent.
ERRORS: dict[str, type[LabRelayError]] = {
    "config": ConfigError,
    "locked": LockedError,
    "erased": ErasedError,
    "integrity": IntegrityError,
    "store": StoreError,
    "refused": RefusedError,
    "unreachable": UnreachableError,
    "failed": LabRelayError,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a handler gets.

    Attributes:
        actor: the user at the other end, by the kernel's word; goes into the audit row.
        content: a message, where the verb takes one; never to be logged.
    """

    verb: str
    actor: str
    args: Mapping[str, Any] = field(default_factory=dict)
    content: bytes = field(default=b"", repr=False)


Handler = Callable[[Request], Awaitable[dict[str, Any]]]
Follower = Callable[[Request], AsyncGenerator[dict[str, Any], None]]


class ControlServer:
    """Serve the handlers on one socket. The caller holds the data folder's lock, so an old socket file is stale."""

    def __init__(
        self,
        path: Path,
        handlers: Mapping[str, Handler],
        *,
        followers: Mapping[str, Follower] | None = None,
        request_timeout: float = REQUEST_TIMEOUT_S,
        handler_timeout: float = HANDLER_TIMEOUT_S,
    ) -> None:
        self._path = path
        self._handlers = handlers
        self._followers = followers or {}
        self._request_timeout = request_timeout
        self._handler_timeout = handler_timeout
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._handling: set[asyncio.Future[dict[str, Any]]] = set()

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            OSError: the folder cannot be written.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _short(self._path) as address:
                self._path.unlink(missing_ok=True)
                listener.bind(address)
            # Nobody can connect between bind and listen, so the socket is never open to others.
            self._path.chmod(0o600)
            self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MAX_REQUEST_BYTES)
        except BaseException:
            listener.close()
            raise

    async def stop(self) -> None:
        """Stop listening, end what is under way and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        under_way: list[asyncio.Future[Any]] = [*self._clients, *self._handling]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        self._path.unlink(missing_ok=True)
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            answer = await self._answer(reader, writer)
            if isinstance(answer, Request):
                await self._follow(answer, reader, writer)
                return
            writer.write(_line(answer))
            async with asyncio.timeout(self._request_timeout):
                await writer.drain()
        except (OSError, TimeoutError):
            logger.debug("control client went away")
        finally:
            self._clients.discard(task)
            writer.close()

    async def _follow(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send items until the client is gone. One that does not read holds up nobody: the items wait elsewhere."""
        task = asyncio.current_task()
        assert task is not None
        gone = asyncio.create_task(reader.read(1))  # a client says nothing more: this is its end
        follows = True
        # Once writing has failed for the same reason, what ends the follower must come to its end.
        gone.add_done_callback(lambda done: task.cancel() if follows and not done.cancelled() else None)
        items = self._followers[request.verb](request)
        try:
            async for item in items:
                writer.write(_line({"v": VERSION, "item": item}))
                await writer.drain()
        except asyncio.CancelledError:
            logger.debug("a follower has ended")  # the client is gone, or we stop; either is how this ends
        except LabRelayError as error:
            writer.write(_line(_error(_name_of(error), str(error))))
        except OSError:
            logger.debug("control client went away")
        except Exception as error:  # a fault of ours costs this follower, never the daemon
            logger.exception("control handler failed", extra={"verb": request.verb})
            writer.write(
                _line(_error("failed", f"the daemon failed inside ({type(error).__name__}); its log says where"))
            )
        finally:
            follows = False
            gone.cancel()
            await items.aclose()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> dict[str, Any] | Request:
        """The answer, or the request of somebody who wants to follow something."""
        # Read first, refuse then: closing on unread bytes would reset the connection and lose the answer.
        try:
            async with asyncio.timeout(self._request_timeout):
                line = await reader.readline()
        except TimeoutError:
            return _error("failed", f"no whole request within {self._request_timeout:g} s")
        except ValueError:
            return _error("failed", f"the request is larger than {MAX_REQUEST_BYTES} bytes")
        uid, pid = _peer(writer)
        if uid not in (0, os.geteuid()):
            logger.warning("control request refused", extra={"uid": uid})
            return _error("refused", "only the service's own user and root may ask; use sudo")
        if len(self._clients) > MAX_CLIENTS:
            return _error("failed", "too many requests at once; try again")
        try:
            asked = json.loads(line)
            verb, args = asked["verb"], asked.get("args", {})
            size = asked.get("content", 0)
            if asked.get("v") != VERSION or not isinstance(verb, str) or not isinstance(args, dict):
                raise ValueError
            if not isinstance(size, int) or not 0 <= size <= (MAX_CONTENT_BYTES if verb in WITH_CONTENT else 0):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return _error("failed", f"not a request of version {VERSION}; the command and the daemon may differ")
        try:
            async with asyncio.timeout(self._request_timeout):
                content = await reader.readexactly(size)
        except (TimeoutError, asyncio.IncompleteReadError):
            return _error("failed", f"no whole request within {self._request_timeout:g} s")
        request = Request(verb=verb, args=args, actor=of_process(uid, pid), content=content)
        return request if verb in self._followers else await self._run(request)

    async def _run(self, request: Request) -> dict[str, Any]:
        handler = self._handlers.get(request.verb)
        if handler is None:
            return _error("failed", f"the daemon does not know '{request.verb}'; restart it after an upgrade")
        # What was begun is brought to its end, also where nobody waits any more: half a reload is worse than none.
        task = asyncio.ensure_future(handler(request))
        self._handling.add(task)
        task.add_done_callback(self._handled)
        try:
            async with asyncio.timeout(self._handler_timeout):
                return {"v": VERSION, "result": await asyncio.shield(task)}
        except TimeoutError:
            return _error("failed", f"not done within {self._handler_timeout:g} s; it may still be going on")
        except ConfigError as error:
            return {"v": VERSION, "error": "config", "problems": list(error.problems)}
        except LabRelayError as error:
            return _error(_name_of(error), str(error))
        except Exception as error:  # a fault of ours costs this request, never the daemon
            logger.exception("control handler failed", extra={"verb": request.verb})
            return _error("failed", f"the daemon failed inside ({type(error).__name__}); its log says where")

    def _handled(self, task: asyncio.Future[dict[str, Any]]) -> None:
        self._handling.discard(task)
        if not task.cancelled():
            task.exception()  # who waits is told; else it has been said that it may go on, and its act tells the rest


def call(
    path: Path, verb: str, args: Mapping[str, Any] | None = None, *, timeout: float = 10.0, content: bytes = b""
) -> dict[str, Any]:
    """Ask the daemon, and wait for its answer; blocks.

    Args:
        path: the socket, ``<data>/labrelay.sock``.
        timeout: seconds for the whole exchange.
        content: for a verb of `WITH_CONTENT`.

    Raises:
        UnreachableError: no daemon runs there, or we may not talk to it.
        TimeoutError: it did not answer in time.
        LabRelayError: what the handler raised, as the same class.
    """
    if len(content) > MAX_CONTENT_BYTES:
        raise LabRelayError(f"larger than {MAX_CONTENT_BYTES} bytes")
    asked = {"v": VERSION, "verb": verb, "args": dict(args or {})} | ({"content": len(content)} if content else {})
    line_of_it = _line(asked)
    if len(line_of_it) >= MAX_REQUEST_BYTES:
        raise LabRelayError("too much for one command; name fewer messages, or a filter: --channel, --since, --until")
    request = line_of_it + content
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(timeout)
        with _reaching(path, timeout):
            with _short(path) as address:
                line.connect(address)
            line.sendall(request)
            answer = _read_line(line)
    try:
        said = json.loads(answer)
        if "result" in said:
            result: dict[str, Any] = said["result"]
            return result
        name, message, problems = said["error"], said.get("message", ""), said.get("problems", ())
    except (ValueError, KeyError, TypeError) as error:
        raise UnreachableError("the daemon's answer cannot be read; the command and the daemon may differ") from error
    if name == "config":
        raise ConfigError(*problems)
    raise ERRORS.get(name, LabRelayError)(message)


def follow(
    path: Path, verb: str, args: Mapping[str, Any] | None = None, *, until: float | None = None, timeout: float = 10.0
) -> Iterator[dict[str, Any]]:
    """Ask the daemon for something that goes on, and give its items as they come; blocks.

    Args:
        until: monotonic instant at which to end; None: only the daemon's end, or the caller's, is one.
        timeout: seconds for the first answer.

    Raises:
        UnreachableError: no daemon runs there, or it has ended.
        LabRelayError: what the follower raised, as the same class.
    """
    request = _line({"v": VERSION, "verb": verb, "args": dict(args or {})})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(timeout)
        with _reaching(path, timeout):
            with _short(path) as address:
                line.connect(address)
            line.sendall(request)
        rest = b""
        while until is None or time.monotonic() < until:
            try:
                chunk = line.recv(65536)
            except TimeoutError as error:
                if until is not None and time.monotonic() >= until:
                    return
                raise TimeoutError(f"the daemon did not answer within {timeout:g} s") from error
            except OSError:
                chunk = b""
            if not chunk:
                raise UnreachableError("the daemon has ended, or was restarted")
            *lines, rest = (rest + chunk).split(b"\n")
            for said in map(json.loads, lines):
                if "item" not in said:
                    raise ERRORS.get(said.get("error", ""), LabRelayError)(said.get("message", ""))
                yield said["item"]
            line.settimeout(None if until is None else max(0.001, until - time.monotonic()))


@contextlib.contextmanager
def _reaching(path: Path, timeout: float) -> Iterator[None]:
    """What the system says of a socket that does not answer, in words that help.

    Raises:
        UnreachableError, TimeoutError
    """
    try:
        yield
    except TimeoutError as error:
        raise TimeoutError(f"the daemon did not answer within {timeout:g} s") from error
    except PermissionError as error:
        raise UnreachableError(f"{path} may be used by the service's user and root only; use sudo") from error
    except OSError as error:
        raise UnreachableError(f"no daemon runs for this site ({path.parent}); start it with: labrelay run") from error


def _line(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


def _name_of(error: LabRelayError) -> str:
    return next(name for name, known in ERRORS.items() if isinstance(error, known))


def _error(name: str, message: str) -> dict[str, Any]:
    return {"v": VERSION, "error": name, "message": message}


def _read_line(line: socket.socket) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := line.recv(65536):
        chunks.append(chunk)
        size += len(chunk)
        if chunk.endswith(b"\n") or size > MAX_ANSWER_BYTES:
            break
    return b"".join(chunks)


def _peer(writer: asyncio.StreamWriter) -> tuple[int, int]:
    """User and process at the other end, by the kernel's word."""
    # A duplicate: event loops differ in what their transport's socket object can do.
    with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as peer:
        pid, uid, _ = _PEER.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return int(uid), int(pid)


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """An address for ``path`` that fits into the kernel's limit, by way of an open folder where it must."""
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
