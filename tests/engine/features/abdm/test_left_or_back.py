"""Between the notice that a patient has left and the gateway's answer to ours: nothing of his goes out, he may come
back, and only an answer to this notice counts. Without a gateway."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.features.abdm.flows import discovery, later, leaving, linking, reports
from engine.features.abdm.rows import callbacks, calls, contexts, invitations, offers, patients
from engine.features.abdm.rows.reading import undecided
from engine.features.abdm.rules.network import (
    Call,
    Callback,
    CallbackState,
    CallState,
    ContextState,
    GatewayAnswer,
    Verdict,
)
from engine.model.process.clock import ManualClock
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from tests.support.abdm_site import FACILITY, destination, keep, person, report

OURS = destination("http://127.0.0.1:1")
HIS = person().address
T, F = GatewayAnswer(202, Verdict.TAKEN), GatewayAnswer(400, Verdict.FINAL, "ABDM-1052", "Invalid TransactionId")
NOT_OPEN = GatewayAnswer(400, Verdict.FINAL, "ABDM-1030", "Request id not found")
OTHER_1030 = GatewayAnswer(400, Verdict.FINAL, "ABDM-1030", "Invalid consent artefact")
BEFORE = GatewayAnswer(400, Verdict.BEFORE, "ABDM-1090")
BUSY, NONE = GatewayAnswer(503, Verdict.AGAIN), GatewayAnswer(0, Verdict.AGAIN, cause="no answer in time")
COMES = GatewayAnswer(0, Verdict.TAKEN, body=b'{"linkToken": "t"}')
CUT = None  # the process ends, or is stopped, before an answer is noted


class Desk:
    """A journal, notices that are folded as the dispatcher does, and attempts of calls with the answer to each."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.journal = Journal.open(folder, clock=self.clock)
        self.notices = self.scans = 0

    def run(self, work: Any, *arguments: Any) -> Any:
        return self.journal.run_alone(work, *arguments)

    def rows(self, table: str, columns: str = "*") -> list[Any]:
        return self.journal.rows(f"SELECT {columns} FROM {table}")

    def known(self, **more: Any) -> int:
        return int(self.run(lambda batch: keep(batch, OURS, report(**more), person())))

    def notice(self, address: str = HIS, status: str = "DELETED") -> int:
        """The number of the call with our answer to it."""
        self.notices += 1
        body = orjson.dumps({"notification": {"abhaAddress": address, "status": status}})
        self.run(callbacks.store, leaving.STATUS, FACILITY, f"r-{self.notices}", body, 0)
        (number,) = self.journal.row("SELECT max(number) FROM abdm_callback")
        handle = leaving.FLOW.callbacks[leaving.STATUS]

        def fold(batch: Batch, callback: Callback) -> str:
            return handle(batch, OURS, callback)

        assert self.run(callbacks.fold, number, fold) is CallbackState.FOLDED
        return int(self.journal.row("SELECT max(number) FROM abdm_call")[0])

    def attempt(self, call: int, answer: GatewayAnswer | None) -> None:
        """One attempt of a call; where it may not go out, nothing is done."""
        self.clock.advance(10_000)
        kinds = {kind.name: kind for kind in (*leaving.FLOW.calls, *linking.FLOW.calls)}
        name = self.journal.row("SELECT name FROM abdm_call WHERE number = ?", (call,))[0]

        def headers(batch: Batch, one: Call) -> Any:
            return kinds[one.name].headers(batch, OURS, one) if one.number == call else None

        def ended(batch: Batch, one: Call, said: GatewayAnswer) -> None:
            kinds[one.name].ended(batch, OURS, one, said)

        begun = [one.call.number for one in self.run(calls.claim, 100, headers, ended)]
        if begun and answer is not None:
            within_s = 60.0 if kinds[name].result else 0.0
            self.run(_answered, call, answer, within_s, ended)
        elif begun:
            self.run(calls.recover)

    def result(self, number: int, answer: GatewayAnswer) -> None:
        """What a callback says of a call of ours."""

        def ended(batch: Batch, one: Call, said: GatewayAnswer) -> None:
            next(kind for kind in linking.FLOW.calls if kind.name == one.name).ended(batch, OURS, one, said)

        def comes(batch: Batch) -> None:
            call = calls.by_number(batch, number)
            assert call is not None
            calls.finish(batch, call, answer, again_s=0.0, ended=ended)

        self.run(comes)

    def made(self, call: int) -> tuple[str, int]:
        """State of a call, and how many attempts of it were made."""
        found: tuple[str, int] = self.journal.row("SELECT state, attempt FROM abdm_call WHERE number = ?", (call,))
        return found

    def is_back(self) -> None:
        self.run(lambda batch: patients.put(batch, FACILITY, "LR-BACK", person(verified=True)))

    @property
    def patient(self) -> str:
        return str(self.rows("abdm_patient ORDER BY number", "state")[0][0])


def _answered(batch: Batch, call: int, answer: GatewayAnswer, within_s: float, ended: Any) -> None:
    calls.answered(batch, call, answer, result_within_s=within_s, again_s=0.0, ended=ended)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.journal.close()


# -- which answers prove that the notice is the gateway's ------------------------------------------------------------

LEFT, STAYS = "dropped", "leaving"
ANSWERS: dict[str, tuple[list[GatewayAnswer | None], str]] = {
    "taken": ([T], LEFT),
    "taken later": ([BUSY, NONE, T], LEFT),
    "cut, then taken": ([CUT, T], LEFT),
    "refused": ([F], STAYS),
    "not open": ([NOT_OPEN], STAYS),
    "done before, at first": ([BEFORE], STAYS),
    "cut, then done before": ([CUT, BEFORE], LEFT),
    "cut, then not open": ([CUT, NOT_OPEN], LEFT),
    "cut twice, then not open": ([CUT, CUT, NOT_OPEN], LEFT),
    "cut, then refused": ([CUT, F], STAYS),
    "cut, then another meaning of the code": ([CUT, OTHER_1030], STAYS),
    "no answer, then not open": ([NONE, NOT_OPEN], STAYS),
    "busy, then not open": ([BUSY, NOT_OPEN], STAYS),
    "busy, cut, then not open": ([BUSY, CUT, NOT_OPEN], STAYS),
    "refused, tried by a person, cut, then not open": ([F, CUT, NOT_OPEN], STAYS),
    "not open, tried by a person, then not open": ([NOT_OPEN, NOT_OPEN], STAYS),
    "refused, tried by a person, then taken": ([F, T], LEFT),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_an_answer_proves(desk: Desk, name: str) -> None:
    answers, became = ANSWERS[name]
    desk.known()
    call = desk.notice()
    for answer in answers:
        if desk.made(call)[0] == CallState.FAILED:
            desk.run(lambda batch: calls.again(batch, calls.by_number(batch, call), 0.0))  # type: ignore[arg-type]
        desk.attempt(call, answer)
    assert desk.made(call)[1] == len(answers), "each was made"
    assert desk.patient == became


def scan(desk: Desk, address: str = HIS) -> int:
    """A scan at the counter; the number of its callback."""
    said = {"abhaAddress": address, "abhaNumber": person().number, "name": "A", "gender": "F", "yearOfBirth": "1990"}
    body = orjson.dumps({"profile": {"patient": said}})
    desk.scans += 1
    desk.run(callbacks.store, reports.SHARE, FACILITY, f"s-{desk.scans}", body, 0)
    number = int(desk.journal.row("SELECT max(number) FROM abdm_callback")[0])
    desk.run(lambda batch: batch.execute("UPDATE abdm_callback SET state = 'folded' WHERE number = ?", (number,)))
    return number


def share(batch: Batch, scanned: int, answers: list[GatewayAnswer | None]) -> None:
    """The attempts of our answer to a scan, with the gateway's answers."""
    number = calls.queue(batch, FACILITY, reports.ON_SHARE, 1, {}, about={"callback": scanned})
    for n, answer in enumerate(answers, start=1):
        batch.execute("UPDATE abdm_call SET attempt = ? WHERE number = ?", (n, number))
        one = calls.by_number(batch, number)
        assert one is not None
        if answer is not None:
            reports.FLOW.calls[0].ended(batch, OURS, one, answer)


def test_a_share_counts_by_an_answer_to_it_alone(desk: Desk) -> None:
    """A refusal of an answer that was cut does not count there: a record may go out by it."""
    scanned = scan(desk)
    for answers, count in (([BEFORE], 0), ([CUT, NOT_OPEN], 0), ([CUT, BEFORE], 1)):
        desk.run(share, scanned, answers)
        assert len(desk.rows("abdm_patient")) == count, answers


# -- who is back -----------------------------------------------------------------------------------------------------


def test_one_who_is_back_stays_by_a_late_answer(desk: Desk) -> None:
    number = desk.known()
    desk.run(lambda batch: contexts.move(batch, [number], ContextState.LINKED))
    call = desk.notice()
    desk.is_back()
    desk.attempt(call, T)
    assert desk.patient == "known"
    assert desk.rows("abdm_context", "state, reason") == [("linked", "")]


def test_a_second_notice_is_answered_by_its_own_answer(desk: Desk) -> None:
    desk.known()
    first = desk.notice()
    desk.is_back()
    second = desk.notice()
    desk.attempt(first, T)
    assert desk.patient == "leaving"
    desk.attempt(second, T)
    assert desk.patient == "dropped"


def test_a_repeat_of_a_notice_is_the_same(desk: Desk) -> None:
    """The first notice of a leave counts, and so does each after it: one is proven, so he has left."""
    desk.known()
    first, second = desk.notice(), desk.notice()
    desk.attempt(second, F)
    assert desk.patient == "leaving"
    desk.attempt(first, T)
    assert desk.patient == "dropped"


@pytest.mark.parametrize("is_before", [True, False])
def test_a_scan_brings_back_where_it_came_after_the_notice(desk: Desk, is_before: bool) -> None:
    desk.known()
    if is_before:
        scanned = scan(desk)
    desk.notice()
    if not is_before:
        scanned = scan(desk)
    desk.run(share, scanned, [T])
    assert desk.patient == ("leaving" if is_before else "known")


def test_a_scan_before_the_notice_brings_no_one_back_once_he_has_left(desk: Desk) -> None:
    """Also under another address of the same number, which is not known here."""
    desk.known()
    scanned, other = scan(desk), scan(desk, "other@sbx")
    desk.attempt(desk.notice(), T)
    assert desk.patient == "dropped"
    desk.run(share, scanned, [T])
    desk.run(share, other, [T])
    assert desk.rows("abdm_patient", "state") == [("dropped",)]


@pytest.mark.parametrize("is_taken", [True, False])
def test_a_scan_before_another_notice_brings_no_one_back(desk: Desk, is_taken: bool) -> None:
    desk.known()
    first = desk.notice()
    if is_taken:
        desk.attempt(first, T)
    scanned = scan(desk)
    second = desk.notice()
    desk.run(share, scanned, [T])
    assert desk.patient == ("dropped" if is_taken else "leaving")
    desk.run(share, scan(desk), [T])
    assert desk.patient == "known"
    desk.attempt(second, T)
    assert desk.patient == "known"


def test_one_who_scans_between_the_notice_and_its_answer_has_his_token(desk: Desk) -> None:
    desk.known()
    before = desk.run(lambda batch: calls.queue(batch, FACILITY, "made-up", 7, {"a": HIS}))
    call = desk.notice()
    answer = desk.run(lambda batch: calls.queue(batch, FACILITY, reports.ON_SHARE, 1, {"abhaAddress": HIS}))
    desk.attempt(call, T)
    assert (desk.patient, desk.made(before)[0], desk.made(answer)[0]) == ("dropped", "failed", "waiting")


def test_one_who_is_back_under_another_address_has_the_reports_with_his_number(desk: Desk) -> None:
    number = person().number
    desk.notice(f"{number}@sbx")
    desk.run(lambda batch: patients.put(batch, FACILITY, "LR-BACK", person(verified=True)))
    assert not desk.run(lambda batch: patients.has_left(batch, FACILITY, person(address=f"{number}@sbx")))


def test_where_one_is_back_his_open_calls_go_on(desk: Desk) -> None:
    desk.known()
    call = desk.notice()
    desk.is_back()
    desk.run(lambda batch: calls.queue(batch, FACILITY, "made-up", 7, {"a": HIS}))
    desk.attempt(call, T)
    assert desk.rows("abdm_call WHERE name = 'made-up'", "state") == [("waiting",)]


# -- nothing goes out ------------------------------------------------------------------------------------------------


def token(desk: Desk) -> None:
    desk.result(number_of(desk, linking.TOKEN), COMES)


def number_of(desk: Desk, name: str) -> int:
    return int(desk.journal.row("SELECT max(number) FROM abdm_call WHERE name = ?", (name,))[0])


def test_no_token_is_asked_for_after_the_notice(desk: Desk) -> None:
    desk.known()
    asked = number_of(desk, linking.TOKEN)
    desk.notice()
    desk.attempt(asked, T)
    assert desk.made(asked) == ("failed", 0)
    assert desk.rows("abdm_context", "state, reason") == [("ready", "leaving")]
    assert desk.rows("abdm_link_token") == []


def test_a_token_that_comes_after_the_notice_is_kept_and_nothing_follows(desk: Desk) -> None:
    desk.known()
    asked = number_of(desk, linking.TOKEN)
    desk.attempt(asked, T)
    desk.notice()
    desk.result(asked, COMES)
    assert desk.patient == "leaving"
    assert desk.rows("abdm_link_token", "state") == [("held",)]
    assert desk.rows("abdm_call WHERE name = 'link'") == []
    desk.run(lambda batch: later.link(batch, OURS, 1, person(), who="a", readmit=True, reason="b"))
    assert desk.rows("abdm_context", "state, reason") == [("linking", "")]


def test_no_report_is_linked_after_the_notice_and_it_is_once_he_is_back(desk: Desk) -> None:
    desk.known()
    token(desk)
    link = number_of(desk, linking.LINK)
    desk.notice()
    desk.attempt(link, T)
    assert desk.made(link) == ("failed", 0)
    assert desk.rows("abdm_context", "state, reason") == [("ready", "leaving")]
    desk.is_back()
    desk.run(lambda batch: linking.come_back(batch, OURS, 1))
    assert desk.rows("abdm_context", "state, reason") == [("linking", "")]


@pytest.mark.parametrize("answer", [T, F])
def test_the_answer_to_a_link_that_was_on_the_line_keeps_the_reason(desk: Desk, answer: GatewayAnswer) -> None:
    desk.known()
    token(desk)
    link = number_of(desk, linking.LINK)
    desk.notice()
    desk.result(link, answer)
    assert desk.rows("abdm_context", "state, reason") == [("linked" if answer is T else "failed", "leaving")]
    assert desk.rows("abdm_call WHERE name = 'context-notify'") == []


def test_no_app_is_told_after_the_notice_and_it_is_once_he_is_back(desk: Desk) -> None:
    number = desk.known()

    def linked(batch: Batch) -> None:
        contexts.move(batch, [number], ContextState.LINKED)
        context = contexts.by_number(batch, number)
        assert context is not None
        linking.tell(batch, OURS, context)

    desk.run(linked)
    told = number_of(desk, linking.NOTIFY)
    desk.notice()
    desk.attempt(told, T)
    assert desk.made(told) == ("failed", 0)
    desk.is_back()
    desk.run(lambda batch: linking.come_back(batch, OURS, 1))
    assert number_of(desk, linking.NOTIFY) > told


def test_one_who_may_have_left_is_not_invited(desk: Desk) -> None:
    desk.known()
    mobile, own = person().mobile, person().patient
    assert not desk.run(lambda batch: invitations.is_barred(batch, mobile, own))
    desk.notice()
    assert desk.run(lambda batch: invitations.is_barred(batch, mobile, ""))
    assert desk.run(lambda batch: invitations.is_barred(batch, "", own))
    assert not desk.run(lambda batch: invitations.is_barred(batch, "", ""))


def test_one_who_is_not_known_is_linked_by_no_report_from_the_notice_on(desk: Desk) -> None:
    call = desk.notice()
    assert desk.rows("abdm_patient", "state, content = x''") == [("leaving", 1)]
    desk.known()
    assert desk.rows("abdm_context", "state, reason") == [("waiting", "left")]
    desk.attempt(call, T)
    assert desk.rows("abdm_patient", "state") == [("dropped",)]


# -- a person --------------------------------------------------------------------------------------------------------


def test_other_reasons_stay(desk: Desk) -> None:
    number = desk.known()
    desk.run(lambda batch: contexts.move(batch, [number], ContextState.FAILED, "ABDM-1036"))
    desk.notice()
    assert desk.rows("abdm_context", "state, reason") == [("failed", "ABDM-1036")]


def listed(desk: Desk) -> dict[str, int]:
    return {one.what: one.count for one in undecided(desk.journal)}


def test_one_of_whom_reports_wait_alone_is_listed_and_a_person_says_that_he_has_left(desk: Desk) -> None:
    desk.run(lambda batch: patients.put(batch, FACILITY, "LR-P", person(verified=True)))
    call = desk.notice()
    assert listed(desk) == {}, "the gateway is to answer"
    desk.attempt(call, F)
    assert listed(desk) == {"leaving": 1}, "no report of his is known"
    number = desk.known()
    assert desk.rows("abdm_context", "state, reason, patient") == [("waiting", "left", 0)]
    assert listed(desk) == {"leaving": 1}
    desk.run(lambda batch: later.withdraw(batch, number, "he has left", who="a"))
    assert desk.patient == "dropped"
    assert listed(desk) == {}


def test_a_person_who_says_that_one_has_left_ends_all_that_names_him(desk: Desk) -> None:
    number = desk.known()
    desk.run(lambda batch: calls.queue(batch, FACILITY, "made-up", 7, {"a": HIS}))
    desk.attempt(desk.notice(), F)
    desk.run(lambda batch: later.withdraw(batch, number, "he has left", who="a"))
    assert desk.patient == "dropped"
    assert desk.rows("abdm_call WHERE name = 'made-up'", "state, code") == [("failed", "left")]
    assert desk.run(lambda batch: invitations.is_barred(batch, person().mobile, ""))


def test_what_was_offered_before_the_notice_ends_with_it(desk: Desk) -> None:
    """Also the SMS with a code, and the list of his reports."""
    desk.known()
    reference = desk.rows("abdm_patient", "reference")[0][0]

    def offer(batch: Batch) -> int:
        number = offers.offer(batch, "t", FACILITY, HIS, life_us=9**9, content={"contexts": {}})
        of = offers.by_number(batch, number)
        assert of is not None
        offers.new_code(batch, of, "c", "r", digits="123456", mobile="9", ends_us=9**18, content={})
        body = {"patient": [{"referenceNumber": reference}]}
        return calls.queue(batch, FACILITY, discovery.ON_DISCOVER, number, body)

    call = desk.run(offer)
    desk.notice()
    assert desk.rows("abdm_code", "state, reason, text") == [("over", "left", b"")]
    assert desk.rows("abdm_offer", "content") == [(b"",)]
    assert desk.made(call) == ("failed", 0)
