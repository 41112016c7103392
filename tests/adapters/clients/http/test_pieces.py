"""A large body arrives whole, and is not copied on its way."""

import asyncio
import tracemalloc
from hashlib import sha256

from tests.support.posting import opened, said, server_of
from tests.support.scripted_http import http

BODY = bytes(range(251)) * 100_003  # 25 MB, in which no two pieces are equal
MOST_BYTES = 4 * 1024 * 1024


async def test_a_large_body_arrives_whole_and_is_not_copied() -> None:
    came: list[tuple[bytes, str]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen, left = sha256(), len(BODY)
        while left:
            piece = await reader.read(min(left, 65_536))
            seen.update(piece)
            left -= len(piece)
        came.append((head.lower(), seen.hexdigest()))
        writer.write(http(200, b"done"))

    async with server_of(serve) as url, opened(url, timeout=240.0) as lab:
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            assert await said(lab, BODY) == (200, b"done")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    ((head, digest),) = came
    assert digest == sha256(BODY).hexdigest()
    assert f"content-length: {len(BODY)}\r\n".encode() in head
    assert b"transfer-encoding" not in head
    assert peak - before < MOST_BYTES
