"""Lists of ABDM beside a plain reading of the same rows, and the state of each laboratory."""

import random
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.features.abdm.rows import consents, contexts, transfers
from engine.features.abdm.rows import lists as abdm_lists
from engine.features.abdm.rows.details import MOST_UNDER, context
from engine.features.abdm.rows.lists import MaskedPatient, Wanted
from engine.features.abdm.rows.state import FacilityState, facility_states
from engine.features.abdm.rules.care_contexts import Gone, Hold, Wait
from engine.features.abdm.rules.consents import ConsentState
from engine.features.abdm.rules.network import ContextState, TransferState
from engine.model.process.clock import ManualClock, to_us
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from tests.support import abdm_rows
from tests.support.abdm_rows import WEST, fill
from tests.support.abdm_site import FACILITY, report

FACILITIES = (FACILITY, WEST, "IN0000000003")
REASONS = ("", *map(str, Wait), Hold.SAME_NUMBER.value, Gone.MOVED.value, "ABDM-1036")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal.open(tmp_path, clock=ManualClock())) as opened:
        yield opened


def _many(batch: Batch, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(1, 81):
        facility = chance.choice(FACILITIES)
        contexts.put(batch, report(f"A-{number}", message_id=chance.randint(1, 9), facility=facility))
        batch.execute(
            "UPDATE abdm_context SET state = ?, reason = ? WHERE number = ?",
            (chance.choice([*ContextState]).value, chance.choice(REASONS), number),
        )
        reason = chance.choice(("", consents.SUSPENDED))
        consents.put(batch, f"c-{number}", facility, chance.choice([*ConsentState]), reason=reason)
        transfers.take(batch, f"t-{number}", facility, consent=chance.randint(0, 9), ends_us=1, content=None)
        transfers.move(batch, number, chance.choice([*TransferState]), chance.choice(("", "range")))


LISTS: dict[str, tuple[Any, Iterable[str], str, str]] = {
    abdm_lists.CONTEXTS: (abdm_lists.contexts, ContextState, "message", "message_id"),
    abdm_lists.CONSENTS: (abdm_lists.consents, ConsentState, "", ""),
    abdm_lists.TRANSFERS: (abdm_lists.transfers, TransferState, "consent", "consent"),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("table", LISTS)
def test_each_filter_finds_what_a_plain_reading_finds_page_by_page(journal: Journal, table: str, seed: int) -> None:
    journal.run_alone(lambda batch: _many(batch, seed))
    read, states, name, column = LISTS[table]
    chance = random.Random(seed)
    for turn in range(60):
        said: dict[str, Any] = {"facility": "", "state": "", "reason": ""}
        if turn:  # the first one asks for all rows
            said["facility"] = chance.choice(("", "", "", *FACILITIES, "none"))
            said["state"] = chance.choice((*("",) * 5, *map(str, states)))
            said["reason"] = chance.choice((*("",) * 9, *REASONS, "suspended", "range"))
        if name and not chance.randrange(3):
            said[name] = chance.randrange(10)
        where = [f"{column if key == name else key} = ?" for key, one in said.items() if one not in ("", None)]
        plain = journal.rows(
            f"SELECT number FROM {table} WHERE {' AND '.join(where) or '1'} ORDER BY number DESC",
            [one for one in said.values() if one not in ("", None)],
        )
        found, before, limit = [], 0, chance.randint(1, 30)
        while page := read(journal, Wanted(**said), before=before, limit=limit):
            assert len(page) <= limit
            found += [one.number for one in page]
            before = found[-1]
        assert found == [number for (number,) in plain], said


@pytest.mark.parametrize("table", LISTS)
def test_counts_are_those_of_all_rows(journal: Journal, table: str) -> None:
    journal.run_alone(lambda batch: _many(batch, 7))
    plain = journal.rows(
        f"SELECT facility, state, reason, count(*) FROM {table} GROUP BY facility, state, reason"
        " ORDER BY facility, state, reason"
    )
    counted = [(one.facility, one.state, one.reason, one.count) for one in abdm_lists.counts(journal, table)]
    assert counted == plain


def test_a_report_is_found_by_its_number_in_any_channel(journal: Journal) -> None:
    def put(batch: Batch) -> None:
        for channel, document in (("chem", "A-7"), ("other", "B-7")):
            batch.execute(
                "INSERT INTO channel (name, last_seq, last_us, stored, dead, incomplete) VALUES (?, 0, 0, 0, 0, 0)",
                (channel,),
            )
            contexts.put(batch, replace(report(document), channel=channel, accession="2026-7"))
        contexts.put(batch, replace(report("A-8"), accession="2026-8"))

    journal.run_alone(put)
    found = abdm_lists.contexts(journal, Wanted(report="2026-7"), limit=9)
    assert [one.number for one in found] == [2, 1]
    assert abdm_lists.contexts(journal, Wanted(report="2026-7", state="linked"), limit=9) == []
    assert abdm_lists.contexts(journal, Wanted(report="2026-9"), limit=9) == []
    assert "2026-7" not in repr(Wanted(report="2026-7"))


def test_a_patient_is_masked_and_one_of_a_report_is_marked_so(journal: Journal) -> None:
    journal.run_alone(fill)
    shown = {one.number: one.patient for one in abdm_lists.contexts(journal, Wanted(), limit=9)}
    assert shown[abdm_rows.LINKED] == MaskedPatient(
        name="M*** I***", abha_number="**-****-****-0016", abha_address="m***@sbx", is_known=True
    )
    assert shown[abdm_rows.COUNTED] == MaskedPatient(
        name="A*** R***", abha_number="**-****-****-0032", abha_address="a***@sbx"
    )
    assert shown[abdm_rows.SAME_NUMBER] == MaskedPatient()


def test_versions_are_kept_with_their_messages_up_to_a_limit(journal: Journal) -> None:
    count = contexts.MOST_VERSIONS + 3
    for message in range(1, count + 1):
        journal.run_alone(lambda batch, message=message: contexts.put(batch, report(message_id=message)))  # type: ignore[misc]
    journal.run_alone(lambda batch: contexts.notified(batch, 1, count - 1))
    found = context(journal, 1)
    assert found is not None
    assert [one.version for one in found.versions] == list(range(count, count - contexts.MOST_VERSIONS, -1))
    assert [one.is_told for one in found.versions[:2]] == [False, True]
    assert {one.message_id for one in found.versions} == {0}, "no such message is here"
    assert len(found.steps) <= MOST_UNDER


def test_the_state_of_each_laboratory(journal: Journal) -> None:
    journal.run_alone(fill)
    now_us = to_us(ManualClock().now())
    configured = {FACILITY: "Made-up Laboratory", "IN0000000003": "New Laboratory"}
    first, west, new = facility_states(journal, configured, now_us)
    counted = {"waiting": 2, "ready": 0, "linking": 0, "linked": 1, "failed": 1, "dropped": 1}
    allowed = {"REQUESTED": 0, "GRANTED": 3, "EXPIRED": 0, "DENIED": 0, "REVOKED": 1}
    assert first == FacilityState(
        facility=FACILITY, name="Made-up Laboratory", contexts=counted, moved=1, same_number=1, other_name=0,
        calls_waiting=1,
        calls_again=0, calls_failed=1, consents=allowed,
        suspended=1, unsure=0, transfers_open=0, last_callback_us=now_us, callbacks_behind=0, callbacks_refused=1,
    )  # fmt: skip
    assert not first.is_well
    assert set(first.troubles) == {
        "moved", "same_number", "not_linked", "suspended", "callbacks_refused", "calls_failed"
    }  # fmt: skip
    assert (west.facility, west.name, west.contexts["ready"], west.is_well) == (WEST, "", 1, True)
    assert (new.facility, new.contexts["linked"], new.last_callback_us, new.is_well) == ("IN0000000003", 0, 0, True)
    later = facility_states(journal, configured, now_us + 8 * 86_400_000_000)[0]
    assert set(later.troubles) == {"moved", "same_number", "not_linked", "suspended"}, "the rest is long ago"
