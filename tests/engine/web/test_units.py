"""Units of one site: a person of one sees and does nothing of another, on every page, address, list, event and act.

Two units have an analyzer each, with the same kinds of trouble and a common destination. All that is of the unit beta
bears that word. The walk asks for each route of the server as persons of alpha, with the numbers of both: what is of
beta is answered as what does not exist.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from engine.actions.verbs import of_api
from engine.features.access.service.service import AccessService
from engine.features.events.rules import KINDS
from engine.features.orders.exchange import taking
from engine.features.orders.exchange.taking import take_settings
from engine.model.errors import RefusedError
from engine.model.journal.journal_views import Filter
from engine.model.orders import OrderedPatient, OrderLine
from engine.model.site.actor import Actor
from engine.model.site.permissions import ACTING, LOOKING, SEEING_PATIENTS, WATCHING, Principal
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.snapshot.states import ChannelState
from engine.runtime.app import App
from engine.store.core.connecting import connect
from engine.store.queries import within
from engine.store.queries.acts import acts_page
from engine.store.queries.bulk import running_operations
from engine.store.queries.lanes import list_lanes, list_pauses
from engine.store.queries.messages import messages_page
from engine.store.queries.reader import Reader
from engine.store.queries.within import Within
from engine.web.server import StatusServer
from tests.engine.web.test_every_route import ACT, LOOK, PATIENTS, TABLE
from tests.support import oracle
from tests.support.access import GOOD, Browser
from tests.support.filled_journal import CHANNEL, fill_journal
from tests.support.running import QUICK, make_running_site, running_app
from tests.support.senders import send_blocks
from tests.support.waiting import until
from workbench.sandbox import Sandbox

ROOT = Actor("root", role="root")
UNITS = ("alpha", "beta")
NONE = 999_999  # no row has this number
BY_CHANNEL = "by its column channel"
NO_PAGES = ("/events", "/log-out", "/static/{name}", "/healthz")


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
async def two_units(folder: Path, units: dict[str, list[str]], *, apart: bool = False) -> AsyncIterator[Laboratory]:
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
        async with running_app(folder, apart=apart) as app:
            assert app.page is not None
            here = Laboratory(app, f"http://127.0.0.1:{app.page.port}")
            await _fill(here)
            yield here
    finally:
        await sandbox.stop()


def _shows(site: SiteSnapshot, silent: set[str]) -> bool:
    """Whether a snapshot has all that the walk looks for."""
    counted = site.dead_total, sum(one.held for one in site.destinations)
    return counted == (2, 4) and silent <= {one.name for one in site.channels if one.state is ChannelState.SILENT}


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
            results(unit, 5).replace(b"|NM|", b"|ED|"),
            results(unit, 6).replace(b"7.4", b"seven"),
        ]
        assert await send_blocks(source.port, sent)
        settings = take_settings(here.app.parts.built.site.channels)
        known = OrderedPatient(number=f"{unit}-9", family=f"{unit}son")
        line = OrderLine(specimen=f"{unit}-S9", patient=known, test=f"{unit}-test", targets=(f"{unit}tubes",))
        await journal.run(taking.add, ROOT, [line], settings)
    await until(lambda: len(messages_page(journal, Filter())) == 12)
    await until(lambda: sum(lane.held > 0 for lane in list_lanes(journal)) >= 2)
    silent = {f"{unit}bench" for unit in UNITS}
    await until(lambda: _shows(here.app.observer.snapshot(), silent))
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
    """The status of an answer, how often it has a word, and where. The menu of a page counts what is of alpha."""
    async with http.get(address, allow_redirects=False) as answer:
        text = (await answer.text()).lower()
        counted = re.findall(r'id="(?:pages|thumb)/(dead-letters|held)"[^>]*>(.*?)</', text)
        assert set(counted) <= {("dead-letters", "1"), ("held", "2")}, (address, counted)
        place = text.find(word)
        return answer.status, text.count(word), text[max(0, place - 200) : place + 100] if place >= 0 else ""


async def test_a_person_of_one_unit_finds_nothing_of_the_other(here: Laboratory) -> None:
    """Every route that is read, with the things of both units. With one of beta the answer is that to a name, and to a
    number, that nothing has."""
    routes = [route.split(" ", 1)[1] for route in TABLE if route.startswith("GET ")]
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


ABOUT: dict[str, dict[str, Any]] = oracle.gathered("ABOUT")
OF_THE_WHOLE_SITE = set(of_api()) - set(ABOUT)


def filled(given: Any, here: Laboratory, unit: str) -> Any:
    """The arguments for a unit; beta's numbers are those of things that are there."""
    if isinstance(given, dict):
        return {name: filled(one, here, unit) for name, one in given.items()}
    if isinstance(given, list):
        return [filled(one, here, unit) for one in given]
    numbers = {"{message}": here.numbers[unit][0], "{order}": 1 + UNITS.index(unit), "{operation}": NONE}
    if given in numbers:
        return numbers[given]
    return given.replace("{unit}", unit) if isinstance(given, str) else given


def test_an_act_is_about_a_thing_of_a_unit_where_its_oracle_has_arguments_for_one() -> None:
    assert {name for name, act in of_api().items() if act.about} == set(ABOUT), "see ABOUT of tests/support/oracle.py"


async def test_no_act_on_a_thing_of_the_other_unit(here: Laboratory) -> None:
    journal, wrong = here.app.journal, []
    before = [(one.id, one.state, one.end) for one in messages_page(journal, Filter(channel="betabench"))]
    async with here.client(await here.token("alphas", "alpha")) as http:
        for name, given in ABOUT.items():
            async with http.post(
                f"/api/v1/acts/{name}", json=filled(given, here, "beta"), headers={"Idempotency-Key": name}
            ) as answer:
                text = await answer.text()
                nothing = "selection" in given and answer.status == 200 and '"count":0' in text
                if "betab" in text.replace("silent/betabench", "") or not (nothing or answer.status == 404):
                    wrong.append((name, answer.status, text))
    assert not wrong, "\n".join(map(str, wrong))
    assert [(one.id, one.state, one.end) for one in messages_page(journal, Filter(channel="betabench"))] == before
    refused = [act for act in acts_page(journal, limit=500) if act.verb == "refused"]
    assert [(str(act.actor), act.what["missing"]) for act in refused] == [("token:alphas", ["unit"])]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("pause", {}),
        ("todo_take", {}),
        ("retry", {"dry_run": True}),
        ("order_cancel", {}),
        ("order_add", {}),
        ("quality_event", {"at_us": 1}),
    ],
)
async def test_an_act_on_a_thing_of_the_own_unit(here: Laboratory, name: str, more: dict[str, Any]) -> None:
    given = filled(ABOUT[name], here, "alpha") | more
    for token, may, statuses in (("looks", LOOKING, (403,)), ("acts", LOOKING | ACTING, (200, 202))):
        http = here.client(await here.token(token, "alpha", may=may))
        async with http, http.post(f"/api/v1/acts/{name}", json=given, headers={"Idempotency-Key": name}) as answer:
            assert answer.status in statuses, await answer.text()


async def test_an_operation_is_of_those_who_see_the_channels_of_the_person_who_began_it(here: Laboratory) -> None:
    """While it runs and after its end; one of the whole site is never a unit's, also where its last letters are."""
    begun: dict[str, int] = {}
    for name, units in (("alphas", ("alpha",)), ("betas", ("beta",)), ("both", UNITS), ("all", ())):
        async with here.client(await here.token(name, *units)) as http:
            given: dict[str, Any] = {"selection": {"all": True}, "reason": "asked"}
            async with http.post("/api/v1/acts/retry", json=given | {"dry_run": True}) as answer:
                counted = await answer.json()
            given["selection"] |= {one: counted[one] for one in ("last", "counted_us")}
            headers = {"Idempotency-Key": name}
            async with http.post("/api/v1/acts/retry", json=given, headers=headers) as answer:
                begun[name] = (await answer.json())["operation"]
    await until(lambda: not running_operations(here.app.journal))
    seen: dict[str, set[str]] = {}
    for name, units in (("alpha", ("alpha",)), ("every", UNITS), ("site", ())):
        async with here.client(await here.token(name, *units)) as http:
            answers = {}
            for by, number in begun.items():
                async with http.get(f"/api/v1/operations/{number}") as answer:
                    answers[by] = answer.status
            async with http.get("/api/v1/operations") as answer:
                listed = {one["number"] for one in (await answer.json())["operations"]}
            seen[name] = {by for by, status in answers.items() if status == 200}
            assert listed == {begun[by] for by in seen[name]}
    assert seen == {"alpha": {"alphas"}, "every": {"alphas", "betas", "both"}, "site": set(begun)}


async def test_an_act_of_the_whole_site_is_none_of_a_unit(here: Laboratory) -> None:
    async with here.client(await here.token("alphas", "alpha")) as http:
        for name in sorted(OF_THE_WHOLE_SITE):
            async with http.post(f"/api/v1/acts/{name}", json={}, headers={"Idempotency-Key": name}) as answer:
                assert answer.status in (403, 409, 422), name


async def events(http: aiohttp.ClientSession, last: int) -> list[dict[str, Any]]:
    """All that the journal has, up to the message with this number."""
    found: list[dict[str, Any]] = []
    async with http.get("/api/v1/events?after=0-0-00000000") as stream, asyncio.timeout(20):
        assert stream.status == 200
        async for line in stream.content:
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
                if found[-1]["data"].get("message") == last and found[-1]["type"] == "message.received":
                    return found
    return found


async def test_a_stream_has_the_events_of_the_own_unit(here: Laboratory) -> None:
    """Without a gap for what is another's."""
    source = here.app.parts.sources["alphabench"]
    assert source.port is not None
    assert await send_blocks(source.port, [results("alpha", 7)])
    await until(lambda: len(messages_page(here.app.journal, Filter())) == 13)
    last = messages_page(here.app.journal, Filter(channel="alphabench"))[0].id
    async with here.client(await here.token("alphas", "alpha")) as http:
        theirs = await events(http, last)
    async with here.client(await here.token("all")) as http:
        every = await events(http, last)
    assert "beta" in json.dumps(every)
    assert "beta" not in json.dumps(theirs)
    received = [one["data"]["message"] for one in theirs if one["type"] == "message.received"]
    assert received == [*reversed(here.numbers["alpha"]), last]
    assert [one for one in theirs[1:] if one["type"] == "gap"] == []


async def test_totals_are_those_of_the_own_unit(here: Laboratory) -> None:
    found: dict[str, Any] = {}
    for name, units in (("alphas", ("alpha",)), ("both", UNITS), ("all", ())):
        async with here.client(await here.token(name, *units)) as http:
            async with http.get("/api/v1/status") as answer:
                site = await answer.json()
            async with http.get("/api/v1/lanes") as answer:
                lanes = (await answer.json())["lanes"]
            async with http.get("/api/v1/todo") as answer:
                subjects = {one["subject"] for one in (await answer.json())["todo"]}
            async with http.get("/metrics") as answer:
                labels = set(re.findall(r'channel="(\w+)"', await answer.text()))
        shared = next(one for one in site["destinations"] if one["name"] == "lab-fhir")
        found[name] = site["dead_total"], shared["held"], shared["delivered_today"], len(lanes), subjects, labels
    alone, both, every = found["alphas"], found["both"], found["all"]
    assert [2 * one for one in alone[:4]] == [*both[:4]] == [*every[:4]]
    assert alone[0] > 0 < alone[2]
    assert {one[:4] for one in alone[4]} == {"alph"}
    assert both[4] >= alone[4] | {"betabench"}
    assert alone[5] == {"alphabench", "alphatubes"}
    assert both[5] == {f"{unit}{kind}" for unit in UNITS for kind in ("bench", "tubes")}


async def test_pages_of_persons(here: Laboratory) -> None:
    """By log-in: a role of each unit, what it may there, and pages that are of the whole site."""
    accounts = here.app.service(AccessService).accounts
    await accounts.users.add("asha", "alpha:operator,beta:viewer", GOOD, by=ROOT)
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(here.base, cookie_jar=jar) as http:
        asha = Browser(http)
        assert (await asha.log_in("asha"))[0] == 200
        assert (await asha.get("/analyzer?name=betabench"))[0] == 200
        assert (await asha.get("/do/pause?kind=channel&name=alphabench"))[0] == 200
        assert (await asha.get("/do/pause?kind=channel&name=betabench"))[0] == 404
        assert (await asha.get("/system"))[0] == 403
        assert (await asha.get("/users"))[0] == 403
        await accounts.users.set_role("asha", "alpha:operator", by=ROOT)
        status, page = await asha.get("/analyzer?name=betabench")
        assert (status, "bench of beta" in page.text) == (404, False)
        assert "beta" not in (await asha.get("/"))[1].text
        with pytest.raises(RefusedError):
            await accounts.users.set_role("asha", "alpha:admin", by=ROOT)
        status, page = await asha.get("/no-such-page")
        assert (status, "beta" in page.text) == (404, False)
        await accounts.users.set_role("asha", "viewer", by=ROOT)
        assert (await asha.get("/analyzer?name=betabench"))[0] == 200


async def test_no_form_reaches_the_other_unit(here: Laboratory) -> None:
    """Each form of the pages, filled in with things of beta: the answer is that to a thing that is not there."""
    accounts, journal = here.app.service(AccessService).accounts, here.app.journal
    await accounts.users.add("asha", "alpha:operator", GOOD, by=ROOT, sees_patients=True)
    before = [(one.id, one.state, one.end) for one in messages_page(journal, Filter(channel="betabench"))]
    routes = [
        route.split(" ", 1)[1]
        for route, line in TABLE.items()
        if route.startswith("POST /") and "/api/" not in route and line in (LOOK, ACT, PATIENTS)
    ]
    typed = {"purpose": "asked", "reason": "asked", "text": "seen", "sure": "yes", "key": "silent/betabench"}
    typed |= {"name": "betabench", "kind": "channel", "item": "W2", "channel": "betabench", "all": "1", "note": "seen"}
    wrong = []
    async with aiohttp.ClientSession(here.base, cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        asha = Browser(http)
        assert (await asha.log_in("asha"))[0] == 200
        for path in routes:
            if path in ("/log-out", "/stay", "/account"):
                continue
            for address in addresses(path, here, "beta"):
                none = re.sub(r"/\d+(?=/|$)", f"/{NONE}", address.replace("beta", "gamma")).replace("W2", f"W{NONE}")
                got = []
                for word, asked in (("beta", address), ("gamma", none)):
                    _, hidden = await asha.fields("/account")
                    fields = {name: value.replace("beta", word) for name, value in typed.items()}
                    for act in ("take silent/betabench", "") if path in ("/todo", "/alerts") else ("",):
                        sent = {**hidden, **fields, "act": act.replace("beta", word)}
                        async with http.post(asked, data=sent, allow_redirects=False) as answer:
                            got.append((answer.status, (await answer.text()).lower().count(word)))
                        _, hidden = await asha.fields("/account")
                if got[: len(got) // 2] != got[len(got) // 2 :] or any(status >= 500 for status, _ in got):
                    wrong.append((address, got))
    assert not wrong, "\n".join(map(str, wrong))
    assert [(one.id, one.state, one.end) for one in messages_page(journal, Filter(channel="betabench"))] == before
    assert list_pauses(journal) == []
    assert [act.verb for act in acts_page(journal, limit=500) if "betabench" in str(act.what)] == []


async def test_a_wall_screen_of_a_unit_shows_its_analyzers(here: Laboratory) -> None:
    secret = await here.token("wall", "alpha", may=WATCHING)
    async with aiohttp.ClientSession(here.base, cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        screen = Browser(http)
        await screen.send(f"/wall?token={secret}")
        status, page = await screen.get("/?wall")
        assert (status, "alphabench" in page.text, "beta" in page.text) == (200, True, False)
        assert (await screen.get("/messages"))[0] == 403


async def test_without_units_nothing_of_them_is_made(here: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person of the whole site: no part of the pages, no view, no second snapshot."""
    made: list[str] = []
    monkeypatch.setattr(Within, "__init__", lambda *given: made.append("reader"))
    monkeypatch.setattr(SiteSnapshot, "within", lambda *given: made.append("snapshot"))
    monkeypatch.setattr(Principal, "where", lambda *given: made.append("principal"))
    async with here.client(await here.token("all")) as http:
        for path in ("/", "/messages", "/api/v1/status", "/api/v1/messages", "/metrics"):
            async with http.get(path) as answer:
                assert answer.status == 200
    assert made == []


# How rows are told apart -> what the reader of a unit is told.
WHOLE = {BY_CHANNEL: "channel IN these_channels", oracle.ALL: "1", oracle.NONE: "0"}
TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"


def _by_column(reader: Reader, table: str) -> str:
    """How rows are told apart where no more is said; empty: they are not."""
    columns = {name for (name,) in reader.rows("SELECT name FROM pragma_table_info(?)", (table,))}
    return BY_CHANNEL if "channel" in columns else "journal" if "message_id" in columns else ""


def test_each_table_says_whose_its_rows_are(tmp_path: Path) -> None:
    fill_journal(tmp_path)
    reader = Reader.beside(tmp_path)
    connection = connect(reader.path)
    names = [name for (name,) in reader.rows(TABLES)]
    expected = {name: _by_column(reader, name) for name in names} | oracle.gathered("TABLES")
    assert [name for name, how in expected.items() if not how] == [], "give each its line in TABLES of an oracle"
    assert set(expected) == set(names), "take the line of a table that is gone out of its oracle"
    for table, how in expected.items():
        told = within._told(connection, table)
        if how == oracle.OWN:
            assert told not in ("0", "1"), table
            assert not told.startswith("EXISTS (SELECT 1 FROM journal r"), table
        elif how in WHOLE:
            assert told == WHOLE[how], table
        else:
            assert f"FROM {how} r" in told, table
    theirs, none = Within(reader, {CHANNEL}), Within(reader, {"another"})
    for table, how in expected.items():
        count = f"SELECT count(*) FROM {table}"
        assert theirs.row(count) == reader.row(count) or how in (oracle.NONE, oracle.OWN), table
        assert none.row(count)[0] == 0 or how == oracle.ALL or table == "journal", table
    connection.close()
    reader.close()


def test_every_kind_of_event_is_told_of_a_channel_or_is_for_those_who_administer() -> None:
    told = {"message", "delivery", "channel", "qc", "reflex"}  # their data name the channel
    assert {kind for kind, (_, needs) in KINDS.items() if needs == LOOKING} == told | {"alert", "destination"}
