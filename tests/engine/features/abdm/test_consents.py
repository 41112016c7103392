"""Consents against the simulator: what is kept of each, what is answered, and what may go out under it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from engine.features.abdm.client import gateway
from engine.features.abdm.flows import consents as flow
from engine.features.abdm.flows import linking
from engine.features.abdm.lists import consent_in_full
from engine.features.abdm.rows import callbacks, calls, contexts
from engine.features.abdm.rows import consents as kept_consents
from engine.features.abdm.rows import details as abdm_details
from engine.features.abdm.rules.care_contexts import Wait
from engine.features.abdm.rules.consents import DataRequest, Period, Refusal
from engine.features.abdm.rules.network import Callback
from engine.features.abdm.wire.times import written
from engine.model.process.clock import SystemClock
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.lifecycle import erasure
from engine.store.queries.reader import Rows
from tests.support.abdm_site import FACILITY, AbdmSite, abdm_site, destination, person, report
from tests.support.waiting import until
from workbench.abdm import Faults
from workbench.abdm.people import PEOPLE

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ROW = "state, reason"


@asynccontextmanager
async def linked_site(
    folder: Path, monkeypatch: pytest.MonkeyPatch, faults: Faults | None = None, **settings: Any
) -> AsyncIterator[AbdmSite]:
    """A site whose first person has a linked report."""
    async with abdm_site(folder, monkeypatch, faults, **settings) as site:
        await site.ours.is_told(await site.ours.offer(report(), person()))
        yield site


async def granted(site: AbdmSite, **other: Any) -> str:
    body = {"patient": PEOPLE[0].address, "facility": FACILITY, **other}
    async with site.http.post(f"{site.sandbox.url}/app/grant", json=body) as answer:
        assert answer.status in (200, 202), await answer.text()
        return str((await answer.json())["consentId"])


async def ended(site: AbdmSite, act: str, consent_id: str, **other: Any) -> None:
    body = {"consentId": consent_id, **other}
    async with site.http.post(f"{site.sandbox.url}/app/{act}", json=body) as answer:
        assert answer.status in (200, 202), await answer.text()


async def folded(site: AbdmSite, count: int) -> None:
    """Wait until so many notices are folded, and answered."""
    where = f"abdm_callback WHERE path = '{flow.NOTICE}' AND state <> 'stored'"
    await until(lambda: len(site.ours.rows(where)) >= count)
    await site.ours.is_quiet()


def asked(consent_id: str, **other: Any) -> DataRequest:
    said: dict[str, Any] = {
        "transaction_id": str(uuid4()), "consent_id": consent_id, "push_url": "https://x.example", "key_material": {},
        "period": Period(NOW - timedelta(days=1), NOW),
    }  # fmt: skip
    return DataRequest(**(said | other))


def refusal(
    site: AbdmSite, consent_id: str, *, facility: str = FACILITY, after: timedelta = timedelta(0), **other: Any
) -> Refusal | None:
    number = dict(site.ours.rows("abdm_consent", "consent_id, number")).get(consent_id, 0)
    now = datetime.now(UTC) + after

    journal = site.ours.journal
    with journal.snapshot() as execute:
        rows = Rows(execute, journal.vault)
        kept = kept_consents.by_number(rows, number) if number else None
        said = flow.may_go(rows, site.config, kept, asked(consent_id, **other), facility, now)
    return said if isinstance(said, Refusal) else None


def answers(site: AbdmSite) -> list[str]:
    """Of notices, in their order: OK, or the code of the error."""
    journal, found = site.ours.journal, []
    with journal.snapshot() as execute:
        rows = Rows(execute, journal.vault)
        for (number,) in site.ours.rows(f"abdm_call WHERE name = '{flow.ANSWER}' ORDER BY number", "number"):
            call = calls.by_number(rows, number)
            assert call is not None
            error = call.body.get("error")
            found.append(error["code"] if error else call.body["acknowledgement"]["status"])
    return found


async def put_in(site: AbdmSite, body: Any, *, late_s: int = 0, facility: str = FACILITY) -> None:
    """A notice in the journal, as the listener keeps it; the simulator knows nothing of it."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    await site.ours.journal.run(callbacks.store, flow.NOTICE, facility, str(uuid4()), raw, late_s)
    site.ours.dispatcher.stored()
    await until(lambda: not site.ours.rows("abdm_callback WHERE state = 'stored'"))


async def test_a_grant_is_kept_as_it_came_and_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with linked_site(tmp_path, monkeypatch) as site:
        consent_id = await granted(site)
        await folded(site, 1)
        await site.is_clean()

        assert site.ours.rows("abdm_consent", ROW) == [("GRANTED", "")]
        assert site.sandbox.state.consents[consent_id].acknowledged == ["GRANTED"]
        assert refusal(site, consent_id) is None


@pytest.mark.parametrize(
    ("act", "state", "why"), [("revoke", "REVOKED", Refusal.NOT_GRANTED), ("expire", "EXPIRED", Refusal.EXPIRED)]
)
@pytest.mark.parametrize("detail", [False, True])
async def test_a_consent_that_ends_lets_nothing_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str, state: str, why: Refusal, detail: bool
) -> None:
    async with linked_site(tmp_path, monkeypatch) as site:
        consent_id = await granted(site)
        await folded(site, 1)
        await ended(site, act, consent_id, withDetail=detail)
        await folded(site, 2)
        await site.is_clean()

        assert refusal(site, consent_id) is why
        assert site.sandbox.state.consents[consent_id].acknowledged == ["GRANTED", state]
        assert answers(site) == ["OK", "OK"]


@pytest.mark.parametrize("kind", ["duplicate", "repeat", "reordered", "late", "early", "late-token", "no-prefix"])
async def test_notices_of_any_habit_count_once_and_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    async with linked_site(tmp_path, monkeypatch) as site:
        await site.fail(callbacks={"consent-notify": [kind]})
        consent_id = await granted(site)
        await ended(site, "revoke", consent_id)
        await folded(site, 2)
        await site.is_clean()

        assert site.ours.rows("abdm_consent", ROW) == [("REVOKED", "")]
        assert refusal(site, consent_id) is Refusal.NOT_GRANTED


FORGED = ("expired", "wrong-signature", "unknown-key", "no-token", "other-facility", "too-large")


@pytest.mark.parametrize("kind", FORGED)
async def test_a_forged_notice_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    async with linked_site(tmp_path, monkeypatch) as site:
        await site.fail(callbacks={"consent-notify": [kind]})
        consent_id = await granted(site)
        # The beginning of a body that is too long is kept, as that of each notice.
        await folded(site, 1 + (kind == "too-large"))
        await site.is_clean()

        assert refusal(site, consent_id) is None
        assert len(site.ours.rows(f"abdm_callback WHERE path = '{flow.NOTICE}' AND state = 'folded'")) == 1


def grant_of(site: AbdmSite, consent_id: str = "c-1", **other: Any) -> dict[str, Any]:
    """A grant of the one linked report, that the simulator does not know."""
    ((reference, patient),) = site.ours.rows(
        "abdm_context c JOIN abdm_patient p ON p.number = c.patient", "c.reference, p.reference"
    )
    detail = {
        "consentId": consent_id,
        "patient": {"id": PEOPLE[0].address},
        "careContexts": [{"patientReference": patient, "careContextReference": reference}],
        "purpose": {"code": "CAREMGT"},
        "hip": {"id": FACILITY},
        "hiu": {"id": "HIU-1", "name": "Dr Made-up"},
        "hiTypes": ["DiagnosticReport"],
        "permission": {
            "accessMode": "VIEW",
            "dateRange": {"from": written(NOW - 30 * DAY), "to": written(NOW + DAY)},
            "dataEraseAt": written(NOW + DAY),
            "frequency": {"unit": "HOUR", "value": 1, "repeats": 0},
        },
    }
    return {"notification": {"status": "GRANTED", "consentId": consent_id, "consentDetail": detail | other}}


def word(status: str, consent_id: str = "c-1") -> dict[str, Any]:
    return {"notification": {"status": status, "consentId": consent_id}}


# what comes -> state, reason, why nothing goes
HISTORIES: list[tuple[str, str, str, Refusal | None]] = [
    ("G", "GRANTED", "", None),
    ("GG", "GRANTED", "", None),
    ("GR", "REVOKED", "", Refusal.NOT_GRANTED),
    ("Gr", "REVOKED", "", Refusal.NOT_GRANTED),
    ("RG", "REVOKED", "", Refusal.NOT_GRANTED),
    ("RGG", "REVOKED", "", Refusal.NOT_GRANTED),
    ("GRG", "REVOKED", "", Refusal.NOT_GRANTED),
    ("GD", "DENIED", "", Refusal.NOT_GRANTED),
    ("D", "DENIED", "", Refusal.NOT_GRANTED),
    ("Q", "REQUESTED", "", Refusal.NOT_GRANTED),
    ("QG", "GRANTED", "", None),
    ("GQ", "GRANTED", "", None),
    ("GE", "EXPIRED", "", Refusal.EXPIRED),
    ("EG", "EXPIRED", "", Refusal.EXPIRED),
    ("ER", "REVOKED", "", Refusal.NOT_GRANTED),
    ("GO", "GRANTED", "disputed", Refusal.DISPUTED),
    ("GOG", "GRANTED", "disputed", Refusal.DISPUTED),
    ("GOR", "REVOKED", "disputed", Refusal.NOT_GRANTED),
    ("F", "GRANTED", "other_facility", Refusal.OTHER_FACILITY),
    ("N", "GRANTED", "unknown_context", Refusal.NOT_GRANTED),
    ("M", "GRANTED", "", None),
    ("MR", "REVOKED", "", Refusal.NOT_GRANTED),
    ("V", "GRANTED", "other_patient", Refusal.NOT_GRANTED),
    ("P", "GRANTED", "other_patient", Refusal.NOT_GRANTED),
    ("W", "GRANTED", "other_patient", Refusal.NOT_GRANTED),
    ("C", "GRANTED", "no_context", Refusal.NOT_GRANTED),
    ("PR", "REVOKED", "", Refusal.NOT_GRANTED),
    ("NG", "GRANTED", "disputed", Refusal.DISPUTED),
    ("Gb", "GRANTED", "", None),  # a grant that cannot be read says nothing of the one before
    ("GX", "REVOKED", "unreadable", Refusal.NOT_GRANTED),
    ("XG", "REVOKED", "unreadable", Refusal.NOT_GRANTED),
    ("GY", "GRANTED", "suspended", Refusal.NOT_GRANTED),
    ("GYG", "GRANTED", "", None),
    ("GYR", "REVOKED", "", Refusal.NOT_GRANTED),
    ("GOY", "GRANTED", "disputed", Refusal.DISPUTED),  # what hides it is not lifted by a grant
    ("PYP", "GRANTED", "other_patient", Refusal.NOT_GRANTED),
    ("GRX", "REVOKED", "", Refusal.NOT_GRANTED),
]


def notices(site: AbdmSite) -> dict[str, Any]:
    ((reference, patient),) = site.ours.rows(
        "abdm_context c JOIN abdm_patient p ON p.number = c.patient", "c.reference, p.reference"
    )
    return {
        "G": grant_of(site),
        "O": grant_of(site, purpose={"code": "PATRQT"}),
        "R": word("REVOKED"),
        "r": word("REVOKED", "C-1"),  # a UUID in letters of the other case
        "E": word("EXPIRED"),
        "D": word("DENIED"),
        "Q": word("REQUESTED"),
        "F": grant_of(site, hip={"id": "IN0000000009"}),
        "N": grant_of(site, careContexts=[{"patientReference": patient, "careContextReference": "LR-NONE"}]),
        "M": grant_of(
            site,
            careContexts=[
                {"patientReference": patient, "careContextReference": "LR-NONE"},
                {"patientReference": patient, "careContextReference": reference},
            ],
        ),
        "V": grant_of(
            site,
            careContexts=[
                {"patientReference": patient, "careContextReference": "LR-NONE"},
                {"patientReference": "LR-OTHER", "careContextReference": reference},
            ],
        ),
        "P": grant_of(site, patient={"id": PEOPLE[1].address}),
        "W": grant_of(site, careContexts=[{"patientReference": "LR-OTHER", "careContextReference": reference}]),
        "C": grant_of(site, careContexts=[]),
        "b": grant_of(site, permission=7),
        "X": {"notification": [{"status": ["REVOKED"], "consentId": "c-1"}]},
        "Y": {"notification": {"status": "PAUSED", "consentId": "c-1"}},
    }


@pytest.mark.parametrize(("history", "state", "reason", "why"), HISTORIES)
async def test_what_notices_make_of_a_consent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, history: str, state: str, reason: str, why: Refusal | None
) -> None:
    async with linked_site(tmp_path, monkeypatch) as site:
        site.ours.takes_answers()
        known = notices(site)
        for sign in history:
            await put_in(site, known[sign])
            await site.ours.is_quiet()

        assert site.ours.rows("abdm_consent", ROW) == [(state, reason)]
        assert refusal(site, "c-1") is why
        refused = set("FNVPWCObXY") & set(history)
        answered = answers(site)
        assert len(answered) == len(history)
        assert answered[-1] == "OK" or refused


async def test_a_grant_that_cannot_be_ours_is_answered_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with linked_site(tmp_path, monkeypatch) as site:
        known = notices(site)
        for sign in "FNPbY":
            body = orjson.loads(orjson.dumps(known[sign]).replace(b"c-1", f"c-{sign}".encode()))
            await put_in(site, body)

        assert answers(site) == ["ABDM-1112", "ABDM-1057", "ABDM-1057", "ABDM-1010", "ABDM-1010"]


async def sent_raw(site: AbdmSite, raw: bytes, request_id: str) -> int:
    """A body of any bytes, with a token of the gateway; the status of the answer."""
    headers = {
        "Authorization": site.sandbox._signer.callback(site.sandbox.state.now_s()),
        "REQUEST-ID": request_id, "X-HIP-ID": FACILITY, "Content-Type": "application/json",
    }  # fmt: skip
    async with site.http.post(f"{site.ours.url}/api{flow.NOTICE}", data=BytesIO(raw), headers=headers) as answer:
        return answer.status


@pytest.mark.parametrize(
    ("tail", "status"), [(b', "x": nul', 400), (b"}}\n\xff", 400), (b', "x": "' + b"-" * 1_100_000 + b'"}}', 413)]
)
async def test_a_revocation_whose_body_is_broken_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tail: bytes, status: int
) -> None:
    async with linked_site(tmp_path, monkeypatch) as site:
        consent_id = await granted(site)
        await folded(site, 1)
        raw = b'{"notification": {"status": "REVOKED", "consentId": "%s"' % consent_id.encode()
        request_id = str(uuid4())
        assert await sent_raw(site, raw + tail, request_id) == status
        assert await sent_raw(site, raw + tail, request_id) == status  # and a repeat is kept once
        await folded(site, 2)

        assert site.ours.rows("abdm_consent", ROW) == [("REVOKED", "unreadable")]
        assert refusal(site, consent_id) is Refusal.NOT_GRANTED
        assert await sent_raw(site, raw + b"}}", request_id) == 202  # the whole one is no repeat of it
        await folded(site, 3)
        assert site.ours.rows("abdm_callback ORDER BY number DESC LIMIT 1", ROW) == [("folded", "repeat")]


async def test_a_fault_of_ours_keeps_no_revocation_from_counting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(batch: Any, ours: Any, callback: Callback) -> str:
        if b"REVOKED" in callback.raw:
            raise RuntimeError("a fault of ours")
        return flow.FLOW.callbacks[flow.NOTICE](batch, ours, callback)

    flows = (linking.FLOW, replace(flow.FLOW, callbacks={flow.NOTICE: faulty}))
    async with linked_site(tmp_path, monkeypatch, flows=flows) as site:
        consent_id = await granted(site)
        await folded(site, 1)
        await ended(site, "revoke", consent_id)
        await folded(site, 2)
        await site.is_clean()

        assert refusal(site, consent_id) is Refusal.NOT_GRANTED
        assert site.ours.rows("abdm_consent", ROW) == [("REVOKED", "unreadable")]
        assert site.sandbox.state.consents[consent_id].acknowledged == ["GRANTED", "REVOKED"]


async def test_a_second_fault_sets_the_notice_aside_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(*_: Any) -> str:
        raise RuntimeError("a fault of ours")

    flows = (linking.FLOW, replace(flow.FLOW, callbacks={flow.NOTICE: faulty}, refused={flow.NOTICE: faulty}))  # type: ignore[dict-item]
    async with linked_site(tmp_path, monkeypatch, flows=flows) as site:
        await granted(site)
        await folded(site, 1)

        where = f"abdm_callback WHERE path = '{flow.NOTICE}'"
        assert site.ours.rows(where, ROW) == [("refused", "fault")]


@operation(priority=Priority.SETTLE)
def is_doubted(batch: Batch) -> None:
    contexts.hold(batch, 1, Wait.COUNTED, patient=0)


@pytest.mark.parametrize("was", ["erased", "doubted"])
async def test_a_report_whose_patient_is_not_known_any_more_says_nothing_of_the_others_of_a_consent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, was: str
) -> None:
    """It stays here, and they go: the app names all that was ever linked."""
    async with linked_site(tmp_path, monkeypatch) as site:
        if was == "erased":
            await site.ours.journal.run(erasure.erase, [], ["PID-0"], actor="a", reason="b", more={})
            site.sandbox.state.drop_token(FACILITY, PEOPLE[0].address)
        else:
            await site.ours.journal.run(is_doubted)
        alone = await granted(site)
        await folded(site, 1)
        assert (site.ours.rows("abdm_consent", ROW), answers(site)) == ([("GRANTED", "unknown_context")], ["ABDM-1057"])
        assert refusal(site, alone) is Refusal.NOT_GRANTED

        await site.ours.is_told(await site.ours.offer(report("A-2", message_id=2), person()))
        both = await granted(site)
        await folded(site, 2)
        assert site.ours.rows("abdm_consent WHERE number = 2", ROW) == [("GRANTED", "")]
        assert refusal(site, both) is None
        assert len(site.sandbox.state.consents[both].contexts) == 2


async def test_a_consent_ends_by_itself_while_the_service_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with linked_site(tmp_path, monkeypatch) as site:
        keeping = asyncio.create_task(flow.keep_time(site.ours.journal, SystemClock()))
        try:
            consent_id = await granted(site, eraseAt=written(datetime.now(UTC) + timedelta(seconds=1.5)))
            await folded(site, 1)
            # the first look was before the consent came: its wait is not longer than IDLE_S
            keeping.cancel()
            keeping = asyncio.create_task(flow.keep_time(site.ours.journal, SystemClock()))
            await until(lambda: site.ours.rows("abdm_consent", ROW) == [("EXPIRED", "")])
            assert refusal(site, consent_id) is Refusal.EXPIRED
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)


async def test_a_stop_between_any_two_steps_loses_no_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with linked_site(tmp_path, monkeypatch, repeats=2000) as site:
        await site.fail(callbacks={"consent-notify": ["late", "late"]}, late_s=0.3)
        consent_id = await granted(site)
        await site.restart()
        await ended(site, "revoke", consent_id)
        await site.restart()
        await site.restart()
        await folded(site, 2)
        await site.is_clean()

        assert site.ours.rows("abdm_consent", ROW) == [("REVOKED", "")]


# consent_signatures, kinds of the notices of one grant -> the reason of the consent, and the answers
SIGNED: dict[str, tuple[str, list[str | None], str, list[str]]] = {
    "kept, of the gateway": ("keep", [None], "", ["OK"]),
    "kept, of another": ("keep", ["wrong-consent-signature"], "", ["OK"]),
    "verified, of the gateway": ("verify", [None], "", ["OK"]),
    "verified, of another": ("verify", ["wrong-consent-signature"], "bad_signature", ["ABDM-1112"]),
}


@pytest.mark.parametrize("name", SIGNED)
async def test_a_grant_counts_with_the_signature_that_the_configuration_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    setting, kinds, reason, said = SIGNED[name]
    config = partial(destination, consent_signatures=setting)
    async with linked_site(tmp_path, monkeypatch, config=config) as site:
        await site.fail(callbacks={"consent-notify": [*kinds, "wrong-consent-signature"]})
        consent_id = await granted(site)
        await folded(site, 1)

        assert (site.ours.rows("abdm_consent", ROW), answers(site)) == ([("GRANTED", reason)], said)
        shown = abdm_details.consent(site.ours.journal, 1)
        assert shown is not None
        is_verified = consent_in_full(shown)["signature"] == "verified"
        assert is_verified == ((setting, reason) == ("verify", ""))
        assert refusal(site, consent_id) is (Refusal.NOT_GRANTED if reason else None)

        await ended(site, "revoke", consent_id, withDetail=True)  # its signature is wrong
        await folded(site, 2)
        assert (site.ours.rows("abdm_consent", ROW), answers(site)) == ([("REVOKED", "")], [*said, "OK"])


# Faults of the gateway's keys, kind of the notice -> reason of the consent, answers, how often keys are fetched.
NEW_KEY: dict[str, tuple[list[str], str | None, str, list[str], int]] = {
    "they can be had": ([], None, "", ["OK"], 1),
    "they cannot be had": (["503"], None, "bad_signature", ["ABDM-1112"], 1),
    "they can be had once the grant comes again": (["503"], "repeat", "", ["ABDM-1112", "OK"], 2),
}


@pytest.mark.parametrize("name", NEW_KEY)
async def test_the_gateways_keys_are_fetched_anew_for_a_signature_by_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The callback itself is proven by the key that is known."""
    faults, kind, reason, said, fetched = NEW_KEY[name]
    monkeypatch.setattr(gateway, "UNKNOWN_KEY_S", 0.0)
    async with linked_site(tmp_path, monkeypatch, config=partial(destination, consent_signatures="verify")) as site:
        old = await granted(site)
        await folded(site, 1)
        counts = site.sandbox.state.counts
        before = counts["call certs"]
        site.sandbox.new_key_of_consents()
        await site.fail(calls={"certs": faults}, callbacks={"consent-notify": [kind]})
        new = await granted(site)
        await folded(site, 1 + len(said))

        assert (refusal(site, old), refusal(site, new)) == (None, Refusal.NOT_GRANTED if reason else None)
        assert site.ours.rows("abdm_consent ORDER BY number", ROW) == [("GRANTED", ""), ("GRANTED", reason)]
        assert (answers(site), counts["call certs"] - before) == (["OK", *said], fetched)
