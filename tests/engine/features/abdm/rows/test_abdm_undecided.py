"""What a person has to decide of ABDM, as the to-do list has it: by the state and reason of each row."""

from pathlib import Path

from engine.features.abdm.rows import consents, contexts, patients
from engine.features.abdm.rows.reading import undecided
from engine.features.abdm.rules.consents import ConsentState
from engine.features.abdm.rules.network import ContextState
from engine.model.process.clock import ManualClock
from engine.store.core.writing.batch import Batch
from tests.support.abdm_consents import Desk
from tests.support.abdm_site import FACILITY, person, report

S, C = ContextState, ConsentState
# State and reason -> what the list calls it; empty: there is nothing to decide.
REPORTS: dict[tuple[ContextState, str], str] = {
    (S.FAILED, ""): "failed",
    (S.FAILED, "ABDM-1036"): "failed",
    (S.FAILED, "ABDM-1092"): "ABDM-1092",
    (S.READY, "ABDM-1092"): "",
    (S.READY, "blocked"): "blocked",
    (S.LINKED, "not-notified"): "not-notified",
    (S.LINKED, "leaving"): "",  # its patient is on the list
    (S.LINKED, ""): "",
    (S.WAITING, "no_abha"): "",
    (S.WAITING, "same_number"): "same_number",
    (S.WAITING, "other_name"): "other_name",
    (S.DROPPED, "moved"): "moved",
    (S.DROPPED, "erased"): "",
}
CONSENTS: dict[tuple[ConsentState, str], str] = {
    (C.GRANTED, ""): "",
    (C.GRANTED, "suspended"): "suspended",
    (C.GRANTED, "bad_signature"): "bad_signature",
    (C.GRANTED, "other_patient"): "other_patient",
    (C.GRANTED, "doubtful"): "doubtful",
    (C.GRANTED, "disputed"): "",
    (C.GRANTED, "unknown_context"): "",
    (C.REQUESTED, "suspended"): "",
    (C.REVOKED, "bad_signature"): "",
    (C.EXPIRED, "other_patient"): "",
}


def test_each_row_is_on_the_list_or_is_not(tmp_path: Path) -> None:
    desk = Desk(tmp_path, ManualClock(), fill=False)
    try:
        for n, (state, reason) in enumerate(REPORTS):

            def put(batch: Batch, n: int = n, state: str = state.value, reason: str = reason) -> None:
                number = contexts.put(batch, report(f"R-{n}", message_id=n + 1))
                batch.execute("UPDATE abdm_context SET state = ?, reason = ? WHERE number = ?", (state, reason, number))

            desk.journal.run_alone(put)
        for n, is_known in enumerate((True, False)):

            def suspect(batch: Batch, n: int = n, is_known: bool = is_known) -> None:
                number = patients.put(batch, FACILITY, f"LR-{n}", person(n))
                patients.suspect(batch, number, 1)
                if is_known:
                    contexts.hold(batch, contexts.put(batch, report(f"W-{n}", patient=number)), "other_name")

            desk.journal.run_alone(suspect)
        for n, (kept, why) in enumerate(CONSENTS):
            desk.journal.run_alone(consents.put, f"c-{n}", FACILITY, kept, reason=why)
        wanted = [what for what in (*REPORTS.values(), "other_name", *CONSENTS.values()) if what]
        for since_us, leaving in ((0, 2), (desk.clock.now_us() + 1, 1)):  # one of whom no report is known for a while
            found = undecided(desk.journal, since_us)
            wanted_now = {what: wanted.count(what) for what in wanted} | {"leaving": leaving}
            assert {one.what: one.count for one in found} == wanted_now
    finally:
        desk.journal.close()
