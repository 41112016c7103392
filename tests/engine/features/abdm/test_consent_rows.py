"""Consents in the journal: ends, the clock, suspension, faults of ours, and what is forgotten."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.features.abdm.flows import consents as flow
from engine.features.abdm.flows import requests, turns
from engine.features.abdm.rows import callbacks, consents, forgetting, leaving, patients, transfers
from engine.features.abdm.rows.reading import RefusedCallbacks, refused_callbacks, undecided
from engine.features.abdm.rules.consents import Refusal
from engine.features.abdm.rules.network import Callback, CallbackState, PageState, Verdict
from engine.features.abdm.wire.times import instant, written
from engine.model.process.clock import ManualClock, from_us
from engine.store.core.writing.batch import Batch
from engine.store.integrity.verify import run as verify
from engine.store.lifecycle import erasure
from engine.store.queries.acts import acts_page
from engine.store.queries.reader import Rows
from tests.support.abdm_consents import OURS, Desk, word
from tests.support.abdm_site import FACILITY, destination, person
from workbench.abdm.people import PEOPLE

DAY_S = 86_400.0
PAGE = "SELECT state, reason, length(body) FROM abdm_page"
TRANSFER = "SELECT state, reason FROM abdm_transfer"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def desk(tmp_path: Path, clock: ManualClock) -> Iterator[Desk]:
    made = Desk(tmp_path, clock)
    yield made
    made.journal.close()


@pytest.mark.parametrize("status", ["REVOKED", "EXPIRED", "DENIED"])
def test_an_end_stops_open_transfers_and_deletes_their_pages(desk: Desk, status: str) -> None:
    desk.notice(desk.grant())
    desk.transfer()
    assert desk.journal.rows(PAGE)[0][0] == "sealed"
    desk.notice(word(status))

    assert desk.journal.rows(PAGE) == [("failed", status.lower(), 0)]
    assert desk.journal.rows(TRANSFER) == [("pushing", status.lower())]


def test_a_page_that_was_delivered_stays_so(desk: Desk) -> None:
    desk.notice(desk.grant())
    number = desk.transfer()
    desk.journal.run_alone(
        lambda batch: batch.execute("UPDATE abdm_page SET state = 'delivered' WHERE transfer = ?", (number,))
    )
    desk.notice(word("REVOKED"))

    assert desk.journal.rows(PAGE) == [("delivered", "", 0)]


@pytest.mark.parametrize(
    ("state", "stays"), [(PageState.SEALED, True), (PageState.DELIVERED, False), (PageState.FAILED, False)]
)
def test_a_page_has_its_bytes_as_long_as_it_may_be_sent(desk: Desk, state: PageState, stays: bool) -> None:
    desk.notice(desk.grant())
    number = desk.transfer()
    desk.journal.run_alone(transfers.set_page, number, 1, state, status=202)

    ((now, _, length),) = desk.journal.rows(PAGE)
    assert (now, bool(length)) == (state.value, stays)


def test_a_dispute_stops_open_transfers(desk: Desk) -> None:
    desk.notice(desk.grant())
    desk.transfer()
    desk.notice(desk.grant(purpose={"code": "PATRQT"}))

    assert desk.consent() == ("GRANTED", "disputed")
    assert desk.journal.rows(PAGE) == [("failed", "disputed", 0)]
    with desk.journal.snapshot() as execute:
        kept = consents.by_id(Rows(execute, desk.journal.vault), "c-1")
    assert kept is not None
    assert len(kept.content) == 2


def test_a_grant_is_kept_as_it_came(desk: Desk) -> None:
    raw = orjson.dumps(desk.grant()).replace(b'":', b'" :\n ') + b"\n"
    desk.notice(raw)
    with desk.journal.snapshot() as execute:
        kept = consents.by_id(Rows(execute, desk.journal.vault), "c-1")
    assert kept is not None
    assert kept.content == [raw.decode()]


# -- our own clock ---------------------------------------------------------------------------------------------------


def test_a_consent_ends_at_its_time_without_a_notice(desk: Desk, clock: ManualClock) -> None:
    desk.notice(desk.grant(days=1))
    desk.transfer()
    clock.advance(DAY_S - 1)
    assert not desk.journal.run_alone(flow.end_due)
    assert desk.refusal() is None
    clock.advance(1)
    assert desk.refusal() is Refusal.EXPIRED
    assert desk.journal.run_alone(flow.end_due)

    assert desk.consent() == ("EXPIRED", "")
    assert desk.journal.rows(PAGE) == [("failed", "expired", 0)]
    assert not desk.journal.run_alone(flow.end_due)


def test_a_clock_that_leaps_ahead_ends_no_consent_for_good(tmp_path: Path) -> None:
    class Leaping(ManualClock):
        ahead_s = 0.0

        def now_us(self) -> int:
            return super().now_us() + int(self.ahead_s * 1e6)

    clock = Leaping()
    desk = Desk(tmp_path, clock)
    try:
        desk.notice(desk.grant(days=2))
        clock.ahead_s = 400 * DAY_S
        assert not desk.journal.run_alone(flow.end_due)
        clock.ahead_s = 0.0
        assert desk.consent() == ("GRANTED", "")
        assert desk.refusal() is None
    finally:
        desk.journal.close()


# -- how often -------------------------------------------------------------------------------------------------------


def test_a_consent_is_used_as_often_as_it_allows(desk: Desk, clock: ManualClock) -> None:
    grant = desk.grant(days=9)
    permission = grant["notification"]["consentDetail"]["permission"]
    permission["frequency"] = {"unit": "HOUR", "value": 1, "repeats": 1}
    desk.notice(grant)
    assert desk.refusal(transaction_id="t-1") is None
    desk.transfer("t-1")

    assert desk.refusal(transaction_id="t-1") is None  # its own pages go on
    assert desk.refusal(transaction_id="t-2") is Refusal.FREQUENCY
    desk.transfer("t-2")
    assert desk.refusal(transaction_id="t-1") is None  # a later request takes nothing from it
    desk.journal.run_alone(lambda batch: batch.execute("UPDATE abdm_transfer SET state = 'refused' WHERE number = 2"))
    clock.advance(3601)
    assert desk.refusal(transaction_id="t-3") is None


# -- suspended -------------------------------------------------------------------------------------------------------


def test_an_old_or_late_grant_lifts_no_suspension_and_a_new_one_does(desk: Desk, clock: ManualClock) -> None:
    desk.notice(desk.grant(days=9))
    again = desk.grant(days=9)
    waiting = desk.keep(again)  # kept before, folded after
    desk.transfer()
    clock.advance(1)
    assert desk.journal.run_alone(consents.suspend_all) == 1

    assert desk.consent() == ("GRANTED", "suspended")
    assert desk.refusal() is Refusal.NOT_GRANTED
    assert desk.journal.rows(PAGE) == [("failed", "suspended", 0)]
    clock.advance(1)
    desk.fold(waiting)
    assert desk.consent() == ("GRANTED", "suspended")
    desk.notice(again, late_s=700)
    assert desk.consent() == ("GRANTED", "suspended")
    clock.advance(1)
    desk.notice(again)
    assert desk.consent() == ("GRANTED", "")
    assert desk.refusal() is None


# -- the answer to a grant ---------------------------------------------------------------------------------------------


def test_a_grant_counts_once_the_gateway_has_taken_our_answer(desk: Desk) -> None:
    """Any party that has seen a token of the gateway can make one: the gateway refuses an answer to nothing."""
    desk.verdict = None
    desk.notice(desk.grant())
    assert (desk.consent(), desk.refusal()) == (("GRANTED", "doubtful"), None)  # a request is looked at, no page goes
    number = desk.transfer()
    desk.notice(desk.grant())  # a repeat, which its own answer proves
    transfer = desk.journal.run_alone(transfers.by_number, number)
    assert transfer is not None
    assert desk.journal.run_alone(turns._waits_us, transfer) > 0
    desk.journal.run_alone(desk.answer, Verdict.AGAIN)
    assert desk.refusal() is None
    desk.journal.run_alone(desk.answer, Verdict.TAKEN)
    assert (desk.consent(), desk.refusal()) == (("GRANTED", ""), None)
    assert desk.journal.run_alone(turns._waits_us, transfer) == 0
    assert desk.journal.rows(PAGE)[0][0] == "sealed"


def test_a_grant_of_which_the_gateway_refuses_our_answer_stays_doubtful(desk: Desk, clock: ManualClock) -> None:
    desk.verdict = None
    desk.notice(desk.grant())
    desk.transfer()
    assert not undecided(desk.journal), "the answer is under way"
    desk.journal.run_alone(desk.answer, Verdict.FINAL)
    assert (desk.consent(), desk.refusal()) == (("GRANTED", "doubtful"), Refusal.NOT_GRANTED)
    assert desk.journal.rows(PAGE) == [("failed", "doubtful", 0)]
    assert [(one.what, one.count) for one in undecided(desk.journal)] == [("doubtful", 1)]

    desk.verdict = Verdict.TAKEN
    desk.notice(word("GRANTED"))  # names no reports: it proves nothing of the grant that is here
    assert desk.consent() == ("GRANTED", "doubtful")
    desk.notice(desk.grant())
    assert desk.consent() == ("GRANTED", "")
    desk.verdict = Verdict.FINAL
    desk.notice(desk.grant())  # one in force is not lost by a made-up repeat
    assert (desk.consent(), desk.refusal()) == (("GRANTED", ""), None)


def test_a_doubtful_consent_is_resumed_by_a_person_and_suspended_by_a_restore(desk: Desk, clock: ManualClock) -> None:
    desk.verdict = Verdict.FINAL
    desk.notice(desk.grant())
    desk.journal.run_alone(flow.resume, 1, "looked", who="a", looked=True)
    assert (desk.consent(), desk.refusal()) == (("GRANTED", ""), None)
    desk.verdict = None
    desk.notice(desk.grant("c-2"))
    clock.advance(1)
    assert desk.journal.run_alone(consents.suspend_all) == 2
    desk.journal.run_alone(desk.answer, Verdict.TAKEN)
    assert desk.consent("c-2") == ("GRANTED", "suspended")


def test_an_answer_counts_for_no_grant_after_which_the_consent_was_suspended(desk: Desk, clock: ManualClock) -> None:
    desk.verdict, given = None, desk.grant()
    desk.notice(given)
    desk.journal.run_alone(consents.suspend, 1)
    clock.advance(60)
    desk.notice(given)  # it may be made up
    first, second = (number for (number,) in desk.journal.rows("SELECT number FROM abdm_call ORDER BY number"))
    desk.journal.run_alone(desk.answer, Verdict.TAKEN, first)
    assert desk.consent() == ("GRANTED", "doubtful")
    desk.journal.run_alone(desk.answer, Verdict.FINAL, second)
    assert (desk.consent(), desk.refusal()) == (("GRANTED", "doubtful"), Refusal.NOT_GRANTED)


def test_an_answer_to_any_grant_counts_after_which_the_consent_is_doubtful(desk: Desk) -> None:
    desk.verdict = None
    desk.notice(desk.grant())
    desk.notice(desk.grant())
    first, second = (number for (number,) in desk.journal.rows("SELECT number FROM abdm_call ORDER BY number"))
    desk.journal.run_alone(desk.answer, Verdict.FINAL, second)
    assert desk.consent() == ("GRANTED", "doubtful")
    desk.journal.run_alone(desk.answer, Verdict.TAKEN, first)
    assert desk.consent() == ("GRANTED", "")


def test_that_the_first_attempt_was_done_before_proves_no_grant(desk: Desk) -> None:
    desk.verdict = None
    desk.notice(desk.grant())
    desk.journal.run_alone(lambda batch: batch.execute("UPDATE abdm_call SET attempt = 1"))
    desk.journal.run_alone(desk.answer, Verdict.BEFORE)
    assert desk.consent() == ("GRANTED", "doubtful")
    desk.notice(desk.grant())
    desk.journal.run_alone(lambda batch: batch.execute("UPDATE abdm_call SET attempt = 2"))
    desk.journal.run_alone(desk.answer, Verdict.BEFORE)
    assert desk.consent() == ("GRANTED", "")


OTHER = {"purpose": {"code": "PATRQT"}}


@pytest.mark.parametrize(
    ("verdict", "became", "grants"),
    [
        (Verdict.FINAL, "", 1),  # it takes the place of the one that the gateway does not know
        (None, "disputed", 2),  # which of them is the gateway's is not known yet
        (Verdict.TAKEN, "disputed", 2),
    ],
)
def test_a_grant_takes_the_place_of_one_that_was_made_up(
    desk: Desk, verdict: Verdict | None, became: str, grants: int
) -> None:
    desk.verdict = verdict
    desk.notice(desk.grant(days=9, **OTHER))
    desk.verdict = Verdict.TAKEN
    given = desk.grant()
    desk.notice(given)
    assert desk.consent() == ("GRANTED", became)
    kept = desk.journal.run_alone(consents.by_number, 1)
    assert kept is not None
    assert [orjson.loads(one) for one in kept.content][-1] == given
    assert len(kept.content) == grants
    if not became:
        erase_at = given["notification"]["consentDetail"]["permission"]["dataEraseAt"]
        assert from_us(kept.ends_us) == instant(erase_at)


def test_nothing_goes_out_of_a_patient_who_may_have_left_also_under_a_consent_that_a_person_has_resumed(
    desk: Desk,
) -> None:
    desk.notice(desk.grant())
    desk.journal.run_alone(lambda batch: leaving.stop(batch, PEOPLE[0].address, 9, (), lambda: "LR-X"))
    assert desk.consent() == ("GRANTED", "suspended")
    desk.journal.run_alone(flow.resume, 1, "looked", who="a", looked=True)
    assert desk.refusal() is Refusal.NOT_GRANTED
    desk.journal.run_alone(lambda batch: patients.put(batch, FACILITY, "LR-X", person(verified=True)))
    assert desk.refusal() is None


# -- faults ----------------------------------------------------------------------------------------------------------

UUID = "0b6dbcf0-4d4d-4c5c-8f0a-1f1f1f1f1f1f"
RAW = UUID.encode()
BROKEN: list[tuple[bytes, tuple[str, str]]] = [
    (b'{"notification": {"status": "REVOKED", "consentId": "%s"' % RAW, ("REVOKED", "unreadable")),
    (b'{"notification": {"status": "Expired", "consentId": "%s", "x": NaN}}' % RAW, ("EXPIRED", "unreadable")),
    (b'{"status": ["denied"], "consent": {"id": "%s"}}' % RAW.upper(), ("DENIED", "unreadable")),
    (b"REVOKED %s \xff\xfe" % RAW, ("GRANTED", "suspended")),  # a word that is no state
    (b'{"notification": {"status": "GRANTED", "consentId": "%s", "why": "REVOKED before"' % RAW, ("GRANTED", "")),
    (b'{"status": "GRANTED", "consentId": "%s", "then": {"status": "REVOKED"}}' % RAW, ("GRANTED", "")),
    (b'{"notification": {"status":"REVOKED", "status":"GRANTED", "consentId":"%s"}}' % RAW, ("REVOKED", "unreadable")),
    (b'{"notification": {"status": "REVOKED", "consentId": "%s"}, "notification":{}}' % RAW, ("REVOKED", "unreadable")),
    (b'{"notification": {"consentId": "%s", "x": {"status": "REVOKED"}}}' % RAW, ("REVOKED", "unreadable")),
    (b'{"notification": {"status": "ENDED", "was": "REVOKED", "consentId": "%s"}}' % RAW, ("GRANTED", "suspended")),
    (b'[{"status":\n["Revoked"], "consentId": "%s"}]' % RAW, ("REVOKED", "unreadable")),
    (b'{"notification": {"status": "REVOKED", "then": "EXPIRED", "id": "%s"}}' % RAW, ("REVOKED", "unreadable")),
    (b'{"notification": {"consentId": "%s"}}' % RAW, ("GRANTED", "suspended")),
    (b'{"notification": {"status": "GRANTED", "consentId": "%s"}}' % RAW, ("GRANTED", "")),
    (b'{"notification": {"status": "REVOKED"}}', ("GRANTED", "")),  # of no consent: a person has to look
    (b"", ("GRANTED", "")),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "then"), BROKEN)
def test_a_word_that_cannot_be_read_counts_as_far_as_it_can(desk: Desk, raw: bytes, then: Any) -> None:
    desk.notice(desk.grant(UUID))
    assert desk.notice(raw) is CallbackState.REFUSED
    assert desk.consent(UUID) == then


@pytest.mark.parametrize(("raw", "then"), [one for one in BROKEN if one[1][0] in ("REVOKED", "EXPIRED")])
def test_a_fault_of_ours_keeps_no_revocation_from_counting(desk: Desk, raw: bytes, then: Any) -> None:
    desk.notice(desk.grant(UUID))
    number = desk.keep(raw)

    def fault(batch: Batch, callback: Callback) -> str:
        raise RuntimeError("a fault of ours")

    if raw.endswith(b"}}"):
        try:
            orjson.loads(raw)
        except orjson.JSONDecodeError:
            return
        with pytest.raises(RuntimeError):
            desk.journal.run_alone(callbacks.fold, number, fault)
    desk.journal.run_alone(callbacks.refuse, number, callbacks.FAULT, desk.refused)
    assert desk.consent(UUID) == then
    assert desk.journal.row("SELECT state, reason FROM abdm_callback WHERE number = ?", (number,)) == (
        "refused",
        "fault",
    )


def test_a_revocation_counts_where_the_artefact_is_damaged(desk: Desk) -> None:
    desk.notice(desk.grant(UUID))
    desk.journal.run_alone(lambda batch: batch.execute("UPDATE abdm_consent SET content = x'0102'"))
    assert desk.notice(word("REVOKED", UUID)) is CallbackState.REFUSED
    assert desk.consent(UUID) == ("REVOKED", "unreadable")


def test_callbacks_that_could_not_be_used_are_counted_by_path_and_name_no_patient(
    desk: Desk, clock: ManualClock
) -> None:
    began_us = clock.now_us()
    desk.notice(desk.grant())
    desk.notice(b"{")
    desk.notice(desk.grant("c-2", permission=7))
    assert refused_callbacks(desk.journal, began_us) == [
        RefusedCallbacks(flow.NOTICE, ("not-json", "unreadable"), 2, began_us)
    ]
    clock.advance(1)
    assert refused_callbacks(desk.journal, clock.now_us()) == []


# -- forgotten -------------------------------------------------------------------------------------------------------


def lengths(desk: Desk) -> dict[str, list[int]]:
    columns = {"abdm_consent": "content", "abdm_transfer": "content", "abdm_page": "body", "abdm_callback": "body"}
    return {
        table: [min(n, 1) for (n,) in desk.journal.rows(f"SELECT length({column}) FROM {table}")]
        for table, column in columns.items()
    }


def sweep(desk: Desk) -> None:
    while not desk.journal.run_alone(forgetting.sweep):
        pass


def test_content_goes_a_month_after_the_end_and_rows_after_a_year(desk: Desk, clock: ManualClock) -> None:
    desk.notice(desk.grant("c-1", days=9))
    number = desk.transfer()
    desk.notice(desk.grant("c-2", days=2000))
    desk.notice(word("REVOKED", "c-1"))
    desk.journal.run_alone(
        lambda batch: batch.execute("UPDATE abdm_transfer SET state = 'ended' WHERE number = ?", (number,))
    )
    desk.transfer("t-2", consent=2)
    clock.advance(29 * DAY_S)
    sweep(desk)
    assert lengths(desk)["abdm_consent"] == [1, 1]
    clock.advance(2 * DAY_S)
    sweep(desk)
    assert lengths(desk)["abdm_consent"] == [0, 1]
    assert lengths(desk)["abdm_transfer"] == [0, 1]
    assert desk.consent("c-1") == ("REVOKED", "")
    desk.notice(desk.grant("c-1"))
    assert desk.consent("c-1") == ("REVOKED", "")  # and its artefact does not come back
    assert lengths(desk)["abdm_consent"] == [0, 1]
    clock.advance(401 * DAY_S)
    sweep(desk)
    assert desk.journal.rows("SELECT consent_id FROM abdm_consent") == [("c-2",)]
    assert desk.journal.rows("SELECT transaction_id FROM abdm_transfer") == [("t-2",)]


def test_an_erased_patient_is_in_no_consent_also_where_it_names_no_patient_of_ours(desk: Desk) -> None:
    desk.notice(desk.grant("c-1"))
    desk.transfer()
    desk.notice(desk.grant("c-2", careContexts=[]))
    his = [{"patientReference": "LR-P1", "careContextReference": "LR-C1"}]
    desk.notice(desk.grant("c-3", patient={"id": PEOPLE[1].address}, careContexts=his))
    desk.notice(desk.grant("c-4", patient={"id": f"not-{PEOPLE[0].address}"}, careContexts=his))
    escaped = orjson.dumps(desk.grant("c-5")).replace(b"@", b"\\u0040")
    desk.notice(escaped)
    desk.journal.run_alone(
        lambda batch: batch.execute("UPDATE abdm_consent SET patient = 0 WHERE consent_id IN ('c-2', 'c-5')")
    )
    desk.journal.run_alone(erasure.erase, [], ["PID-0"], actor="a", reason="b", more={})

    found = desk.journal.rows("SELECT consent_id, state, reason, length(content) > 0 FROM abdm_consent ORDER BY number")
    assert found == [
        ("c-1", "REVOKED", "erased", 0),
        ("c-2", "REVOKED", "erased", 0),
        ("c-3", "GRANTED", "", 1),
        ("c-4", "GRANTED", "other_patient", 1),
        ("c-5", "REVOKED", "erased", 0),
    ]
    assert desk.journal.rows(PAGE) == [("failed", "erased", 0)]
    assert desk.journal.rows("SELECT state, reason, content FROM abdm_transfer") == [("pushing", "erased", b"")]
    assert lengths(desk)["abdm_callback"] == [0, 0, 1, 1, 0]
    desk.notice(desk.grant("c-1"))
    assert desk.consent("c-1") == ("REVOKED", "erased")
    assert lengths(desk)["abdm_consent"][0] == 0


@pytest.mark.parametrize("age_s", [0, 960, 5_000])
def test_the_window_of_a_request_is_counted_from_the_time_that_it_names(
    desk: Desk, clock: ManualClock, age_s: int
) -> None:
    """A request that came again after 16 minutes has four left, not twenty."""
    desk.notice(desk.grant("c-1"))
    period = {"from": written(clock.now() - timedelta(days=2)), "to": written(clock.now())}
    asked = {"consent": {"id": "c-1"}, "dateRange": period, "dataPushUrl": "https://x.example", "keyMaterial": {}}
    body = orjson.dumps({"transactionId": "t-1", "hiRequest": asked})
    path, handle = next(iter(requests.FLOW.callbacks.items()))
    desk.journal.run_alone(callbacks.store, path, FACILITY, "r-1", body, 0, age_s)
    number = desk.journal.row("SELECT max(number) FROM abdm_callback")[0]
    desk.journal.run_alone(callbacks.fold, number, lambda batch, callback: handle(batch, OURS, callback))
    window_us = round(requests.WINDOW.total_seconds() * 1e6)
    reason = requests.WINDOW_OVER if age_s == 5_000 else requests.KEYS
    ends_us = clock.now_us() + window_us - age_s * 1_000_000
    assert desk.journal.rows("SELECT ends_us, reason FROM abdm_transfer") == [(ends_us, reason)]
    answer = "SELECT ends_us FROM abdm_call WHERE name = 'on-request'"  # the reader hears of it in any case
    assert desk.journal.rows(answer) == [(clock.now_us() + window_us,)]


def test_a_page_under_way_when_its_patient_is_erased_is_in_the_audit_trail(desk: Desk) -> None:
    desk.notice(desk.grant("c-1"))
    number = desk.transfer()
    desk.journal.run_alone(transfers.begin_page, number, 1)
    desk.journal.run_alone(erasure.erase, [], ["PID-0"], actor="a", reason="b", more={})
    assert desk.journal.run_alone(turns.settle, number, 1, PageState.DELIVERED, status=202, again_s=0.0)
    (act,) = [one for one in acts_page(desk.journal) if one.verb == "abdm-disclosed"]
    assert act.what["contexts"] == [1]
    assert desk.journal.run_alone(turns.settle, number, 1, PageState.DELIVERED, status=202, again_s=0.0)
    assert len([one for one in acts_page(desk.journal) if one.verb == "abdm-disclosed"]) == 1


def test_a_report_that_is_let_go_leaves_no_page(desk: Desk) -> None:
    desk.notice(desk.grant())
    desk.transfer()
    desk.journal.run_alone(forgetting.let_go, [1])
    assert desk.journal.rows(PAGE) == [("failed", "retention", 0)]


def test_the_consents_of_a_patient_who_leaves_end(desk: Desk) -> None:
    desk.notice(desk.grant("c-1"))
    desk.notice(desk.grant("c-2"))
    desk.notice(word("EXPIRED", "c-2"))
    assert desk.journal.run_alone(consents.end_all_of_patient, 1, "left") == 1
    assert [desk.consent(one) for one in ("c-1", "c-2")] == [("REVOKED", "left"), ("EXPIRED", "")]


def test_nothing_goes_of_a_patient_who_has_left(desk: Desk) -> None:
    desk.notice(desk.grant())
    desk.journal.run_alone(lambda batch: batch.execute("UPDATE abdm_patient SET state = 'dropped', content = x''"))
    assert desk.refusal() is Refusal.NOT_GRANTED


def test_the_rows_are_whole(desk: Desk, tmp_path: Path) -> None:
    desk.notice(desk.grant())
    desk.transfer()
    desk.notice(desk.grant(purpose={"code": "PATRQT"}))
    desk.journal.close()
    assert verify(tmp_path, deep=True) == []
    desk.reopen()


VERIFIES = destination("http://127.0.0.1:1", consent_signatures="verify")


def test_a_grant_that_is_not_proven_lets_nothing_out_until_it_is(desk: Desk) -> None:
    desk.ours = VERIFIES
    desk.notice(desk.grant())
    assert (desk.consent(), desk.refusal()) == (("GRANTED", "bad_signature"), Refusal.NOT_GRANTED)
    desk.notice(desk.grant(), signed=True)
    assert (desk.consent(), desk.refusal()) == (("GRANTED", ""), None)
    desk.transfer()
    desk.notice(desk.grant())
    assert (desk.consent(), desk.refusal()) == (("GRANTED", "bad_signature"), Refusal.NOT_GRANTED)
    assert desk.journal.rows(PAGE) == [("failed", "bad_signature", 0)]


@pytest.mark.parametrize("status", ["REVOKED", "EXPIRED", "DENIED"])
def test_an_end_needs_no_signature(desk: Desk, status: str) -> None:
    desk.ours = VERIFIES
    desk.notice(desk.grant(), signed=True)
    desk.notice(word(status))
    assert desk.consent() == (status, "")


def test_a_grant_from_before_the_setting_has_to_be_proven(desk: Desk) -> None:
    desk.notice(desk.grant())
    assert desk.refusal() is None
    desk.ours = VERIFIES
    assert desk.refusal() is Refusal.NOT_GRANTED
    desk.notice(desk.grant(), signed=True)
    assert desk.refusal() is None


def test_a_grant_that_is_not_proven_lifts_no_suspension(desk: Desk, clock: ManualClock) -> None:
    desk.ours, body = VERIFIES, desk.grant()
    desk.notice(body, signed=True)
    desk.journal.run_alone(consents.suspend_all)
    clock.advance(1)
    desk.notice(body)
    assert desk.consent() == ("GRANTED", "suspended")
    clock.advance(1)
    desk.notice(body, signed=True)
    assert desk.consent() == ("GRANTED", "")
