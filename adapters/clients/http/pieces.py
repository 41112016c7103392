"""A large body of a request, sent piece by piece. aiohttp copies a `io.BytesIO` when it asks for its size."""

import asyncio

from aiohttp import Payload
from aiohttp.abc import AbstractStreamWriter

PIECE_BYTES = 64 * 1024


class Pieces(Payload):
    """Attributes:
    begun: so many bytes were handed to the connection; it takes a piece once it has passed on those before.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self._size = len(body)
        self.begun = 0

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        text: bytes = self._value
        return text.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        self.begun = 0
        for at in range(0, len(self._value), PIECE_BYTES):
            if at:
                await asyncio.sleep(0)  # other connections get their turn
            piece = self._value[at : at + PIECE_BYTES]
            self.begun += len(piece)
            await writer.write(piece)
