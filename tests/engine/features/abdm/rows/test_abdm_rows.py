"""Rows of ABDM: found by keyed hash, sealed, gone when they should be, and a lost or changed one noticed."""

from pathlib import Path
from typing import Any

import pytest

from engine.features.abdm.rows import callbacks, calls, consents, contexts, forgetting, patients, transfers
from engine.features.abdm.rules.consents import ConsentState
from engine.features.abdm.rules.network import (
    Attempt,
    Call,
    CallbackState,
    CallState,
    ContextState,
    GatewayAnswer,
    TokenState,
    Verdict,
)
from engine.model.process.clock import ManualClock
from engine.store.core.writing.batch import Batch
from engine.store.integrity.verify import run as verify
from engine.store.journal import Journal
from engine.store.lifecycle import erasure
from engine.store.operations import append
from tests.support.abdm_site import FACILITY, person, report
from tests.support.journals import received

DAY_S = 86_400.0
NOTHING: dict[str, str] = {}


class Ends:
    """What the ends of calls lead to."""

    def __init__(self) -> None:
        self.of: list[tuple[int, Verdict]] = []

    def __call__(self, batch: Batch, call: Call, answer: GatewayAnswer) -> None:
        self.of.append((call.number, answer.verdict))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def journal(tmp_path: Path, clock: ManualClock) -> Any:
    made = Journal.open(tmp_path, clock=clock)
    yield made
    made.close()


def begun(journal: Journal, ends: Ends) -> list[Attempt]:
    return journal.run_alone(calls.claim, 10, lambda batch, call: NOTHING, ends)


def answer(journal: Journal, number: int, ends: Ends, verdict: Verdict, *, result_within_s: float = 0.0) -> None:
    said = GatewayAnswer(200, verdict)
    journal.run_alone(calls.answered, number, said, result_within_s=result_within_s, again_s=60.0, ended=ends)


def state(journal: Journal, number: int) -> CallState:
    return journal.run_alone(lambda batch: found.state if (found := calls.by_number(batch, number)) else None)  # type: ignore[return-value]


def test_each_attempt_has_its_own_request_id_before_it_goes_out(journal: Journal, clock: ManualClock) -> None:
    ends = Ends()
    number = journal.run_alone(calls.queue, FACILITY, "link", 1, {"a": 1})
    ids = []
    for _ in range(3):
        (attempt,) = begun(journal, ends)
        assert journal.rows("SELECT call FROM abdm_request WHERE request_id = ?", (attempt.request_id,)) == [(number,)]
        ids.append(attempt.request_id)
        assert begun(journal, ends) == []  # it is under way
        answer(journal, number, ends, Verdict.AGAIN)
        assert begun(journal, ends) == []  # not before its time
        clock.advance(61)
    assert len(set(ids)) == 3
    assert ends.of == []


def test_a_result_before_the_answer_counts_and_the_answer_changes_nothing(journal: Journal) -> None:
    ends = Ends()
    number = journal.run_alone(calls.queue, FACILITY, "link", 1, {})
    (attempt,) = begun(journal, ends)

    def result(batch: Batch) -> None:
        call = calls.by_request(batch, attempt.request_id)
        assert call is not None
        calls.finish(batch, call, GatewayAnswer(0, Verdict.TAKEN), again_s=1.0, ended=ends)

    journal.run_alone(result)
    answer(journal, number, ends, Verdict.AGAIN)
    assert state(journal, number) is CallState.DONE
    assert ends.of == [(number, Verdict.TAKEN)]


def test_a_result_that_never_comes_is_asked_for_again_and_then_given_up(journal: Journal, clock: ManualClock) -> None:
    ends = Ends()
    number = journal.run_alone(calls.queue, FACILITY, "link", 1, {})
    for _ in range(calls.MOST_WITHOUT_RESULT):
        assert len(begun(journal, ends)) == 1
        answer(journal, number, ends, Verdict.TAKEN, result_within_s=600.0)
        assert state(journal, number) is CallState.ACCEPTED
        clock.advance(601)
    assert begun(journal, ends) == []
    assert state(journal, number) is CallState.FAILED
    assert ends.of == [(number, Verdict.FINAL)]
    assert journal.rows("SELECT code FROM abdm_call") == [(calls.NO_RESULT,)]


def test_calls_without_a_callback_are_overdue_since_the_gateway_took_the_first(
    journal: Journal, clock: ManualClock
) -> None:
    """Minute by minute: a second attempt does not begin the time anew, and any callback ends it."""

    def overdue() -> tuple[int | None, bool]:
        since_us, given_up = journal.run_alone(calls.overdue)
        return (round((since_us - began_us) / 60_000_000) if since_us else None), given_up

    def took(result_within_s: float) -> None:
        (attempt,) = begun(journal, ends)
        answer(journal, attempt.call.number, ends, Verdict.TAKEN, result_within_s=result_within_s)

    ends, began_us = Ends(), clock.now_us()
    journal.run_alone(calls.queue, FACILITY, "on-request", 1, {})
    took(0.0)  # its answer is its result
    journal.run_alone(calls.queue, FACILITY, "notify", 1, {})
    begun(journal, ends)
    answer(journal, 2, ends, Verdict.FINAL)  # not taken: nothing is to come
    assert overdue() == (None, False)
    clock.advance(120)
    journal.run_alone(calls.queue, FACILITY, "link", 1, {})
    took(600.0)
    assert overdue() == (2, False)
    clock.advance(600)
    took(600.0)
    assert overdue() == (2, False)
    journal.run_alone(callbacks.store, "/v3/consent/request/hip/notify", FACILITY, "r-1", b"{}", 0)
    journal.run_alone(callbacks.fold, 1, lambda batch, callback: "")
    assert overdue() == (None, False)
    clock.advance(600)
    took(600.0)
    assert overdue() == (22, False)  # since that callback it was taken again
    clock.advance(600)
    assert begun(journal, ends) == []
    assert overdue() == (None, True)
    clock.advance(60)
    journal.run_alone(callbacks.store, "/v3/consent/request/hip/notify", FACILITY, "r-2", b"{}", 0)
    assert overdue() == (None, False)


def test_a_call_is_not_repeated_while_its_result_may_be_there(journal: Journal, clock: ManualClock) -> None:
    ends = Ends()
    number = journal.run_alone(calls.queue, FACILITY, "link", 1, {})
    begun(journal, ends)
    answer(journal, number, ends, Verdict.AGAIN)
    clock.advance(61)
    journal.run_alone(callbacks.store, "/v3/link/on_carecontext", FACILITY, "r-1", b"{}", 0)
    assert begun(journal, ends) == []
    journal.run_alone(callbacks.fold, 1, lambda batch, callback: "")
    assert len(begun(journal, ends)) == 1


def test_a_start_makes_calls_that_were_under_way_again(journal: Journal) -> None:
    ends = Ends()
    number = journal.run_alone(calls.queue, FACILITY, "link", 1, {})
    begun(journal, ends)
    assert journal.run_alone(calls.recover) == 1
    (attempt,) = begun(journal, ends)
    assert (attempt.call.number, attempt.call.attempt) == (number, 2)


def test_a_callback_is_kept_once_and_as_it_came(journal: Journal) -> None:
    store = ("/v3/hip/patient/share", FACILITY, "r-1")
    assert journal.run_alone(callbacks.store, *store, b'{"a": 1}', 5)
    assert not journal.run_alone(callbacks.store, *store, b'{"a": 2}', 5)
    seen: list[Any] = []

    def handle(batch: Batch, callback: Any) -> str:
        seen.append((callback.path, callback.facility, callback.request_id, callback.body))
        return "nothing to do"

    journal.run_alone(callbacks.fold, 1, handle)
    journal.run_alone(callbacks.fold, 1, handle)
    assert seen == [(*store, {"a": 1})]
    assert journal.rows("SELECT state, reason FROM abdm_callback") == [("folded", "nothing to do")]


def test_a_token_that_has_proven_one_callback_proves_no_other_one(journal: Journal) -> None:
    def kept(request_id: str, path: str = "/x", token: bytes = b"t", once: bool = True) -> bool | None:
        return journal.run_alone(callbacks.store, path, FACILITY, request_id, b"{}", 0, token=token, once=once)

    assert kept("r-1" + callbacks.BROKEN)
    assert kept("r-1")  # the whole of it
    assert kept("r-1", "/y") is None  # another callback, with all that a witness of the first one has
    assert kept("r-1" + callbacks.BROKEN, "/y") is None
    assert kept("r-1") is False
    assert kept("r-2") is None
    assert kept("r-2" + callbacks.BROKEN) is None
    assert kept("r-3", token=b"")  # of one that came before tokens were noted
    assert kept("r-4", token=b"")
    assert kept("r-2", once=False)
    assert kept("r-1") is False
    assert kept("r-5", token=b"u")
    tokens = journal.rows("SELECT token FROM abdm_callback WHERE token <> x''")
    assert {len(token) for (token,) in tokens} == {16}


def test_the_other_requests_of_a_token_are_found_by_their_index(journal: Journal) -> None:
    (plan,) = journal.rows(f"EXPLAIN QUERY PLAN {callbacks.OTHERS_PROVEN}", (b"t" * 16, "/x", "r", "r!"))
    assert "abdm_callback_token" in plan[-1]


@pytest.mark.parametrize("body", [b"[1]", b'{"a"', b"\xff"])
def test_a_body_that_is_no_object_is_set_aside(journal: Journal, body: bytes) -> None:
    journal.run_alone(callbacks.store, "/x", FACILITY, "r", body, 0)
    journal.run_alone(callbacks.fold, 1, lambda batch, callback: "")
    assert journal.rows("SELECT state, reason FROM abdm_callback") == [("refused", "not-json")]


def filled(journal: Journal) -> int:
    """A patient with all that he can have; the message of his report."""
    stored = journal.run_alone(append.store_message, received(), repeat_window_s=0.0)
    ends = Ends()

    def fill(batch: Batch) -> None:
        one = patients.put(batch, FACILITY, "LR-P", person(patient="Mr-1"))
        patients.set_link_token(batch, one, TokenState.HELD, until_us=1, token="eyJ-token")
        context = contexts.put(batch, report(message_id=stored.id, reference="LR-C", patient=one))
        contexts.move(batch, [context], ContextState.LINKED)
        consent = consents.put(
            batch, "c-1", FACILITY, ConsentState.GRANTED, patient=one, ends_us=9, content={"for": "meera.iyer@sbx"}
        )
        transfer, _ = transfers.take(batch, "t-1", FACILITY, consent=consent, ends_us=9, content={"push": "secret-url"})
        transfers.add_pages(batch, transfer, [transfers.NewPage(context, 1, b"a page of meera")])
        calls.queue(batch, FACILITY, "generate-token", one, {"abhaAddress": "meera.iyer@sbx"})
        calls.queue(batch, FACILITY, "context-notify", context, {"abhaAddress": "meera.iyer@sbx"})

    journal.run_alone(fill)
    journal.run_alone(callbacks.store, "/x", FACILITY, "r-1", b'{"who": "Meera.Iyer@sbx"}', 0)
    journal.run_alone(callbacks.store, "/x", FACILITY, "r-2", b'{"who": "arjun.rao@sbx"}', 0)
    journal.run_alone(callbacks.fold, 1, lambda batch, callback: "")
    begun(journal, ends)
    return stored.id


SEALED = {
    "abdm_patient": "content", "abdm_link_token": "token", "abdm_context": "content", "abdm_call": "content",
    "abdm_consent": "content", "abdm_transfer": "content", "abdm_page": "body",
}  # fmt: skip


def test_nothing_of_a_patient_is_in_clear(journal: Journal, tmp_path: Path) -> None:
    filled(journal)
    journal.close()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file()).lower()
    for word in (b"meera", b"91100000000016", b"9000000001", b"eyj-token", b"secret-url", b"mr-1", b"arjun"):
        assert word not in content, word


def test_an_erased_patient_leaves_numbers_and_states_alone(journal: Journal) -> None:
    message = filled(journal)
    journal.run_alone(erasure.erase, [message], ["mr-1"], actor="a", reason="b", more={})
    for table, column in SEALED.items():
        assert {value for (value,) in journal.rows(f"SELECT {column} FROM {table}")} <= {b""}, table
    assert journal.rows("SELECT state, reason FROM abdm_context") == [("dropped", "erased")]
    assert journal.rows("SELECT state FROM abdm_patient") == [("dropped",)]
    assert {state for (state,) in journal.rows("SELECT state FROM abdm_call")} == {"failed"}
    assert journal.rows("SELECT length(body) > 0 FROM abdm_callback ORDER BY number") == [(0,), (1,)]
    assert journal.run_alone(lambda batch: patients.by_address(batch, FACILITY, "meera.iyer@sbx")) is None
    assert begun(journal, Ends()) == []


def test_a_report_that_retention_lets_go_can_be_asked_for_no_more(journal: Journal) -> None:
    message = filled(journal)
    journal.run_alone(forgetting.let_go, [message])
    assert journal.rows("SELECT state, reason, content FROM abdm_context") == [("dropped", "retention", b"")]


def test_a_callback_waits_for_those_before_it(journal: Journal) -> None:
    """Also where the journal did not take the first for a moment, or it failed by a fault of ours."""
    seen: list[int] = []

    def handle(batch: Batch, callback: Any) -> str:
        seen.append(callback.number)
        if callback.number == 2 and seen.count(2) == 1:
            raise ValueError
        return ""

    for n in (1, 2, 3):
        journal.run_alone(callbacks.store, "/x", FACILITY, f"r-{n}", b"{}", 0)
    assert journal.run_alone(callbacks.fold, 2, handle) is CallbackState.STORED
    assert journal.run_alone(callbacks.fold, 1, handle) is CallbackState.FOLDED
    with pytest.raises(ValueError):
        journal.run_alone(callbacks.fold, 2, handle)
    assert journal.run_alone(callbacks.fold, 3, handle) is CallbackState.STORED
    journal.run_alone(callbacks.refuse, 2, callbacks.FAULT)
    assert journal.run_alone(callbacks.fold, 3, handle) is CallbackState.FOLDED
    assert seen == [1, 2, 3]


def test_ended_calls_and_callbacks_go_after_weeks_and_open_ones_stay(journal: Journal, clock: ManualClock) -> None:
    ends = Ends()
    for n in range(3):
        journal.run_alone(calls.queue, FACILITY, "link", n, {})
        journal.run_alone(callbacks.store, "/x", FACILITY, f"r-{n}", b"{}", 0)
    begun(journal, ends)
    answer(journal, 1, ends, Verdict.TAKEN)
    answer(journal, 3, ends, Verdict.TAKEN)
    for n in (1, 3):
        journal.run_alone(callbacks.fold, n, lambda batch, callback: "")
    journal.run_alone(forgetting.sweep)
    assert len(journal.rows("SELECT 1 FROM abdm_call")) == 3
    clock.advance(31 * DAY_S)
    journal.run_alone(forgetting.sweep)
    assert [n for (n,) in journal.rows("SELECT number FROM abdm_call ORDER BY number")] == [2, 3]
    assert [n for (n,) in journal.rows("SELECT DISTINCT call FROM abdm_request ORDER BY call")] == [2, 3]
    assert [n for (n,) in journal.rows("SELECT number FROM abdm_callback ORDER BY number")] == [2, 3]


@pytest.mark.parametrize("table", SEALED)
def test_verify_names_a_row_that_was_changed(journal: Journal, tmp_path: Path, table: str) -> None:
    filled(journal)
    column = SEALED[table]
    (value,) = journal.row(f"SELECT {column} FROM {table}")
    changed = value[:-1] + bytes([value[-1] ^ 1])
    journal.run_alone(lambda batch: batch.execute(f"UPDATE {table} SET {column} = ?", (changed,)))
    journal.close()
    assert {finding.table for finding in verify(tmp_path, deep=True)} == {table}
