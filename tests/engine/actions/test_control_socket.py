"""The local socket between commands and the daemon: who may ask, what comes back, and how it fails."""

import asyncio
import gzip
import json
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import uvloop

from engine.actions import control, control_server
from engine.actions.admission import Admission, Person
from engine.actions.control import Request, call
from engine.actions.control_server import ControlServer
from engine.model.errors import (
    ConfigError,
    IntegrityError,
    LabRelayError,
    LockedError,
    RefusedError,
    StoreError,
    UnreachableError,
)
from engine.model.site.actor import of_this_process
from engine.model.site.permissions import ACTING, permissions_of
from tests.support.waiting import until


async def _echo(request: Request) -> dict[str, Any]:
    return {"verb": request.verb, "args": dict(request.args), "actor": request.actor}


@asynccontextmanager
async def serving(path: Path, handler: Any = _echo, **options: float) -> AsyncIterator[Path]:
    with mock.patch.multiple(control_server, **{"HANDLER_TIMEOUT_S": control_server.HANDLER_TIMEOUT_S, **options}):
        server = ControlServer(path, {"echo": handler})
        await server.start()
        try:
            yield path
        finally:
            await server.stop()


async def ask(path: Path, verb: str = "echo", args: dict[str, Any] | None = None, within: float = 60) -> dict[str, Any]:
    return await asyncio.to_thread(call, path, verb, args, timeout=within)


async def say(path: Path, request: bytes) -> tuple[bytes, bytes]:
    """Send raw bytes; the head and the body of the answer, once the server has closed."""

    def talk() -> bytes:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(60)
            peer.connect(str(path))
            peer.sendall(request)
            return b"".join(iter(partial(peer.recv, 65536), b""))

    head, _, body = (await asyncio.to_thread(talk)).partition(b"\r\n\r\n")
    return head, body


def posted(body: bytes, target: str = "/v1/echo", method: str = "POST", length: int | None = None) -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nHost: labrelay\r\nContent-Length: {len(body) if length is None else length}"
    return head.encode() + b"\r\n\r\n" + body


async def test_a_request_reaches_its_handler_with_the_user_the_kernel_names(tmp_path: Path) -> None:
    async with serving(tmp_path / "s.sock") as path:
        said = await ask(path, args={"n": 1})

    assert said == {"verb": "echo", "args": {"n": 1}, "actor": str(of_this_process())}


def test_it_works_on_uvloop_too(tmp_path: Path) -> None:
    async def main() -> dict[str, Any]:
        async with serving(tmp_path / "s.sock") as path:
            return await ask(path)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main())["verb"] == "echo"


async def test_only_the_owner_can_open_the_socket_and_it_is_gone_after_stop(tmp_path: Path) -> None:
    async with serving(tmp_path / "s.sock") as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_server, "_peer", lambda _transport: (65_533, 1))
    async with serving(tmp_path / "s.sock") as path:
        with pytest.raises(RefusedError, match="sudo"):
            await ask(path)


async def test_a_socket_left_by_a_crash_is_replaced(tmp_path: Path) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "s.sock"))
    stale.close()
    async with serving(tmp_path / "s.sock") as path:
        assert (await ask(path))["verb"] == "echo"


async def test_a_path_beyond_the_kernels_limit_works(tmp_path: Path) -> None:
    folder = tmp_path / ("long-" * 30)
    folder.mkdir()
    async with serving(folder / "labrelay.sock") as path:
        assert len(str(path)) > 108
        assert (await ask(path))["verb"] == "echo"


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("a.yaml:1:1: one", "a.yaml:2:1: two"),
        LockedError("held"),
        IntegrityError("row 5"),
        RefusedError("no"),
        LabRelayError("failed"),
    ],
)
async def test_an_error_arrives_as_the_class_it_was(tmp_path: Path, error: LabRelayError) -> None:
    async def fail(_request: Request) -> dict[str, Any]:
        raise error

    async with serving(tmp_path / "s.sock", fail) as path:
        with pytest.raises(LabRelayError) as caught:
            await ask(path)

    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)


async def test_a_fault_in_a_handler_costs_the_request_only_and_its_words_stay_inside(tmp_path: Path) -> None:
    async def fail(_request: Request) -> dict[str, Any]:
        raise KeyError("SHARMA^ANITA")

    async with serving(tmp_path / "s.sock", fail) as path:
        with pytest.raises(LabRelayError, match=r"failed inside \(KeyError\)") as caught:
            await ask(path)
        assert "SHARMA" not in str(caught.value)
        with pytest.raises(LabRelayError, match="does not know 'other'"):
            await ask(path, "other")


@pytest.mark.parametrize(
    "request_",
    [
        *map(posted, (b"", b"[]", b"5", b"nonsense", b'{"n":', b"[" * 5000)),
        posted(b'{"reason": "half a sign: \\ud83d"}'),
        posted(b'{"reason": "\xff"}'),
        posted(b"{}", "/v9/echo"),
        posted(b"{}", "/echo"),
        posted(b"{}", "/"),
        posted(b"{}", method="GET"),
    ],
)
async def test_what_is_no_request_is_answered_as_such(tmp_path: Path, request_: bytes) -> None:
    async with serving(tmp_path / "s.sock") as path:
        head, body = await say(path, request_)
        assert head.startswith(b"HTTP/1.1 400 ")
        assert json.loads(body)["error"] == "failed"
        assert "not a request of version 1" in json.loads(body)["message"]
        assert (await ask(path))["verb"] == "echo"


@pytest.mark.parametrize("line", [b"\r\n\r\n!\r\n\r\n", b'{"v":1,"verb":"echo","args":{}}\n', b"nonsense\r\n\r\n"])
async def test_what_is_not_even_http_costs_nothing(tmp_path: Path, line: bytes) -> None:
    async with serving(tmp_path / "s.sock") as path:
        assert (await say(path, line))[0].startswith(b"HTTP/1.0 400 ")
        assert (await ask(path))["verb"] == "echo"


@pytest.mark.parametrize("whole", [65536, 1], ids=["answers", "breaks off"])
async def test_another_server_at_the_socket_is_said(tmp_path: Path, whole: int) -> None:
    """A daemon of another version answers otherwise, or breaks off."""

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(whole)
        writer.write(b'{"v":1,"error":"failed","message":"not a request"}\n')
        writer.close()

    async with await asyncio.start_unix_server(other, tmp_path / "s.sock"):
        with pytest.raises(UnreachableError, match="the command and the daemon may differ"):
            await ask(tmp_path / "s.sock")


async def test_a_request_without_end_is_cut_off(tmp_path: Path) -> None:
    async with serving(tmp_path / "s.sock") as path:
        _, body = await say(path, posted(b"x" * (control.MAX_REQUEST_BYTES + 1)))
    assert "larger than" in json.loads(body)["message"]


async def test_a_client_that_dawdles_is_cut_off(tmp_path: Path) -> None:
    async with serving(tmp_path / "s.sock", REQUEST_TIMEOUT_S=0.05) as path:
        _, body = await say(path, posted(b'{"n":1', length=7))
        assert "no whole request" in json.loads(body)["message"]
        assert await say(path, b"POST /v1/ec") == (b"", b"")
        assert await say(path, b"") == (b"", b"")


async def test_only_so_many_are_served_at_once(tmp_path: Path) -> None:
    go_on, begun = asyncio.Event(), 0

    async def slow(_request: Request) -> dict[str, Any]:
        nonlocal begun
        begun += 1
        await go_on.wait()
        return {}

    async with serving(tmp_path / "s.sock", slow) as path:
        asking = [await asyncio.open_unix_connection(path) for _ in range(control_server.MAX_CLIENTS)]
        for _, writer in asking:
            writer.write(posted(b"{}"))
        await until(lambda: begun == control_server.MAX_CLIENTS)
        with pytest.raises(LabRelayError, match="too many requests at once"):
            await ask(path)
        go_on.set()
        for reader, writer in asking:
            assert (await asyncio.wait_for(reader.read(), 240.0)).endswith(b"{}")
            writer.close()
        assert await ask(path) == {}


async def test_a_handler_that_hangs_is_given_up(tmp_path: Path) -> None:
    async def hang(_request: Request) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async with serving(tmp_path / "s.sock", hang, HANDLER_TIMEOUT_S=0.05) as path:
        with pytest.raises(LabRelayError, match="not done within"):
            await ask(path)
    async with serving(tmp_path / "t.sock", hang) as path:
        with pytest.raises(TimeoutError, match="did not answer"):
            await ask(path, within=0.05)


async def test_what_was_begun_is_brought_to_its_end_though_nobody_waits_any_more(tmp_path: Path) -> None:
    """A reload that is cut off amid its changes would leave destinations that nobody has started."""
    go_on, ended = asyncio.Event(), asyncio.Event()

    async def slow(_request: Request) -> dict[str, Any]:
        await go_on.wait()
        ended.set()
        return {}

    async with serving(tmp_path / "s.sock", slow, HANDLER_TIMEOUT_S=0.05) as path:
        with pytest.raises(LabRelayError, match="may still be going on"):
            await ask(path)
        go_on.set()
        await asyncio.wait_for(ended.wait(), 240.0)


async def test_what_was_begun_is_brought_to_its_end_though_the_client_is_gone(tmp_path: Path) -> None:
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(_request: Request) -> dict[str, Any]:
        begun.set()
        await go_on.wait()
        ended.set()
        return {}

    server = ControlServer(tmp_path / "s.sock", {"echo": slow})
    await server.start()
    _, writer = await asyncio.open_unix_connection(tmp_path / "s.sock")
    writer.write(posted(b"{}"))
    await asyncio.wait_for(begun.wait(), 240.0)
    writer.transport.abort()
    await until(lambda: not server._http.connections)
    go_on.set()
    await asyncio.wait_for(ended.wait(), 240.0)
    await server.stop()


async def test_what_goes_on_without_anybody_ends_with_the_server(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def endless(_request: Request) -> dict[str, Any]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return {}

    async with serving(tmp_path / "s.sock", endless, HANDLER_TIMEOUT_S=0.05) as path:
        with pytest.raises(LabRelayError, match="may still be going on"):
            await ask(path)
        assert not ended.is_set()
    assert ended.is_set()


async def test_a_client_that_does_not_read_cannot_hold_the_daemon(tmp_path: Path) -> None:
    begun = ended = 0

    async def flood(_request: Request) -> AsyncGenerator[dict[str, Any], None]:
        nonlocal begun, ended
        try:
            while True:
                begun += 1
                yield {"item": "x" * 65_536}
        finally:
            ended += 1

    server = ControlServer(tmp_path / "s.sock", {"echo": _echo}, followers={"flood": flood})
    await server.start()
    stuck = [await asyncio.open_unix_connection(tmp_path / "s.sock", limit=1024) for _ in range(2)]
    for _, writer in stuck:
        writer.write(posted(b"{}", "/v1/flood"))
    await until(lambda: begun > 2)
    assert (await ask(tmp_path / "s.sock"))["verb"] == "echo"
    stuck[0][1].transport.abort()  # one goes, and frees its place
    await until(lambda: ended == 1)
    await asyncio.wait_for(server.stop(), 240.0)
    assert ended == 2
    stuck[1][1].transport.abort()


def test_without_a_daemon_it_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="labrelay run"):
        call(tmp_path / "none.sock", "status")


def test_the_wire_names_every_class_once() -> None:
    classes = list(control.ERRORS.values())

    assert len(set(classes)) == len(classes)
    assert classes[-1] is LabRelayError, "the base comes last, or it would hide the others"
    assert classes.index(IntegrityError) < classes.index(StoreError)


async def _weigh(request: Request) -> dict[str, Any]:
    return {"bytes": len(request.content), "args": dict(request.args)}


async def test_content_goes_with_the_verbs_that_take_it(tmp_path: Path) -> None:
    message = b"MSH|\n\x00" * 100_000  # beyond what other requests may have
    server = ControlServer(tmp_path / "s.sock", {"edit": _weigh, "echo": _weigh})
    await server.start()
    try:
        told = await asyncio.to_thread(call, tmp_path / "s.sock", "edit", {"message": 1}, content=message)
        assert told == {"bytes": len(message), "args": {"message": 1}}
        with pytest.raises(LabRelayError, match="not a request"):
            await asyncio.to_thread(call, tmp_path / "s.sock", "echo", content=b"x")
    finally:
        await server.stop()


@pytest.mark.parametrize("content", ["=", "ab c", 5, None])
async def test_content_that_is_no_base_64_is_refused(tmp_path: Path, content: object) -> None:
    server = ControlServer(tmp_path / "s.sock", {"edit": _weigh})
    await server.start()
    try:
        _, body = await say(tmp_path / "s.sock", posted(json.dumps({"content": content}).encode(), "/v1/edit"))
    finally:
        await server.stop()
    assert "not a request" in json.loads(body)["message"]


async def test_a_packed_body_is_not_unpacked(tmp_path: Path) -> None:
    packed_body = gzip.compress(b'{"n": 1}')
    head = f"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed_body)}\r\n\r\n"
    async with serving(tmp_path / "s.sock") as path:
        answer, body = await say(path, head.encode() + packed_body)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert "not a request" in json.loads(body)["message"]


async def test_a_role_that_ends_while_the_body_comes_gives_nothing(tmp_path: Path) -> None:
    given, called, asked = {"root": ["operator"]}, [], 0

    class Admitted(Admission):
        async def person(self, uid: int) -> Person:
            nonlocal asked
            asked += 1
            return Person(uid, "operator", permissions_of(given["root"]))

    async def act(request: Request) -> dict[str, Any]:
        called.append(request.verb)
        return {}

    path = tmp_path / "s.sock"
    server = ControlServer(path, {"echo": act}, admission=Admitted({"echo": ACTING}))
    await server.start()
    try:
        reader, writer = await asyncio.open_unix_connection(str(path))
        whole = posted(b"{}")
        writer.write(whole[:-2])
        await until(lambda: asked == 1)
        given["root"] = ["viewer"]
        writer.write(whole[-2:])
        answer = await asyncio.wait_for(reader.read(), 240.0)
        writer.close()
    finally:
        await server.stop()
    assert b"lacks the permission act" in answer
    assert called == []
