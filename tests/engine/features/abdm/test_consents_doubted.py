"""The journal goes on from an earlier state: what a consent was there, and what comes next. A revocation of it may be
lost, so an old grant puts none in force. Written from the table of docs/abdm.md ("Consents")."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.features.abdm.flows import consents as flow
from engine.features.abdm.rows import contexts
from engine.features.abdm.rules.network import ContextState
from engine.model.errors import LossError, RefusedError
from engine.model.process.clock import SystemClock
from engine.store.core.writing.batch import Batch
from engine.store.integrity import rollback
from engine.store.journal.opening import note_loss
from engine.store.recovery.salvage import saving
from tests.support.abdm_consents import Desk, word
from tests.support.abdm_site import destination, report
from tests.support.copies import Place

OURS = destination("http://127.0.0.1:1", consent_signatures="verify")
NEW = [{"patientReference": "LR-P0", "careContextReference": "LR-NEW"}]  # is linked once the copy was made

Say = Callable[[Desk, str], Any]
# A consent in the copy -> what was said of it before.
COPY: dict[str, list[Say]] = {
    "unknown": [],
    "not folded": [lambda desk, one: desk.keep(desk.grant(one), signed=True)],
    "requested": [lambda desk, one: desk.notice(word("REQUESTED", one))],
    "in force": [lambda desk, one: desk.notice(desk.grant(one), signed=True)],
    "suspended": [
        lambda desk, one: desk.notice(desk.grant(one), signed=True),
        lambda desk, one: desk.notice(b'{"notification": {"consentId": "%s"}}' % one.encode()),
    ],
    "bad_signature": [lambda desk, one: desk.notice(desk.grant(one))],
    "unknown_context": [lambda desk, one: desk.notice(desk.grant(one, careContexts=NEW), signed=True)],
    "disputed": [
        lambda desk, one: desk.notice(desk.grant(one), signed=True),
        lambda desk, one: desk.notice(desk.grant(one, purpose={"code": "PATRQT"}), signed=True),
    ],
    "expired": [lambda desk, one: desk.notice(word("EXPIRED", one))],
    "denied": [lambda desk, one: desk.notice(word("DENIED", one))],
    "revoked": [lambda desk, one: desk.notice(word("REVOKED", one))],
}  # fmt: skip


def resume(desk: Desk, one: str) -> None:
    number = desk.journal.row("SELECT coalesce(max(number), 0) FROM abdm_consent WHERE consent_id = ?", (one,))[0]
    desk.journal.run_alone(flow.resume, number, "asked", who="anna", looked=True)


def grant_of(desk: Desk, one: str) -> Any:
    """The gateway sends a grant as it was made."""
    more = {"careContexts": NEW} if one == "unknown_context" else {}
    return desk.grant(one, **more)


NEXT: dict[str, list[Say]] = {
    "nothing": [],
    "a late repeat": [lambda desk, one: desk.notice(grant_of(desk, one), late_s=60, signed=True)],
    "a repeat of before": [lambda desk, one: desk.notice(grant_of(desk, one), age_s=3600, signed=True)],
    "a new grant": [lambda desk, one: desk.notice(grant_of(desk, one), signed=True)],
    "a person": [resume],
    "a late repeat, a person": [
        lambda desk, one: desk.notice(grant_of(desk, one), late_s=60, signed=True), resume,
    ],
    "a late repeat, a new grant": [
        lambda desk, one: desk.notice(grant_of(desk, one), late_s=60, signed=True),
        lambda desk, one: desk.notice(grant_of(desk, one), signed=True),
    ],
    "a late repeat, a revocation": [
        lambda desk, one: desk.notice(grant_of(desk, one), late_s=60, signed=True),
        lambda desk, one: desk.notice(word("REVOKED", one)),
    ],
}  # fmt: skip

GOES, STAYS = "in force", "nothing goes"
OPEN = ("unknown", "not folded", "requested", "in force", "suspended", "bad_signature", "unknown_context")
RESUMED = ("not folded", "in force", "suspended")  # a grant that fits was there


def expected(copy: str, then: str) -> str:
    """Only a grant that was made since, or a person, lets anything out; and nothing does of what has ended."""
    by_grant = then in ("a new grant", "a late repeat, a new grant")
    by_person = then == "a late repeat, a person" or (then == "a person" and copy in RESUMED)
    return GOES if copy in OPEN and (by_grant or by_person) else STAYS


async def test_after_a_restore_no_old_word_puts_a_consent_in_force(tmp_path: Path) -> None:
    place = Place(tmp_path)
    desk = Desk(place.data, SystemClock())
    desk.ours = OURS
    grants = {one: grant_of(desk, one) for one in COPY}
    desk.grant = lambda one="c-1", **more: _with(grants[one], **more)  # type: ignore[method-assign]
    for one in sorted(COPY, key=lambda one: one == "not folded"):  # callbacks are folded in their order
        for say in COPY[one]:
            say(desk, one)
    desk.journal.start(asyncio.get_running_loop())
    copy = await place.copy(desk.journal)
    await desk.journal.stop()
    place.restore(copy, tmp_path / "new")

    found: dict[tuple[str, str], str] = {}
    for n, (then, says) in enumerate(NEXT.items()):
        data = shutil.copytree(tmp_path / "new" / "var", tmp_path / f"next{n}")
        desk = Desk(data, SystemClock(), fill=False)
        desk.ours = OURS
        desk.grant = lambda one="c-1", **more: _with(grants[one], **more)  # type: ignore[method-assign]
        try:
            desk.journal.run_alone(_link)
            for (number,) in desk.journal.rows("SELECT number FROM abdm_callback WHERE state = 'stored'"):
                desk.fold(number)
            for one in COPY:
                for say in says:
                    try:
                        say(desk, one)
                    except RefusedError:
                        assert say is resume
                found[one, then] = GOES if desk.refusal(one) is None else STAYS
        finally:
            desk.journal.close()
    assert found == {(one, then): expected(one, then) for then in NEXT for one in COPY}


def _with(grant: Any, **more: Any) -> Any:
    said = grant["notification"]
    return {"notification": {**said, "consentDetail": said["consentDetail"] | more}}


def _link(batch: Batch) -> None:
    new = report("A-9", message_id=9, reference="LR-NEW", patient=1)
    contexts.move(batch, [contexts.put(batch, new)], ContextState.LINKED)


# -- each way to an earlier state --------------------------------------------------------------------------------------


def put_back(desk: Desk, target: Path) -> None:
    desk.journal.run_alone(rollback.note, rollback.Rollback("put back"))


def loss_accepted(desk: Desk, target: Path) -> None:
    desk.journal.run_alone(note_loss, LossError("rows are missing"), "anna", "disk")


def salvaged(desk: Desk, target: Path) -> None:
    desk.journal.close()
    saving.run(desk.folder, target, clock=desk.clock, actor="anna", reason="disk")
    desk.folder = target
    desk.reopen()


@pytest.mark.parametrize("way", [put_back, loss_accepted, salvaged])
def test_each_way_to_an_earlier_state_doubts_all_consents(tmp_path: Path, way: Callable[[Desk, Path], None]) -> None:
    desk = Desk(tmp_path / "var")
    known, other = desk.grant("c-1", days=9), desk.grant("c-2", days=9)
    desk.notice(known)
    desk.clock.advance(60)  # type: ignore[attr-defined]
    way(desk, tmp_path / "new")
    try:
        assert desk.refusal("c-1") is not None
        if way is salvaged:  # it saves messages alone
            desk.journal.run_alone(Desk._fill)
        for late, then in ((700, "suspended"), (0, "")):
            desk.clock.advance(60)  # type: ignore[attr-defined]
            for one, body in (("c-1", known), ("c-2", other)):
                desk.notice(body, late_s=late)
                assert desk.consent(one) == ("GRANTED", then), (one, late)
    finally:
        desk.journal.close()


def test_a_late_grant_counts_where_nothing_was_lost_and_a_day_after_it_was(tmp_path: Path) -> None:
    """The gateway comes again with the token of its first attempt, also where it met a machine that was down."""
    desk = Desk(tmp_path / "var")
    try:
        desk.notice(desk.grant("c-1", days=9), late_s=700)
        assert desk.consent("c-1") == ("GRANTED", "")
        put_back(desk, tmp_path)
        desk.clock.advance(86_400)  # type: ignore[attr-defined]
        desk.notice(desk.grant("c-2", days=9), late_s=700)
        assert desk.consent("c-2") == ("GRANTED", "suspended")
        desk.clock.advance(1)  # type: ignore[attr-defined]
        desk.notice(desk.grant("c-3", days=9), late_s=700)
        assert desk.consent("c-3") == ("GRANTED", "")
    finally:
        desk.journal.close()
