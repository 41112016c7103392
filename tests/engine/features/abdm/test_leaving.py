"""A patient leaves the network, against the simulator: all that links him goes at once, and nothing of his goes out."""

import random
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows import later as acts
from engine.features.abdm.flows import linking
from engine.features.abdm.flows.consents import ANSWER_US
from engine.features.abdm.flows.leaving import STATUS
from engine.features.abdm.rows import callbacks, calls, consents, contexts, leaving, offers, patients, transfers
from engine.features.abdm.rows.reading import undecided
from engine.features.abdm.rows.transfers import NewPage
from engine.features.abdm.rules.consents import ConsentState
from engine.features.abdm.rules.network import TransferState
from engine.model.errors import RefusedError
from engine.model.process.clock import SystemClock
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.integrity.verify import run as verify
from engine.store.journal import Journal
from tests.support.abdm_site import FACILITY, AbdmSite, abdm_site, destination, person, report
from tests.support.waiting import until
from workbench.abdm import Faults
from workbench.abdm.people import PEOPLE

WEST = "IN0000000002"
HIS = person().address


def both(url: str) -> AbdmDestination:
    """A site with two laboratories."""
    names = {"name": "Made-up Laboratory", "channels": "chem"}, {"name": "Made-up West", "channels": "west"}
    return destination(url, facilities=dict(zip((FACILITY, WEST), names, strict=True)))


async def notice(site: AbdmSite, body: Any, request_id: str = "r-1", facility: str = FACILITY) -> tuple[str, str]:
    """A callback that no simulated app sends, and of which the gateway takes our answer; return what became of it."""
    site.ours.takes_answers()
    await site.ours.journal.run(callbacks.store, STATUS, facility, request_id, orjson.dumps(body), 0)
    site.ours.dispatcher.stored()
    select = f"abdm_callback WHERE request_id = '{request_id}' AND state <> 'stored'"
    await until(lambda: site.ours.rows(select))
    await until(
        lambda: not site.ours.rows("abdm_call WHERE name = 'status-on-notify' AND state IN ('waiting', 'sending')")
    )
    found: tuple[str, str] = site.ours.rows(select, "state, reason")[0]
    return found


def left(address: Any = HIS, status: Any = "DEACTIVATED") -> dict[str, Any]:
    return {"notification": {"abhaAddress": address, "status": status}}


@pytest.mark.parametrize("status", ["DEACTIVATED", "DELETED"])
async def test_all_that_links_a_patient_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        his = await site.ours.offer(report(), person())
        hers = await site.ours.offer(report("B-1", message_id=2), person(1))
        await site.ours.is_told(his, hers)
        await site.ask("/app/status", {"patient": HIS, "status": status})
        await until(lambda: site.ours.rows("abdm_call WHERE name = 'status-on-notify' AND state = 'done'"))
        await site.is_clean()

        assert site.ours.rows("abdm_context ORDER BY number", "state, reason, content = x''") == [
            ("dropped", "left", 1),
            ("linked", "", 0),
        ]
        assert site.ours.rows("abdm_patient ORDER BY number", "state, content = x'', abha = x'', mobile = x''") == [
            ("dropped", 1, 0, 1),
            ("known", 0, 0, 0),
        ]
        assert site.ours.rows("abdm_link_token", "patient") == [(2,)]

        await site.ours.offer(report("A-2", message_id=3), person())
        await site.is_clean()
        assert site.ours.rows("abdm_context WHERE message_id = 3", "state, patient") == [("waiting", 0)]
    assert verify(tmp_path, deep=True) == []


async def test_one_who_leaves_by_an_address_has_left_by_his_number_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report may name the number alone, or another address with it."""
    first = f"{person().number}@sbx"
    async with abdm_site(tmp_path, monkeypatch, config=both) as site:
        numbers = [
            await site.ours.offer(report("A-1"), person()),
            await site.ours.offer(report("A-2", message_id=2), person(address=first)),
            await site.ours.offer(report("W-1", message_id=3, channel="west", facility=WEST), person(address=first)),
        ]
        await until(lambda: len(site.ours.rows("abdm_patient")) == len(numbers))
        assert await notice(site, left()) == ("folded", "")
        await site.ours.is_quiet()
        assert site.ours.rows("abdm_context", "state, reason") == [("dropped", "left")] * 3
        assert set(site.ours.states("abdm_patient")) == {"dropped"}
        asked = len(site.ours.rows("abdm_call"))
        for n, address in enumerate((first, "meera.at.work@sbx", HIS), start=4):
            for place in ({}, {"channel": "west", "facility": WEST}):
                one = report(f"A-{n}", message_id=n, **place)
                await site.ours.offer(one, person(address=address))
        assert site.ours.rows("abdm_context WHERE number > 3", "state, reason") == [("waiting", "left")] * 6
        assert len(site.ours.rows("abdm_call")) == asked, "the network is not asked for him"

        await site.ours.journal.run(comes_back)
        site.sandbox.state.drop_token(FACILITY, HIS)
        await site.ours.is_told(await site.ours.offer(report("A-9", message_id=9), person()))
        number = await site.ours.offer(report("A-10", message_id=10), person(address=first))
        assert site.ours.rows(f"abdm_context WHERE number = {number}", "state")[0][0] != "waiting"


@operation(priority=Priority.SETTLE)
def comes_back(batch: Batch) -> None:
    patients.put(batch, FACILITY, "LR-BACK", person(verified=True))


def fill(batch: Batch, n: int, state: TransferState | None) -> None:
    """A patient with a report, a consent, a transfer whose pages are sealed, and a code that waits for its SMS."""
    patient = patients.put(batch, FACILITY, f"LR-P{n}", person(n))
    context = contexts.put(batch, report(f"A-{n}", patient=patient, message_id=n + 1))
    content = {"of": person(n).address}
    number = consents.put(batch, f"c-{n}", FACILITY, ConsentState.GRANTED, patient=patient, ends_us=9, content=content)
    transfer, _ = transfers.take(batch, f"t-{n}", FACILITY, consent=number, ends_us=9, content={"to": "reader"})
    transfers.add_pages(batch, transfer, [NewPage(context, 1, b"a page")])
    if state is not None:
        transfers.move(batch, transfer, state)
    offer = offers.offer(batch, f"o-{n}", FACILITY, person(n).address, life_us=9, content=content)
    batch.execute(
        "INSERT INTO abdm_code (number, offer, reference, facility, request_id, mobile, state, reason, code, typed,"
        " typed_us, wrong, attempt, not_before_us, ends_us, made_us, changed_us, content, text)"
        " VALUES (?, ?, ?, ?, 'r', x'', 'waiting', '', x'', x'', 0, 0, 0, 0, 9, 0, 0, x'', x'01')",
        (n + 1, offer, f"k-{n}", FACILITY),
    )


def test_his_consents_and_codes_end_and_no_page_is_left(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, clock=SystemClock())
    try:
        for n, state in enumerate((None, TransferState.ENDED, None)):
            journal.run_alone(fill, n, state)
        for n in range(2):
            assert journal.run_alone(leaving.stop, person(n).address, 1, (FACILITY, WEST), linking.reference)
            journal.run_alone(leaving.leave, person(n).address, 1, leaving.ALL)
        gone = ("REVOKED", "left")
        assert journal.rows("SELECT state, reason, content = x'' FROM abdm_consent ORDER BY number") == [
            (*gone, 0),  # its transfer is still to be reported
            (*gone, 1),
            ("GRANTED", "", 0),
        ]
        assert journal.rows("SELECT reason FROM abdm_transfer ORDER BY number") == [("revoked",), ("",), ("",)]
        assert journal.rows("SELECT body = x'' FROM abdm_page ORDER BY transfer") == [(1,), (1,), (0,)]
        assert journal.rows("SELECT state, text = x'' FROM abdm_code ORDER BY number") == [
            *[("over", 1)] * 2,
            ("waiting", 0),
        ]
        assert journal.rows("SELECT content = x'' FROM abdm_offer ORDER BY number") == [(1,), (1,), (0,)]
        assert journal.rows("SELECT facility, state FROM abdm_patient WHERE number > 3") == [(WEST, "dropped")] * 2
    finally:
        journal.close()


async def test_a_reader_gets_no_page_after_he_has_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = Faults(pushes=["503"] * 1000)
    async with abdm_site(tmp_path, monkeypatch, faults) as site:
        await site.ours.is_told(await site.ours.offer(report(), person()))
        consent = (await site.ask("/app/grant", {"patient": HIS, "facility": FACILITY}))["consentId"]
        await until(lambda: site.ours.rows("abdm_consent WHERE state = 'GRANTED'"))
        await site.ask("/app/status", {"patient": HIS, "status": "DELETED"})
        await until(lambda: site.ours.states() == ["dropped"])
        assert site.ours.rows("abdm_consent", "state, reason") == [("REVOKED", "left")]
        transaction = (await site.ask("/app/pull", {"consentId": consent, "refuse": "left"}))["transactionId"]
        await until(lambda: site.ours.rows("abdm_transfer WHERE state IN ('refused', 'ended')"))
        await site.ours.is_quiet()
        assert (await site.ask(f"/transfers/{transaction}"))["state"] == "refused"
        assert site.ours.rows("abdm_page") == []


async def test_he_leaves_each_laboratory_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facilities = {FACILITY: "Made-up Laboratory", WEST: "Made-up West"}
    async with abdm_site(tmp_path, monkeypatch, config=both, facilities=facilities) as site:
        numbers = [await site.ours.offer(report(facility=one, channel="c"), person()) for one in facilities]
        await site.ours.is_told(*numbers)
        assert await notice(site, left()) == ("folded", "")

        assert site.ours.rows("abdm_context", "state, reason") == [("dropped", "left")] * 2
        assert site.ours.rows("abdm_link_token") == []


async def test_a_laboratory_that_did_not_know_him_links_no_later_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=both) as site:
        assert await notice(site, left()) == ("folded", "not-known")
        await site.ours.is_quiet()
        for facility in (FACILITY, WEST):
            await site.ours.offer(report(facility=facility), person())
        await site.ours.is_quiet()

        assert site.ours.states() == ["waiting"] * 2
        assert site.ours.rows("abdm_call", "name") == [("status-on-notify",)]


async def test_one_who_is_active_again_is_not_linked_by_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await site.ours.is_told(await site.ours.offer(report(), person()))
        for status in ("DEACTIVATED", "ACTIVE"):
            await site.ask("/app/status", {"patient": HIS, "status": status})
        await until(lambda: len(site.ours.rows("abdm_call WHERE name = 'status-on-notify'")) == 2)
        await site.ours.offer(report("A-2", message_id=2), person())
        await site.is_clean()

        assert sorted(site.ours.states()) == ["dropped", "waiting"]
        site.sandbox.state.drop_token(FACILITY, HIS)
        back = await site.ours.offer(report("A-3", message_id=3), person(verified=True))
        await site.ours.is_told(back)


async def test_an_order_that_is_turned_makes_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await site.ours.is_told(await site.ours.offer(report(), person()))
        assert await notice(site, left(status="ACTIVE"), "r-1") == ("folded", "active")
        assert site.ours.states() == ["linked"]
        assert await notice(site, left(), "r-2") == ("folded", "")
        assert await notice(site, left(), "r-3") == ("folded", "not-known")
        assert site.ours.states() == ["dropped"]


@pytest.mark.parametrize(
    "kind", ["duplicate", "repeat", "late", "late-token", "expired", "wrong-signature", "not-json"]
)
async def test_a_notice_of_any_habit_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(callbacks={"status-notify": [kind]}, late_s=0.2)) as site:
        await site.ours.is_told(await site.ours.offer(report(), person()))
        await site.ask("/app/status", {"patient": HIS, "status": "DELETED"})
        await until(lambda: site.ours.states() == ["dropped"])
        await site.ours.is_quiet()
        violations = {one["rule"] for one in await site.ask("/violations")}
        assert violations <= ({"answered-twice"} if kind == "repeat" else set())  # it has nothing to know it by


async def test_a_forged_notice_for_another_facility_drops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(callbacks={"status-notify": ["other-facility"]})) as site:
        await site.ours.is_told(await site.ours.offer(report(), person()))
        await site.ask("/app/status", {"patient": HIS, "status": "ACTIVE"})
        await until(lambda: site.ours.listener.counts["facility"] == 1)
        # The true notice follows the forged one.
        await until(lambda: bool(site.ours.rows("abdm_call WHERE name = 'status-on-notify' AND state = 'done'")))
        await site.is_clean()
        assert site.ours.states() == ["linked"]


async def test_a_made_up_notice_stops_what_is_sent_and_drops_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any party that has seen a token of the gateway can make one: the gateway refuses an answer to nothing."""
    async with abdm_site(tmp_path, monkeypatch, Faults(pushes=["503"] * 1000)) as site:
        number = await site.ours.offer(report(), person())
        await site.ours.is_told(number)
        await site.ask("/app/grant", {"patient": HIS, "facility": FACILITY})
        await until(lambda: site.ours.rows("abdm_consent WHERE state = 'GRANTED' AND reason = ''"))
        await site.ours.journal.run(callbacks.store, STATUS, FACILITY, "forged", orjson.dumps(left()), 0)
        site.ours.dispatcher.stored()
        await until(lambda: site.ours.rows("abdm_call WHERE name = 'status-on-notify' AND state = 'failed'"))

        assert site.ours.rows("abdm_consent", "state, reason") == [("GRANTED", "suspended")]
        assert site.ours.rows("abdm_context", "state, reason") == [("linked", "leaving")]
        assert site.ours.rows("abdm_patient", "state, content = x''") == [("leaving", 0)]
        assert {one.what: one.count for one in undecided(site.ours.journal)} == {"leaving": 1, "suspended": 1}
        later = await site.ours.offer(report("A-2", message_id=2), person())
        assert site.ours.rows(f"abdm_context WHERE number = {later}", "state, reason") == [("waiting", "left")]

        with pytest.raises(RefusedError, match="readmit"):
            await site.ours.journal.run(acts.link, site.config, number, person(), who="a", reason="b")
        await site.ours.journal.run(acts.link, site.config, number, person(), who="a", reason="b", readmit=True)
        assert site.ours.rows("abdm_context WHERE number = 1", "state, reason") == [("linked", "")]
        assert site.ours.states("abdm_patient") == ["known"]


async def test_where_the_gateway_takes_no_answer_a_person_drops_the_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(calls={"status-on-notify": ["404"] * 1000})) as site:
        numbers = [await site.ours.offer(report(f"A-{n}", message_id=n), person()) for n in (1, 2)]
        await site.ours.is_told(*numbers)
        await site.ask("/app/status", {"patient": HIS, "status": "DELETED"})
        await until(lambda: {one.what: one.count for one in undecided(site.ours.journal)} == {"leaving": 1})
        assert site.ours.rows("abdm_call WHERE name = 'status-on-notify'", "ends_us - made_us") == [(ANSWER_US,)]
        assert site.ours.rows("abdm_context", "reason") == [("leaving",)] * 2
        for number in numbers:
            assert site.ours.states("abdm_patient") == ["leaving"]
            await site.ours.journal.run(acts.withdraw, number, "he has left", who="a")
        assert site.ours.states("abdm_patient") == ["dropped"]
        assert site.ours.rows("abdm_link_token") == []
        assert not undecided(site.ours.journal)


UPPER = HIS.upper()
BODIES: dict[str, tuple[Any, tuple[str, str], bool]] = {
    "no status": ({"notification": {"abhaAddress": HIS}}, ("folded", ""), True),
    "a status of no kind": (left(status="SUSPENDED"), ("folded", ""), True),
    "a status that is no text": (left(status=["DELETED"]), ("folded", ""), True),
    "in lower case": (left(status=" active "), ("folded", "active"), False),
    "an address in capitals": (left(UPPER), ("folded", ""), True),
    "without its frame": ({"abhaAddress": HIS, "status": "DELETED"}, ("folded", ""), True),
    "a frame that is none": ({"notification": "x", "abhaAddress": HIS}, ("folded", ""), True),
    "as consents name him": ({"notification": {"patient": {"id": HIS}}}, ("folded", ""), True),
    "no address": ({"notification": {"status": "DELETED"}}, ("refused", "no-address"), False),
    "an address that is no text": (left([HIS]), ("refused", "no-address"), False),
    "a number in its place": (left("91100000000016"), ("refused", "no-address"), False),
    "of production": (left("meera.iyer@abdm"), ("refused", "other-environment"), False),
    "empty": ({}, ("refused", "no-address"), False),
    "one whose address ends alike": (left("iyer@sbx"), ("folded", "not-known"), False),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_is_not_as_it_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    body, became, has_left = BODIES[name]
    async with abdm_site(tmp_path, monkeypatch, Faults(calls={"link": ["503"] * 1000})) as site:
        await site.ours.offer(report(), person())
        await until(lambda: site.ours.states() == ["linking"])
        assert await notice(site, body) == became
        assert site.ours.states() == (["dropped"] if has_left else ["linking"])
        assert len(site.ours.rows("abdm_call WHERE name = 'link' AND state = 'failed' AND code = 'left'")) == has_left


@operation(priority=Priority.SETTLE)
def queue(batch: Batch, body: Any) -> None:
    calls.queue(batch, FACILITY, "made-up", 7, body, after_s=600)


async def test_a_queued_call_of_any_flow_that_names_him_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await site.ours.is_told(await site.ours.offer(report(), person()))
        reference = site.ours.rows("abdm_patient", "reference")[0][0]
        named = [{"a": {"b": HIS}}, {"patient": [{"referenceNumber": reference}]}, {"n": [person().number]}]
        others = [{"a": f"x{HIS}"}, {"a": person(1).address}]
        for body in (*named, *others):
            await site.ours.journal.run(queue, body)
        assert await notice(site, left()) == ("folded", "")
        assert site.ours.rows("abdm_call WHERE name = 'made-up' ORDER BY number", "state, code, content = x''") == [
            *[("failed", "left", 1)] * 3,
            *[("waiting", "", 0)] * 2,
        ]


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_of_his_goes_out_after_he_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Random histories of reports, faults, leaves and returns. A call is judged by the time at which it began."""
    rng = random.Random(seed)
    faults = Faults(calls={"*": [rng.choice([None, "503", "lost", "reset"]) for _ in range(40)]}, retry_after_s=0)
    bodies: dict[str, str] = {}
    returned: list[tuple[int, int, int]] = []  # person, step, time
    soon = lambda url: destination(url, answer_within="1s")  # noqa: E731 - a token of before he left never comes
    async with abdm_site(tmp_path, monkeypatch, faults, config=soon) as site:
        site.ours.takes_answers()
        made = site.ours.gateway.call

        async def call(method: str, path: str, body: Any, *, request_id: str, headers: Any = None) -> Any:
            bodies[request_id] = orjson.dumps(body).decode()
            return await made(method, path, body, request_id=request_id, headers=headers)

        monkeypatch.setattr(site.ours.gateway, "call", call)
        for step in range(25):
            who = rng.randrange(3)
            act = rng.choice(["report", "report", "report", "amend", "leave", "active", "return", "wait"])
            if act in ("report", "amend"):
                name = f"R-{who}-{step if act == 'report' else rng.randrange(step + 1)}"
                await site.ours.offer(report(name, message_id=step + 1), person(who))
            elif act == "return":
                site.sandbox.state.drop_token(FACILITY, PEOPLE[who].address)
                returned.append((who, step, SystemClock().now_us()))
                await site.ours.offer(report(f"V-{step}", message_id=step + 1), person(who, verified=True))
            elif act == "wait":
                await site.ours.is_quiet()
            else:
                status = "ACTIVE" if act == "active" else rng.choice(["DEACTIVATED", "DELETED"])
                await notice(site, left(PEOPLE[who].address, status), f"{act}-{who}-{step}")
        for who in range(3):
            assert (await notice(site, left(PEOPLE[who].address), f"leave-{who}-99"))[0] == "folded"
        await site.ours.is_quiet()
        began = dict(site.ours.rows("abdm_request", "request_id, at_us"))
        for request_id, at_us in site.ours.rows(
            "abdm_callback WHERE request_id LIKE 'leave-%'", "request_id, changed_us"
        ):
            who, step = map(int, request_id.split("-")[1:])
            until_us = min((us for one, when, us in returned if one == who and when > step), default=1 << 62)
            address = f'"{PEOPLE[who].address}"'
            assert not [one for one, body in bodies.items() if address in body and at_us < began[one] < until_us]
        assert len(bodies) > 10
        assert set(site.ours.states()) <= {"dropped", "waiting"}
        assert set(site.ours.states("abdm_patient")) <= {"dropped"}
        assert site.ours.rows("abdm_link_token") == []
        assert site.ours.rows("abdm_call WHERE state IN ('waiting', 'sending', 'accepted')") == []
    assert verify(tmp_path, deep=True) == []
