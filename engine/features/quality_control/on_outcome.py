"""Controls, while the outcome of a message is recorded.

decide     its own controls are points, and are judged; results of tests whose control has failed wait, the rest goes on
stored     which tests it has
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import orjson

from engine.features.quality_control.rows import closing, points
from engine.features.quality_control.rows.closing import ClosedTest
from engine.features.quality_control.rules.parting import Closed, Measured, Waits, parted
from engine.model.content.computed import sources_by_test, sources_of
from engine.model.content.facts import Facts, Result, plain_codes, stored
from engine.model.content.quality_controls import matches, of_patients, spellings
from engine.model.journal.document_facts import NOTHING
from engine.model.journal.records import HoldReason, Routed
from engine.model.texts.reasons import ReasonCode
from engine.store.operations.recording import Recording, Step
from engine.succession.judge import cultures
from engine.succession.kinds import has_ids

_PARTS = re.compile(r"[\^&~\\|]")


class QualityControl(Step):
    """The controls of one message, and those of its tests."""

    _channel: str  # whose lots, targets and closed tests count
    _tests: dict[str, int]  # under control, of patients' results -> when it came, or was measured if that is later
    _measured: dict[str, int]  # ... and when it was measured, at the earliest
    _others: set[str]  # codes of its results that are of none of these
    _facts: Facts | None = None
    _patients: Sequence[Result] = ()  # their results in these facts; codes of each test, and of what it is made of:
    _codes: Mapping[str, set[str]] = MappingProxyType({})
    _waiting: Mapping[str, ClosedTest]  # those of its tests that are closed
    _out: list[ClosedTest]  # closed tests that go out all the same

    def __init__(self, now: Recording) -> None:
        super().__init__(now)
        self._channel = now.controls_of
        self._tests, self._measured, self._others, self._out, self._waiting = {}, {}, set(), [], {}

    def decide(self) -> None:
        now = self.now
        if now.outcome.controls:  # first: they may be those of its own patients
            points.note(self.batch, now.id, self._channel, now.received_us, now.outcome.controls)
        if now.state != "mapped" or not now.routes:
            return
        if now.outcome.conflict:
            self._hold_all(now.outcome.conflict)
        if closing.is_unused(self.batch):
            return
        if codes := closing.codes_under_control(self.batch, self._channel):
            self._read(codes)
            closed = closing.failed_then(self.batch, self._channel, self._measured)  # when its results were measured
            closed |= closing.closed_tests(self.batch, self._channel)
            if closed:
                self._part(codes, closed)
                self._waiting = closed
        self._hold_numbers()

    def stored(self) -> None:
        now = self.now
        if now.state == "mapped" and self._tests:
            closing.note_results(self.batch, now.id, self._channel, self._tests, self._measured, self._waiting)
            closing.to_be_looked_at(self.batch, now.id, self._out)

    # -- what waits --------------------------------------------------------------------------------------------------

    def _read(self, codes: dict[str, set[str]]) -> None:
        now = self.now
        if not (now.outcome.results or now.outcome.controls):  # it is not known which results it has
            self._tests = {test: now.received_us for tests in codes.values() for test in tests}
        self._read_facts()
        for group in now.outcome.results:
            is_timed = points.is_believed(group.resulted_us, now.received_us)
            at_us = group.resulted_us if is_timed else now.received_us
            for code, test in zip(group.codes, group.tests, strict=True):
                sent = test.partition("\0")[0]
                spelled = _spelled(code, sent) | self._codes.get(sent, set())
                names = {name for part in spelled for name in codes.get(part, ())}
                for name in names:
                    self._tests[name] = max(at_us, now.received_us, self._tests.get(name, 0))
                    self._measured[name] = min(at_us, self._measured.get(name, at_us))
                if not names:
                    self._others |= spelled - {""}

    def _part(self, codes: dict[str, set[str]], closed: dict[str, ClosedTest]) -> None:
        now = self.now
        mine = [one for test, one in closed.items() if test in self._tests]
        words = ", ".join(f"{one.test} (run {one.run})" for one in mine or closed.values())
        why = HoldReason(reason=ReasonCode.CONTROL_FAILED, text=f"the control failed: {words}")
        shut = {code: tests & closed.keys() for code, tests in codes.items() if not tests.isdisjoint(closed)}
        others = self._others | (codes.keys() - shut.keys())
        has_culture = self._facts is not None and cultures.are_in(self._facts)
        what = Closed(shut, {one.test for one in mine}, others, self._results(shut), has_culture)
        facts = dict(now.facts or {})
        routes: list[Routed] = []
        more: list[Routed] = []
        waiting: frozenset[str] = frozenset()
        for place, routed in enumerate(now.routes, start=1):
            if not routed.destinations or routed.echo:
                routes.append(routed)
                continue
            if routed.passes:
                self._out = mine
                routes.append(routed)
                continue
            decided, uncut = facts.get(place, NOTHING), routed
            if decided.echoes and not has_ids(routed.document.media_type):  # its results are at other places now
                uncut = replace(routed, document=now.made[place - 1].document)
            found = parted(uncut, what, why, self.batch.zone, NOTHING if uncut is routed else decided)
            if isinstance(found, Routed):
                found = replace(routed, hold=found.hold)
            elif any(now.held[place - 1 : place]):
                found = replace(routed, hold=Waits(why, routed.hold))  # it waits for another reason, too: as a whole
            else:
                cut = found.facts
                facts[place] = replace(decided, waits=cut.waits, statuses={**decided.statuses, **cut.statuses})
                more.append(found.waits)
                waiting |= found.codes
                found = found.goes
            routes.append(found)
        now.routes = [*routes, *more]
        if more:
            now.facts, now.known_order = facts, True
            if not any(isinstance(one.hold, Waits) for one in routes):
                now.waiting = waiting

    def _read_facts(self) -> None:
        read = self.now.outcome.read
        if read is None or not read.facts:
            return
        self._facts = read.known or stored(orjson.loads(read.facts))
        of_person = of_patients(self._facts, is_hl7=read.is_hl7, numbers=read.numbers, orders=read.orders)
        self._patients = [result for _, _, result in of_person]
        by_test = sources_by_test(read.computed)
        by_sent: dict[str, set[str]] = {}
        for measure in {result.measure for result in self._patients}:
            sent = (code.rpartition("|")[2] for code in measure.own or ())  # another test may be meant by one of LOINC
            by_sent.setdefault(measure.test or "", set()).update(
                _spelled(measure.test or "", *sent), sources_of(plain_codes(measure), by_test)
            )
        self._codes = by_sent

    def _results(self, shut: Mapping[str, Collection[str]]) -> dict[int, Measured]:
        """The results of patients by place, each with the closed tests that it is of, or computed from.

        Args:
            shut: codes of closed tests.
        """
        tests: dict[int, set[str]] = {}  # of a panel, by the place of its head
        for result in self._patients:
            names = {name for code in self._codes[result.measure.test or ""] for name in shut.get(code, ())}
            tests.setdefault(result.head or result.place, set()).update(names)
        return {
            result.place: Measured(frozenset(tests[result.head or result.place]), plain_codes(result.measure))
            for result in self._patients
        }

    def _hold_numbers(self) -> None:
        """A patient's specimen with the number of a control material is looked at by a person."""
        now = self.now
        specimens = {group.specimen for group in now.outcome.results} - {""}
        if not specimens:
            return
        lots = points.lots_at(self.batch, self._channel, now.received_us)
        numbers = [lot.number for lot in lots if lot.number.strip("*")]  # one of any text names the lot of all
        if any(matches(one, numbers) for one in specimens):
            self._hold_all("the specimen has the number of a control material")

    def _hold_all(self, text: str) -> None:
        why = HoldReason(reason=ReasonCode.CONTROL_NUMBER, text=text)
        self.now.routes = [
            replace(one, hold=Waits(why, one.hold)) if one.destinations and not one.echo else one
            for one in self.now.routes
        ]


def _spelled(*codes: str) -> set[str]:
    """As controls may have these codes: each, and its parts, also without a dilution."""
    parts = {part for code in codes for part in (code, *_PARTS.split(code))}
    return {spelled for part in parts for spelled in spellings(part)}
