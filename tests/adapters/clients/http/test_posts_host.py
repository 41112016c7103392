"""The host that a POST goes to: a name with addresses, or an address."""

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.deliveries import Tls
from tests.support.posting import opened, said
from tests.support.scripted_http import http, scripted

AB = http(200, b"ab")
TOO_LATE = "no answer within 0.3 s"


@pytest.mark.parametrize("first", ["refuses", "closes"])
async def test_the_next_address_of_a_host_is_tried(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Where the one before takes no connection, and where it takes one and speaks no TLS."""

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    ours = Authority(tmp_path)
    async with scripted(AB, tls=ours.server_context()) as server:
        port = int(server.url.rsplit(":", 1)[1].split("/")[0])
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (at, port)) for at in ("127.0.0.2", "127.0.0.1")]
        closing = await asyncio.start_server(close, "127.0.0.2", port)
        if first == "refuses":
            closing.close()
        async with closing, opened(f"https://localhost:{port}/fhir", tls=Tls(ca=ours.ca)) as lab:
            monkeypatch.setattr(socket, "getaddrinfo", lambda *asked, **more: found)
            assert await said(lab) == (200, b"ab")
    assert server.requests[0].headers["host"] == f"localhost:{port}"


async def test_a_name_server_that_does_not_answer_is_asked_once_at_a_time(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The threads in which names are looked up are few, and those of all destinations."""
    answered, asked, look_up = threading.Event(), [], socket.getaddrinfo

    def hang(host: str, port: int, family: int = 0, kind: int = 0, proto: int = 0, flags: int = 0, **named: Any) -> Any:
        if not flags & socket.AI_NUMERICHOST:
            asked.append(host)
            answered.wait(240.0)
        return look_up(host, port, family, kind or named["type"], proto, flags)

    async with scripted(AB) as server:
        monkeypatch.setattr(socket, "getaddrinfo", hang)
        async with opened(server.url.replace("127.0.0.1", "localhost"), timeout=0.3) as lab:
            try:
                for _ in range(2):
                    assert await asyncio.gather(*(said(lab) for _ in range(3))) == [TOO_LATE] * 3
                assert len(asked) == 1
            finally:
                answered.set()
            assert await said(lab) == (200, b"ab")


async def test_an_address_in_the_place_of_a_name_is_not_looked_up(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    async def no_look_up(*asked: Any, **more: Any) -> None:
        raise AssertionError

    async with scripted(AB) as server, opened(server.url) as lab:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", no_look_up)
        assert await said(lab) == (200, b"ab")


async def test_addresses_that_fail_for_different_causes_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and takes no connection
        found = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("ff02::1", 9, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", taken.getsockname()),
        ]
        async with opened("http://localhost/fhir") as lab:
            monkeypatch.setattr(socket, "getaddrinfo", lambda *asked, **more: found)
            assert await said(lab) == "no connection could be made"
