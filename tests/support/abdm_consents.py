"""Consents without a gateway: a journal with one linked report, and notices that are folded as the dispatcher does."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson

from engine.features.abdm.flows import consents as flow
from engine.features.abdm.rows import callbacks, calls, consents, contexts, patients, transfers
from engine.features.abdm.rules.consents import DataRequest, Period, Refusal
from engine.features.abdm.rules.network import Call, Callback, CallbackState, ContextState, GatewayAnswer, Verdict
from engine.features.abdm.wire.times import written
from engine.model.process.clock import Clock, ManualClock
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.queries.reader import Rows
from tests.support.abdm_site import FACILITY, destination, person, report
from workbench.abdm.people import PEOPLE

DAY = timedelta(days=1)
OURS = destination("http://127.0.0.1:1")


def word(status: str, consent_id: str = "c-1") -> dict[str, Any]:
    return {"notification": {"status": status, "consentId": consent_id}}


def grant(now: datetime, consent_id: str = "c-1", *, days: float = 1, **other: Any) -> dict[str, Any]:
    """The notice of a grant by the first person, for the report LR-C0."""
    permission = {
        "dateRange": {"from": written(now - 30 * DAY), "to": written(now + DAY)},
        "dataEraseAt": written(now + days * DAY),
    }
    detail = {
        "patient": {"id": PEOPLE[0].address},
        "careContexts": [{"patientReference": "LR-P0", "careContextReference": "LR-C0"}],
        "purpose": {"code": "CAREMGT"}, "hip": {"id": FACILITY}, "hiu": {"id": "HIU-1", "name": "Hospital"},
        "hiTypes": ["DiagnosticReport"], "permission": permission,
    }  # fmt: skip
    return {"notification": {"status": "GRANTED", "consentId": consent_id, "consentDetail": detail | other}}


class Desk:
    """A journal with one linked report of the first person, LR-C of LR-P.

    Attributes:
        ours: the configuration in force.
        verdict: of the gateway on our answers to notices; None: it has not answered.
    """

    verdict: Verdict | None = Verdict.TAKEN

    def __init__(self, folder: Path, clock: Clock | None = None, *, fill: bool = True) -> None:
        self.folder, self.clock = folder, clock or ManualClock()
        self.began, self.ours = self.clock.now(), OURS
        self.journal = Journal.open(folder, clock=self.clock)
        if fill:
            self.journal.run_alone(self._fill)

    @staticmethod
    def _fill(batch: Batch) -> None:
        for number in range(2):
            one = patients.put(batch, FACILITY, f"LR-P{number}", person(number))
            new = report(f"A-{number}", message_id=number + 1, reference=f"LR-C{number}", patient=one)
            contexts.move(batch, [contexts.put(batch, new)], ContextState.LINKED)

    def reopen(self) -> None:
        self.journal.close()
        self.journal = Journal.open(self.folder, clock=self.clock)

    def grant(self, consent_id: str = "c-1", *, days: float = 1, **other: Any) -> dict[str, Any]:
        return grant(self.clock.now(), consent_id, days=days, **other)

    def keep(self, body: Any, *, late_s: int = 0, age_s: int = 0, signed: bool = False) -> int:
        """A callback that the listener has kept; its number."""
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        self.journal.run_alone(callbacks.store, flow.NOTICE, FACILITY, str(uuid4()), raw, late_s, age_s, signed)
        return int(self.journal.row("SELECT max(number) FROM abdm_callback")[0])

    def fold(self, number: int) -> CallbackState:
        state = self.journal.run_alone(callbacks.fold, number, self._handle, self.refused)
        if self.verdict is not None:
            self.journal.run_alone(self.answer, self.verdict)
        return state

    def answer(self, batch: Batch, verdict: Verdict, only: int = 0) -> None:
        """The gateway's word on each answer of ours that waits; or on the one with this number."""
        select = "SELECT number FROM abdm_call WHERE name = ?1 AND state = 'waiting' AND ?2 IN (0, number)"
        for (number,) in batch.execute(select, (flow.ANSWER, only)).fetchall():
            call = calls.by_number(batch, number)
            assert call is not None
            calls.finish(batch, call, GatewayAnswer(0, verdict), again_s=9.0, ended=self._ended)

    def _ended(self, batch: Batch, call: Call, answer: GatewayAnswer) -> None:
        flow.FLOW.calls[0].ended(batch, self.ours, call, answer)

    def notice(self, body: Any, *, late_s: int = 0, age_s: int = 0, signed: bool = False) -> CallbackState:
        return self.fold(self.keep(body, late_s=late_s, age_s=age_s, signed=signed))

    def _handle(self, batch: Batch, callback: Callback) -> str:
        return flow.FLOW.callbacks[callback.path](batch, self.ours, callback)

    def refused(self, batch: Batch, callback: Callback) -> None:
        flow.FLOW.refused[callback.path](batch, self.ours, callback)

    def transfer(self, transaction_id: str = "t-1", consent: int = 1) -> int:
        """A request with a page that waits."""

        def take(batch: Batch) -> int:
            number, _ = transfers.take(batch, transaction_id, FACILITY, consent=consent, ends_us=9, content={"a": 1})
            transfers.add_pages(batch, number, [transfers.NewPage(1, 1, b"page")])
            return number

        return self.journal.run_alone(take)

    def consent(self, consent_id: str = "c-1") -> Any:
        """State and reason."""
        return self.journal.row("SELECT state, reason FROM abdm_consent WHERE consent_id = ?", (consent_id,))

    def refusal(self, consent_id: str = "c-1", transaction_id: str = "t-0") -> Refusal | None:
        found = self.journal.rows("SELECT number FROM abdm_consent WHERE consent_id = ?", (consent_id,))
        now = self.clock.now()
        request = DataRequest(
            transaction_id=transaction_id, consent_id=consent_id, push_url="https://x.example", key_material={},
            period=Period(self.began - 2 * DAY, self.began - DAY),
        )  # fmt: skip
        with self.journal.snapshot() as execute:
            rows = Rows(execute, self.journal.vault)
            kept = consents.by_number(rows, found[0][0]) if found else None
            said = flow.may_go(rows, self.ours, kept, request, FACILITY, now)
        return said if isinstance(said, Refusal) else None
