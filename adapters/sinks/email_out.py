"""Alerts by e-mail (RFC 5321, RFC 5322): one mail for each message. Its Message-ID is the same at each attempt, so
that a mailbox can tell a repeat.

    250 after the mail                      taken
    5xx to the mail or to all addresses     refused
    4xx, no answer, no log-in, no TLS       tried again

Where only some addresses are refused, also for a while, the mail has gone to the others and counts as taken. The
refused addresses are named, each with the code.
"""

import asyncio
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Protocol

import aiosmtplib

from adapters.clients.http.log_in import Address, BasicAuth, Tls
from adapters.clients.tls import cause_of, tls_context
from engine.model.errors import ConfigError, DestinationDownError, RefusedDeliveryError, TransientDeliveryError
from engine.model.process.clock import Clock
from engine.model.site.alerts import Notification
from engine.model.texts.reasons import ReasonCode

PERMANENT = 500  # RFC 5321, 4.2.1: from here on the same command would be refused again
LOG_IN_FAILED = frozenset({454, 530, 534, 535, 538})  # RFC 4954, 6


class Auth(Protocol):
    basic: BasicAuth


class Settings(Protocol):
    """As `engine.features.alerts.config.EmailSink`."""

    server: Address
    sender: str
    to: Sequence[str]
    security: str
    auth: Auth | None
    tls: Tls | None
    timeout: float


class EmailSink:
    """See `engine.model.ports.AlertSink`."""

    def __init__(self, name: str, config: Settings, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._tls = None if config.security == "none" else tls_context(name, config.tls)

    async def start(self) -> None:
        """Nothing to open: each mail has a connection of its own."""

    async def close(self) -> None: ...

    async def send(self, notification: Notification) -> Sequence[str]:
        return await self._attempt(mail_of(notification, self._config.sender, self._config.to))

    async def probe(self) -> None:
        """Connect, with TLS and log-in as configured, and send no mail."""
        await self._attempt(None)

    async def _attempt(self, mail: EmailMessage | None) -> Sequence[str]:
        try:
            async with asyncio.timeout(self._config.timeout):
                return await self._sent(mail)
        except TimeoutError as error:
            raise TransientDeliveryError(
                ReasonCode.NO_ANSWER, f"no answer within {self._config.timeout:g} s"
            ) from error
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _refused(max(one.code for one in error.recipients), "its addresses") from None
        except aiosmtplib.SMTPResponseException as error:
            raise _refused(error.code, "the mail") from None
        except (ssl.SSLError, aiosmtplib.SMTPException, OSError) as error:  # the first two may quote the server
            why = f"no mail server there: {cause_of(error)}"
            raise TransientDeliveryError(ReasonCode.NO_ANSWER, why) from None

    async def _sent(self, mail: EmailMessage | None) -> Sequence[str]:
        config = self._config
        client = aiosmtplib.SMTP(
            hostname=config.server.host,
            port=config.server.port,
            timeout=config.timeout,
            use_tls=config.security == "tls",
            start_tls=config.security == "starttls",
            tls_context=self._tls,
        )
        try:
            await client.connect()
            if config.auth is not None:
                await client.login(config.auth.basic.user, config.auth.basic.password.reveal())
            if mail is None:
                return ()
            refused, _ = await client.send_message(mail)
            return [f"{address}: SMTP {answer.code}" for address, answer in refused.items()]
        except ConfigError as error:
            raise DestinationDownError(ReasonCode.NOT_AUTHORIZED, str(error)) from error
        finally:
            client.close()


def mail_of(notification: Notification, sender: str, to: Sequence[str]) -> EmailMessage:
    """The mail; no other address or name is in it."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Subject"] = " ".join(notification.subject.split())
    mail["Date"] = format_datetime(datetime.fromtimestamp(notification.at_us / 1e6, UTC))
    mail["Message-ID"] = f"<{notification.id}@{sender.partition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answering machine answers
    if notification.level == "problem" and notification.state != "end":
        mail["Importance"] = "high"
    mail.set_content(notification.text + "\n")
    return mail


def _refused(code: int, what: str) -> TransientDeliveryError | RefusedDeliveryError:
    if code in LOG_IN_FAILED:
        return DestinationDownError(ReasonCode.NOT_AUTHORIZED, f"the server does not let us in: SMTP {code}")
    if code >= PERMANENT:
        return RefusedDeliveryError(ReasonCode.REFUSED, f"the server refuses {what}: SMTP {code}")
    return TransientDeliveryError(ReasonCode.BUSY, f"SMTP {code}")


def build(name: str, config: Settings, clock: Clock) -> EmailSink:
    """The sink ``name`` of a site.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """
    return EmailSink(name, config, clock)
