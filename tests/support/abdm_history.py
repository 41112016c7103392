"""A laboratory at ABDM whose whole history is searched for its patients: its acts, and all that others may read."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from engine.features.access.service.service import AccessService
from engine.runtime.app import App
from tests.support.abdm_reports import write_site
from tests.support.abdm_site import FACILITY
from tests.support.access import GOOD, ROOT, Browser
from tests.support.command_line import labrelay
from tests.support.ports import quiet_ports
from tests.support.senders import send_blocks
from tests.support.waiting import until
from workbench.abdm import AbdmSandbox, Settings
from workbench.abdm.app import Confirm, Discover, Grant, Init, Pull
from workbench.abdm.people import PEOPLE

VALUE = "7351.9402"  # of a result: no other number of this history has these digits
SMS = '{"to": "91{mobile}", "text": "{code} links your reports of {facility}"}'
OPEN = "abdm_call WHERE state IN ('waiting', 'sending', 'accepted')"
# Commands that a person may show on a screen, or send to a helper.
SHOWN = (
    ("status",), ("todo",), ("doctor",), ("messages", "list"), ("dlq", "list"), ("held", "list"), ("audit", "list"),
    ("verify",), ("check",), ("shift",), ("backup", "list"),
    ("abdm", "preflight"), ("abdm", "transfers", "-o", "csv"),
    *(("abdm", name, "-o", form) for name in ("status", "contexts", "consents") for form in ("table", "json")),
    *(("abdm", name, str(number), "-o", "json") for name in ("context", "consent") for number in (1, 2)),
)  # fmt: skip
PEOPLE_HERE = {"vani": ("viewer", False), "asha": ("admin", True)}
JSON_TOKENS = ("eyJhbGci", "eyJ0eXAi", "eyJraWQi")  # how one begins, whose first name is alg, typ or kid
# Without an end, of a file that is the same for all, or leading to another server.
NOT_READ = ("/events", "/static/", "/log-in/oidc", "/api/v1/events", "/api/v1/openapi.json")


class History:
    """What happened, and the secrets of it."""

    def __init__(self, sandbox: AbdmSandbox, app: App) -> None:
        self.sandbox, self.app, self.state = sandbox, app, sandbox.state

    def rows(self, text: str) -> list[Any]:
        return self.app.journal.rows(f"SELECT {text}")

    async def quiet(self) -> None:
        await until(
            lambda: not self.rows(f"1 FROM {OPEN}") and not self.rows("1 FROM abdm_callback WHERE state = 'stored'")
        )

    async def sends(self, *messages: bytes, reports: int, linked: int) -> None:
        port = self.app.parts.sources["chem"].port
        assert port is not None
        await send_blocks(port, list(messages))
        told = "count(*) FROM abdm_context WHERE state = 'linked' AND notified = version"
        await until(lambda: self.rows(told) == [(linked,)] and self.rows("count(*) FROM abdm_context") == [(reports,)])
        await self.quiet()

    async def finds_and_links(self, who: int) -> None:
        """The patient's app finds a report without an ABHA, and links it by the code of an SMS."""
        app, discoveries = self.sandbox.app, self.state.discoveries
        found = discoveries[app.discover(Discover(patient=PEOPLE[who].address, facility=FACILITY))["transactionId"]]
        await until(lambda: found.state == "found")
        app.init(Init(transaction_id=found.transaction))
        await until(lambda: found.state == "otp-sent")
        app.confirm(Confirm(transaction_id=found.transaction, otp=self.codes()[-1]))
        await until(lambda: found.state == "linked")
        await self.quiet()

    def codes(self) -> list[str]:
        texts = [re.search("([0-9]{6}) links", one["text"]) for one in self.state.texts]
        return [one[1] for one in texts if one is not None]

    async def grants(self, who: int) -> str:
        consent = str(self.sandbox.app.grant(Grant(patient=PEOPLE[who].address, facility=FACILITY))["consentId"])
        await until(lambda: bool(self.state.consents[consent].acknowledged))
        return consent

    async def pulls(self, consent: str) -> None:
        pulled = self.state.transfers[self.sandbox.app.pull(Pull(consent_id=consent))["transactionId"]]
        await until(lambda: pulled.state in ("done", "refused"))
        assert pulled.pages
        await self.quiet()

    def secrets(self) -> list[str]:
        """Each text that may be nowhere in clear."""
        found = [VALUE, "Glucose", Settings().secret, *self.codes()]
        for one in PEOPLE[:4]:
            number = one.number or ""
            dashed = f"{number[:2]}-{number[2:6]}-{number[6:10]}-{number[10:]}" if number else ""
            found += [
                one.name,
                one.name.upper(),
                one.address,
                one.address.partition("@")[0],
                number,
                dashed,
                one.mobile,
            ]
            found += [f"{family}^{given}" for given, family in [one.name.split()]]
        found += [token.token for token in self.state.tokens.values()]
        found += JSON_TOKENS
        found += [transfer.seed.hex() for transfer in self.state.transfers.values()]
        return sorted({text for text in found if text})


def written(records: list[logging.LogRecord]) -> str:
    """All that a log of any form could show of them."""
    return "\n".join(
        " ".join(map(repr, {**vars(one), "said": one.getMessage(), "exc_text": str(one.exc_info or "")}.values()))
        for one in records
        if one.name.startswith("labrelay")
    )


async def shown(app: App, base: str, below: str = "/") -> dict[str, str]:
    """Each page and each resource that is read, for each of `PEOPLE_HERE`; those of ABDM for each row that there is."""
    assert app.page is not None
    found: dict[str, str] = {}
    for name, (role, sees_patients) in PEOPLE_HERE.items():
        await app.service(AccessService).accounts.users.add(name, role, GOOD, by=ROOT, sees_patients=sees_patients)
        async with aiohttp.ClientSession(base, cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
            assert (await Browser(client).log_in(name))[0] == 200
            read = (path for path, method in app.page.routes if method == "GET" and path.startswith(below))
            for address in addresses(read):
                async with client.get(address, headers={"Accept": "text/html, application/json"}) as answer:
                    found[f"{name} {answer.status} {address}"] = await answer.text()
                    assert answer.status < 500, address
    return found


def addresses(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        if path.startswith(NOT_READ):
            continue
        filled = path.replace("{name}", "abdm").replace("{item}", "W1").replace("{message}", "{number}")
        if filled.startswith("/abdm"):
            yield filled
            filled += "?number={number}&context={number}&consent={number}"
        yield from dict.fromkeys(filled.replace("{number}", str(number)) for number in range(1, 5))


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.name, path.read_bytes()


def _write_site(folder: Path, gateway: str, callbacks: int, web: int) -> Path:
    sms = {"url": f"{gateway}/sms", "body": SMS}
    site = write_site(folder / "site", gateway, callbacks, sms=sms, push_private=["127.0.0.0/8"])
    file = site / "config" / "labrelay.yaml"
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    config["web"] = {"listen": f"127.0.0.1:{web}"}
    config["backup"] = {"folder": str(folder / "copies")}
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    channel = site / "channels" / "chem.yaml"
    content = yaml.safe_load(channel.read_text(encoding="utf-8"))
    content["settings"]["abha"] = "later"
    channel.write_text(yaml.safe_dump(content), encoding="utf-8")
    return site


def without_abha(message: bytes) -> bytes:
    """The same report, as of a patient who has shown no ABHA, with a mobile."""
    text = message.decode()
    pid = next(line for line in text.split("\r") if line.startswith("PID"))
    fields = pid.split("|")
    fields[3] = fields[3].partition("~")[0]
    fields += [""] * (14 - len(fields))
    fields[13] = f"{PEOPLE[2].mobile}^PRN^CP"
    return text.replace(pid, "|".join(fields)).encode()


# A fraction of a metric, and a random token: a code of six digits or a telephone's number may be inside by chance.
NOISE = re.compile(r"[0-9]\.[0-9]{9,}|[0-9a-f]{24,}")


@dataclass
class Searched:
    """A site beside a simulator of ABDM, and all that was read of it.

    Attributes:
        page, callbacks: where the page is, and where callbacks of the gateway come in.
        found: where a text was read -> the text.
    """

    sandbox: AbdmSandbox
    site: Path
    page: str
    callbacks: str
    found: dict[str, str | bytes] = field(default_factory=dict)

    async def run_commands(self, *commands: tuple[str, ...]) -> None:
        for command in commands:
            ran = await asyncio.to_thread(labrelay, *command, site=self.site)
            assert "fault inside LabRelay" not in ran.err, (command, ran.err)
            self.found[" ".join(command)] = ran.out + ran.err

    def read_files(self, when: str) -> None:
        """Each file of the data folder, as it is now."""
        self.found |= {f"{when}: {name}": content for name, content in files(self.site / "var")}

    def leaks(self, secrets: Iterable[str]) -> list[tuple[str, str]]:
        """Where a secret stands, and which. Digits inside of a fraction or of a random token are none."""
        return [
            (where, text)
            for where, content in self.found.items()
            for text in secrets
            if stands_in(text, content if isinstance(content, str) else content.decode("latin-1"))
        ]


def stands_in(text: str, content: str) -> bool:
    return text in content and (not text.isdigit() or text in NOISE.sub(" ", content))


@asynccontextmanager
async def searched_site(folder: Path) -> AsyncIterator[Searched]:
    (folder / "copies").mkdir()
    sandbox = AbdmSandbox(settings=Settings(repeat_after_s=0.05, repeats=3))
    await sandbox.start()
    try:
        callbacks, page = quiet_ports(2)
        sandbox.state.bridge_url = f"http://127.0.0.1:{callbacks}/abdm"
        site = _write_site(folder, sandbox.url, callbacks, page)
        yield Searched(sandbox, site, f"http://127.0.0.1:{page}", sandbox.state.bridge_url)
    finally:
        await sandbox.stop()
