"""What follows where a person acts on a report, a consent, a transfer or a call: each state with each act, by tables.

A refusal changes nothing: no row, no call, no entry of the audit trail.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.features.abdm.flows import consents as flow
from engine.features.abdm.flows import later, linking, requests
from engine.features.abdm.rows import calls, consents, contexts, patients, transfers
from engine.features.abdm.rows.patients import Person
from engine.features.abdm.rules.consents import ConsentState
from engine.features.abdm.rules.network import ContextState, TokenState, TransferState
from engine.features.abdm.service import dispatcher
from engine.model.errors import RefusedError
from engine.model.process.clock import ManualClock
from engine.store.core.writing.batch import Batch
from engine.store.queries.acts import acts_page
from tests.support.abdm_consents import OURS, Desk
from tests.support.abdm_site import FACILITY, person, report
from workbench.abdm.people import PEOPLE

DAY_US = 86_400_000_000
WHY = "as the card says"
S, T = ContextState, TransferState


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def desk(tmp_path: Path, clock: ManualClock) -> Iterator[Desk]:
    made = Desk(tmp_path, clock, fill=False)
    yield made
    made.journal.close()


def outcome(desk: Desk, act: Callable[..., object], *args: Any, **more: Any) -> str:
    """ok, or the refusal; a refusal changes nothing."""
    before = _all(desk)
    try:
        desk.journal.run_alone(act, *args, who="asha", **more)
    except RefusedError as error:
        assert _all(desk) == before
        return str(error)
    assert _all(desk) != before
    return "ok"


def _all(desk: Desk) -> list[Any]:
    tables = ("abdm_context", "abdm_patient", "abdm_link_token", "abdm_call", "abdm_consent", "abdm_transfer")
    rows = [desk.journal.rows(f"SELECT * FROM {table}") for table in tables]
    return [*rows, desk.journal.rows("SELECT count(*) FROM journal")]


def differing(found: dict[Any, str], wanted: dict[Any, str]) -> dict[Any, tuple[str, str]]:
    """Where a row of a table came to something else: what it should be, and what it was."""
    fits = {
        row: said == found[row] if said.startswith("ok") else said in found[row] and not found[row].startswith("ok")
        for row, said in wanted.items()
    }
    return {row: (wanted[row], found[row]) for row, fit in fits.items() if not fit}


# -- reports -----------------------------------------------------------------------------------------------------------

# state, reason -> what `link` with the patient's own card, `withdraw` and `retry` come to
REPORTS: dict[tuple[ContextState, str], tuple[str, str, str]] = {
    (S.WAITING, "no_abha"): ("ok ready", "ok dropped", "by a link"),
    (S.WAITING, "doubtful_number"): ("ok ready", "ok dropped", "by a link"),
    (S.WAITING, "two_numbers"): ("ok ready", "ok dropped", "by a link"),
    (S.WAITING, "same_number"): ("ok ready", "ok dropped", "by a link"),
    (S.WAITING, "counted"): ("no link is ever made", "ok dropped", "by a link"),
    (S.WAITING, "other_laboratory"): ("no link is ever made", "ok dropped", "by a link"),
    (S.READY, ""): ("ok ready", "ok dropped", "ok ready"),
    (S.LINKING, ""): ("ok ready", "ok dropped", "on its way"),
    (S.LINKED, ""): ("ok linked", "ok dropped", "ok linked"),
    (S.LINKED, "not-notified"): ("ok linked", "ok dropped", "ok linked"),
    (S.FAILED, "ABDM-1038"): ("ok ready", "ok dropped", "ok ready"),
    (S.FAILED, "NO_CALLBACK"): ("ok ready", "ok dropped", "ok ready"),
    (S.FAILED, "ABDM-1036"): ("ok ready", "ok dropped", "confirm"),  # what was asked is not known any more
    (S.DROPPED, "moved"): ("ok ready", "ok dropped", "by a link"),
    (S.DROPPED, "withdrawn"): ("ok ready", "withdrawn already", "by a link"),
    (S.DROPPED, "left"): ("ok ready", "ok dropped", "by a link"),
    (S.DROPPED, "erased"): ("nothing is left", "nothing is left", "nothing is left"),
    (S.DROPPED, "retention"): ("nothing is left", "nothing is left", "nothing is left"),
}


def place(batch: Batch, name: str, state: ContextState, reason: str, *, of: int = -1) -> int:
    """A report in a state; ``of``: the number of its patient, or one of its own is made."""
    if of < 0:
        known = state not in (S.WAITING, S.DROPPED)
        of = patients.put(batch, FACILITY, linking.reference(), card(name)) if known else 0
    number = contexts.put(batch, report(name, message_id=len(name) + ord(name[-1]), patient=of))
    batch.execute("UPDATE abdm_context SET state = ?, reason = ? WHERE number = ?", (state.value, reason, number))
    return number


def card(name: str, **other: Any) -> Person:
    """Of a patient of this name's own."""
    return person(0, address=f"{name.lower()}@sbx", number="", patient=name, **other)


def state_of(desk: Desk, number: int) -> str:
    return str(desk.journal.row("SELECT state FROM abdm_context WHERE number = ?", (number,))[0])


def test_each_act_on_a_report_in_each_state(desk: Desk) -> None:
    found, wanted = {}, {}
    for n, ((state, reason), said) in enumerate(REPORTS.items()):
        for act, words in zip(("link", "withdraw", "retry"), said, strict=True):
            name = f"{act}{n:02}"
            number = desk.journal.run_alone(place, name, state, reason)
            if act == "link":
                came = outcome(desk, later.link, OURS, number, card(name), confirmed=True, reason=WHY)
            elif act == "withdraw":
                came = outcome(desk, later.withdraw, number, WHY)
            else:
                came = outcome(desk, later.context, OURS, number, WHY)
            found[state, reason, act] = f"ok {state_of(desk, number)}" if came == "ok" else came
            wanted[state, reason, act] = words
    assert differing(found, wanted) == {}


def test_an_act_needs_a_reason_and_a_report(desk: Desk) -> None:
    number = desk.journal.run_alone(place, "A-1", S.FAILED, "ABDM-1038")
    assert {
        "link": outcome(desk, later.link, OURS, number, card("A-1"), reason=" ", confirmed=True),
        "withdraw": outcome(desk, later.withdraw, number, ""),
        "retry": outcome(desk, later.context, OURS, number, ""),
        "link 7": outcome(desk, later.link, OURS, 7, card("A-1"), reason=WHY, confirmed=True),
        "withdraw 7": outcome(desk, later.withdraw, 7, WHY),
        "retry 7": outcome(desk, later.context, OURS, 7, WHY),
    } == {
        "link": "say why",
        "withdraw": "say why",
        "retry": "say why",
        "link 7": "there is no context 7",
        "withdraw 7": "there is no context 7",
        "retry 7": "there is no context 7",
    }


def test_of_a_laboratory_that_is_configured_no_more_nothing_is_asked(desk: Desk) -> None:
    number = desk.journal.run_alone(place, "A-1", S.FAILED, "ABDM-1038")
    ours = OURS.model_copy(update={"facilities": {}})
    said = outcome(desk, later.context, ours, number, WHY)
    assert "not in the configuration" in said
    said = outcome(desk, later.link, ours, number, card("A-1"), reason=WHY)
    assert "not in the configuration" in said
    assert outcome(desk, later.withdraw, number, WHY) == "ok"


# -- a report that the network has refused -----------------------------------------------------------------------------


def refused(batch: Batch, name: str, code: str, *, state: ContextState = S.FAILED, reason: str = "") -> tuple[int, int]:
    """A report whose patient the network was asked for, and refused; its number and the patient's."""
    number = place(batch, name, S.READY, "")
    context = contexts.by_number(batch, number)
    assert context is not None
    linking.go_on(batch, OURS, context.patient)
    batch.execute("UPDATE abdm_call SET state = 'failed', code = ? WHERE subject = ?", (code, context.patient))
    patients.forget_link_token(batch, context.patient)
    batch.execute(
        "UPDATE abdm_context SET state = ?, reason = ? WHERE number = ?", (state.value, reason or code, number)
    )
    return number, context.patient


MISTAKE = "three mistakes block the patient for a day"


def test_what_the_network_has_refused_is_asked_again_only_where_it_has_changed_or_a_person_says_so(desk: Desk) -> None:
    run = desk.journal.run_alone

    def retry(number: int, **more: Any) -> str:
        return outcome(desk, later.context, OURS, number, WHY, **more)

    def link(number: int, one: Person, **more: Any) -> str:
        return outcome(desk, later.link, OURS, number, one, reason=WHY, **more)

    same, _ = run(refused, "R-1", "ABDM-1036")
    assert MISTAKE in retry(same)
    assert retry(same, confirmed=True) == "ok"
    assert "on its way" in retry(same, confirmed=True)

    changed, patient = run(refused, "R-2", "ABDM-1036")
    run(lambda batch: patients.put(batch, FACILITY, "LR", card("R-2", verified=True, year=1960)))
    assert retry(changed) == "ok"
    assert desk.journal.rows("SELECT count(*) FROM abdm_call WHERE subject = ?", (patient,)) == [(2,)]

    typed, _ = run(refused, "R-3", "ABDM-1036")
    run(lambda batch: contexts.set_content(batch, typed, {"display": "Lab report"}))
    said = link(typed, card("R-3"))
    assert "confirm" in said
    assert link(typed, card("R-3"), confirmed=True) == "ok"

    other, _ = run(refused, "R-4", "ABDM-1038")
    assert retry(other) == "ok", "the network has not compared the patient"


def test_a_blocked_patient_is_asked_for_once_the_day_is_over(desk: Desk, clock: ManualClock) -> None:
    def retry(**more: Any) -> str:
        return outcome(desk, later.context, OURS, number, WHY, **more)

    run = desk.journal.run_alone
    number, patient = run(refused, "R-1", "ABDM-1027", state=S.READY, reason="blocked")
    until_us = clock.now_us() + DAY_US
    run(lambda batch: patients.set_link_token(batch, patient, TokenState.BLOCKED, until_us=until_us))
    assert "blocks this patient" in retry(confirmed=True)
    clock.advance(86_401)
    assert MISTAKE in retry()
    assert retry(confirmed=True) == "ok"
    assert state_of(desk, number) == "ready"
    assert desk.journal.rows("SELECT state FROM abdm_call ORDER BY number") == [("failed",), ("waiting",)]


def test_a_report_of_a_patient_who_has_left_is_not_tried_again(desk: Desk) -> None:
    number, patient = desk.journal.run_alone(refused, "R-1", "ABDM-1038")
    desk.journal.run_alone(lambda batch: patients.drop(batch, patient))
    assert "has left" in outcome(desk, later.context, OURS, number, WHY)


def test_an_app_that_knows_the_newest_version_is_not_told_again(desk: Desk) -> None:
    def retry() -> str:
        return outcome(desk, later.context, OURS, number, WHY)

    number = desk.journal.run_alone(place, "L-1", S.LINKED, "not-notified")
    assert retry() == "ok"
    assert "on its way" in retry()
    desk.journal.run_alone(lambda batch: contexts.notified(batch, number, 1))
    desk.journal.run_alone(lambda batch: batch.execute("UPDATE abdm_call SET state = 'done'"))
    assert "knows its newest version" in retry()


# -- consents ----------------------------------------------------------------------------------------------------------

C = ConsentState
# state, reason -> what `resume` comes to
CONSENTS: dict[tuple[ConsentState, str], str] = {
    (C.GRANTED, "suspended"): "ok",
    (C.GRANTED, ""): "is in force",
    (C.GRANTED, "disputed"): "under this consent: disputed",
    (C.GRANTED, "other_facility"): "under this consent: other_facility",
    (C.GRANTED, "other_patient"): "under this consent: other_patient",
    (C.REQUESTED, "suspended"): "no grant",
    (C.REQUESTED, ""): "no grant",
    (C.EXPIRED, ""): "has ended",
    (C.DENIED, ""): "has ended",
    (C.REVOKED, "suspended"): "has ended",
    (C.REVOKED, "unreadable"): "has ended",
}


def test_each_consent_is_resumed_or_not(desk: Desk, clock: ManualClock) -> None:
    found: dict[tuple[ConsentState, str], str] = {}
    for n, (state, reason) in enumerate(CONSENTS):
        number = desk.journal.run_alone(
            consents.put, f"c-{n}", FACILITY, state, reason=reason, ends_us=clock.now_us() + DAY_US, content=["{}"]
        )
        found[state, reason] = outcome(desk, flow.resume, number, WHY, looked=True)
        if found[state, reason] == "ok":
            assert desk.consent(f"c-{n}") == (state, "")
    assert differing(found, CONSENTS) == {}


def test_a_consent_is_resumed_by_a_person_who_has_looked_in_its_time_and_says_why(
    desk: Desk, clock: ManualClock
) -> None:
    def resume(number: int, why: str = WHY, *, looked: bool = True) -> str:
        return outcome(desk, flow.resume, number, why, looked=looked)

    ends_us = clock.now_us() + DAY_US
    one = desk.journal.run_alone(
        consents.put, "c-1", FACILITY, C.GRANTED, reason="suspended", ends_us=ends_us, content=["{}"]
    )
    assert "own list" in resume(one, looked=False)
    assert "say why" in resume(one, " ")
    assert resume(7) == "there is no consent 7"
    clock.advance(86_401)
    assert "is over" in resume(one)


def test_records_go_out_again_under_a_consent_that_was_resumed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    try:
        desk.notice(desk.grant())
        desk.journal.run_alone(consents.suspend_all)
        assert desk.refusal() is not None
        desk.journal.run_alone(flow.resume, 1, WHY, who="asha", looked=True)
        assert desk.refusal() is None
    finally:
        desk.journal.close()


# -- transfers and calls -----------------------------------------------------------------------------------------------

# state, whether its report to the network has failed -> what `retry` comes to
TRANSFERS: dict[tuple[TransferState, bool], str] = {
    (T.STORED, False): "is under way",
    (T.ACKNOWLEDGED, False): "is under way",
    (T.PUSHING, False): "is under way",
    (T.ENDED, False): "the reader asks again",
    (T.ENDED, True): "ok",
    (T.REFUSED, False): "the reader asks again",
    (T.REFUSED, True): "the reader asks again",
}


def test_each_transfer_is_retried_or_not(desk: Desk) -> None:
    found: dict[tuple[TransferState, bool], str] = {}
    for n, (state, failed) in enumerate(TRANSFERS):

        def made(batch: Batch, n: int = n, state: TransferState = state, failed: bool = failed) -> int:
            number, _ = transfers.take(batch, f"t-{n}", FACILITY, consent=1, ends_us=9, content=None)
            transfers.move(batch, number, state)
            one = calls.queue(batch, FACILITY, requests.DATA_NOTIFY, number, {"notification": {}})
            batch.execute("UPDATE abdm_call SET state = ? WHERE number = ?", ("failed" if failed else "done", one))
            return number

        number = desk.journal.run_alone(made)
        found[state, failed] = outcome(desk, later.transfer, number, WHY)
    assert differing(found, TRANSFERS) == {}
    desk.journal.run_alone(
        lambda batch: batch.execute("UPDATE abdm_call SET code = 'not-acknowledged', state = 'failed'")
    )
    ended = list(TRANSFERS).index((T.ENDED, True)) + 1
    assert "the reader asks again" in outcome(desk, later.transfer, ended, WHY)
    assert outcome(desk, later.transfer, 70, WHY) == "there is no transfer 70"


OF_A_LINK, OF_THE_MOMENT = "give the context", "at its moment alone"
# name -> what `retry` of a call that has failed comes to
CALLS: dict[str, str] = {
    "generate-token": OF_A_LINK,
    "link": OF_A_LINK,
    "context-notify": OF_A_LINK,
    "data-notify": "ok",
    "consent-on-notify": "ok",
    "status-on-notify": "ok",
    "on-request": OF_THE_MOMENT,
    "on-discover": OF_THE_MOMENT,
    "on-init": OF_THE_MOMENT,
    "on-confirm": OF_THE_MOMENT,
    "on-share": OF_THE_MOMENT,
    "sms-notify": OF_THE_MOMENT,
    "of-another-release": OF_THE_MOMENT,
}


def test_each_call_that_has_failed_is_made_again_or_not(desk: Desk) -> None:
    assert CALLS.keys() - {"of-another-release"} == dispatcher.Table.of(dispatcher.FLOWS).calls.keys()
    found: dict[str, str] = {}
    for name in CALLS:
        number = failed_call(desk, name)
        found[name] = outcome(desk, later.call, number, WHY)
    assert differing(found, CALLS) == {}


def failed_call(desk: Desk, name: str = "data-notify", state: str = "failed", **more: Any) -> int:
    number = desk.journal.run_alone(calls.queue, FACILITY, name, 1, more.pop("body", {}), **more)
    desk.journal.run_alone(
        lambda batch: batch.execute("UPDATE abdm_call SET state = ? WHERE number = ?", (state, number))
    )
    return number


def test_a_call_is_made_again_where_it_has_failed_in_its_time_and_its_body_is_here(
    desk: Desk, clock: ManualClock
) -> None:
    rows = {
        "waiting": (failed_call(desk, state="waiting"), "is under way"),
        "sending": (failed_call(desk, state="sending"), "is under way"),
        "accepted": (failed_call(desk, state="accepted"), "is under way"),
        "done": (failed_call(desk, state="done"), "is done"),
        "erased": (failed_call(desk, body=None), "erased"),
        "late": (failed_call(desk, ends_us=clock.now_us() - 1), "its time is over"),
        "in time": (failed_call(desk, ends_us=clock.now_us() + DAY_US), "ok"),
    }
    found = {name: outcome(desk, later.call, number, WHY) for name, (number, _) in rows.items()}
    assert differing(found, {name: said for name, (_, said) in rows.items()}) == {}
    assert outcome(desk, later.call, 70, WHY) == "there is no call 70"
    assert "say why" in outcome(desk, later.call, rows["in time"][0], "")


def test_no_act_has_a_name_in_the_audit_trail(desk: Desk) -> None:
    assert PEOPLE[0].name
    number, _ = desk.journal.run_alone(refused, "R-1", "ABDM-1036")
    desk.journal.run_alone(later.context, OURS, number, WHY, who="asha", confirmed=True)
    said = " ".join(str(act.what) for act in acts(desk))
    assert "r-1@sbx" not in said.casefold()
    assert PEOPLE[0].name.casefold() not in said.casefold()
    assert [act.verb for act in acts(desk)] == ["abdm-retry"]


def acts(desk: Desk) -> list[Any]:
    return [act for act in acts_page(desk.journal) if act.verb.startswith("abdm-")]
