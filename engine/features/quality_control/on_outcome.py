"""Controls, while the outcome of a message is recorded.

decide     results of tests whose control has failed wait; the rest goes on
stored     which tests it has; then its own controls are points, and are judged
"""

import re
from dataclasses import replace

from engine.features.quality_control.rows import closing, points
from engine.features.quality_control.rows.closing import ClosedTest
from engine.features.quality_control.rules.parting import Parts, Waits, parted
from engine.model.content.quality_controls import matches
from engine.model.journal.document_facts import NOTHING, DocumentFacts
from engine.model.journal.records import HoldReason, Routed
from engine.model.texts.reasons import ReasonCode
from engine.store.operations.recording import Recording, Step

_PARTS = re.compile(r"[\^&~\\|]")


class QualityControl(Step):
    """The controls of one message, and those of its tests."""

    _tests: dict[str, int]  # under control, of patients' results -> when it was measured
    _out: list[ClosedTest]  # closed tests that go out all the same

    def __init__(self, now: Recording) -> None:
        super().__init__(now)
        self._tests, self._out = {}, []

    def decide(self) -> None:
        now = self.now
        if now.state != "mapped" or not now.routes:
            return
        codes = closing.codes_under_control(self.batch, now.channel)
        if not codes:
            return
        self._tests = self._measured(codes)
        closed = closing.closed_tests(self.batch, now.channel)
        if closed:
            names = {code for code, tests in codes.items() if not tests.isdisjoint(closed)}
            self._part(names, [one for test, one in closed.items() if self._has(test)])
            self._tests = {test: at_us for test, at_us in self._tests.items() if test not in closed}
        self._hold_numbers()

    def stored(self) -> None:
        now = self.now
        if now.state == "mapped":
            closing.note_results(self.batch, now.id, now.channel, self._tests)
            closing.to_be_looked_at(self.batch, now.id, self._out)
        if now.outcome.controls:
            points.note(self.batch, now.id, now.channel, now.received_us, now.outcome.controls)

    # -- what waits --------------------------------------------------------------------------------------------------

    def _measured(self, codes: dict[str, set[str]]) -> dict[str, int]:
        found: dict[str, int] = {}
        for group in self.now.outcome.results:
            at_us = max(group.resulted_us, self.now.received_us)
            for code, test in zip(group.codes, group.tests, strict=True):
                said = {code, *_PARTS.split(test.partition("\0")[0])}
                for name in {name for one in said for name in codes.get(one, ())}:
                    found[name] = max(at_us, found.get(name, 0))
        return found

    def _has(self, test: str) -> bool:
        """Whether the message has a result of a test; where that is not known, it has."""
        outcome = self.now.outcome
        return test in self._tests or not (outcome.results or outcome.controls)

    def _part(self, codes: set[str], closed: list[ClosedTest]) -> None:
        now = self.now
        named = closed or list(closing.closed_tests(self.batch, now.channel).values())
        words = ", ".join(f"{one.test} (run {one.run})" for one in named)
        why = HoldReason(reason=ReasonCode.CONTROL_FAILED, text=f"the control failed: {words}")
        facts = dict(now.facts or {})
        routes: list[Routed] = []
        more: list[Routed] = []
        waiting: frozenset[str] = frozenset()
        for place, routed in enumerate(now.routes, start=1):
            if not routed.destinations or routed.echo:
                routes.append(routed)
                continue
            if routed.passes:
                self._out = closed
                routes.append(routed)
                continue
            found = parted(routed, codes, bool(closed), why, self.batch.zone)
            if isinstance(found, Parts):
                facts[place] = _joined(facts.get(place, NOTHING), found.facts)
                more.append(found.waits)
                waiting |= found.codes
                found = found.goes
            routes.append(found)
        now.routes = [*routes, *more]
        if more:
            now.facts, now.known_order = facts, True
            if not any(isinstance(one.hold, Waits) for one in routes):
                now.waiting = waiting

    def _hold_numbers(self) -> None:
        """A patient's specimen with the number of a control material is looked at by a person."""
        now = self.now
        specimens = {group.specimen for group in now.outcome.results} - {""}
        if not specimens:
            return
        numbers = [lot.number for lot in points.lots_at(self.batch, now.channel, now.received_us)]
        if any(matches(one, numbers) for one in specimens):
            why = HoldReason(reason=ReasonCode.CONTROL_NUMBER, text="the specimen has the number of a control material")
            now.routes = [
                replace(one, hold=Waits(why, one.hold)) if one.destinations and not one.echo else one
                for one in now.routes
            ]


def _joined(facts: DocumentFacts, more: DocumentFacts) -> DocumentFacts:
    return replace(facts, waits=more.waits, statuses={**facts.statuses, **more.statuses})
