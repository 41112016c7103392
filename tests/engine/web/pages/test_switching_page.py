"""Pause, resume and restart on the page: what will happen is shown, then done once, under the person's name."""

import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from engine.actions import pause_resume as says
from engine.actions.declaring import Verb
from engine.actions.pause_resume import Switches, SwitchOrder
from engine.actions.running_site import RunningSite
from engine.actions.underway import Acts
from engine.actions.verbs import verbs_of
from engine.config.load import Site as LoadedSite
from engine.config.load import load_site
from engine.model.journal.records import DELIVERIES, Pause, Target
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.snapshot.states import DestinationState
from engine.store.journal import Journal
from engine.store.queries.acts import acts_page
from engine.store.queries.lanes import list_pauses
from tests.support import access, journals
from tests.support.access import Browser, Site
from tests.support.status_server import Element, Page
from tests.support.status_sites import NOW, quiet_site

CHEMISTRY, URINALYSIS = Target(channel="chemistry"), Target(channel="urinalysis")
FHIR, LANE = Target(destination="lab-fhir"), Target(channel="chemistry", destination="lab-fhir")
PORT = (says.PORT_CLOSED, says.ANALYZER_KEEPS, says.STORED_GO_ON)
# what is ordered, and what the person reads before
ORDERS = [
    ("pause", CHEMISTRY, PORT),
    ("pause", FHIR, (says.NO_ATTEMPT, says.WAIT_HERE)),
    ("pause", LANE, (says.NO_ATTEMPT, says.WAIT_HERE, says.OTHERS_GO_ON)),
    ("pause", DELIVERIES, (says.NO_ATTEMPT, says.WAIT_HERE)),
    ("resume", URINALYSIS, (says.LINE_OPENS,)),
    ("restart", CHEMISTRY, (says.LINE_RENEWED, says.UNACKNOWLEDGED)),
    ("restart", FHIR, (says.CONNECTIONS_RENEWED, says.SENT_NOW)),
    ("restart", LANE, (says.SENT_NOW, says.WHERE_REACHABLE)),
]


class Known:
    """The journal behind a running page, and the daemon as far as orders concern it."""

    journal: Journal
    loaded: LoadedSite

    def __init__(self) -> None:
        self.seen: list[tuple[str, Target]] = []

    async def switched(self, target: Target, pause: Pause | None) -> None:
        self.seen.append(("resume" if pause is None else "pause", target))

    async def restarted(self, target: Target) -> None:
        self.seen.append(("restart", target))

    def connections(self, channel: str) -> int:
        return 3

    def in_flight(self, target: Target) -> int:
        return 1

    def verbs(self, journal: Journal) -> dict[str, Verb]:
        self.journal = journal
        site = RunningSite(
            acts=Acts(journal, channels=dict),
            switches=Switches(journal, self),
            data=journal.path.parent,
            loaded=lambda: self.loaded,
        )
        return dict(verbs_of(site))

    def done(self) -> list[tuple[str, str]]:
        """The orders that the trail has: who, what."""
        return [
            (act.actor, act.verb)
            for act in acts_page(self.journal, limit=500)
            if act.verb in ("pause", "resume", "restart")
        ]

    def paused(self) -> set[Target]:
        return {one.target for one in list_pauses(self.journal)}


@pytest.fixture
def known(tmp_path: Path) -> Known:
    made = Known()
    folder = tmp_path / "site"
    for name in ("config", "channels"):
        (folder / name).mkdir(parents=True)
    destinations = {"lab-fhir": {"kind": "http", "url": "http://127.0.0.1:8581/in"}}
    site = {"site": {"name": "Lab", "timezone": "UTC"}, "destinations": destinations}
    (folder / "config" / "labrelay.yaml").write_text(yaml.safe_dump(site))
    for number, (name, kind) in enumerate((("chemistry", "mllp"), ("urinalysis", "astm"))):
        source = {"kind": kind, "listen": f"127.0.0.1:{2575 + number}"}
        channel = {"channel": name, "source": source, "routes": [{"to": "lab-fhir"}]}
        (folder / "channels" / f"{name}.yaml").write_text(yaml.safe_dump(channel))
    made.loaded = load_site(folder)
    return made


@pytest.fixture
async def here(tmp_path: Path, known: Known) -> AsyncIterator[Site]:
    async with journals.running(tmp_path) as journal:
        await journals.queue(journal, b"{}", b"[]", to=("lab-fhir",))
        await Switches(journal).carry_out(SwitchOrder("pause", URINALYSIS, "asha", "calibration"), known.loaded)
    async with access.site(tmp_path, verbs=known.verbs) as made:
        yield made


def address(verb: str, target: Target) -> str:
    return f"/do/{verb}?kind={target.kind}&name={target.name}&lang=en"


def offered(page: Element) -> dict[str, str]:
    return {one.text: one.attributes["href"] for one in page.all("a", class_="offer")}


@pytest.mark.parametrize(("verb", "target", "effects"), ORDERS)
async def test_an_order_is_shown_then_done_once_and_can_be_taken_back(
    operator: Browser, known: Known, verb: str, target: Target, effects: tuple[str, ...]
) -> None:
    before = known.paused(), known.done()
    status, page = await operator.get(address(verb, target))
    main = page.one("main")
    assert status == 200
    assert tuple(one.text for one in main.one("ul").all("li")) == effects
    assert (target.name or "All deliveries") in main.one("h1").text
    facts = dict(zip([one.text for one in main.all("dt")], [one.text for one in main.all("dd")], strict=True))
    assert facts["Under way"] == "1"
    assert facts.get("Connected now") == ("3" if target.kind == "channel" else None)
    assert (known.paused(), known.done(), known.seen) == (*before, [])  # looking does nothing

    fields, action = Browser.hidden(page), main.one("form").attributes["action"]
    status, _ = await operator.post(action, {**fields, "reason": " "})
    assert (status, known.seen) == (403, [])  # a reason is needed
    status, page = await operator.post(action, {**fields, "once": "2", "reason": "because <b>"})
    assert status == 200
    assert known.seen == [(verb, target)]
    assert known.done() == [("operator", verb), *before[1]]
    status, again = await operator.post(action, {**fields, "once": "2", "reason": "because <b>"})
    assert (status, again.text, len(known.seen)) == (200, page.text, 1)

    if verb != "restart":
        back = offered(page)["Resume" if verb == "pause" else "Pause"]
        status, page = await operator.get(back)
        assert status == 200
        fields, action = Browser.hidden(page), page.one("main").one("form").attributes["action"]
        await operator.post(action, {**fields, "reason": "it is over"})
        assert known.paused() == before[0]


async def test_what_is_so_already_is_said_with_its_person_and_reason(operator: Browser) -> None:
    _, page = await operator.get(address("pause", URINALYSIS))
    assert "urinalysis was paused already. asha" in page.one("main").one("p", role="status").text
    assert "calibration" in page.one("main").one("p", role="status").text
    assert page.one("main").all("form") == []
    _, page = await operator.get(address("resume", CHEMISTRY))
    assert page.one("main").one("p", role="status").text == "chemistry was not paused."


WRONG = [
    ("/do/pause", 400),
    ("/do/pause?kind=channel", 400),
    ("/do/pause?kind=lane&name=chemistry", 400),
    ("/do/pause?kind=all&name=chemistry", 400),
    ("/do/pause?kind=deliveries&name=x", 400),
    ("/do/pause?kind=channel&name=nobody", 403),
    ("/do/pause?kind=channel&name=%3Cscript%3E%E2%80%AEx", 403),
    ("/do/restart?kind=channel&name=urinalysis", 403),  # it is paused
    ("/do/restart?kind=deliveries&name=", 403),
]


@pytest.mark.parametrize(("path", "status"), WRONG)
async def test_what_cannot_be_ordered_is_refused_with_its_reason(
    operator: Browser, known: Known, path: str, status: int
) -> None:
    got, page = await operator.get(path)
    assert got == status
    said = page.one("main").one("p", role="alert").text
    assert said.endswith(".")
    assert "\u202e" not in said
    assert page.one("main").all("form") == []
    assert known.seen == []


@pytest.mark.parametrize(
    "changed", [{"kind": "all"}, {"name": ""}, {"form": "0"}, {"once": ""}, {"kind": "lane", "name": "x"}]
)
async def test_a_form_that_is_not_ours_does_nothing(operator: Browser, known: Known, changed: dict[str, str]) -> None:
    _, page = await operator.get(address("pause", CHEMISTRY))
    action = page.one("main").one("form").attributes["action"]
    status, _ = await operator.post(action, {**Browser.hidden(page), "reason": "x", **changed})
    assert status in (400, 403)
    assert known.seen == []


# page, person, and the orders that it offers there: of the thing itself, and of its lanes
PAGES = [
    ("/analyzer?name=chemistry", "operator", ["Pause", "Restart", "Pause", "Try now"]),
    ("/analyzer?name=urinalysis", "operator", ["Resume"]),
    ("/destinations/lab-fhir", "operator", ["Pause", "Try now", "Pause", "Try now"]),
    ("/analyzer?name=chemistry", "viewer", []),
    ("/destinations/lab-fhir", "viewer", []),
    ("/system", "operator", ["Resume", "Pause"]),
    ("/system", "viewer", []),
]


@pytest.mark.parametrize(("path", "person", "expected"), PAGES)
async def test_only_orders_that_the_state_allows_are_offered_to_those_who_may_give_them(
    here: Site, path: str, person: str, expected: list[str]
) -> None:
    async with here.browser() as browser:
        await browser.log_in(person)
        status, page = await browser.get(path)
        links = page.all("a", class_="offer")
        assert (status, [one.text for one in links]) == (200, expected)
        for link in links:
            assert (await browser.get(link.attributes["href"]))[0] == 200


async def test_where_all_is_paused_a_lane_is_not_tried(operator: Browser, known: Known) -> None:
    await Switches(known.journal).carry_out(SwitchOrder("pause", DELIVERIES, "asha", "a restore"), known.loaded)
    _, page = await operator.get("/destinations/lab-fhir?lang=en")
    assert [one.text for one in page.all("a", class_="offer")] == ["Pause", "Pause"]
    _, page = await operator.get("/system?lang=en")
    assert [one.text for one in page.all("a", class_="offer")] == ["Resume", "Resume"]


async def test_a_lane_to_what_is_not_reachable_is_not_tried(here: Site, operator: Browser) -> None:
    (destination,) = here.page.site.destinations
    away = replace(destination, state=DestinationState.BREAKER_OPEN, breaker_until=NOW)
    here.page.site = replace(here.page.site, destinations=(away,))
    for path in ("/destinations/lab-fhir", "/analyzer?name=chemistry"):
        _, page = await operator.get(path)
        lane = page.one("section", id="line-lanes")
        assert [one.text for one in lane.all("a", class_="offer")] == ["Pause"]
    _, page = await operator.get("/destinations/lab-fhir")
    assert "Try now" in offered(page.one("section", id="line-head"))


@pytest.mark.parametrize(
    "path", ["/analyzer?name=chemistry", "/destinations/lab-fhir", "/system", "/do/pause?kind=deliveries"]
)
async def test_pages_are_drawn_from_the_snapshot_of_the_event_loop(
    operator: Browser, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A snapshot reads parts that change on the event loop."""
    threads, site = set(), quiet_site()

    def look(page: object) -> SiteSnapshot:
        threads.add(threading.current_thread())
        return site

    monkeypatch.setattr(Page, "site", property(look), raising=False)
    assert (await operator.get(path))[0] == 200
    assert threads == {threading.main_thread()}
