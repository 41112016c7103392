"""A mail server for tests, from the text of RFC 5321 and not from any library: it takes mails, and refuses as told.

``answers`` has what is said to a command (``MAIL``, ``RCPT``, ``AUTH``, ``.`` for the end of a mail) in the place of
success; a list has one for each time, and then success.
"""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from tests.support.serving import serving


@dataclass
class Mail:
    sender: str
    to: list[str]
    raw: bytes
    encrypted: bool
    user: str

    @property
    def message(self) -> EmailMessage:
        found = message_from_bytes(self.raw, policy=default)
        assert isinstance(found, EmailMessage)
        return found

    @property
    def text(self) -> str:
        return str(self.message.get_content()).replace("\r\n", "\n").rstrip("\n")


@dataclass
class MailServer:
    """``mails`` are those that were taken."""

    tls: ssl.SSLContext | None = None
    answers: dict[str, list[str]] = field(default_factory=dict)
    silent: bool = False
    port: int = 0
    mails: list[Mail] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.silent:
            await reader.read()
            return
        encrypted, user, sender, to = writer.get_extra_info("ssl_object") is not None, "", "", list[str]()
        writer.write(b"220 test ESMTP\r\n")
        while line := await reader.readline():
            command, _, rest = line.decode().rstrip("\r\n").partition(" ")
            command = command.upper()
            said = self._said(command)
            if said:
                writer.write(f"{said}\r\n".encode())
            elif command == "EHLO":
                more = b"250-STARTTLS\r\n" if self.tls is not None and not encrypted else b"250-AUTH PLAIN\r\n"
                writer.write(b"250-test\r\n" + more + b"250 8BITMIME\r\n")
            elif command == "STARTTLS":
                writer.write(b"220 go on\r\n")
                assert self.tls is not None
                await writer.start_tls(self.tls)
                encrypted = True
            elif command == "AUTH":
                _, user, password = base64.b64decode(rest.split()[1]).decode().split("\0")
                writer.write(b"235 welcome\r\n" if password == "right" else b"535 no\r\n")
            elif command == "MAIL":
                sender, to = rest.partition("<")[2].partition(">")[0], []
                writer.write(b"250 ok\r\n")
            elif command == "RCPT":
                to.append(rest.partition("<")[2].partition(">")[0])
                writer.write(b"250 ok\r\n")
            elif command == "DATA":
                writer.write(b"354 go on\r\n")
                raw = (await reader.readuntil(b"\r\n.\r\n"))[:-3]
                said = self._said(".")
                writer.write(f"{said or '250 taken'}\r\n".encode())
                if not said:
                    self.mails.append(Mail(sender, to, raw, encrypted, user))
            elif command == "QUIT":
                writer.write(b"221 bye\r\n")
                return
            else:
                writer.write(b"250 ok\r\n")

    def _said(self, command: str) -> str:
        return self.answers[command].pop(0) if self.answers.get(command) else ""


@asynccontextmanager
async def mail_server(tls: ssl.SSLContext | None = None, *, from_the_start: bool = False) -> AsyncIterator[MailServer]:
    """On a free port of 127.0.0.1; with TLS after STARTTLS, or from the first byte."""
    peer = MailServer(tls=None if from_the_start else tls)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await peer.serve(reader, writer)

    async with serving(serve, tls=tls if from_the_start else None) as peer.port:
        yield peer
