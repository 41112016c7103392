"""Acts on the page: what is shown is what is done, once, under the person's name, by those alone who may."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest

from engine.actions.declaring import Verb
from engine.actions.operations import KINDS
from engine.actions.pause_resume import Switches
from engine.actions.running_site import RunningSite
from engine.actions.underway import Acts
from engine.actions.verbs import verbs_of
from engine.commands.shared.acting import LEFT
from engine.features.rework.lists.operations import OPERATION
from engine.model.journal.journal_views import Filter
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.journal import Journal
from engine.store.operations import bulk
from engine.store.queries.acts import acts_page
from engine.store.queries.bulk import operation_if, operations_page
from engine.store.queries.letters import count_held, dead_letters, held_deliveries
from engine.web.pages.doing import OUTCOMES
from tests.support import access
from tests.support.access import Browser, Site
from tests.support.acting_pages import form_of
from tests.support.journals import replaced
from tests.support.many_messages import fill
from tests.support.status_server import Element

COUNT = 150
LISTS = {"/dead-letters/each": ("Try again", "Close, send nothing"), "/held": ("Release", "Reject", "Decide")}


class Known:
    """The journal behind a running page."""

    journal: Journal

    async def ended(self, number: int) -> None:
        assert await self.acts.operations.wait(number, 120.0)

    def verbs(self, journal: Journal) -> dict[str, Verb]:
        self.journal = journal
        self.acts = Acts(journal, channels=dict)
        site = RunningSite(
            acts=self.acts,
            switches=Switches(journal),
            data=journal.path.parent,
            loaded=lambda: SimpleNamespace(channels={}),  # type: ignore[arg-type, return-value]  # names
            running=SimpleNamespace(),  # type: ignore[arg-type]  # as a daemon, which answers before an act has ended
        )
        return dict(verbs_of(site))

    def done(self) -> list[tuple[str, str, str]]:
        """The operations that the trail has: who, what, why."""
        return [
            (act.actor, act.verb, act.what.get("reason", ""))
            for act in acts_page(self.journal, limit=500)
            if act.verb in ("retry", "dismiss", "release", "reject") and "selection" in act.what
        ]


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
async def here(tmp_path: Path, known: Known) -> AsyncIterator[Site]:
    fill(tmp_path, COUNT).close()
    async with access.site(tmp_path, verbs=known.verbs) as made:
        yield made


def offers(page: Element) -> dict[str, str]:
    return {one.text: one.attributes["href"] for one in page.all("a", class_="offer")}


async def confirmed(browser: Browser, address: str) -> tuple[Element, str, dict[str, str]]:
    """A confirmation, and its form: address and hidden fields."""
    status, page = await browser.get(address)
    assert status == 200
    form = page.one("main").one("form")
    return page, form.attributes["action"], Browser.hidden(page)


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("person", ["viewer", "operator", "engineer", "admin"])
async def test_only_those_who_may_act_see_buttons(here: Site, path: str, person: str) -> None:
    async with here.browser() as browser:
        await browser.log_in(person)
        _, page = await browser.get(f"{path}?lang=en")
        found = {"Show"} if path == "/held" else set()
        assert set(offers(page)) == (found if person == "viewer" else set(LISTS[path]))
        _, page = await browser.get("/held?state=rejected&lang=en")
        assert offers(page) == {}


async def test_what_cannot_be_read_is_released_by_who_may_see_contents(here: Site) -> None:
    await here.add("asha", "operator", sees_patients=True)
    for person, forms in (("operator", 0), ("asha", 1)):
        async with here.browser() as browser:
            await browser.log_in(person)
            _, page = await browser.get("/do/release?all=1&lang=en")
            assert len(page.one("main").all("form")) == forms, person
            _, page = await browser.get(offers((await browser.get("/held?lang=en"))[1])["Decide"])
            assert len(page.one("main").all("form", class_="release")) == forms, person


async def test_two_patients_under_one_number_are_accepted_message_by_message(operator: Browser, known: Known) -> None:
    """No act on all of them: a person compares the messages of each, and the confirmation says what it accepts."""
    letter = next(
        one for one in dead_letters(known.journal, limit=10_000) if not one.delivery_id and one.state == "dead"
    )

    def conflict(batch: Batch) -> None:
        batch.execute("UPDATE message_state SET reason = 'IDENTITY_CONFLICT' WHERE id = ?", (letter.message_id,))

    await known.journal.run(operation(priority=Priority.SETTLE)(conflict))
    for path in ("/dead-letters", "/dead-letters/each"):
        _, page = await operator.get(f"{path}?code=IDENTITY_CONFLICT&lang=en")
        assert set(offers(page)) == {"Close, send nothing", "Compare"}
    status, page = await operator.get("/do/retry?code=IDENTITY_CONFLICT&lang=en")
    assert (status, page.one("main").all("form")) == (403, [])
    page, _, _ = await confirmed(operator, f"/do/retry?ids={letter.message_id}&lang=en")
    assert [one.one("dt").text for one in page.all("div", class_="problem")] == ["One number, two patients"]
    page, _, _ = await confirmed(operator, "/do/retry?all=1&lang=en")
    assert page.all("div", class_="problem") == []  # these stay as they are


async def test_only_a_tick_replaces_what_the_server_has(operator: Browser, known: Known) -> None:
    """The confirmation says how many have another version; a reason alone replaces nothing."""
    page, action, fields = await confirmed(operator, "/do/retry?code=REFUSED&lang=en")
    assert page.all("input", name="overwrite") == []
    chosen = [one.delivery_id for one in dead_letters(known.journal, limit=10_000) if one.delivery_id][:2]

    def conflict(batch: Batch) -> None:
        for delivery in chosen:
            batch.execute("UPDATE delivery SET cause = 'CONFLICT' WHERE id = ?", (delivery,))

    await known.journal.run(operation(priority=Priority.SETTLE)(conflict))
    address = "/do/retry?code=CONFLICT&lang=en"
    page, action, fields = await confirmed(operator, address)
    assert [one.one("dt").text for one in page.all("div", class_="problem")] == ["Another version on the server"]
    assert page.one("label", class_="tick").text == "Replace what the server has: 2"
    await operator.post(action, {**fields, "reason": "the server is up again"})
    number = int(operator.path.rpartition("/")[2])
    await known.ended(number)
    order = operation_if(known.journal, number)
    assert order is not None
    assert order.outcomes == {"conflicts": 2}

    page, action, fields = await confirmed(operator, address)
    status, page = await operator.post(action, {**fields, "overwrite": "yes", "reason": " "})
    assert status == 403
    assert "needs a reason" in page.one("main").one("p", role="alert").text
    page, action, fields = await confirmed(operator, address)
    await operator.post(action, {**fields, "overwrite": "yes", "reason": "ours is right"})
    number = int(operator.path.rpartition("/")[2])
    await known.ended(number)
    order = operation_if(known.journal, number)
    assert order is not None
    assert order.outcomes == {"requeued": 2}


# path of the list, its filter, the button, and the states of what it is about afterwards
DEEDS = [
    ("/dead-letters/each", {"code": "REFUSED"}, "Try again", "retry"),
    ("/dead-letters/each", {"code": "REFUSED", "cause": "HTTP 422"}, "Close, send nothing", "dismiss"),
    ("/dead-letters/each", {"channel": "chem"}, "Close, send nothing", "dismiss"),
    ("/dead-letters/each", {}, "Close, send nothing", "dismiss"),
    ("/held", {"channel": "haema"}, "Reject", "reject"),
    ("/held", {}, "Reject", "reject"),
    ("/held", {"destination": "a"}, "Release", "release"),
]


@pytest.mark.parametrize(("path", "query", "button", "verb"), DEEDS)
async def test_an_act_is_what_its_confirmation_says(
    here: Site, operator: Browser, known: Known, path: str, query: dict[str, str], button: str, verb: str
) -> None:
    sees = verb == "release"  # no result here can be read
    await here.accounts.users.let_see_patients("operator", sees, by=access.ROOT)
    read = held_deliveries if path == "/held" else dead_letters
    before = read(known.journal, Filter(**query), limit=10_000)
    everything = read(known.journal, limit=10_000)
    _, page = await operator.get(f"{path}?{urlencode(query)}&lang=en")
    last = known.journal.last_id  # a look that the confirmation is comes after the count
    page, action, fields = await confirmed(operator, offers(page.one("caption"))[button])
    facts = dict(zip([one.text for one in page.all("dt")], [one.text for one in page.all("dd")], strict=True))
    assert int(facts["Count"]) == len(before) > 0
    assert facts["Analyzers"] == ", ".join(sorted({one.channel for one in before}))
    assert facts.get("Destinations", "") == ", ".join(sorted({one.destination for one in before} - {""}))
    assert page.one("button", class_="main").text == f"{button}: {len(before)}"
    assert known.done() == []  # looking does nothing

    counted_us = json.loads(fields["selection"])["counted_us"]
    assert facts["Up to"].startswith(f"number {last} of the journal, at ")
    shown = {"channel": "Analyzer", "destination": "Destination", "code": "Reason code", "cause": "Cause"}
    assert {facts[shown[name]] for name in query} == set(query.values())
    assert ("Filter" in facts) is (not query)

    status, page = await operator.post(action, {**fields, "reason": "because <b>"})
    assert (status, operator.path.partition("/")[2][:11]) == (200, "operations/")
    said = dict(zip([one.text for one in page.all("dt")], [one.text for one in page.all("dd")], strict=True))
    assert (said["Person"], "Why" in said) == ("operator", sees)  # a reason may name a patient
    assert said["Up to"] == facts["Up to"]
    number = int(operator.path.rpartition("/")[2])
    await known.ended(number)
    order = operation_if(known.journal, number)
    assert order is not None
    assert (order.stage, order.total, order.last, order.counted_us) == ("ended", len(before), last, counted_us)
    assert known.done() == [("operator", verb, "because <b>")]
    after = {(one.message_id, one.delivery_id) for one in read(known.journal, limit=10_000)}
    untouched = {(one.message_id, one.delivery_id) for one in everything} - {
        (one.message_id, one.delivery_id) for one in before
    }
    assert untouched <= after

    await operator.post(action, {**fields, "reason": "because <b>"})  # Enter, pressed twice
    assert operator.path == f"/operations/{number}"
    assert len(known.done()) == 1
    _, page = await operator.get(f"/operations/{number}?lang=en")
    assert page.one("progress").attributes["value"] == str(len(before))
    assert page.one("main").all("form") == []
    _, page = await operator.get("/operations?lang=en")
    assert [row.one("th").text for row in page.one("tbody").all("tr")] == [f"{button} · {number}"]


async def test_an_operation_with_a_damaged_row_is_shown_as_that_and_the_others_are_shown(
    operator: Browser, known: Known
) -> None:
    @operation(priority=Priority.SETTLE)
    def damage(batch: Batch, row: int) -> None:
        batch.execute("UPDATE journal SET body = zeroblob(length(body)) WHERE id = ?", (row,))

    members, what = [bulk.Member(1)], {"selection": {"all": True}, "reason": "x"}
    good, bad = [
        await known.journal.run(bulk.begin, "dismiss", members, last=1, counted_us=1, actor="anita", what=what)
        for _ in range(2)
    ]
    await known.journal.run(damage, bad)
    assert await known.journal.run(bulk.abandon, bad, "first_row")

    _, page = await operator.get("/operations?lang=en")
    rows = {one.attributes["id"]: one.text for one in page.one("tbody").all("tr")}
    assert list(rows) == [f"o-{bad}", f"o-{good}"]
    assert ("damaged" in rows[f"o-{bad}"], "damaged" in rows[f"o-{good}"]) == (True, False)
    status, page = await operator.get(f"/operations/{bad}?lang=en")
    assert status == 200
    assert "damaged" in page.one("h1").text
    facts = dict(zip([one.text for one in page.all("dt")], [one.text for one in page.all("dd")], strict=True))
    assert facts.keys() == {"Begun", "Ended", "damaged"}
    found = operations_page(known.journal)
    assert [(one["stage"], one["actor"]) for one in OPERATION.rows(found)] == [("damaged", ""), ("running", "anita")]


def test_every_outcome_has_its_words_and_its_exit_code() -> None:
    assert OUTCOMES.keys() == KINDS.keys()
    of_findings = {"unchanged", "outdated", "withdrawn", "dead", "unsettled", "undelivered", "gone"}
    of_letters = KINDS.keys() - of_findings - {"number_conflicts", "configuration_changed"}
    assert set(LEFT) == {name for name in of_letters if KINDS[name] != "done"}


async def test_all_who_look_see_an_operation_and_those_who_act_cancel_it(
    here: Site, operator: Browser, known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on after the log-out of the person who began it; a cancellation leaves the rest as it is."""
    held, go = asyncio.Event(), asyncio.Event()

    async def waits(run: Any, *given: Any, **named: Any) -> Any:
        held.set()
        await go.wait()
        return await run(*given, **named)

    replaced(monkeypatch, known.journal, bulk.step, by=waits)
    count = len(dead_letters(known.journal, limit=10_000))
    _, action, fields = await confirmed(operator, "/do/dismiss?all=1&lang=en")
    await operator.post(action, {**fields, "reason": "x"})
    number = int(operator.path.rpartition("/")[2])
    await held.wait()
    async with here.browser() as viewer:
        await viewer.log_in("viewer")
        _, page = await viewer.get(f"/operations/{number}?lang=en")
        assert page.one("section", id="progress").attributes["data-running"] == "1"
        assert (page.one("progress").attributes["max"], page.one("progress").attributes["value"]) == (str(count), "0")
        assert page.one("main").all("form") == []
    _, _, fields = await confirmed(operator, f"/operations/{number}?lang=en")
    status, page = await operator.post(f"/operations/{number}?lang=en", fields)
    assert (status, page.one("main").all("form")) == (200, [])
    assert "cancelled" in page.one("h1").text
    go.set()
    assert len(dead_letters(known.journal, limit=10_000)) == count
    _, _, fields = await confirmed(operator, "/do/retry?all=1&lang=en")
    status, page = await operator.post(f"/operations/{number}?lang=en", fields)
    assert status == 403
    assert "has ended before" in page.one("main").one("p", role="alert").text
    assert (await operator.get("/operations/999999?lang=en"))[0] == 404


async def test_what_fails_later_is_left_alone(operator: Browser, here: Site, known: Known) -> None:
    page, action, fields = await confirmed(operator, "/do/dismiss?all=1&lang=en")
    selection = json.loads(fields["selection"])
    assert selection["all"] is True
    first = min(letter.at_us for letter in dead_letters(known.journal, limit=10_000))
    fields["selection"] = json.dumps({**selection, "counted_us": first - 1})  # as if all failed after the count
    _, page = await operator.post(action, {**fields, "reason": "x"})
    assert page.one("main").one("p", role="alert").text == "Nothing fits any more."
    assert known.done() == []


@pytest.mark.parametrize("verb", ["dismiss", "release", "reject"])
async def test_a_reason_is_required(here: Site, operator: Browser, known: Known, verb: str) -> None:
    await here.accounts.users.let_see_patients("operator", verb == "release", by=access.ROOT)  # no result can be read
    _, action, fields = await confirmed(operator, f"/do/{verb}?all=1&lang=en")
    status, page = await operator.post(action, {**fields, "reason": "  "})
    assert status == 403
    assert "needs a reason" in page.one("main").one("p", role="alert").text
    assert known.done() == []


@pytest.mark.parametrize("query", ["", "channel=", "all=0", "ids=", "ids=x", "since=soon&all=1"])
async def test_nothing_selected_is_never_everything(operator: Browser, query: str) -> None:
    status, page = await operator.get(f"/do/retry?{query}&lang=en")
    assert status == 400
    assert page.one("main").one("p", role="alert").text
    assert page.one("main").all("form") == []


@pytest.mark.parametrize(
    "changed", [{"selection": "{}"}, {"selection": "[1]"}, {"selection": "x"}, {"selection": '{"all": true}'},
                {"selection": '{"all": true, "counted_us": 1}'}, {"selection": '{"all": true, "last": 1}'},
                {"selection": '{"all": 1, "last": 1, "counted_us": 1}'}, {"form": "0"}, {"once": ""}]
)  # fmt: skip
async def test_a_form_that_is_not_ours_does_nothing(operator: Browser, known: Known, changed: dict[str, str]) -> None:
    _, action, fields = await confirmed(operator, "/do/dismiss?all=1&lang=en")
    status, _ = await operator.post(action, {**fields, "reason": "x", **changed})
    assert status in (400, 403)
    assert known.done() == []


async def test_one_message_is_acted_on_from_its_own_page(operator: Browser, known: Known) -> None:
    letter = dead_letters(known.journal, Filter(code="REFUSED"), limit=1)[0]
    _, page = await operator.get(f"/messages/{letter.message_id}?lang=en")
    assert {"Send it unchanged again", "Close, send nothing"} <= set(offers(page))
    _, action, fields = await confirmed(operator, offers(page)["Close, send nothing"])
    await operator.post(action, {**fields, "reason": "x"})
    assert letter.message_id not in {one.message_id for one in dead_letters(known.journal, limit=10_000)}
    _, page = await operator.get(f"/messages/{letter.message_id}?lang=en")
    assert "operator: closed" in page.one("ol", class_="timeline").text
    assert not {"Try again", "Send it unchanged again", "Close, send nothing"} & set(offers(page))


async def test_a_held_result_is_released_from_its_row(operator: Browser, known: Known) -> None:
    count = count_held(known.journal)
    _, page = await operator.get("/held?lang=en")
    row = page.one("tbody").all("tr")[0]
    _, page = await operator.get(offers(row)["Decide"])
    action, fields = form_of(page, "/do/reject")
    status, _ = await operator.post(action, {**fields, "reason": "x"})
    assert (status, count_held(known.journal)) == (200, count - 1)


async def test_what_was_refused_for_its_content_is_not_just_tried_again(here: Site, operator: Browser) -> None:
    """Its button says that nothing changes, and the likely step stands before it."""
    for code in ("REFUSED", "NO_ROUTE"):
        _, page = await operator.get(f"/dead-letters?code={code}&lang=en")
        names = [one.text for one in page.one("main").all("a", class_="offer")]
        names = [one for one in names if one != "Look at the destination"]
        expected = (
            ["Close, send nothing", "Send it unchanged again"]
            if code == "REFUSED"
            else ["Try again", "Close, send nothing"]
        )
        assert names
        assert all(names[at : at + 2] == expected for at in range(0, len(names), 2)), code
