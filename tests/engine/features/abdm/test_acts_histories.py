"""Random histories of reports, acts of persons, answers of the network and days, held against a model.

a report that was withdrawn          is in no call, until a person links it
a report that a person has linked    stays that person's, also where later versions name another
what the network has refused         is not asked again, unless a person has confirmed it
a blocked patient                    is not asked for within the day
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.features.abdm.flows import later, linking
from engine.features.abdm.rows import calls, contexts, patients
from engine.features.abdm.rows.patients import Person
from engine.features.abdm.rules.network import Attempt, Call, ContextState, GatewayAnswer, Verdict
from engine.features.abdm.service import dispatcher
from engine.model.errors import RefusedError
from engine.model.process.clock import ManualClock
from engine.store.core.writing.batch import Batch
from tests.support.abdm_consents import OURS, Desk
from tests.support.abdm_site import keep, leave, person, report

KINDS = dispatcher.Table.of(dispatcher.FLOWS).calls
DAY_S = 86_400.0
PEOPLE, REPORTS, STEPS, HISTORIES = 3, 4, 60, 24
ERRORS = ("ABDM-1036", "ABDM-1027", "ABDM-1038", "ABDM-9998")


class History:
    """One life of a laboratory's reports, and what the model knows of it."""

    def __init__(self, desk: Desk, clock: ManualClock, seed: int) -> None:
        self.desk, self.clock, self.chance = desk, clock, random.Random(seed)
        self.messages = 0
        self.said: list[str] = []  # what was done, for a failure
        self.rows: dict[int, int] = {}  # report -> its context
        self.withdrawn: set[int] = set()
        self.by_hand: dict[int, str] = {}  # context -> the address that a person gave it
        self.refused: dict[int, Any] = {}  # patient -> what the network has refused last
        self.confirmed: set[int] = set()
        self.blocked: dict[int, float] = {}
        self.blocks = 0

    def run(self, act: Any, *args: Any, **more: Any) -> Any:
        return self.desk.journal.run_alone(act, *args, **more)

    def step(self) -> None:
        act = self.chance.choices(
            (self.issue, self.link, self.withdraw, self.retry, self.network, self.wait, self.leave),
            (5, 4, 2, 5, 12, 2, 1),
        )[0]
        self.said.append(act.__name__)
        act()
        self.check()

    def person(self) -> Person:
        """One of the people, now and then with a slip in the name."""
        one = person(self.chance.randrange(PEOPLE))
        return person(0, **{**_fields(one), "name": "Slip " + one.name}) if self.chance.random() < 0.3 else one

    # -- what happens ------------------------------------------------------------------------------------------------

    def issue(self) -> None:
        which = self.chance.randrange(REPORTS)
        self.messages += 1
        one = self.person() if self.chance.random() < 0.8 else None
        self.rows[which] = self.run(keep, OURS, report(f"A-{which}", message_id=self.messages), one)

    def link(self) -> None:
        if not self.rows:
            return
        number, typed = self.chance.choice([*self.rows.values()]), self.person()
        try:
            made = self.run(later.link, OURS, number, typed, who="asha", reason="card", confirmed=True, readmit=True)
        except RefusedError:
            return
        self.withdrawn.discard(made)
        if made != number:
            self.withdrawn.add(number)
        self.by_hand = {one: address for one, address in self.by_hand.items() if one not in (number, made)}
        self.by_hand[made] = typed.address
        self.rows = {which: made if one == number else one for which, one in self.rows.items()}
        self.confirmed.add(self.context(made).patient)

    def withdraw(self) -> None:
        if self.rows:
            number = self.chance.choice([*self.rows.values()])
            try:
                self.run(later.withdraw, number, "wrong", who="asha")
            except RefusedError:
                assert number in self.withdrawn
            self.withdrawn.add(number)

    def retry(self) -> None:
        if self.rows:
            number, confirmed = self.chance.choice([*self.rows.values()]), self.chance.random() < 0.3
            try:
                self.run(later.context, OURS, number, "again", who="asha", confirmed=confirmed)
            except RefusedError:
                return
            assert self.context(number).state is not ContextState.FAILED, "it was tried again, and at once refused"
            if confirmed:
                self.confirmed.add(self.context(number).patient)

    def wait(self) -> None:
        self.clock.advance(self.chance.choice((60.0, 3600.0, DAY_S + 1)))

    def leave(self) -> None:
        address = person(self.chance.randrange(PEOPLE)).address
        self.run(leave, address)
        self.blocked.clear()  # nothing of him stays, neither that he was blocked
        self.by_hand = {one: said for one, said in self.by_hand.items() if said != address}

    def network(self) -> None:
        for attempt in self.run(calls.claim, 2, self._headers, self._ended):
            self.goes_out(attempt)
            answer = self._answer(attempt.call)
            if attempt.call.name == linking.TOKEN and answer.code in linking.MISTAKES:
                self.refused[attempt.call.subject] = attempt.call.body
                if answer.verdict is Verdict.STOP:
                    self.blocks += 1
                    self.blocked[attempt.call.subject] = self.clock.now_us() + DAY_S * 1e6
            elif attempt.call.name == linking.TOKEN:
                self.refused.pop(attempt.call.subject, None)
            self.run(calls.answered, attempt.call.number, answer, result_within_s=0, again_s=0, ended=self._ended)

    def _headers(self, batch: Batch, call: Call) -> Any:
        return KINDS[call.name].headers(batch, OURS, call)

    def _ended(self, batch: Batch, call: Call, answer: GatewayAnswer) -> None:
        KINDS[call.name].ended(batch, OURS, call, answer)

    def _answer(self, call: Call) -> GatewayAnswer:
        if self.chance.random() < 0.6:
            return GatewayAnswer(202, Verdict.TAKEN, body=orjson.dumps({"linkToken": "token"}))
        code = self.chance.choice(ERRORS)
        stops = code == "ABDM-1027" and call.name == linking.TOKEN
        return GatewayAnswer(400, Verdict.STOP if stops else Verdict.FINAL, code)

    # -- what must hold ----------------------------------------------------------------------------------------------

    def goes_out(self, attempt: Attempt) -> None:
        call = attempt.call
        if call.name == linking.TOKEN:
            assert self.refused.get(call.subject) != call.body or call.subject in self.confirmed, "refused before"
            assert self.clock.now_us() >= self.blocked.get(call.subject, 0), "blocked"
            self.confirmed.discard(call.subject)
        elif call.name == linking.LINK:
            for number in call.about["contexts"]:
                assert number not in self.withdrawn
                assert self.context(number).patient == call.subject
        elif call.name == linking.NOTIFY:
            assert call.subject not in self.withdrawn

    def check(self) -> None:
        for number in self.withdrawn:
            assert self.context(number).state is ContextState.DROPPED, number
        for number, address in self.by_hand.items():
            context = self.context(number)
            if context.state in (ContextState.READY, ContextState.LINKING, ContextState.LINKED, ContextState.FAILED):
                known = self.run(patients.by_number, context.patient)
                assert known is not None
                assert known.person is not None
                assert known.person.address == address, number

    def context(self, number: int) -> contexts.Context:
        found = self.run(contexts.by_number, number)
        assert isinstance(found, contexts.Context)
        return found


def _fields(one: Person) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Person.__slots__}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def desk(tmp_path: Path, clock: ManualClock) -> Iterator[Desk]:
    made = Desk(tmp_path, clock, fill=False)
    yield made
    made.journal.close()


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_acts_and_answers_in_any_order(desk: Desk, clock: ManualClock, seed: int) -> None:
    history = History(desk, clock, seed)
    try:
        for _ in range(STEPS):
            history.step()
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {' '.join(history.said)}") from error


def test_the_histories_come_to_each_state(desk: Desk, clock: ManualClock) -> None:
    """Else they show little."""
    seen: set[str] = set()
    history = History(desk, clock, 1)
    for _ in range(900):
        history.step()
        seen |= {state for (state,) in desk.journal.rows("SELECT state FROM abdm_context")}
    assert seen >= {"waiting", "ready", "linking", "linked", "failed", "dropped"}
    assert history.blocks
