"""A stream of one whole message, as a file or a resource of a server: one read gives all of it.

Its link is `adapters.codecs.text.whole_link`; the channel's answer, ACK or NAK, says whether the message is durable.
"""

from engine.model.ports import PolledVersion


class WholeStream:
    """One whole message as a `engine.model.ports.PolledStream`.

    Attributes:
        polled: the version of a resource that the message is; None: it is of no server that is polled.
        answer: ``ACK``: durable. ``NAK``: kept, and no whole message. Else it was not stored, and is to be read again.
    """

    def __init__(self, peer: str, content: bytes, polled: PolledVersion | None = None) -> None:
        self._content = content
        self._ended = False
        self.peer = peer
        self.polled = polled
        self.answer = b""

    async def read(self, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as `engine.model.ports.Stream`
        content, self._content = self._content, b""
        return b"" if self._ended else content

    async def write(self, data: bytes) -> None:
        self.answer += data

    def end(self) -> None:
        self._ended = True

    async def close(self) -> None:
        self._ended = True
