"""What follows a result when the outcome of its message is recorded.

set apart     a number that the laboratory uses once more is another order
judge         whose it is: else a dead letter, or held with a question
compare       with the accepted results of its orders: an echo, a step back, a correction; documents in FHIR among
              each other, for all others the judge of facts decides
hold          by the rules of its route, and where a person has rejected the same bytes
take back     held results that it withdraws
facts         are stored, and documents in FHIR are judged beside all that
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from engine.features.results.rows import (
    accepted,
    applying,
    comparing,
    delta_history,
    hold_queue,
    judged,
    moved_orders,
    number_bearers,
    report_owners,
    used_numbers,
)
from engine.features.results.rows.echoes import with_repeats
from engine.features.results.rows.number_bearers import BearerComparison
from engine.features.results.rows.used_numbers import Ids
from engine.model.journal.document_facts import NOTHING, DocumentFacts
from engine.model.journal.records import HoldReason, Routed
from engine.model.message import Bearer, Report
from engine.model.persons import CONFLICT
from engine.model.texts.reasons import ReasonCode
from engine.store.operations.recording import Step

STATUS_ONLY = "STATUS_ONLY"  # warning of a mapping: a result is final without its value


class Results(Step):
    """The results of one message."""

    _uses: Sequence[used_numbers.NumberUse] = ()
    _ids: Mapping[int, Ids] = {}
    _reports: list[Report]
    _is_any_near: bool
    _found: list[BearerComparison]
    _moved: Sequence[moved_orders.MovedOrders | None] = ()
    _withdrawn: Mapping[int, DocumentFacts] = {}
    _status_only = False
    _compared: comparing.Compared | None = None
    _older: accepted.OlderMessages = accepted.OlderMessages()
    _judged: judged.Judged | None = None

    # -- decide ------------------------------------------------------------------------------------------------------

    def decide(self) -> None:
        now = self.now
        if now.state == "mapped":
            self._set_apart()
            if self._is_known_whose():
                self._follow()
            self._tell_facts()
        if now.before is not None:
            delta_history.decided_anew(self.batch, now.id)
            now.rejected_before = hold_queue.rejected_before(self.batch, now.id, now.channel) if now.routes else 0

    def _set_apart(self) -> None:
        now, batch = self.now, self.batch
        self._uses = used_numbers.uses_of(batch, now.id, now.received_us, now.routes)
        now.routes, self._ids = used_numbers.set_apart(now.routes, self._uses)
        self._reports = [report for routed in now.routes for report in routed.document.reports]
        self._is_any_near = accepted.is_any_near(batch, now.id, self._reports)
        # Then the guard of `rows.superseding` checks it before it is sent. An edit has the age of its original.
        now.late = now.is_edit or (self._is_any_near and report_owners.newer(batch, now.id, self._reports))
        self._status_only = any(one.code == STATUS_ONLY for one in now.outcome.issues)
        self._found = [number_bearers.compare_with_known(batch, now.id, one) for one in _bearers(now.routes)]

    def _is_known_whose(self) -> bool:
        """Whether it is known whose the results are. Else the message is dead, or its documents are held."""
        now, batch = self.now, self.batch
        # Where numbers are unique, the results of two patients under one number would be one: no answer permits that.
        may_share = now.decision.again and not self._uses
        accepted_conflict = now.decision.accept_conflict or (may_share and number_bearers.order_accepted(batch, now.id))
        # A person who has separated two persons has accepted that both have the same order number. A dead letter waited
        # for no such answer.
        told_apart = may_share and now.before == "mapped" and any(one.bearer.person > 1 for one in self._found)
        compared = self._is_any_near and not accepted_conflict and not told_apart
        asked = [one for one in self._found if one.verdict == CONFLICT]
        if compared and not self._status_only and report_owners.taken(batch, now.id, self._reports):
            self._moved = moved_orders.find_moved(batch, now.id, now.channel, now.routes)
        if any(self._moved) and not moved_orders.is_answered(self._moved, now.decision):
            now.held = moved_orders.why(self._moved)
        elif compared and not now.decision.moved and (conflict := report_owners.conflict(batch, now.id, self._reports)):
            self._is_dead(ReasonCode.IDENTITY_CONFLICT, conflict)
        elif self._status_only and asked:
            self._is_dead(
                ReasonCode.NO_VALUE,
                "a status change without its value, and whose result it is about must be answered first",
            )
        elif asked:
            number_bearers.ask(batch, now.id, asked, order_accepted=accepted_conflict)
            batch.count(now.channel, "", "asked_person")
            now.held = [_two_persons(asked[0].other)] * len(now.routes)
        else:
            return True
        return False

    def _follow(self) -> None:
        """They follow the results before them, and those that come will follow them."""
        now, batch = self.now, self.batch
        report_owners.remember(batch, now.id, self._reports)
        number_bearers.note(batch, now.id, self._found)
        used_numbers.note(batch, now.id, self._uses)
        if now.decision.again:
            number_bearers.answered(batch, now.id)
        before = self._older = self._accepted_before()
        now.known_order = bool(before.messages)
        is_decided = self._judge() is not None and any(map(applying.is_decided, now.routes))
        if (
            is_decided
            or before.messages
            or now.decision.again
            or self._status_only
            or comparing.may_correct(now.routes)
        ):
            self._compare(before)
        if any(self._moved) and now.routes and now.decision.moved == "withdraw":
            now.routes, self._withdrawn = moved_orders.withdraw(now.routes, self._moved)
        if any(one.waits for one in self._uses):
            now.held = used_numbers.why(now.routes, self._uses, now.held)

    def _accepted_before(self) -> accepted.OlderMessages:
        if not self._is_any_near:
            return accepted.OlderMessages()
        now = self.now
        of_site = any(routed.of_site for routed in now.routes)
        named = [one.bearer for one in self._found]
        return accepted.known_orders(self.batch, now.first, now.channel, self._reports, of_site=of_site, bearers=named)

    def _compare(self, before: accepted.OlderMessages) -> None:
        now = self.now
        self._compared = compared = self._compared_with(before, now.routes)
        if now.rename is not None and not compared.echo and any(one.echoes for one in compared.facts.values()):
            # A result that is only repeated is of no order that is open: its report does not name that one.
            tubes = with_repeats(self.batch, now.outcome.tubes, now.made, compared.routes, compared.facts)
            renamed = now.rename(tubes)
            if renamed is not None:
                routes, self._ids = used_numbers.set_apart(renamed, self._uses)
                self._compared = compared = self._compared_with(before, routes)
        now.routes, now.held = compared.routes, compared.held
        if compared.no_value:
            now.state, now.reason, now.detail = "dead", ReasonCode.NO_VALUE, compared.no_value
        elif compared.echo:
            now.routes, now.state, now.reason = (), "filtered", ReasonCode.ECHO

    def _compared_with(self, before: accepted.OlderMessages, routes: Sequence[Routed]) -> comparing.Compared:
        now = self.now
        compared = comparing.compare(
            self.batch, now.id, now.received_us, routes, before,
            again=now.decision.again, status_only=self._status_only,
        )  # fmt: skip
        return applying.applied(self.batch, now.id, compared, self._judge(), again=now.decision.again)

    def _judge(self) -> judged.Judged | None:
        """What the judge says of the message; None: it has no results."""
        now = self.now
        if self._judged is None and (read := now.outcome.read) is not None:
            older = [one.message_id for one in self._older.messages]
            to = {destination for one in now.routes if applying.is_decided(one) for destination in one.destinations}
            self._judged = judged.judge_message(now, read, older, frozenset(to))
        return self._judged

    def _is_dead(self, reason: ReasonCode, detail: str) -> None:
        now = self.now
        now.routes, now.state, now.reason, now.detail = (), "dead", reason, detail

    def _tell_facts(self) -> None:
        """Also where a person is asked: its documents are stored as they were decided."""
        if self._compared is None and not self._ids and not self._withdrawn:
            return
        facts = dict(self._compared.facts) if self._compared is not None else {}
        facts |= {place: replace(facts.get(place, NOTHING), apart=new) for place, new in self._ids.items()}
        facts |= {place: moved_orders.joined(facts.get(place), more) for place, more in self._withdrawn.items()}
        self.now.facts = facts

    # -- afterwards --------------------------------------------------------------------------------------------------

    def stored(self) -> None:
        if self.now.outcome.controls:
            delta_history.note_controls(self.batch, self.now.channel, self.now.received_us, self.now.outcome.controls)
        if (read := self.now.outcome.read) is not None and (found := self._judge()) is not None:
            judged.keep(self.now, read, found)

    def hold(self) -> None:
        now = self.now
        if now.rejected_before:
            now.held = hold_queue.once_more(now.routes, now.held, now.rejected_before)
        if self._judged is not None and self._judged.judgement is not None:
            judged.tell(now, self._judged.judgement)
        now.held = hold_queue.decide(self.batch, now.id, now.channel, now.received_us, now.routes, now.held)
        if now.tubes and now.state == "mapped":
            facts = self._compared.facts if self._compared is not None else {}
            now.tubes = with_repeats(self.batch, now.tubes, now.made, now.routes, facts)

    def queued(self) -> None:
        if self._compared is None or not self._compared.taken_back:
            return
        if self.now.state == "mapped" and not any(self.now.held) and not any(one.waits for one in self._uses):
            hold_queue.take_back(self.batch, self._compared.taken_back, self.now.id)


def _bearers(routes: Sequence[Routed]) -> Iterable[Bearer]:
    """The bearers of the patient numbers in these documents, without repetition."""
    found = [bearer for routed in routes for bearer in routed.document.bearers]
    return {(one.number, one.whole): one for one in found}.values() if len(found) > 1 else found


def _two_persons(other: int) -> HoldReason:
    text = f"message {other} used the same patient number for a person of another name, birth date or sex"
    return HoldReason(
        reason=ReasonCode.IDENTITY_CONFLICT,
        text=text if other else "the person who bore the same patient number was erased",
    )
