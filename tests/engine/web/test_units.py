"""Units of one site: a person of one sees and does nothing of another, on every page, address, list, event and act.

Two units have an analyzer each, with the same kinds of trouble and a common destination. All that is of the unit beta
bears that word. The walk asks for each route of the server as persons of alpha, with the numbers of both: what is of
beta is answered as what does not exist.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from engine.actions.within import Narrowed
from engine.actions.verbs import all_acts
from engine.features.access.service.service import AccessService
from engine.features.events.rules import KINDS
from engine.features.orders.exchange import taking
from engine.features.orders.exchange.taking import take_settings
from engine.model.journal.journal_views import Filter
from engine.model.orders import OrderedPatient, OrderLine
from engine.model.site.actor import Actor
from engine.model.site.permissions import ACTING, LOOKING, SEEING_PATIENTS, WATCHING
from engine.runtime.app import App
from engine.store.queries import within
from engine.store.queries.acts import acts_page
from engine.store.queries.lanes import list_lanes
from engine.store.queries.messages import messages_page
from engine.store.queries.within import Within, rows_within
from engine.web.server import StatusServer
from tests.engine.web.test_every_route import OPEN, TABLE
from tests.support.access import GOOD, Browser
from tests.support.running import QUICK, make_running_site, running_app
from tests.support.senders import send_blocks
from tests.support.waiting import until
from workbench.sandbox import Sandbox

ROOT = Actor("root", role="root")
UNITS = ("alpha", "beta")
NONE = 999_999  # no row has this number
NO_PAGES = ("/events", "/log-out", "/static/{name}")


def results(unit: str, number: int, *, value: str = "7.4", flag: str = "N", code: str = "6690-2") -> bytes:
    return (
        f"MSH|^~\\&|{unit}|LAB|||2026030210{number:02}30||ORU^R01|{unit}-{number}|P|2.3.1||||||UNICODE UTF-8\r"
        f"PID|1||{unit}-{number}^^^CITYLAB^MR||{unit}son^Asha||19790101|F\r"
        f"OBR|1|{unit}-O{number}|{unit}-S{number}|00001^Automated Count^99MRC|||20260302100000"
        "|||||||||||||||20260302104500||HM|F\r"
        f"OBX|1|NM|{code}^WBC^LN||{value}|10*9/L|4.00-10.00|{flag}|||F|||20260302104400\r"
    ).encode()


@dataclass
class Laboratory:
    app: App
    base: str
    numbers: dict[str, list[int]] = field(default_factory=dict)

    @property
    def page(self) -> StatusServer:
        assert self.app.page is not None
        return self.app.page

    async def token(self, name: str, *units: str, may: frozenset[Any] = LOOKING | ACTING | SEEING_PATIENTS) -> str:
        accounts = self.app.service(AccessService).accounts
        ends_us = self.app.clock.now_us() + 3_600_000_000
        return await accounts.tokens.create(name, may, ends_us=ends_us, by=ROOT, units=units)

    def client(self, token: str = "") -> aiohttp.ClientSession:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return aiohttp.ClientSession(self.base, headers=headers)


@asynccontextmanager
async def two_units(folder: Path, units: dict[str, list[str]]) -> AsyncIterator[Laboratory]:
    """Each analyzer has sent a result that was delivered, one that is held, one that was refused; codes that no table
    has; orders."""
    sandbox = Sandbox()
    await sandbox.start()
    try:
        hold = [{"when": "=flags in ['HH', 'LL']", "reason": "critical value"}]
        channels: dict[str, Any] = {
            f"{unit}bench": {
                "description": f"the bench of {unit}",
                "analyzer": "mindray-bc5380",
                "source": {"kind": "mllp", "listen": "127.0.0.1:0"},
                "usual_gap": "1s",
                "settings": {"local_system": "https://lab.example/codes/local"},
                "routes": [
                    {
                        "when": "=MSH-9.1 == 'ORU'",
                        "mapping": "hl7-results",
                        "to": ["lab-fhir", f"{unit}ward"],
                        "hold": hold,
                    }
                ],
            }
            for unit in UNITS
        }
        channels |= {
            f"{unit}tubes": {
                "source": {"kind": "astm", "listen": "127.0.0.1:0"},
                "settings": {"local_system": "https://lab.example/codes/local"},
                "orders": {"answer": "query", "codes": {f"{unit}-test": "10"}},
                "routes": [{"mapping": "astm-results", "to": "lab-fhir"}],
            }
            for unit in UNITS
        }
        destinations = {
            "lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK},
            **{f"{unit}ward": {"kind": "fhir", "url": "http://127.0.0.1:9/fhir"} for unit in UNITS},
        }
        make_running_site(folder, channels, destinations, web="127.0.0.1:0")
        written = folder / "config" / "labrelay.yaml"
        site = yaml.safe_load(written.read_text())
        site["site"]["units"] = units
        written.write_text(yaml.safe_dump(site))
        async with running_app(folder) as app:
            assert app.page is not None
            here = Laboratory(app, f"http://127.0.0.1:{app.page.port}")
            await _fill(here)
            yield here
    finally:
        await sandbox.stop()


async def _fill(here: Laboratory) -> None:
    accounts, journal = here.app.service(AccessService).accounts, here.app.journal
    for unit in UNITS:
        source = here.app.parts.sources[f"{unit}bench"]
        assert source.port is not None
        sent = [
            results(unit, 1),
            results(unit, 2, value="52", flag="LL"),
            results(unit, 3, code=f"{unit}-code"),
            results(unit, 4).replace(b"ORU^R01", b"ADT^A01"),
        ]
        assert await send_blocks(source.port, sent)
        settings = take_settings(here.app.parts.built.site.channels)
        known = OrderedPatient(number=f"{unit}-9", family=f"{unit}son")
        line = OrderLine(specimen=f"{unit}-S9", patient=known, test=f"{unit}-test", targets=(f"{unit}tubes",))
        await journal.run(taking.add, ROOT, [line], settings)
    await until(lambda: len(messages_page(journal, Filter())) == 8)
    await until(lambda: sum(lane.held > 0 for lane in list_lanes(journal)) >= 2)
    for unit in UNITS:
        here.numbers[unit] = [one.id for one in messages_page(journal, Filter(channel=f"{unit}bench"))]
    await accounts.users.add("root-admin", "admin", GOOD, by=ROOT, sees_patients=True)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Laboratory]:
    async with two_units(tmp_path, {unit: [f"{unit}bench", f"{unit}tubes"] for unit in UNITS}) as made:
        yield made


def addresses(path: str, here: Laboratory, unit: str) -> list[str]:
    """The addresses of a route with things of a unit; an item is the order of it."""
    name, item = f"{unit}bench", f"W{1 + UNITS.index(unit)}"
    if path == "/destinations/{name}":
        return [f"/destinations/{unit}ward", "/destinations/lab-fhir"]
    if "{name}" in path:
        return [path.replace("{name}", name)]
    if "{page}" in path:
        return [path.replace("{page}", "keys")]
    filled = path.replace("{item}", item)
    if re.search(r"\{(number|message)\}", filled):
        return [re.sub(r"\{(number|message)\}", str(number), filled) for number in here.numbers[unit]]
    asked = (
        f"channel={name}&name={name}&item={item}&test={unit}-test&code={unit}-code&all=1&kind=channel&key=silent/{name}"
    )
    return [filled] if filled.startswith("/api") else [filled, f"{filled}?{asked}"]


async def looked_at(http: aiohttp.ClientSession, address: str, word: str) -> tuple[int, int, str]:
    """The status of an answer, how often it has a word, and where."""
    async with http.get(address, allow_redirects=False) as answer:
        text = (await answer.text()).lower()
        place = text.find(word)
        return answer.status, text.count(word), text[max(0, place - 200) : place + 100] if place >= 0 else ""


async def test_a_person_of_one_unit_finds_nothing_of_the_other(here: Laboratory) -> None:
    """Every route that is read, with the things of both units. With one of beta the answer is that to a name, and to a
    number, that nothing has."""
    routes = [route.split(" ", 1)[1] for route, line in TABLE.items() if route.startswith("GET ") and line != OPEN]
    found = []
    async with here.client(await here.token("alphas", "alpha")) as http:
        for path in routes:
            if path in NO_PAGES or path.endswith("/events"):
                continue
            for unit in UNITS:
                for address in addresses(path, here, unit):
                    none = re.sub(r"/\d+(?=/|$)", f"/{NONE}", address.replace("beta", "gamma")).replace(
                        "W2", f"W{NONE}"
                    )
                    got = await looked_at(http, address, "beta")
                    if unit == "alpha" or address == none:
                        expected = (got[0], 0)
                    else:
                        expected = (await looked_at(http, none, "gamma"))[:2]
                    if got[0] >= 500 or got[:2] != expected:
                        found.append((address, got, expected))
    assert not found, "\n".join(map(str, found))
