"""Each fate of a page, beside each other one, under each end of its transfer: the audit trail and the report.

delivered                              `abdm-disclosed`, DELIVERED
it may have arrived, and none says so  `abdm-maybe-disclosed`, ERRORED
no byte of it went out                 in no row, ERRORED
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.features.abdm.flows import consents as flow
from engine.features.abdm.flows import requests, turns
from engine.features.abdm.rows import calls, consents, sealing, transfers
from engine.features.abdm.rules.consents import Refusal
from engine.features.abdm.rules.network import PageState
from engine.features.abdm.wire.times import written
from engine.model.errors import ContentError
from engine.store.core.writing.batch import Batch
from engine.store.lifecycle import erasure
from engine.store.queries.acts import acts_page
from tests.support.abdm_consents import DAY, OURS, Desk, word
from tests.support.abdm_site import FACILITY
from workbench.abdm.people import PEOPLE

Step = tuple[PageState, int, bool] | None  # state, status, whether a byte may have gone out; None: cut off by a stop
TAKEN, REFUSED = (PageState.DELIVERED, 202, True), (PageState.FAILED, 403, True)
SILENT, BUSY, AWAY = (PageState.SEALED, 0, True), (PageState.SEALED, 503, True), (PageState.SEALED, 0, False)
FATES: dict[str, list[Step]] = {
    "never begun": [],
    "delivered": [TAKEN],
    "delivered after no answer": [SILENT, TAKEN],
    "delivered after a stop": [None, TAKEN],
    "no answer": [SILENT],
    "no answer, then not connected": [SILENT, AWAY],
    "a fault of the reader": [BUSY],
    "refused by the reader": [REFUSED],
    "not connected": [AWAY, AWAY],
    "no place to send it to": [(PageState.FAILED, 0, False)],
    "not connected, then cut off": [AWAY, None],
    "cut off": [None],
}
ENDS = ["window", "revoked", "erased"]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.notice(made.grant())
    yield made
    made.journal.close()


def is_delivered(fate: str) -> bool:
    return TAKEN in FATES[fate]


def is_unsure(fate: str) -> bool:
    return not is_delivered(fate) and any(step is None or step[2] for step in FATES[fate])


def play(batch: Batch, name: str, fates: tuple[str, str]) -> int:
    """A transfer of two pages, as far as the fates say; its number."""
    kept = consents.by_number(batch, 1)
    assert kept is not None
    grant = flow.artefact(kept)
    assert grant is not None
    content = {
        "request": {"who": PEOPLE[0].address}, "consent": "c-1", "contexts": ["LR-C0", "LR-C1"], "left": {},
        "reader": requests.reader(grant),
    }  # fmt: skip
    number, _ = transfers.take(batch, name, FACILITY, consent=1, ends_us=9, content=content)
    transfers.add_pages(batch, number, [transfers.NewPage(1, 1, b"page"), transfers.NewPage(2, 2, b"page")])
    for n, fate in enumerate(fates, start=1):
        for step in FATES[fate]:
            transfers.begin_page(batch, number, n)
            if step is not None:
                state, status, sent = step
                turns.settle(batch, number, n, state, status=status, again_s=0.0, sent=sent)
    return number


def noted(desk: Desk, verb: str) -> dict[int, list[int]]:
    """Transfer -> contexts, of the rows with this verb."""
    found: dict[int, list[int]] = {}
    for act in acts_page(desk.journal, limit=1_000):
        if act.verb == verb:
            assert act.what["transfer"] not in found, "a transfer has two rows"
            found[act.what["transfer"]] = act.what["contexts"]
            named = {key: act.what[key] for key in ("reader", "purpose", "consent", "facility")}
            assert named == {"reader": "HIU-1", "purpose": "CAREMGT", "consent": "c-1", "facility": FACILITY}
            assert PEOPLE[0].address not in orjson.dumps(act.what).decode()
    return found


def reports(batch: Batch) -> dict[int, Any]:
    """Transfer -> its report, as it waits to go out."""
    rows = batch.execute("SELECT subject, number, content FROM abdm_call WHERE name = 'data-notify'").fetchall()
    assert len({subject for subject, _, _ in rows}) == len(rows), "a transfer has two reports"
    opened = {one: sealing.opened(batch, calls.TABLE, "content", number, body) for one, number, body in rows}
    return {one: said["body"]["notification"]["statusNotification"] for one, said in opened.items()}


@pytest.mark.parametrize("end", ENDS)
def test_what_left_and_what_may_have_left_is_in_the_audit_trail(desk: Desk, end: str) -> None:
    played = {}
    for fates in product(FATES, repeat=2):
        played[desk.journal.run_alone(play, " ".join(fates), fates)] = fates
    if end == "revoked":
        desk.notice(word("REVOKED"))
    elif end == "erased":
        desk.journal.run_alone(erasure.erase, [], ["PID-0"], actor="a", reason="b", more={})
    for number in played:
        assert desk.journal.run_alone(turns.look, OURS, number, can_send=True, ahead_s=0.0).is_over

    disclosed, unsure = noted(desk, requests.VERB), noted(desk, requests.UNSURE)
    reported = desk.journal.run_alone(reports)
    for number, fates in played.items():
        assert disclosed.get(number, []) == [n for n, fate in enumerate(fates, 1) if is_delivered(fate)], fates
        assert unsure.get(number, []) == [n for n, fate in enumerate(fates, 1) if is_unsure(fate)], fates
        lines = [(one["careContextReference"], one["hiStatus"]) for one in reported[number]["statusResponses"]]
        words = ["DELIVERED" if is_delivered(fate) else "ERRORED" for fate in fates]
        assert lines == list(zip(("LR-C0", "LR-C1"), words, strict=True)), fates
        assert reported[number]["sessionStatus"] == ("TRANSFERRED" if "DELIVERED" in words else "FAILED")
    assert desk.journal.rows("SELECT 1 FROM abdm_transfer WHERE state <> 'ended'") == []


@pytest.mark.parametrize("begun", [True, False])
def test_a_transfer_of_an_erased_patient_is_reported_after_a_restart_too(desk: Desk, begun: bool) -> None:
    """Its request is gone, so that it cannot be read any more."""
    number = desk.journal.run_alone(play, "t-1", ("delivered" if begun else "never begun", "never begun"))
    desk.journal.run_alone(erasure.erase, [], ["PID-0"], actor="a", reason="b", more={})
    with pytest.raises(ContentError):
        desk.journal.run_alone(lambda batch: requests.read(transfers.by_number(batch, number)))  # type: ignore[arg-type]
    desk.reopen()
    desk.journal.run_alone(turns.give_up, number, "gone")
    assert desk.journal.rows("SELECT state, reason FROM abdm_transfer") == [("ended", "erased")]
    assert len(desk.journal.run_alone(reports)[number]["statusResponses"]) == 2
    assert noted(desk, requests.VERB) == ({number: [1]} if begun else {})


@pytest.mark.parametrize(("ahead_s", "ends"), [(0.0, False), (-900.0, False), (200.0, False), (400.0, True)])
def test_a_consent_has_ended_where_the_clock_of_the_gateway_says_so(desk: Desk, ahead_s: float, ends: bool) -> None:
    """Five minutes before its end by our clock."""
    now = desk.clock.now()
    desk.notice(desk.grant("c-2", days=300 / DAY.total_seconds()))
    period = {"from": written(now - 2 * DAY), "to": written(now - DAY)}
    asked = {"consent": {"id": "c-2"}, "dateRange": period, "dataPushUrl": "https://x.example", "keyMaterial": {}}
    content = {"request": {"transactionId": "t-2", "hiRequest": asked}, "consent": "c-2", "contexts": ["LR-C0"]}

    def take(batch: Batch) -> None:
        ends_us = batch.now_us + 1_000_000_000
        number, _ = transfers.take(batch, "t-2", FACILITY, consent=2, ends_us=ends_us, content=content)
        transfers.add_pages(batch, number, [transfers.NewPage(1, 1, b"page")])

    desk.journal.run_alone(take)
    desk.journal.run_alone(turns.look, OURS, 1, can_send=True, ahead_s=ahead_s)
    (reason,) = desk.journal.row("SELECT reason FROM abdm_transfer")
    assert (reason == Refusal.EXPIRED.value) is ends
