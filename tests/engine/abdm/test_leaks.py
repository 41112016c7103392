"""A whole history of a laboratory at ABDM, and nothing of its patients is where it may not be.

Reports are linked, amended, found by the patient with a code, granted, pulled and taken back; a patient scans, another
one leaves. Then all that other people may see or copy is searched: log, metrics, commands without ``--unmask``, each
page and each resource of the API as people read them who see patients and who do not, each file of the data folder
(with the write-ahead log, as a copy of the disk would have it) and of a backup.
"""

import asyncio
import json
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from engine.commands.shared.output import ExitCode
from engine.devtools.abdm import AbdmSandbox, Settings
from engine.devtools.abdm.app import Confirm, Discover, End, Grant, Init, Pull, Share, Status
from engine.devtools.abdm.people import PEOPLE
from engine.runtime.app import App
from tests.support.abdm_reports import oru, write_site
from tests.support.abdm_site import FACILITY, SECRET
from tests.support.access import GOOD, ROOT, Browser
from tests.support.command_line import labrelay
from tests.support.ports import quiet_ports
from tests.support.running import running_app
from tests.support.senders import send_blocks
from tests.support.waiting import until

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
        await app.accounts.users.add(name, role, GOOD, by=ROOT, sees_patients=sees_patients)
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


def write_history_site(folder: Path, gateway: str, callbacks: int, web: int) -> Path:
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


async def test_nothing_of_a_patient_is_where_it_may_not_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(SECRET, Settings().secret)
    caplog.set_level(logging.DEBUG)
    (tmp_path / "copies").mkdir()
    sandbox = AbdmSandbox(settings=Settings(repeat_after_s=0.05, repeats=3))
    await sandbox.start()
    callbacks, web = quiet_ports(2)
    found: dict[str, str | bytes] = {}
    try:
        site = write_history_site(tmp_path, sandbox.url, callbacks, web)
        sandbox.state.bridge_url = f"http://127.0.0.1:{callbacks}/abdm"
        async with running_app(site) as app:
            here = History(sandbox, app)
            sandbox.faults.calls = {
                "link": ["ABDM-1022 of Meera Iyer meera.iyer@sbx", "html"],
                "generate-token": ["503"],
            }
            await here.sends(
                oru("A-1", value=VALUE),
                oru("A-1", minute=5, value=f"{VALUE}1"),
                oru("A-2", person=1),
                reports=2,
                linked=2,
            )
            await here.sends(without_abha(oru("A-3", person=2, value=VALUE)), reports=3, linked=2)
            await here.finds_and_links(2)
            for who in (0, 2):
                await here.pulls(await here.grants(who))
            sandbox.app.end(End(consent_id=next(iter(sandbox.state.consents))), "REVOKED")
            sandbox.app.share(Share(patient=PEOPLE[3].address, facility=FACILITY))
            sandbox.app.status(Status(patient=PEOPLE[1].address, status="DEACTIVATED"))
            await here.quiet()
            assert sandbox.violations == []
            secrets = here.secrets()
            assert len(secrets) > 20
            assert len(here.codes()) == 1
            async with aiohttp.ClientSession() as http:
                for path in ("/metrics", "/healthz", "/readyz"):
                    async with http.get(f"http://127.0.0.1:{web}{path}") as answer:
                        found[path] = await answer.text()
                async with http.get(f"http://127.0.0.1:{callbacks}/abdm/health") as answer:
                    found["health of callbacks"] = await answer.text()
            assert "labrelay_" in str(found["/metrics"])
            pages = await shown(app, f"http://127.0.0.1:{web}")
            for address in ("/abdm/contexts?number=1", "/abdm/consent?number=1", "/api/v1/abdm/consents/1"):
                assert "M*** I***" in next(text for name, text in pages.items() if f"200 {address}" in name), address
            found |= pages
            found |= {f"running: {name}": content for name, content in files(site / "var")}
        for command in SHOWN:
            ran = await asyncio.to_thread(labrelay, *command, site=site)
            assert "fault inside LabRelay" not in ran.err, (command, ran.err)
            found[" ".join(command)] = ran.out + ran.err
        copied = await asyncio.to_thread(labrelay, "backup", "now", site=site)
        assert copied.code == ExitCode.OK, copied.err
    finally:
        await sandbox.stop()
    found |= {f"stopped: {name}": content for name, content in files(site / "var")}
    copies = dict(files(tmp_path / "copies"))
    assert copies
    found |= {f"copy: {name}": content for name, content in copies.items()}
    found["log"] = written(caplog.records)
    assert "labrelay.abdm" in str(found["log"])
    leaks = [
        (where, text)
        for where, content in found.items()
        for text in secrets
        if (text in content if isinstance(content, str) else text.encode() in content)
    ]
    assert leaks == []


def test_a_leak_would_be_found() -> None:
    """The search itself: the texts that are looked for are those that the patients have."""
    assert without_abha(oru("A-3", person=2)).count(b"sbx") == 0
    assert PEOPLE[2].mobile.encode() in without_abha(oru("A-3", person=2))
    record = logging.LogRecord("labrelay.abdm", 20, "", 1, "%s", ("Meera Iyer",), None)
    assert "Meera Iyer" in written([record])
    assert json.dumps(SMS)
