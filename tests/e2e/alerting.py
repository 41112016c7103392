"""Alerts at servers that people run: a mail server with STARTTLS and a log-in, web servers, Mosquitto, and rsyslogd
over UDP, TCP and TLS. Each is sent one start and one end, also where the cause flaps or the server fails in between.

A clock that the test moves makes hours pass; the last test has the real daemon and the real time.
"""

import asyncio
import contextlib
import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import aiomqtt
import pytest
import yaml
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from engine.features.alerts.service import Alerting
from engine.model.texts.phrases import Phrase
from tests.e2e.broker import OPEN, subscriber
from tests.e2e.counterparts import listening, mosquitto
from tests.engine.features.alerts.test_alerting import AWAY, QUICK, house
from tests.support.certificates import Authority
from tests.support.ports import quiet_ports
from tests.support.running import QUICK as AT_ONCE
from tests.support.running import hl7_channel, make_running_site, running_app
from tests.support.senders import send_blocks
from tests.support.waiting import until

USER, PASSWORD, TOKEN = "labrelay", "right", "secret-of-whatsapp"
HERE, GONE = "it@lab.example", "gone@lab.example"
SAMPLE = Path(__file__).parents[2] / "samples" / "mindray_bc5380" / "05-all-coded.hl7"
# One program of syslog with three listeners; each row of its file is JSON, as rsyslog itself has read the line.
RSYSLOG = """
global(workDirectory="{folder}" net.enableDNS="off")
module(load="imudp") module(load="imtcp")
template(name="row" type="list" option.jsonf="on") {{
  property(outname="pri" name="pri" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="id" name="msgid" format="jsonf")
  property(outname="data" name="structured-data" format="jsonf")
  property(outname="text" name="msg" format="jsonf")
  property(outname="via" name="inputname" format="jsonf")
}}
ruleset(name="all") {{ action(type="omfile" file="{folder}/rows" template="row") }}
input(type="imudp" address="127.0.0.1" port="{udp}" ruleset="all" name="udp")
input(type="imtcp" address="127.0.0.1" port="{tcp}" ruleset="all" name="tcp")
input(type="imtcp" address="127.0.0.1" port="{tls}" ruleset="all" name="tls" streamDriver.name="gtls"
  streamDriver.mode="1" streamDriver.authMode="anon"
  streamDriver.CAFile="{ca}" streamDriver.certFile="{cert}" streamDriver.keyFile="{key}")
"""


STEP = re.compile(r"(\n| \| )\d{4}-\d\d-\d\d \d\d:\d\d(\. [^|\n]*)?$")  # the time of a message, and its step


class Heard(NamedTuple):
    """What a server was sent: ``start`` or ``end`` where the message says so by itself, and its text."""

    text: str
    state: str = ""


class Post:
    """The mailbox of a mail server."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.is_failing = False
        self.refusals = 0

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address == GONE:
            return "550 5.1.1 no such person"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert session.ssl is not None
        assert session.authenticated
        if self.is_failing:
            self.refusals += 1
            return "451 4.3.0 later"
        mail = message_from_bytes(envelope.original_content or b"", policy=default)
        assert isinstance(mail, EmailMessage)
        self.mails.append((envelope.rcpt_tos, mail))
        return "250 OK"


def _lets_in(server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any) -> AuthResult:
    is_known = isinstance(given, LoginPassword) and (given.login, given.password) == (
        USER.encode(),
        PASSWORD.encode(),
    )
    return AuthResult(success=is_known)


@contextmanager
def mail_server(authority: Authority, port: int) -> Iterator[Post]:
    post = Post()
    controller = Controller(
        post, hostname="127.0.0.1", port=port, tls_context=authority.server_context(), require_starttls=True,
        auth_required=True, auth_require_tls=True, authenticator=_lets_in,
    )  # fmt: skip
    controller.start()
    try:
        yield post
    finally:
        controller.stop()


@dataclass
class Web:
    """A web server.

    Attributes:
        answer: the status and the body for a request that is well.
    """

    answer: Callable[[BaseHTTPRequestHandler, bytes], tuple[int, bytes]]
    port: int = 0
    bodies: list[Any] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    is_failing: bool = False
    refusals: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def web_server(web: Web, port: int = 0) -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, said = web.answer(self, body) if not web.is_failing else (503, b"later")
            if status < 300:
                web.bodies.append(json.loads(body))
                web.keys.add(self.headers.get("Idempotency-Key"))
            else:
                web.refusals += 1
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    web.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _takes_all(request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
    return 200, b"{}"


def _as_whatsapp(request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
    """As Meta's Graph API takes a template with one parameter; a line break in it is refused there."""
    if request.headers["Authorization"] != f"Bearer {TOKEN}":
        return 401, b'{"error": {"code": 190}}'
    said = json.loads(body)
    template = said["template"]
    ((parameter,),) = (part["parameters"] for part in template["components"])
    fits = said["messaging_product"] == "whatsapp" and said["type"] == "template" and template["language"]["code"]
    if request.path != "/v21.0/1077/messages" or not fits or "\n" in parameter["text"]:
        return 400, b'{"error": {"code": 132018}}'
    return 200, b'{"messaging_product": "whatsapp", "messages": [{"id": "wamid.1"}]}'


@contextmanager
def rsyslogd(folder: Path, settings: str, port: int) -> Iterator[None]:
    program = shutil.which("rsyslogd", path="/usr/sbin:/usr/bin")
    if program is None or not list(Path("/usr/lib").glob("*/rsyslog/lmnsd_gtls.so")):
        pytest.skip("there is no rsyslogd with TLS; on Debian or Ubuntu: apt install rsyslog rsyslog-gnutls")
    file, log = folder / "rsyslog.conf", folder / "rsyslog.log"
    file.write_text(settings)
    with log.open("ab") as out:
        process = subprocess.Popen(
            [program, "-n", "-f", str(file), "-i", str(folder / "pid")], stdout=out, stderr=subprocess.STDOUT
        )
    try:
        listening(port, process, log)
        yield
    finally:
        process.terminate()  # it writes what it has read
        process.wait(timeout=30)


def _is_bound(port: int) -> bool:
    """Whether a program listens there for UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


class Town:
    """All servers, and what each was sent."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = Authority(folder / "ca")
        self._pair = self._authority.sign("syslog")
        self._mail_port, self._broker_port, *ports = quiet_ports(5)
        self._udp, self._tcp, self._tls = ports
        self.chat, self.whatsapp = Web(_takes_all), Web(_as_whatsapp)
        self._published: list[Heard] = []
        self._coming_and_going = AsyncExitStack()
        self.mail: Post

    @property
    def sinks(self) -> dict[str, Any]:
        """As a site has them."""
        ca = str(self._authority.ca)
        template = {
            "name": "lab_alert", "language": {"code": "en"},
            "components": [{"type": "body", "parameters": [{"type": "text", "text": "{subject}"}]}],
        }  # fmt: skip
        return {
            "mail": {
                "kind": "email", "server": f"127.0.0.1:{self._mail_port}", "sender": "labrelay@lab.example",
                "to": [HERE, GONE], "auth": {"basic": {"user": USER, "password": "${MAIL_PASSWORD}"}},
                "tls": {"ca": ca},
            },
            "chat": {"kind": "http", "url": self.chat.url, "body": '{"text": "{text}", "state": "{state}"}'},
            "whatsapp": {
                "kind": "http", "url": f"{self.whatsapp.url}/v21.0/1077/messages", "taken": '"messages"',
                "auth": {"bearer": {"token": "${WHATSAPP_TOKEN}"}},
                "body": json.dumps({
                    "messaging_product": "whatsapp", "to": "919800000000", "type": "template", "template": template,
                }),
            },
            "bus": {
                "kind": "mqtt", "connect": f"127.0.0.1:{self._broker_port}", "client_id": "labrelay",
                "topic": "lab/alerts",
            },
            "udp": {"kind": "syslog", "connect": f"127.0.0.1:{self._udp}"},
            "tcp": {"kind": "syslog", "connect": f"127.0.0.1:{self._tcp}", "protocol": "tcp"},
            "tls": {"kind": "syslog", "connect": f"127.0.0.1:{self._tls}", "protocol": "tcp", "tls": {"ca": ca}},
        }  # fmt: skip

    async def __aenter__(self) -> "Town":
        self._lasting = contextlib.ExitStack()
        self.mail = self._lasting.enter_context(mail_server(self._authority, self._mail_port))
        for web in (self.chat, self.whatsapp):
            self._lasting.enter_context(web_server(web))
        await self.mend()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._coming_and_going.aclose()
        self._lasting.close()

    async def fail(self) -> None:
        """The mail server and the web servers say so; the broker and syslog are away."""
        self.mail.is_failing = self.chat.is_failing = self.whatsapp.is_failing = True
        await self._coming_and_going.aclose()

    async def mend(self) -> None:
        self.mail.is_failing = self.chat.is_failing = self.whatsapp.is_failing = False
        enter = self._coming_and_going.enter_context
        settings = RSYSLOG.format(
            folder=self._folder, udp=self._udp, tcp=self._tcp, tls=self._tls, ca=self._authority.ca,
            cert=self._pair.cert, key=self._pair.key,
        )  # fmt: skip
        enter(rsyslogd(self._folder, settings, self._tls))
        await until(lambda: _is_bound(self._udp))  # a line that comes before is lost
        enter(mosquitto(self._folder / "broker", self._broker_port, OPEN.format(port=self._broker_port)))
        witness = await self._coming_and_going.enter_async_context(subscriber(self._broker_port))
        listens = asyncio.create_task(self._listen(witness))
        self._coming_and_going.push_async_callback(asyncio.wait, [listens])
        self._coming_and_going.callback(listens.cancel)

    async def _listen(self, witness: aiomqtt.Client) -> None:
        with contextlib.suppress(aiomqtt.MqttError):
            async for message in witness.messages:
                said = json.loads(bytes(message.payload))  # type: ignore[arg-type]
                self._published.append(Heard(said["text"], said["state"]))

    def by_syslog(self, via: str) -> list[Heard]:
        file = self._folder / "rows"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        rows = [row for row in map(json.loads, lines) if row["via"] == via]
        assert {(row["app"], row["id"]) for row in rows} <= {("labrelay", "alert")}
        states = [row["data"].partition('state="')[2].partition('"')[0] for row in rows]
        return [Heard(row["text"].lstrip("\ufeff"), state) for row, state in zip(rows, states, strict=True)]

    @property
    def heard(self) -> dict[str, list[Heard]]:
        """By the name of the sink, the oldest first."""
        mails = [str(mail.get_content()).replace("\r\n", "\n").rstrip("\n") for _, mail in self.mail.mails]
        templates = [one["template"]["components"][0]["parameters"][0]["text"] for one in self.whatsapp.bodies]
        heard = {
            "mail": [Heard(text) for text in mails],
            "chat": [Heard(one["text"], one["state"]) for one in self.chat.bodies],
            "whatsapp": [Heard(text) for text in templates],
            "bus": list(self._published),
            **{via: self.by_syslog(via) for via in ("udp", "tcp", "tls")},
        }
        return {name: [one._replace(text=STEP.sub("", one.text)) for one in said] for name, said in heard.items()}

    async def lossless_heard(self, count: int) -> None:
        await until(lambda: all(len(said) == count for name, said in self.heard.items() if name != "udp"))

    async def has_heard(self, count: int) -> dict[str, list[Heard]]:
        """What each was sent, once it is so many; then the broker and syslog are ended, and nothing more has come."""
        await until(lambda: all(len(said) >= count for said in self.heard.values()))
        await self._coming_and_going.aclose()
        found = self.heard
        assert {name: len(said) for name, said in found.items()} == dict.fromkeys(found, count), found
        return found


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    monkeypatch.setenv("WHATSAPP_TOKEN", TOKEN)


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with Town(tmp_path / "town") as made:
        yield made


WITH_STATE = ("chat", "bus", "udp", "tcp", "tls")


async def test_a_destination_that_flaps_for_an_hour_brings_two_messages_to_each(tmp_path: Path, town: Town) -> None:
    slow = {**QUICK, "rules": {"destination": {"after": "1m"}}}
    async with house(tmp_path / "site", {"sinks": town.sinks, **slow}) as home:
        for minute in range(70):
            await home.look(*([AWAY] if minute % 4 and minute < 60 else []), seconds=60)
        for _ in range(60):
            await home.look(seconds=60)
    for name, (start, end) in (await town.has_heard(2)).items():
        assert start.text == "Test Lab: lis not reachable", name
        assert end.text.startswith("Test Lab: Over, after "), name
        if name in WITH_STATE:
            assert (start.state, end.state) == ("start", "end"), name


async def test_servers_that_fail_for_ten_minutes_have_the_start_and_the_end_once(tmp_path: Path, town: Town) -> None:
    """All at once, first around the start, then around the end."""
    lossless = {name: sink for name, sink in town.sinks.items() if name != "udp"}  # nothing says that it is away
    quick = {**QUICK, "rules": {"destination": {"after": "0s", "keep": "0s"}, "sink": {"enabled": False}}}
    async with house(tmp_path / "site", {"sinks": lossless, **quick}) as home:
        for count, there in enumerate(((AWAY,), ()), start=1):
            await town.fail()
            for _ in range(10):
                await home.look(*there, seconds=60)
            await town.mend()
            await home.look(*there, seconds=60)
            await town.lossless_heard(count)  # else the witness may go with the broker before it has read the message
    for name, said in town.heard.items():
        wanted = ["Test Lab: lis not reachable", "Test Lab: Over, after 11 min: lis not reachable"]
        assert [one.text for one in said] == ([] if name == "udp" else wanted), name
    assert min(town.mail.refusals, town.chat.refusals, town.whatsapp.refusals) >= 20
    assert [len(web.keys) for web in (town.chat, town.whatsapp)] == [2, 2]


async def test_a_thousand_causes_at_once_are_one_message_to_each(tmp_path: Path, town: Town) -> None:
    many = [replace(AWAY, key=f"away/lis{n}", phrase=Phrase(f"lis{n} not reachable")) for n in range(1000)]
    async with house(tmp_path / "site", {"sinks": town.sinks, **QUICK}) as home:
        await home.look(*many)
        await home.look(seconds=60)
    for name, (start, end) in (await town.has_heard(2)).items():
        if name == "whatsapp":
            assert (start.text, end.text) == ("Test Lab: Problems and notices: 1000", "Test Lab: Over: 1000")
        elif name != "udp":  # a line of UDP is cut to what each receiver takes
            assert start.text.endswith("... and 980 more"), name


async def test_the_daemon_sends_each_server_the_start_and_the_end_of_an_outage(tmp_path: Path, town: Town) -> None:
    (port,) = quiet_ports(1)
    site = make_running_site(
        tmp_path / "site",
        {"chem": hl7_channel(settings={"local_system": "https://lab.example/codes/local"})},
        {"lab-fhir": {"kind": "http", "url": f"http://127.0.0.1:{port}/", **AT_ONCE}},
    )
    file = site / "config" / "labrelay.yaml"
    file.write_text(file.read_text() + yaml.safe_dump({"alerts": {"sinks": town.sinks, **QUICK}}))
    async with running_app(site) as app:
        await until(lambda: len(app.service(Alerting)._sinks) == len(town.sinks))
        assert {one.sink: one.detail for one in await app.service(Alerting).test()} == {
            **dict.fromkeys(town.sinks, ""), "mail": f"refused for {GONE}: SMTP 550",
        }  # fmt: skip
        source = app.parts.sources["chem"].port
        assert source is not None
        await send_blocks(source, [SAMPLE.read_bytes().replace(b"\n", b"\r")])
        await until(lambda: all(len(said) == 2 for said in town.heard.values()))
        with web_server(Web(_takes_all), port) as hospital:
            await until(lambda: bool(hospital.bodies))
            found = await town.has_heard(3)
    for name, (test, start, end) in found.items():
        assert test.text == "Test Lab: A test of alerts: all is well", name
        assert start.text.startswith("Test Lab: lab-fhir not reachable"), name
        assert end.text.startswith("Test Lab: Over, after "), name
    assert [to for to, _ in town.mail.mails] == [[HERE]] * 3
    assert town.mail.mails[1][1]["Message-ID"] != town.mail.mails[2][1]["Message-ID"]
