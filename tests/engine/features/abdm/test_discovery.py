"""Links that patients make, against the simulator: it plays the app, the gateway and the SMS service."""

import logging
import secrets
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from engine.features.abdm.flows import discovery
from engine.features.abdm.rows import callbacks, contexts
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from tests.support.abdm_finding import (
    choose,
    codes,
    other_than,
    report_of,
    search,
    type_code,
    with_sms,
)
from tests.support.abdm_site import FACILITY, AbdmSite, abdm_site, destination, leave, person
from tests.support.waiting import until
from workbench.abdm import Faults
from workbench.abdm.people import PEOPLE

DISCOVER = "/v3/hip/patient/care-context/discover"
INIT = "/v3/hip/link/care-context/init"
CONFIRM = "/v3/hip/link/care-context/confirm"


async def sends(site: AbdmSite, path: str, body: Any, facility: str = FACILITY) -> tuple[str, str]:
    """State and reason of a callback that is stored as the gateway's."""
    request_id = str(uuid4())
    await site.ours.journal.run(callbacks.store, path, facility, request_id, orjson.dumps(body), 0)
    site.ours.dispatcher.stored()
    where = f"abdm_callback WHERE request_id = '{request_id}'"
    await until(lambda: site.ours.rows(where, "state") != [("stored",)])
    ((state, reason),) = site.ours.rows(where, "state, reason")
    return state, reason


async def test_a_patient_links_a_report_by_the_code_of_an_sms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=with_sms) as site:
        number = await site.ours.offer(report_of("A-1"), None)
        transaction, found = await search(site)
        assert found["state"] == "found", found
        assert await choose(site, transaction) == "otp-sent"
        ((mobile, code),) = codes(site)
        assert mobile == PEOPLE[0].mobile
        assert await type_code(site, transaction, code) == "linked"
        await site.ours.is_told(number)
        await site.is_clean()

        assert site.ours.rows("abdm_context", "state, patient") == [("linked", 1)]
        assert site.ours.rows("abdm_code", "state, length(text)") == [("linked", 0)]
        shown = await site.ask(f"/app/{PEOPLE[0].address}")
        assert [one["reference"] for one in shown["linked"]] == [
            one for (one,) in site.ours.rows("abdm_context", "reference")
        ]
        # a new version of the report is told as usual; a further search finds nothing
        await site.ours.offer(report_of("A-1", message_id=2), person())
        await site.ours.is_told(number)
        assert (await search(site))[1]["state"] == "no-match"
        await site.is_clean()


async def test_the_patient_chooses_some_of_the_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=with_sms) as site:
        for n in range(3):
            await site.ours.offer(report_of(f"A-{n}", message_id=n), None)
        transaction, _ = await search(site)
        references = dict(site.ours.rows("abdm_context ORDER BY number", "number, reference"))
        assert await choose(site, transaction, [references[2]]) == "otp-sent"
        assert await type_code(site, transaction, codes(site)[0][1]) == "linked"
        await site.ours.is_told(2)
        await site.is_clean()

        assert site.ours.rows("abdm_context ORDER BY number", "state") == [("waiting",), ("linked",), ("waiting",)]


@pytest.mark.parametrize("zeros", [True, False])
async def test_a_code_is_a_number_or_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zeros: bool) -> None:
    monkeypatch.setattr(secrets, "randbelow", lambda most: 42137)
    async with abdm_site(tmp_path, monkeypatch, config=with_sms) as site:
        await site.ours.offer(report_of("A-1"), None)
        transaction, _ = await search(site)
        await choose(site, transaction)
        assert codes(site) == [(PEOPLE[0].mobile, "042137")]
        assert await type_code(site, transaction, "042137" if zeros else 42137) == "linked"
        await site.is_clean()


NOTHING_TO_FIND: dict[str, dict[str, Any]] = {
    "another mobile": {"mobile": "9000000009"},
    "another name": {"name": "Asha Iyer"},
    "another gender": {"gender": "M"},
    "another year": {"year": 1980},
    "no number that lasts": {"own": ""},
    "another address": {"abha": True, "address": "other@sbx"},
}


@pytest.mark.parametrize("name", NOTHING_TO_FIND)
async def test_what_does_not_fit_is_answered_as_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=with_sms) as site:
        await site.ours.offer(report_of("A-1", **NOTHING_TO_FIND[name]), None)
        _, found = await search(site)
        await site.is_clean()

        assert found["state"] == "no-match"
        assert found["error"]["code"] == "ABDM-1010"
        assert codes(site) == []


async def test_without_an_sms_service_nothing_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=destination) as site:
        await site.ours.offer(report_of("A-1"), None)
        _, found = await search(site)
        await site.is_clean()

        assert found["state"] == "no-match"
        assert site.ours.rows("abdm_callback", "reason") == [("no-sms",)]


async def test_without_a_mobile_in_the_file_nothing_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(callbacks={"on-link": ["ABDM-1057"]}), config=with_sms) as site:
        await site.ours.offer(report_of("A-1", mobile="", abha=True), person(mobile=""))
        await site.ours.is_quiet()
        assert site.ours.states() == ["failed"]
        assert (await search(site))[1]["state"] == "no-match"
        await site.is_clean()
        assert site.ours.rows(f"abdm_callback WHERE path = '{DISCOVER}'", "reason") == [("no-mobile",)]


async def test_the_sms_goes_to_the_mobile_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by the address; the mobile of the search is another one."""
    async with abdm_site(tmp_path, monkeypatch, Faults(callbacks={"on-link": ["ABDM-1057"]}), config=with_sms) as site:
        await site.ours.offer(report_of("A-1", abha=True, mobile="9000000077"), person())
        await site.ours.is_quiet()
        transaction, found = await search(site)
        assert found["state"] == "found"
        assert await choose(site, transaction) == "otp-sent"
        assert [mobile for mobile, _ in codes(site)] == ["9000000077"]
        assert await type_code(site, transaction, codes(site)[0][1]) == "linked"
        await site.is_clean()


SIBLINGS = [
    # who searches, whose reports are there -> how many are offered
    (1, (1,), 1), (1, (2,), 0), (2, (1,), 0), (2, (2,), 1), (1, (1, 2), 1), (2, (1, 2), 1), (1, (1, 1, 2), 2),
    (0, (1, 2), 0), (4, (0,), 0), (0, (4,), 0), (0, (0, 4), 1),
]  # fmt: skip


@pytest.mark.parametrize(("who", "reports", "offered"), SIBLINGS)
async def test_people_with_one_mobile_or_one_name_see_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: int, reports: tuple[int, ...], offered: int
) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=with_sms) as site:
        whose = {}
        for n, number in enumerate(reports):
            whose[await site.ours.offer(report_of(f"A-{n}", number, message_id=n), None)] = number
        transaction, found = await search(site, who)
        assert len(found["offered"]) == offered
        if offered:
            await choose(site, transaction)
            assert await type_code(site, transaction, codes(site)[0][1]) == "linked"
        await site.is_clean()

        for number, state in site.ours.rows("abdm_context", "number, state"):
            assert state == ("linked" if whose[number] == who else "waiting")


async def test_twins_of_one_name_are_no_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=with_sms) as site:
        await site.ours.offer(report_of("A-1", own="PID-1"), None)
        await site.ours.offer(report_of("A-2", own="PID-2", message_id=2), None)
        _, found = await search(site)
        assert found["state"] == "no-match"
        # also where a twin types the other's number
        _, found = await search(site, unverified=[{"type": "MR", "value": "PID-2"}])
        assert found["state"] == "no-match"
        await site.is_clean()


async def test_two_facilities_are_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = {
        FACILITY: {"name": "A", "channels": "chem"},
        "IN0000000002": {"name": "B", "channels": "blood"},
    }

    def two(url: str) -> Any:
        return with_sms(url, facilities=both)

    async with abdm_site(tmp_path, monkeypatch, config=two, facilities=dict.fromkeys(both, "x")) as site:
        await site.ours.offer(report_of("A-1", facility="IN0000000002"), None)
        assert (await search(site))[1]["state"] == "no-match"
        transaction, found = await search(site, facility="IN0000000002")
        assert found["state"] == "found"
        body = orjson.loads(orjson.dumps({"transactionId": transaction, "abhaAddress": PEOPLE[0].address}))
        (reference,) = site.ours.rows("abdm_context", "reference")[0]
        body["patient"] = [{"referenceNumber": "LR-X", "careContexts": [{"referenceNumber": reference}]}]
        assert await sends(site, INIT, body) == ("folded", "no-offer")
        assert await choose(site, transaction) == "otp-sent"
        assert await type_code(site, transaction, codes(site)[0][1]) == "linked"


async def test_a_wrong_code_links_nothing_and_the_third_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=with_sms) as site:
        await site.ours.offer(report_of("A-1"), None)
        transaction, _ = await search(site)
        await choose(site, transaction)
        code = codes(site)[0][1]
        for by in range(1, discovery.TRIES + 1):
            assert await type_code(site, transaction, other_than(code, by)) == "otp-refused"
        assert await type_code(site, transaction, code) == "otp-refused"
        await site.is_clean()

        assert site.ours.states() == ["waiting"]
        assert site.ours.rows("abdm_code", "state, wrong, reason") == [("over", 3, "too-many-wrong")]
        # another code of the same search, where the patient chooses again
        assert await choose(site, transaction) == "otp-sent"
        assert await type_code(site, transaction, codes(site)[1][1]) == "linked"


async def test_a_wrong_code_leaves_another_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=with_sms) as site:
        await site.ours.offer(report_of("A-1"), None)
        transaction, _ = await search(site)
        await choose(site, transaction)
        code = codes(site)[0][1]
        assert await type_code(site, transaction, other_than(code)) == "otp-refused"
        assert await type_code(site, transaction, "no code") == "otp-refused"
        assert await type_code(site, transaction, code) == "linked"
        await site.is_clean()


async def test_a_late_code_links_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=with_sms) as site:
        await site.ours.offer(report_of("A-1"), None)
        transaction, _ = await search(site)
        await choose(site, transaction)
        await changed(site, "UPDATE abdm_code SET ends_us = 1")
        assert await type_code(site, transaction, codes(site)[0][1]) == "otp-refused"
        await site.is_clean()

        assert site.ours.states() == ["waiting"]


async def test_a_choice_after_the_offer_has_ended_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=with_sms) as site:
        await site.ours.offer(report_of("A-1"), None)
        transaction, _ = await search(site)
        await changed(site, "UPDATE abdm_offer SET ends_us = 1")
        assert await choose(site, transaction) == "init-failed"
        await site.is_clean()
        assert codes(site) == []


@pytest.mark.parametrize("name", ["discover", "init", "confirm"])
@pytest.mark.parametrize("kind", ["duplicate", "repeat", "late-token", "no-prefix", "wrong-signature", "not-json"])
async def test_a_callback_of_any_habit_is_answered_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(callbacks={name: [kind]}), config=with_sms) as site:
        await site.ours.offer(report_of("A-1"), None)
        transaction, _ = await search(site)
        assert await choose(site, transaction) == "otp-sent"
        assert await type_code(site, transaction, codes(site)[0][1]) == "linked"
        await until(lambda: len(site.ours.rows("abdm_callback")) >= 3 + (kind == "repeat"))
        await site.ours.is_told(1)
        await site.is_clean()

        assert len(codes(site)) == 1


async def test_a_wrong_code_that_comes_again_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(callbacks={"confirm": ["repeat"]}), config=with_sms) as site:
        await site.ours.offer(report_of("A-1"), None)
        transaction, _ = await search(site)
        await choose(site, transaction)
        assert await type_code(site, transaction, other_than(codes(site)[0][1])) == "otp-refused"
        await until(lambda: len(site.ours.rows(f"abdm_callback WHERE path = '{CONFIRM}'")) == 2)
        await site.is_clean()
        assert site.ours.rows("abdm_code", "wrong") == [(1,)]


@pytest.mark.parametrize("name", ["on-discover", "on-init", "on-confirm"])
@pytest.mark.parametrize("kind", ["503", "lost", "reset", "429", "401", "html"])
async def test_an_answer_that_fails_is_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    faults = Faults(calls={name: [kind]}, retry_after_s=0)
    async with abdm_site(tmp_path, monkeypatch, faults, config=with_sms) as site:
        number = await site.ours.offer(report_of("A-1"), None)
        transaction, _ = await search(site)
        assert await choose(site, transaction) == "otp-sent"
        assert await type_code(site, transaction, codes(site)[0][1]) == "linked"
        await site.ours.is_told(number)
        await site.is_clean()
        assert site.ours.states() == ["linked"]


async def test_links_that_the_gateway_does_not_take_are_made_by_the_laboratory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(calls={"on-confirm": ["ABDM-1111 Invalid"]})
    async with abdm_site(tmp_path, monkeypatch, faults, config=with_sms) as site:
        number = await site.ours.offer(report_of("A-1"), None)
        transaction, _ = await search(site)
        await choose(site, transaction)
        await site.ask("/app/confirm", {"transactionId": transaction, "otp": codes(site)[0][1]})
        await site.ours.is_told(number)
        assert await site.ask("/violations") == []
        assert len(site.sandbox.state.linked) == 1


async def test_an_sms_service_that_is_down_is_said_to_the_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(url: str) -> Any:
        return with_sms(url, sms={"url": f"{url}/nothing-here", "body": "{mobile} {code}", "type": "text"})

    async with abdm_site(tmp_path, monkeypatch, config=down) as site:
        await site.ours.offer(report_of("A-1"), None)
        transaction, _ = await search(site)
        assert await choose(site, transaction) == "init-failed"
        await site.is_clean()

        assert site.ours.rows("abdm_code", "state, reason, length(text)") == [("over", "sms-not-taken", 0)]
        assert site.ours.states() == ["waiting"]


async def test_an_answer_without_the_text_of_a_good_one_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strict(url: str) -> Any:
        return with_sms(url, sms={"url": f"{url}/sms", "body": "{mobile} {code}", "type": "text", "taken": "queued"})

    async with abdm_site(tmp_path, monkeypatch, config=strict) as site:
        await site.ours.offer(report_of("A-1"), None)
        transaction, _ = await search(site)
        assert await choose(site, transaction) == "init-failed"
        await site.is_clean()


async def changed(site: AbdmSite, *statements: str) -> None:
    @operation(priority=Priority.SETTLE)
    def change(batch: Batch) -> None:
        for one in statements:
            batch.execute(one)

    await site.ours.journal.run(change)


async def becomes_anothers(site: AbdmSite) -> None:
    await site.ours.offer(report_of("A-1", 1, message_id=2), None)


async def is_linked_to_another(site: AbdmSite) -> None:
    await site.ours.offer(report_of("A-1", 1, message_id=2, abha=True), person(1))
    await site.ours.is_quiet()


async def is_withdrawn(site: AbdmSite) -> None:
    @operation(priority=Priority.SETTLE)
    def withdraw(batch: Batch) -> None:
        contexts.withdraw(batch, 1, "by-hand")

    await site.ours.journal.run(withdraw)


async def gets_a_twin(site: AbdmSite) -> None:
    await site.ours.offer(report_of("A-2", own="PID-9", message_id=2), None)


async def leaves_the_network(site: AbdmSite) -> None:
    @operation(priority=Priority.SETTLE)
    def left(batch: Batch) -> None:
        leave(batch, PEOPLE[0].address, FACILITY)

    await site.ours.journal.run(left)


MEANWHILE = [leaves_the_network, becomes_anothers, is_linked_to_another, is_withdrawn, gets_a_twin]


@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize("before", ["init", "confirm"])
async def test_who_is_meant_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Any, before: str
) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=with_sms) as site:
        await site.ours.offer(report_of("A-1"), None)
        transaction, found = await search(site)
        assert found["state"] == "found"
        if before == "init":
            await meanwhile(site)
            assert await choose(site, transaction) == "init-failed"
            assert codes(site) == []
        else:
            await choose(site, transaction)
            await meanwhile(site)
            assert await type_code(site, transaction, codes(site)[0][1]) == "otp-refused"
        await site.is_clean()

        shown = await site.ask(f"/app/{PEOPLE[0].address}")
        assert shown["linked"] == []


async def test_a_patient_who_had_left_is_back_by_his_own_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=with_sms) as site:
        first = await site.ours.offer(report_of("A-1", abha=True), person())
        await site.ours.is_told(first)
        await site.ours.leave(person().address)
        await site.ours.offer(report_of("A-2", message_id=2), None)
        transaction, found = await search(site)
        assert len(found["offered"]) == 1
        await choose(site, transaction)
        assert await type_code(site, transaction, codes(site)[0][1]) == "linked"
        await site.ours.is_told(2)
        assert site.ours.rows("abdm_patient", "state") == [("known",)]


PERSON = {"id": "meera.iyer@sbx", "name": "Meera Iyer", "gender": "F", "yearOfBirth": 1986}
CHOICE = [{"referenceNumber": "P", "careContexts": [{"referenceNumber": "C"}]}]
MALFORMED: list[tuple[str, Any, str]] = [
    (DISCOVER, {"patient": PERSON}, "no-transaction"),
    (DISCOVER, {"transactionId": None, "patient": PERSON}, "no-transaction"),
    (DISCOVER, {"transactionId": "x" * 300, "patient": PERSON}, "no-transaction"),
    (DISCOVER, {"transactionId": "t"}, "no-patient"),
    (DISCOVER, {"transactionId": "t", "patient": [PERSON]}, "no-patient"),
    (DISCOVER, {"transactionId": "t", "patient": PERSON | {"id": "nobody"}}, "no-address"),
    (DISCOVER, {"transactionId": "t", "patient": PERSON | {"id": 7}}, "no-address"),
    (DISCOVER, {"transactionId": "t", "patient": PERSON | {"name": ""}}, "no-name"),
    (DISCOVER, {"transactionId": "t", "patient": PERSON | {"gender": "female"}}, "no-gender"),
    (DISCOVER, {"transactionId": "t", "patient": PERSON | {"yearOfBirth": "86"}}, "no-year"),
    (DISCOVER, {"transactionId": "t", "patient": PERSON | {"yearOfBirth": True}}, "no-year"),
    (DISCOVER, {"transactionId": "t", "patient": PERSON | {"verifiedIdentifiers": "x"}}, "identifiers"),
    (DISCOVER, {"transactionId": "t", "patient": PERSON | {"verifiedIdentifiers": [{}] * 21}}, "identifiers"),
    (DISCOVER, {"transactionId": "t", "patient": PERSON | {"unverifiedIdentifiers": [1]}}, "identifiers"),
    (
        DISCOVER,
        {
            "transactionId": "t",
            "patient": PERSON | {"verifiedIdentifiers": [{"type": "ABHA_ADDRESS", "value": "other@sbx"}]},
        },
        "two-addresses",
    ),
    (INIT, {"abhaAddress": "a@sbx", "patient": CHOICE}, "no-transaction"),
    (INIT, {"transactionId": "t", "patient": CHOICE}, "no-address"),
    (INIT, {"transactionId": "t", "abhaAddress": "a@sbx"}, "no-choice"),
    (INIT, {"transactionId": "t", "abhaAddress": "a@sbx", "patient": []}, "no-choice"),
    (INIT, {"transactionId": "t", "abhaAddress": "a@sbx", "patient": [{"referenceNumber": "P"}]}, "no-choice"),
    (INIT, {"transactionId": "t", "abhaAddress": "a@sbx", "patient": [{"careContexts": [{}]}]}, "no-choice"),
    (
        INIT,
        {"transactionId": "t", "abhaAddress": "a@sbx", "patient": [CHOICE[0] | {"careContexts": ["C"]}]},
        "no-choice",
    ),
    (CONFIRM, {}, "no-confirmation"),
    (CONFIRM, {"confirmation": "x"}, "no-confirmation"),
    (CONFIRM, {"confirmation": {"token": "123456"}}, "no-link"),
    (CONFIRM, {"confirmation": {"linkRefNumber": "x"}}, "no-code"),
    (CONFIRM, {"confirmation": {"linkRefNumber": "x", "token": ["1"]}}, "no-code"),
    (CONFIRM, {"confirmation": {"linkRefNumber": "x", "token": True}}, "no-code"),
    (CONFIRM, {"confirmation": {"linkRefNumber": "x", "token": "1" * 300}}, "no-code"),
]


async def test_a_body_that_cannot_be_used_is_set_aside_with_its_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=with_sms) as site:
        await site.ours.offer(report_of("A-1"), None)
        for path, body, reason in MALFORMED:
            assert await sends(site, path, body) == ("refused", reason), (path, body)
        assert site.ours.rows("abdm_call") == []
        assert site.ours.rows("abdm_offer") == site.ours.rows("abdm_code") == []


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())


async def test_no_code_and_no_mobile_is_in_a_log_or_in_the_journal_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "labrelay")
    async with abdm_site(tmp_path, monkeypatch, config=with_sms) as site:
        await site.ours.offer(report_of("A-1"), None)
        transaction, _ = await search(site)
        await choose(site, transaction)
        code = codes(site)[0][1]
        await type_code(site, transaction, other_than(code))
        await type_code(site, transaction, code)
        await site.is_clean()
    said = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    kept = content(tmp_path)
    for word in (code, PEOPLE[0].mobile, PEOPLE[0].address, PEOPLE[0].name):
        assert word not in said
        assert word == code or word.encode() not in kept  # six digits are in any file of numbers


async def test_a_stop_between_any_two_steps_sends_no_second_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=with_sms) as site:
        number = await site.ours.offer(report_of("A-1"), None)
        transaction, _ = await search(site)
        await site.restart()
        assert await choose(site, transaction) == "otp-sent"
        await site.restart()
        assert await type_code(site, transaction, codes(site)[0][1]) == "linked"
        await site.restart()
        await site.ours.is_told(number)
        await site.is_clean()
        assert len(set(codes(site))) == 1
