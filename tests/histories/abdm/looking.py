"""What is looked at: in the end what each app shows; and each page and call in the transaction in which it begins."""

from typing import TYPE_CHECKING, Any

import pytest

from engine.features.abdm.flows import later
from engine.features.abdm.rows import calls, contexts, transfers
from engine.features.abdm.rules.network import Attempt
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from tests.histories.abdm import keeping
from tests.histories.abdm.messages import value_of
from tests.support.waiting import until
from workbench.abdm.people import PEOPLE, Person

if TYPE_CHECKING:
    from tests.histories.abdm.play import History

OF_ONE_PATIENT = {"share", "discover", "init", "confirm"}
TOLERATED_US = 25_000_000  # by which the gateway's time may be known wrongly


async def look(history: "History") -> None:
    """All faults are over, and the clock is right: each patient grants all that is linked, and asks."""
    await history.calm()
    if history.clock.jumped_s:
        await keeping.set_clock(history, 0.0)
    await history.settled()
    for (number,) in history.ours.rows("abdm_context WHERE state = 'failed' AND reason = 'NO_CALLBACK'", "number"):
        await history.ours.journal.run(later.context, history.site.config, number, "no answer", who="asha")
    history.ours.dispatcher.changed()
    await history.settled()
    history.note()
    look_at_contexts(history)
    known = {reference for (reference,) in history.ours.rows("abdm_context", "reference")}
    shown: dict[tuple[int, str], set[int]] = {}
    for who, one in enumerate(PEOPLE):
        for facility in history.state.settings.facilities:
            mine = [
                reference
                for owner, place, reference in history.state.linked
                if (owner, place) == (one.address, facility) and reference in known
            ]
            if mine and history.state.statuses.get(one.address, "ACTIVE") == "ACTIVE":
                shown[who, facility] = await seen(history, who, facility, mine)
    without = [number for (number,) in history.ours.rows("abdm_context WHERE reason = 'ABDM-1092'", "number")]
    # The network gives a token once; an erasure has taken it, and it was on its way then.
    lost = {history.contexts.get(number) for number in without} if history.done["erase"] else set()
    for who, one in enumerate(PEOPLE):
        if history.state.statuses.get(one.address, "ACTIVE") == "ACTIVE":
            for facility in history.state.settings.facilities:
                must = {issue.value for issue in history.model.must(who, facility) if issue.key not in lost}
                missing = must - shown.get((who, facility), set())
                assert not missing, f"{one.address} does not see {[history.issues[n] for n in missing]}"
    look_at_documents(history)
    assert not history.wrong, history.wrong
    found = await history.site.ask("/violations")
    found = [one for one in found if not _is_excused(history, one)]
    assert not found, found
    if not history.restored:
        pending = await history.site.ask("/pending")
        if history.done["leave"] or history.done["erase"]:  # answers that name one who is gone are not given
            pending = [one for one in pending if one["callback"] not in OF_ONE_PATIENT]
        late = "abdm_call WHERE name = 'on-request' AND code = 'GAVE_UP'"
        if history.ours.rows(late, "number"):  # more time has passed than the gateway waits for this answer
            assert history.done["pass"] or history.done["leap"]
            pending = [one for one in pending if one["callback"] != "data-request"]
        assert pending == []


def _is_excused(history: "History", violation: dict[str, str]) -> bool:
    """What a program cannot know that was ended in the midst of a call, or that was put back in time."""
    rule, words = violation["rule"], violation["detail"]
    was_ended = bool(history.done["restart"] or history.restored)
    if rule == "refused-with-another-code":  # expired, and revoked besides
        return words == "expired: ABDM-1062, not ABDM-1061"
    if rule == "forged-callback-taken":
        return "answered 5" in words  # it was not taken: we stopped, or had not the gateway's keys
    if rule == "mismatch-asked-again":  # its result had not come in time
        return bool(history.ours.rows("abdm_call WHERE name = 'generate-token' AND attempt > 1"))
    if rule in ("answered-twice", "notify-dishonest"):
        return was_ended
    if rule == "link-token-asked-twice":  # it was on its way at an erasure, or while more time passed than we wait
        return bool(history.done["erase"] or history.done["pass"])
    if rule == "header-timestamp":  # of the call at which the time has changed
        return bool(history.done["leap"] or history.done["pass"])
    if rule == "page-after-window" or (rule, words) == ("page-keys", "expired"):  # our clock says when it is over
        return bool(history.done["leap"])
    return rule == "linked-context-offered"  # its link was under way when the app searched


async def seen(history: "History", who: int, facility: str, references: list[str]) -> set[int]:
    """What the app gets under a consent to all; empty where it is not taken, as of one who has left."""
    said = {"patient": PEOPLE[who].address, "facility": facility, "references": references}
    said["begin"] = "2026-01-01T00:00:00.000Z"
    consent = (await history.site.ask("/app/grant", said))["consentId"]
    await history.settled()
    if not history.state.consents[consent].acknowledged:
        history.told.append(
            f"not taken: {who} {facility} {history.ours.rows('abdm_consent', 'number, state, reason')[-1]}"
        )
        return set()
    transaction = await history.pull(consent)
    await until(lambda: history.state.transfers[transaction].state in ("done", "refused"))
    history.told.append(f"seen: {who} {facility} {await history.site.ask(f'/transfers/{transaction}')}")
    return {value_of(one.content.decode()) for one in history.state.documents if one.transaction == transaction}


def look_at_contexts(history: "History") -> None:
    """Each report is linked and told of, or says why not; each link is of the patient whose report it is."""
    told = "number, reference, facility, state, reason, version, notified"
    addresses = {who: one.address for who, one in enumerate(PEOPLE)}
    by_reference = {}
    for number, reference, facility, state, reason, version, notified in history.ours.rows("abdm_context", told):
        assert state in ("linked", "waiting", "failed", "dropped") or reason == "blocked", (number, state)
        if state == "linked":
            assert version == notified or reason, (number, version, notified)
        else:
            assert reason, (number, state)
        by_reference[facility, reference] = number
    for address, facility, reference in history.state.linked:
        number = by_reference.get((facility, reference))
        if number is None:  # of before a restore
            assert history.restored
            continue
        if number in history.contexts:
            assert addresses[history.contexts[number][3]] == address, f"context {number} is linked with another person"


def look_at_documents(history: "History") -> None:
    for one in history.state.documents:
        issue = history.issues[value_of(one.content.decode())]
        assert PEOPLE[issue.who].address == one.address, f"{one.address} got {issue}"
        assert issue in history.allowed[one.transaction], f"{one.address} got {issue} of another time"


def watch(history: "History", monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at each page and each call in the transaction in which an attempt begins. What is wrong is noted: an error
    there would be one of the journal."""
    begin, claim, post = transfers.begin_page, calls.claim, history.site.sandbox._callbacks._post

    def begun(batch: Batch, number: int, n: int) -> None:
        history.wrong += _wrong_page(history, batch, number, n)
        begin(batch, number, n)

    @operation(priority=Priority.SETTLE)
    def claimed(batch: Batch, *given: Any, **named: Any) -> list[Attempt]:
        attempts = claim(batch, *given, **named)
        for one in attempts:
            history.wrong += [f"{one.call.name} names {who}" for who in history.silent if _names(one, PEOPLE[who])]
        return attempts

    async def posted(*given: Any) -> bool:
        history.on_the_way += 1
        try:
            return await post(*given)
        finally:
            history.on_the_way -= 1

    monkeypatch.setattr(history.site.sandbox._callbacks, "_post", posted)
    monkeypatch.setattr(transfers, "begin_page", begun)
    monkeypatch.setattr(calls, "claim", claimed)


def _wrong_page(history: "History", batch: Batch, number: int, n: int) -> list[str]:
    state, reason, ends_us, consent_patient = batch.execute(
        "SELECT c.state, c.reason, c.ends_us, c.patient FROM abdm_transfer t JOIN abdm_consent c"
        " ON c.number = t.consent WHERE t.number = ?",
        (number,),
    ).fetchone()
    context_number, document_id, attempt = batch.execute(
        "SELECT context, document_id, attempt FROM abdm_page WHERE transfer = ? AND n = ?", (number, n)
    ).fetchone()
    context, gateway_us = contexts.by_number(batch, context_number), history.gateway_clock.now_us()
    issue = history.papers.get(document_id)
    wrong = {
        "a page after the end of its consent": (state, reason) != ("GRANTED", "") or batch.now_us >= ends_us,
        "a page after the end of its consent by the gateway's clock": history.is_time_sure
        and gateway_us >= ends_us + TOLERATED_US,
        "a page of no report": context is None or context.state in ("dropped", "waiting"),
        "a page of another patient": context is not None and context.patient != consent_patient,
        "an older version goes out first": context is not None and not attempt and context.document_id != document_id,
        "a page of one who was erased": issue in history.gone,
    }
    return [words for words, is_so in wrong.items() if is_so]


def _names(attempt: Attempt, one: Person) -> bool:
    said = str(attempt.call.body)
    return one.address in said or bool(one.number and one.number in said)
