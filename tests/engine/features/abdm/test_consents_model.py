"""Random histories of notices, stops, restores, clocks and erasures against a model that remembers every notice, and
derives anew what may go out.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engine.features.abdm.flows import consents as flow
from engine.features.abdm.rows import consents, patients
from engine.model.errors import RefusedError
from engine.model.process.clock import ManualClock
from tests.support.abdm_consents import Desk, word
from tests.support.examples import examples

IDS = ("c-1", "0b6dbcf0-4d4d-4c5c-8f0a-000000000002")
ORDER = ("REQUESTED", "GRANTED", "EXPIRED", "DENIED", "REVOKED")
DAYS = 3
# Contents of a grant -> whether it is ours to serve.
CONTENTS: dict[str, dict[str, Any]] = {
    "ours": {},
    "other purpose": {"purpose": {"code": "PATRQT"}},
    "other facility": {"hip": {"id": "IN0000000009"}},
    "unknown context": {"careContexts": [{"patientReference": "LR-P0", "careContextReference": "LR-NONE"}]},
    "context of another": {"careContexts": [{"patientReference": "LR-P1", "careContextReference": "LR-C1"}]},
    "other address": {"patient": {"id": "nobody.here@sbx"}},
}
FIT = frozenset({"ours", "other purpose"})


@dataclass
class Said:
    """All that was ever heard of a consent."""

    words: list[str] = field(default_factory=list)
    contents: set[str] = field(default_factory=set)
    suspended: bool = False
    granted_s: float = 0.0

    def may_go(self, now_s: float) -> bool:
        """Granted, by one content alone, which is ours; not ended, not suspended, not over."""
        return (
            max(self.words, key=ORDER.index, default="REQUESTED") == "GRANTED"
            and len(self.contents) == 1
            and self.contents <= FIT
            and not self.suspended
            and now_s < self.granted_s + DAYS * 86_400
        )


class Consents(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.desk = Desk(Path(self.folder.name), self.clock)
        self.began = self.clock.monotonic()
        self.said = {one: Said() for one in IDS}
        self.bodies: dict[tuple[str, str], Any] = {}
        self.has_left = False
        self.notices = 0

    def teardown(self) -> None:
        self.desk.journal.close()
        self.folder.cleanup()

    def now_s(self) -> float:
        return self.clock.monotonic() - self.began

    def body(self, consent_id: str, content: str) -> Any:
        """The gateway sends a grant as it was made, however often."""
        if (consent_id, "") not in self.bodies:
            self.bodies[consent_id, ""] = self.desk.grant(consent_id, days=DAYS)
            self.said[consent_id].granted_s = self.now_s()
        first = self.bodies[consent_id, ""]["notification"]["consentDetail"]
        return {
            "notification": {
                "status": "GRANTED", "consentId": consent_id, "consentDetail": first | CONTENTS[content],
            }
        }  # fmt: skip

    @rule(consent_id=st.sampled_from(IDS), content=st.sampled_from([*CONTENTS, "ours", "ours"]))
    def granted(self, consent_id: str, content: str) -> None:
        said = self.said[consent_id]
        body = self.body(consent_id, content)
        self.clock.advance(1)
        self.desk.notice(body)
        self.notices += 1
        ended = max(said.words, key=ORDER.index, default="") in ORDER[2:]
        said.words.append("GRANTED")
        if not ended:
            said.contents.add(content)
            if len(said.contents) == 1 and content in FIT:
                said.suspended = False

    @rule(consent_id=st.sampled_from(IDS), content=st.sampled_from(list(CONTENTS)))
    def repeated_late(self, consent_id: str, content: str) -> None:
        """By the gateway, with the token of the first attempt."""
        said = self.said[consent_id]
        if said.suspended and said.contents == {content}:
            self.clock.advance(1)
            self.desk.notice(self.body(consent_id, content), late_s=60)
            self.notices += 1

    @rule(consent_id=st.sampled_from(IDS), status=st.sampled_from(["REQUESTED", "EXPIRED", "DENIED", "REVOKED"]))
    def word(self, consent_id: str, status: str) -> None:
        self.desk.notice(word(status, consent_id))
        self.notices += 1
        self.said[consent_id].words.append(status)

    @rule(
        consent_id=st.sampled_from(IDS),
        status=st.sampled_from(["EXPIRED", "DENIED", "REVOKED"]),
        broken=st.sampled_from(
            [
                lambda one, status: b'{"notification":{"status":"%s","consentId":"%s"' % (status, one),
                lambda one, status: b'{"notification":{"status":["%s"],"consentId":"%s"}}' % (status, one),
                lambda one, status: b'{"consentId" : "%s", "status": "%s", "x": \xff}' % (one, status),
            ]
        ),
    )
    def broken_word(self, consent_id: str, status: str, broken: Callable[[bytes, bytes], bytes]) -> None:
        self.desk.notice(broken(consent_id.encode(), status.encode()))
        self.notices += 1
        self.said[consent_id].words.append(status)

    @rule()
    def stopped(self) -> None:
        self.desk.reopen()

    @rule()
    def suspended(self) -> None:
        self.clock.advance(1)
        self.desk.journal.run_alone(consents.suspend_all)
        for said in self.said.values():
            said.suspended = said.suspended or self._is_kept_as_good(said)

    def _is_kept_as_good(self, said: Said) -> bool:
        return (
            max(said.words, key=ORDER.index, default="") == "GRANTED"
            and len(said.contents) == 1
            and said.contents <= FIT
        )

    @rule(consent_id=st.sampled_from(IDS))
    def resumed(self, consent_id: str) -> None:
        said = self.said[consent_id]
        found = self.desk.journal.row("SELECT max(number) FROM abdm_consent WHERE consent_id = ?", (consent_id,))
        try:
            self.desk.journal.run_alone(flow.resume, found[0] or 0, "asked", who="anna", looked=True)
            done = True
        except RefusedError:
            done = False
        is_over = self.has_left or self.now_s() >= said.granted_s + DAYS * 86_400
        assert done == (said.suspended and self._is_kept_as_good(said) and not is_over)
        if done:
            said.suspended = False

    @rule(hours=st.sampled_from([1, 20, 50]))
    def time(self, hours: int) -> None:
        self.clock.advance(hours * 3600)

    @rule()
    def looked_at_the_clock(self) -> None:
        self.desk.journal.run_alone(flow.end_due)
        for said in self.said.values():
            open_now = max(said.words, key=ORDER.index, default="") == "GRANTED"
            if open_now and self.now_s() >= said.granted_s + DAYS * 86_400:
                said.words.append("EXPIRED")

    @rule()
    def left(self) -> None:
        """The patient leaves; a test in twenty."""
        if self.notices % 20 != 19 or self.has_left:
            return
        self.has_left = True

        def leave(batch: Any) -> None:
            found = patients.by_number(batch, 1)
            assert found is not None
            consents.end_all_of_patient(batch, 1, "left")
            patients.drop(batch, 1)

        self.desk.journal.run_alone(leave)

    @invariant()
    def what_may_go_is_what_was_granted(self) -> None:
        for consent_id, said in self.said.items():
            expected = said.may_go(self.now_s()) and not self.has_left
            assert (self.desk.refusal(consent_id) is None) == expected, (consent_id, said)

    @invariant()
    def each_notice_has_its_answer(self) -> None:
        (count,) = self.desk.journal.row("SELECT count(*) FROM abdm_call WHERE name = ?", (flow.ANSWER,))
        assert count == self.notices


Consents.TestCase.settings = settings(max_examples=examples(40), stateful_step_count=25, deadline=None)
TestConsents = Consents.TestCase
