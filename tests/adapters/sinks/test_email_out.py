"""Alerts by e-mail, against a mail server on loopback."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from adapters.sinks import email_out
from engine.model.errors import DeliveryError, DestinationDownError, RefusedDeliveryError, TransientDeliveryError
from engine.model.process.clock import ManualClock
from engine.model.site.alerts import SAMPLE
from engine.model.texts.units import HostPort
from tests.support.certificates import Authority
from tests.support.smtp_peer import MailServer, mail_server


@dataclass
class Secret:
    value: str

    def reveal(self) -> str:
        return self.value


@dataclass
class Basic:
    user: str
    password: Secret


@dataclass
class Auth:
    basic: Basic


@dataclass
class Trust:
    ca: Path | None
    cert: Path | None = None
    key: Path | None = None


@dataclass
class Config:
    server: HostPort
    security: str = "none"
    sender: str = "labrelay@lab.example"
    to: tuple[str, ...] = ("a@lab.example", "b@lab.example")
    auth: Auth | None = None
    tls: Trust | None = None
    timeout: float = 60.0


async def send(peer: MailServer, **changed: Any) -> Sequence[str]:
    sink = email_out.build("mail", Config(HostPort("127.0.0.1", peer.port), **changed), ManualClock())
    await sink.start()
    try:
        return await sink.send(SAMPLE)
    finally:
        await sink.close()


async def test_a_mail_has_the_text_and_an_id_that_stays() -> None:
    async with mail_server() as peer:
        await send(peer)
        await send(peer)
    first, again = peer.mails
    assert (first.sender, first.to) == ("labrelay@lab.example", ["a@lab.example", "b@lab.example"])
    assert first.text == SAMPLE.text
    assert first.message["Subject"] == "one line"
    assert first.message["Auto-Submitted"] == "auto-generated"
    assert first.message["Message-ID"] == again.message["Message-ID"] == "<labrelay-1@lab.example>"


async def test_a_text_in_hindi_arrives_as_it_is() -> None:
    async with mail_server() as peer:
        mail = email_out.mail_of(SAMPLE, "a@b.example", ["c@d.example"])
        mail.set_content("जाँच: सब ठीक है\n")
        sink = email_out.build("mail", Config(HostPort("127.0.0.1", peer.port)), ManualClock())
        await sink._sent(mail)
    assert peer.mails[0].text == "जाँच: सब ठीक है"


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_with_tls_a_user_logs_in(tmp_path: Path, security: str) -> None:
    authority = Authority(tmp_path)
    async with mail_server(authority.server_context(), from_the_start=security == "tls") as peer:
        auth = Auth(Basic("labrelay", Secret("right")))
        await send(peer, security=security, auth=auth, tls=Trust(authority.ca))
    assert (peer.mails[0].encrypted, peer.mails[0].user) == (True, "labrelay")


@pytest.mark.parametrize(("password", "let_in"), [("right", True), ("wrong", False)])
async def test_a_probe_logs_in_and_sends_no_mail(password: str, let_in: bool) -> None:
    async with mail_server() as peer:
        auth = Auth(Basic("labrelay", Secret(password)))
        sink = email_out.build("mail", Config(HostPort("127.0.0.1", peer.port), auth=auth), ManualClock())
        with nullcontext() if let_in else pytest.raises(DestinationDownError):
            await sink.probe()
    assert (peer.connections, peer.mails) == (1, [])


async def test_nothing_goes_out_without_the_tls_that_is_asked_for(tmp_path: Path) -> None:
    async with mail_server() as peer:
        with pytest.raises(TransientDeliveryError):
            await send(peer, security="starttls", tls=Trust(Authority(tmp_path).ca))
    assert peer.mails == []


@dataclass(frozen=True)
class Case:
    """What the server says, and what that means."""

    answers: dict[str, list[str]]
    error: type[DeliveryError]
    more: dict[str, Any] = field(default_factory=dict)


BAD = Auth(Basic("labrelay", Secret("wrong")))
CASES = {
    "busy": Case({"MAIL": ["451 later"]}, TransientDeliveryError),
    "full": Case({".": ["452 no room"]}, TransientDeliveryError),
    "refused": Case({".": ["554 spam of Asha Rao"]}, RefusedDeliveryError),
    "no such people": Case({"RCPT": ["550 Asha Rao", "550 who"]}, RefusedDeliveryError),
    "people later": Case({"RCPT": ["450 greylisted", "450 greylisted"]}, TransientDeliveryError),
    "a log-in that fails": Case({}, DestinationDownError, {"auth": BAD}),
    "a sender that is none of its": Case({"MAIL": ["530 log in"]}, DestinationDownError),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_the_meaning_of_an_answer(case: Case) -> None:
    async with mail_server() as peer:
        peer.answers = {command: list(said) for command, said in case.answers.items()}
        with pytest.raises(case.error) as raised:
            await send(peer, **case.more)
    assert type(raised.value) is case.error
    assert peer.mails == []
    assert "Asha" not in str(raised.value)
    assert "wrong" not in str(raised.value)


async def test_one_wrong_address_of_two_keeps_the_mail_from_none() -> None:
    async with mail_server() as peer:
        peer.answers = {"RCPT": ["550 Asha Rao"]}
        assert await send(peer) == ["a@lab.example: SMTP 550"]
        assert await send(peer) == []
    assert peer.mails[0].to == ["b@lab.example"]


async def test_a_silent_server_and_none_at_all() -> None:
    async with mail_server() as peer:
        peer.silent = True
        with pytest.raises(TransientDeliveryError, match="no answer within"):
            await send(peer, timeout=0.05)
    with pytest.raises(TransientDeliveryError):
        await send(peer)
