"""The conflict of a dead letter: who sees which side, and what each answer comes to."""

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from engine.model.journal.journal_views import Filter
from engine.model.texts.reasons import ReasonCode
from engine.store.operations.outbox import attempts
from engine.store.queries.letters import dead_letters
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import stored_document
from tests.engine.features.results.test_decision import looks, main, send
from tests.engine.features.results.test_whose import compared
from tests.results.test_held_results import CRITICAL, held_route, message
from tests.support.acting_pages import ActingSite, acting_site, form_of, offers
from tests.support.running import MLLP, channel
from tests.support.senders import send_blocks
from tests.support.waiting import until

OURS, THEIRS = "14.0", "13.2"
# person -> sees persons and values, the answers
ORACLE: dict[str, tuple[bool, set[str]]] = {
    "viewer": (True, set()),  # who sees patients besides
    "operator": (False, {"/do/retry", "/do/dismiss"}),
    "asha": (True, {"/do/retry", "/do/dismiss"}),  # an operator who sees patients besides
    "engineer": (False, {"/do/retry", "/do/dismiss"}),
}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[ActingSite]:
    async with acting_site(tmp_path, {"lab": channel(MLLP, held_route((CRITICAL,)))}) as site:
        yield site


async def two_patients(here: ActingSite) -> int:
    """The number of a message that is dead: its order is of another patient."""
    first = message(1, OURS, order="A", patient="9")
    _, second = await send(here, first, message(2, THEIRS, order="A", patient="8"))
    assert [one.reason for one in dead_letters(here.site.journal)] == ["IDENTITY_CONFLICT"]
    return second


async def two_versions(here: ActingSite) -> int:
    """The number of a message whose delivery is dead: the server has another version of its result."""
    assert (await here.site.labrelay("pause", "destination", "lab-fhir", "--reason", "a test", "--yes")).code == 0
    await send_blocks(here.site.port("lab"), [message(1, "12.1")])
    (number,) = [view.id for view in here.site.messages("lab")]
    await until(lambda: len(here.site.deliveries(number)) == 1)
    (delivery,) = here.site.deliveries(number)
    journal = here.site.journal
    entries = orjson.loads(stored_document(journal, delivery.document_id))["entry"]
    (url, ours) = next(
        (one["request"]["url"], one["resource"]) for one in entries if "valueQuantity" in one.get("resource", {})
    )
    theirs = {**ours, "valueQuantity": {**ours["valueQuantity"], "value": 6.6}}
    said = orjson.dumps({"conflicts": [{"resource": url, "wrote": "1", "has": "2", "theirs": theirs}]})
    await journal.run(attempts.bury, delivery.id, ReasonCode.CONFLICT, "another version", said)
    return number


def forms(page: object) -> set[str]:
    found = page.one("main").all("form", method="post")  # type: ignore[attr-defined]
    return {one.attributes["action"].partition("?")[0] for one in found}


async def test_two_patients_stand_beside_each_other_for_who_may_see_them(here: ActingSite) -> None:
    number = await two_patients(here)
    for person, (sees, answers) in ORACLE.items():
        async with here.browser(person) as browser:
            for _ in range(2):
                status, page = await browser.get(f"/conflicts/{number}?lang=en")
                assert (status, page.one("h1").text) == (200, "Is this one person?")
                assert ("Canary9" in main(page), "Canary8" in main(page)) == (sees, sees), person
                assert (["Order number", "A, F-A", "A, F-A", "the same"] in compared(page)) is sees, person
                assert ("hidden from you" in main(page)) is not sees, person
                assert forms(page) == answers, person
        assert looks(here, person) == ([(number, "decision")] if sees else []), person
    async with here.browser("operator") as browser:
        for address in ("/dead-letters/each?lang=en", f"/messages/{number}?lang=en"):
            assert offers((await browser.get(address))[1])["Compare"].startswith(f"/conflicts/{number}")


@pytest.mark.parametrize(("verb", "ends"), [("retry", "mapped"), ("dismiss", "dismissed")])
async def test_an_answer_about_two_patients_is_what_becomes_of_it(here: ActingSite, verb: str, ends: str) -> None:
    number = await two_patients(here)
    async with here.browser("operator") as browser:
        _, page = await browser.get(f"/conflicts/{number}?lang=en")
        action, fields = form_of(page, f"/do/{verb}")
        await browser.post(action, {**fields, "reason": "asked the ward"})
        await until(lambda: trace_of(here.site.journal, number).message.state != "dead")  # type: ignore[union-attr]
        await here.site.settled()
        found = trace_of(here.site.journal, number)
        assert found is not None
        assert found.message.state in (ends, "delivered" if verb == "retry" else ends)
        assert (await browser.get(f"/conflicts/{number}?lang=en"))[0] == 404


async def test_two_versions_stand_beside_each_other_with_what_each_answer_does(here: ActingSite) -> None:
    number = await two_versions(here)
    for person, (sees, answers) in ORACLE.items():
        async with here.browser(person) as browser:
            status, page = await browser.get(f"/conflicts/{number}?lang=en")
            assert (status, page.one("h1").text) == (200, "Another version on the server")
            assert ("6.6" in main(page), "12.1" in main(page)) == (sees, sees), person
            assert forms(page) == answers, person
    async with here.browser("operator") as browser:
        _, page = await browser.get(f"/conflicts/{number}?lang=en")
        action, fields = form_of(page, "/do/retry")
        assert fields["overwrite"] == "yes"
        await browser.post(action, {**fields, "reason": "ours is right"})
        await until(lambda: not dead_letters(here.site.journal, Filter(state="dead")))


async def test_a_message_without_a_conflict_says_so(here: ActingSite) -> None:
    (number,) = await send(here, message(1, OURS))
    async with here.browser("operator") as browser:
        for asked in (number, 999):
            status, page = await browser.get(f"/conflicts/{asked}?lang=en")
            assert (status, "no conflict" in main(page)) == (404, True)
