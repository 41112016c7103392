"""What follows a result when the outcome of its message is recorded.

set apart     a number that the laboratory uses once more is another order
ask           whose it is: else a dead letter, or held with a question
judge         its facts with those that were accepted of its orders: an echo, a step back, a correction
hold          by the rules of its route, and where a person has rejected the same bytes
take back     held results that it withdraws
facts         are stored, with what was decided of them
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from engine.features.results.rows import (
    accepted,
    applying,
    delta_history,
    hold_queue,
    judged,
    moved_orders,
    named_settings,
    number_bearers,
    report_owners,
    used_numbers,
)
from engine.features.results.rows.applying import Compared
from engine.features.results.rows.echoes import with_repeats
from engine.features.results.rows.judged import NO_RESULTS
from engine.features.results.rows.number_bearers import BearerComparison
from engine.features.results.rows.used_numbers import Ids
from engine.model.journal.document_facts import NOTHING
from engine.model.journal.records import HoldReason, Routed
from engine.model.message import Bearer, Report
from engine.model.persons import CONFLICT
from engine.model.texts.reasons import ReasonCode
from engine.store.operations.recording import Step
from engine.succession.kinds import FHIR

STATUS_ONLY = "STATUS_ONLY"  # warning of a mapping: a result is final without its value


class Results(Step):
    """The results of one message."""

    _uses: Sequence[used_numbers.NumberUse] = ()
    _ids: Mapping[int, Ids] = {}
    _reports: list[Report]
    _is_any_near: bool
    _found: list[BearerComparison]
    _status_only = False
    _compared: Compared | None = None
    _older: Sequence[int] = ()
    _answer = ""  # where its order may have been another patient's
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
        # Then the guard of `rows.superseding` checks it before it is sent. An edit has the age of its original, and the
        # lane of another channel may be faster.
        of_site = any(routed.of_site for routed in now.routes)
        is_older = self._is_any_near and report_owners.newer(batch, now.id, self._reports)
        now.late = now.is_edit or of_site or is_older
        self._status_only = any(one.code == STATUS_ONLY for one in now.outcome.issues)
        self._found = [number_bearers.compare_with_known(batch, now.id, one) for one in _bearers(now.routes)]
        if self._is_any_near:
            self._older = accepted.known_orders(batch, now.first, now.channel, self._reports, of_site=of_site)

    def _is_known_whose(self) -> bool:
        """Whether it is known whose the results are. Else the message is dead, or its documents are held."""
        now, batch = self.now, self.batch
        # Where numbers are unique, the results of two patients under one number would be one: no answer permits that.
        may_share = now.decision.again and not self._uses
        accepted_conflict = now.decision.accept_conflict or (may_share and number_bearers.order_accepted(batch, now.id))
        # A person who has separated two persons has accepted that both have the same order number. A dead letter waited
        # for no such answer.
        told_apart = may_share and now.before == "mapped" and any(one.bearer.person > 1 for one in self._found)
        is_open = self._is_any_near and not accepted_conflict and not told_apart
        self._answer = now.decision.moved or ("both" if accepted_conflict or told_apart else "")
        asked = [one for one in self._found if one.verdict == CONFLICT]
        if not self._status_only and self._moves():
            self._compare()
        elif is_open and not self._answer and (conflict := report_owners.conflict(batch, now.id, self._reports)):
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
        now.known_order = bool(self._older)
        if any(map(applying.is_decided, now.routes)):
            self._compare()
        if any(one.waits for one in self._uses):
            now.held = used_numbers.why(now.routes, self._uses, now.held)

    def _moves(self) -> bool:
        """Whether it corrects an order of another patient."""
        if not any(one.document.media_type == FHIR for one in self.now.routes):
            return False
        found = self._judge()
        return found is not None and found.judgement is not None and moved_orders.moves(found.judgement)

    def _compare(self) -> None:
        now = self.now
        self._compared = compared = self._compared_with(now.routes)
        if now.rename is not None and not compared.echo and self._judged is not None and self._judged.repeated():
            # A result that is only repeated is of no order that is open: its report does not name that one.
            renamed = now.rename(with_repeats(now.outcome.tubes, compared.routes, self._judged))
            if renamed is not None:
                routes, self._ids = used_numbers.set_apart(renamed, self._uses)
                self._compared = compared = self._compared_with(routes)
        now.routes, now.held = compared.routes, compared.held
        if compared.no_value:
            now.state, now.reason, now.detail = "dead", ReasonCode.NO_VALUE, compared.no_value
        elif compared.echo:
            now.routes, now.state, now.reason = (), "filtered", ReasonCode.ECHO

    def _compared_with(self, routes: Sequence[Routed]) -> Compared:
        return applying.applied(
            self.batch, self.now.id, routes, self._judge() or NO_RESULTS, self._older,
            again=self.now.decision.again, status_only=self._status_only,
        )  # fmt: skip

    def _judge(self) -> judged.Judged | None:
        """What the judge says of the message; None: it has no results."""
        now = self.now
        if self._judged is None and (read := now.outcome.read) is not None:
            to = {destination for one in now.routes if applying.is_decided(one) for destination in one.destinations}
            reused = max((one.used.within for one in self._uses), default=30)
            compared = now.decision.moved_from if now.decision.moved else None
            asked = judged.Asked(self._older, frozenset(to), self._answer, compared, reused, self._are_alike)
            self._judged = judged.judge_message(now, read, asked)
        return self._judged

    def _are_alike(self) -> bool:
        """Whether records of its patient numbers under other names are of the same persons."""
        return all(
            one.verdict != CONFLICT and number_bearers.is_of_one(self.batch, one.bearer.number) for one in self._found
        )

    def _is_dead(self, reason: ReasonCode, detail: str) -> None:
        now = self.now
        now.routes, now.state, now.reason, now.detail = (), "dead", reason, detail

    def _tell_facts(self) -> None:
        """Also where a person is asked: its documents are stored as they were decided."""
        if self._compared is None and not self._ids:
            return
        facts = dict(self._compared.facts) if self._compared is not None else {}
        facts |= {place: replace(facts.get(place, NOTHING), apart=new) for place, new in self._ids.items()}
        self.now.facts = facts

    # -- afterwards --------------------------------------------------------------------------------------------------

    def tell(self) -> None:
        if self.now.state == "mapped":
            if self._judged is not None:
                self.now.issues = (*self.now.issues, *self._judged.issues())
            if self.now.issues:
                named_settings.note(self.now)

    def stored(self) -> None:
        if self.now.outcome.controls:
            delta_history.note_controls(
                self.batch, self.now.controls_of, self.now.received_us, self.now.outcome.controls
            )
        if (read := self.now.outcome.read) is not None and (found := self._judge()) is not None:
            judged.keep(self.now, read, found)
            self.now.judgement, self.now.memory = found.judgement, found.memory

    def hold(self) -> None:
        now = self.now
        if now.rejected_before:
            now.held = hold_queue.once_more(now.routes, now.held, now.rejected_before)
        now.held = hold_queue.decide(self.batch, now.id, now.controls_of, now.received_us, now.routes, now.held)
        if now.tubes and now.state == "mapped":
            now.tubes = with_repeats(now.tubes, now.routes, self._judged)

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
