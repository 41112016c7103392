"""The local socket between commands and the daemon: who may ask, what comes back, and how it fails."""

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from engine.actions import control
from engine.actions.control import ControlServer, RefusedError, Request, UnreachableError, call
from engine.model.actor import user_name
from engine.model.errors import ConfigError, IntegrityError, LabRelayError, LockedError, StoreError


async def _echo(request: Request) -> dict[str, Any]:
    return {"verb": request.verb, "args": dict(request.args), "actor": request.actor}


@asynccontextmanager
async def serving(path: Path, handler: Any = _echo, **options: float) -> AsyncIterator[Path]:
    server = ControlServer(path, {"echo": handler}, **options)
    await server.start()
    try:
        yield path
    finally:
        await server.stop()


async def ask(path: Path, verb: str = "echo", args: dict[str, Any] | None = None, within: float = 60) -> dict[str, Any]:
    return await asyncio.to_thread(call, path, verb, args, timeout=within)


async def say(path: Path, line: bytes) -> Any:
    """Send raw bytes and return the answer."""

    def talk() -> bytes:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(60)
            peer.connect(str(path))
            peer.sendall(line)
            return control._read_line(peer)

    return json.loads(await asyncio.to_thread(talk))


async def test_a_request_reaches_its_handler_with_the_user_the_kernel_names(tmp_path: Path) -> None:
    async with serving(tmp_path / "s.sock") as path:
        said = await ask(path, args={"n": 1})

    assert said == {"verb": "echo", "args": {"n": 1}, "actor": user_name(os.geteuid())}


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
    monkeypatch.setattr(control, "_peer", lambda _writer: (65_533, 1))
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
    "line",
    [b"\n", b"[]\n", b"{}\n", b"nonsense\n", b'{"v":1,"verb":5}\n', b'{"v":9,"verb":"echo"}\n', b"[" * 5000 + b"\n"],
)
async def test_what_is_no_request_is_answered_as_such(tmp_path: Path, line: bytes) -> None:
    async with serving(tmp_path / "s.sock") as path:
        assert (await say(path, line))["error"] == "failed"
        assert (await ask(path))["verb"] == "echo"


async def test_a_request_without_end_is_cut_off(tmp_path: Path) -> None:
    async with serving(tmp_path / "s.sock") as path:
        said = await say(path, b"x" * (control.MAX_REQUEST_BYTES + 1))
    assert "larger than" in said["message"]


async def test_a_client_that_dawdles_is_cut_off(tmp_path: Path) -> None:
    async with serving(tmp_path / "s.sock", request_timeout=0.05) as path:
        said = await say(path, b'{"v":1')
    assert "no whole request" in said["message"]


async def test_a_handler_that_hangs_is_given_up(tmp_path: Path) -> None:
    async def hang(_request: Request) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async with serving(tmp_path / "s.sock", hang, handler_timeout=0.05) as path:
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

    async with serving(tmp_path / "s.sock", slow, handler_timeout=0.05) as path:
        with pytest.raises(LabRelayError, match="may still be going on"):
            await ask(path)
        go_on.set()
        await asyncio.wait_for(ended.wait(), 60.0)


async def test_what_goes_on_without_anybody_ends_with_the_server(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def endless(_request: Request) -> dict[str, Any]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return {}

    async with serving(tmp_path / "s.sock", endless, handler_timeout=0.05) as path:
        with pytest.raises(LabRelayError, match="may still be going on"):
            await ask(path)
        assert not ended.is_set()
    assert ended.is_set()


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


async def test_content_follows_the_line_for_the_verbs_that_take_it(tmp_path: Path) -> None:
    message = b"MSH|\n\x00" * 100_000  # beyond what a line may have
    server = ControlServer(tmp_path / "s.sock", {"edit": _weigh, "echo": _weigh})
    await server.start()
    try:
        told = await asyncio.to_thread(call, tmp_path / "s.sock", "edit", {"message": 1}, content=message)
        assert told == {"bytes": len(message), "args": {"message": 1}}
        with pytest.raises(LabRelayError, match="not a request"):
            await asyncio.to_thread(call, tmp_path / "s.sock", "echo", content=b"x")
    finally:
        await server.stop()


async def test_content_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    server = ControlServer(tmp_path / "s.sock", {"edit": _weigh}, request_timeout=0.1)
    await server.start()
    try:
        said = await say(tmp_path / "s.sock", b'{"v":1,"verb":"edit","args":{},"content":5}\nab')
    finally:
        await server.stop()
    assert "no whole request" in said["message"]
