"""Counted results and turnaround times are those of a model, in any history of messages."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.codecs.hl7v2 import message as hl7v2
from engine.features.reports.rows import result_counts
from engine.features.reports.rows.reading import counted_to, results_between
from engine.features.reports.rules import LONGEST_S, CountSum, ResultCounts, Stage
from engine.model.journal.records import Decision, Routed
from engine.model.message import FormatOptions, MapContext
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.routes import ChannelRoutes, Route
from engine.model.texts.reasons import ReasonCode
from engine.processing.process import process
from engine.store.core.sweeping import Step
from engine.store.journal import Journal
from engine.store.lifecycle import erasure
from engine.store.operations import append, record_outcome
from engine.store.operations.outbox import attempts, decisions, queueing
from engine.store.operations.pruning import PrunableRows, let_go
from tests.support.examples import examples
from tests.support.journals import WINDOW_S, opened, received, routed
from tests.support.report_model import MadeMessage, MadeResult, Model
from tests.support.shipped import program, verdict_of

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2026, 3, 28, 15, tzinfo=UTC)  # the night of the summer time is the next
SENT = {"final": "F", "corrected": "C", "preliminary": "P"}
HOUR = 3600


class Lab:
    """A journal with the messages of a model in it."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(START)
        self.journal: Journal = opened(folder, clock=self.clock, zone=BERLIN)
        self.model = Model(BERLIN)
        self.known: dict[int, MadeMessage] = {}
        self.outcomes: dict[int, Outcome[Any]] = {}
        self.uncounted: dict[int, MadeMessage] = {}
        self.counted: set[int] = set()
        self._position = self._sent = 0

    def now(self) -> int:
        return self.clock.now_us() // 1_000_000

    def put(
        self,
        channel: str,
        patient: str,
        specimen: str,
        results: list[MadeResult],
        to: tuple[str, ...],
        dead: bool = False,
    ) -> int:
        message = MadeMessage(channel, patient, specimen, self.now(), results, dict.fromkeys(to, (None, True)))
        text = hl7(message)
        self._sent += 1  # a number of a message that is gone would make this one its repeat
        one = received(text, channel=channel, control_id=str(self._sent), at_us=self.clock.now_us())
        stored = self.journal.run_alone(append.store_message, one, repeat_window_s=WINDOW_S)
        self.known[stored.id] = message
        self.outcomes[stored.id] = process(stored, raw_channel(channel))
        if dead:
            self.journal.run_alone(record_outcome.record, stored.id, Outcome("dead", ReasonCode.MAPPING_FAULT))
        else:
            self.map(stored.id)
        return stored.id

    def map(self, number: int, **more: Any) -> None:
        self.journal.run_alone(
            record_outcome.record, number, self.outcomes[number], routes_of(self.known[number].fates), **more
        )
        if number not in self.counted:
            self.uncounted[number] = self.known[number]

    def again(self, number: int) -> None:
        """Process a message again: a dead one now has results, another one gets other documents."""
        message = self.known[number]
        message.fates = {name: (first, True) for name, (first, _) in message.fates.items()}
        self.map(number, decision=Decision(again=True))

    def deliveries(self, number: int, *states: str) -> list[tuple[int, str]]:
        rows = self.journal.rows(
            "SELECT d.id, l.destination, d.state FROM delivery d JOIN lane l ON l.id = d.lane WHERE d.message_id = ?",
            (number,),
        )
        return [(row[0], row[1]) for row in rows if row[2] in states]

    def deliver(self, number: int) -> None:
        for delivery, name in self.deliveries(number, "waiting"):
            self.journal.run_alone(attempts.settle, delivery, delivered_us=self.clock.now_us())
            fates, now = self.known[number].fates, self.now()
            first = fates[name][0]
            fates[name] = (now if first is None else min(first, now), False)

    def dismiss(self, number: int) -> None:
        open_ = self.deliveries(number, "waiting", "held", "dead")
        self.journal.run_alone(dismiss, [delivery for delivery, _ in open_])
        for _, name in open_:
            fates = self.known[number].fates
            fates[name] = (fates[name][0], False)

    def replay(self, number: int) -> None:
        """Send a delivered message again: that changes no figure."""
        if self.deliveries(number, "delivered"):
            self.journal.run_alone(queueing.replay, [number])

    def count(self) -> None:
        """What the upkeep does; in the model: new messages in their order, then those whose outcome came late."""
        step = self.journal.run_alone(count_step, 0)
        assert step == (0, False)
        states = self.journal.rows("SELECT coalesce(max(id), 0) FROM message_state")
        late = [number for number in self.uncounted if number <= self._position]
        self._position = max(self._position, states[0][0])
        for number in sorted(self.uncounted.keys() - set(late)) + sorted(late):
            self._count(number)
        self.model.look()

    def _count(self, number: int) -> None:
        self.model.count(self.uncounted.pop(number))
        self.counted.add(number)

    def gone(self, number: int, how: Callable[..., Any]) -> None:
        """Retention or an erasure takes a message: what is left of it to be counted is counted."""
        message = self.known.pop(number)
        if number in self.uncounted:
            self._count(number)
        self.journal.run_alone(how, number)
        self.model.look(ends=message)
        if how is erase:
            self.model.forget(message)

    def close(self) -> None:
        self.journal.close()


def count_step(batch: Any, pending_at: int) -> Step:
    return result_counts.step(batch, pending_at=pending_at)


def dismiss(batch: Any, deliveries: list[int]) -> None:
    decisions.dismiss(batch, deliveries, "not wanted")


def prune(batch: Any, number: int) -> None:
    (chain,) = batch.execute("SELECT chain FROM journal WHERE id = ?", (number,)).fetchone()
    let_go(batch, PrunableRows(number, rows={number: chain}, messages=[number]))


def erase(batch: Any, number: int) -> None:
    erasure._erase(batch, [number], [], actor="anna", reason="asked", more={})


def routes_of(fates: dict[str, Any]) -> list[Routed]:
    return [routed(b"body", *fates)]


def raw_channel(name: str) -> ChannelRoutes:
    return ChannelRoutes(
        channel=name, message_format=hl7v2, media_type="text/plain", options=FormatOptions(),
        routes=(Route(when=None, program=None, to=("a",)),), context=MapContext(timezone="Europe/Berlin"),
        reader=lambda _: program("results-hl7"),
    )  # fmt: skip


def hl7(message: MadeMessage) -> bytes:
    """Each result has an order of its own: their times differ."""
    lines = [f"MSH|^~\\&|X|L|Y|L|{at(message.received)}||ORU^R01|1|P|2.5.1", f"PID|1||{message.patient}"]
    for n, one in enumerate(message.results, 1):
        lines += [
            f"OBR|{n}||{message.specimen}||||{at(one.collected)}",
            f"OBX|1|NM|{one.code}||5|||||{''}|{SENT[one.state]}|||{at(one.resulted)}",
        ]
    return ("\r".join(lines) + "\r").encode()


def at(seconds: int | None) -> str:
    """As HL7 writes it; None: nothing."""
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y%m%d%H%M%S}+0000"


def figures(counts: ResultCounts) -> dict[str, Any]:
    names = ("final", "again", "corrected", "preliminary")
    made: dict[str, Any] = {name: n for name in names if (n := getattr(counts, name))}
    for name, stage in counts.stages.items():
        made |= {f"{name} {part}": n for part in ("missing", "impossible") if (n := getattr(stage, part))}
        if stage.count:
            made |= {f"{name} {word}": stage.percentile_s(n) for word, n in (("median", 50), ("p90", 90), ("p95", 95))}
            made[f"{name} count"] = stage.count
    return made


def counted(journal: Journal) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(one.day, one.channel, one.code): figures(one.counts) for one in results_between(journal, "0", "9")}


# -- histories -------------------------------------------------------------------------------------------------------

ages = st.sampled_from([None, 0, 1, 59, 119, 121, 3 * HOUR + 61, 26 * HOUR, 40 * 86_400, -5, -2 * HOUR])
results = st.lists(
    st.tuples(st.sampled_from(["GLU", "NA", "K"]), st.sampled_from(["final", "final", *SENT]), ages, ages),
    min_size=1,
    max_size=4,
)
some = st.integers(0, 7)
messages = st.tuples(
    st.just("put"), st.sampled_from(["chem", "blood"]), st.sampled_from(["", "P1", "P2"]),
    st.sampled_from(["", "S1", "S2"]), results, st.sampled_from([("a",), ("a", "b")]), st.booleans(),
)  # fmt: skip
acts = st.one_of(
    messages,
    messages,
    st.tuples(st.sampled_from(["deliver", "deliver", "dismiss", "again", "replay", "prune", "erase"]), some),
    st.tuples(st.just("count")),
    st.tuples(st.just("wait"), st.sampled_from([1, 61, 5 * HOUR, 11 * HOUR, -HOUR])),
)


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(acts, max_size=14))
def test_whatever_happens_each_figure_is_that_of_the_model(history: list[tuple[Any, ...]]) -> None:
    with TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        with closing(lab):
            for what, *given_ in history:
                act(lab, what, given_)
            lab.count()
            assert counted(lab.journal) == lab.model.found()


def act(lab: Lab, what: str, given_: list[Any]) -> None:
    if what == "put":
        channel, patient, specimen, rows, to, dead = given_
        now = lab.now()
        before = [None if age is None else now - age for *_, first, second in rows for age in (first, second)]
        made = [MadeResult(row[0], row[1], before[2 * n], before[2 * n + 1]) for n, row in enumerate(rows)]
        lab.put(channel, patient, specimen, made, to, dead=dead)
    elif what == "count":
        lab.count()
    elif what == "wait":
        if given_[0] > 0:
            lab.clock.advance(given_[0])
        else:  # a person sets the clock back
            lab.clock._now += timedelta(seconds=given_[0])
    elif lab.known:
        number = sorted(lab.known)[given_[0] % len(lab.known)]
        if what == "deliver":
            lab.deliver(number)
        elif what == "dismiss":
            lab.dismiss(number)
        elif what == "again":
            lab.again(number)
        elif what == "replay":
            lab.replay(number)
        elif what == "erase":
            lab.gone(number, erase)
        elif what == "prune" and not lab.deliveries(number, "waiting", "held", "dead"):
            lab.gone(number, prune)


# -- by example ------------------------------------------------------------------------------------------------------

GLU = [MadeResult("GLU", "final", None, None)]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


def sums(lab: Lab) -> ResultCounts:
    found = CountSum()
    for one in results_between(lab.journal, "0", "9"):
        found.add(one.said)
    return found.counts()


def test_preliminary_then_final_then_a_correction_the_first_final_one_has_the_turnaround(lab: Lab) -> None:
    begin = lab.now()
    for state in ("preliminary", "final", "corrected", "final"):
        lab.clock.advance(600)
        number = lab.put("chem", "P1", "S1", [MadeResult("GLU", state, begin, lab.now() - 60)], ("a",))
        lab.deliver(number)
    lab.count()
    found = sums(lab)
    assert (found.preliminary, found.final, found.corrected, found.again) == (1, 1, 1, 1)
    assert found.stages["collected-delivered"].times == {1200: 1}
    assert found.stages["resulted-received"].times == {60: 1}


def test_what_is_held_counts_as_delivered_when_a_person_has_released_it_and_it_has_gone(lab: Lab) -> None:
    number = lab.put("chem", "", "S1", GLU, ("a",))
    lab.count()
    assert sums(lab).stages["received-delivered"] == Stage()
    assert counted_to(lab.journal) == (0, 1)
    lab.clock.advance(3 * HOUR)
    lab.deliver(number)
    lab.count()
    assert sums(lab).stages["received-delivered"].times == {3 * HOUR: 1}
    assert counted_to(lab.journal) == (0, 0)


def test_a_delivery_that_is_open_after_31_days_is_none(lab: Lab) -> None:
    lab.put("chem", "", "S1", GLU, ("a",))
    lab.count()
    lab.clock.advance(LONGEST_S + 1)
    lab.count()
    assert sums(lab).stages["received-delivered"].missing == 1


@pytest.mark.parametrize(("patient", "days", "again"), [("P1", 6, 1), ("P1", 8, 0), ("", 1, 0), ("", 0, 1)])
def test_a_repeat_is_one_for_a_week_where_the_patient_is_the_same_else_on_the_same_day(
    lab: Lab, patient: str, days: int, again: int
) -> None:
    for _ in range(2):
        lab.put("chem", patient, "1", GLU, ("a",))
        lab.count()
        lab.clock.advance(days * 86_400)
    assert sums(lab).again == again


def test_of_two_destinations_the_last_one_counts(lab: Lab) -> None:
    number = lab.put("chem", "", "S1", GLU, ("a", "b"))
    for delivery, _ in lab.deliveries(number, "waiting"):
        lab.clock.advance(60)
        lab.journal.run_alone(attempts.settle, delivery, delivered_us=lab.clock.now_us())
    lab.count()
    assert sums(lab).stages["received-delivered"].times == {120: 1}


@pytest.mark.parametrize("anew", ["replay", "again"])
def test_what_is_delivered_once_more_was_delivered_the_first_time(lab: Lab, anew: str) -> None:
    number = lab.put("chem", "", "S1", GLU, ("a",))
    lab.clock.advance(60)
    lab.deliver(number)
    getattr(lab, anew)(number)
    lab.clock.advance(HOUR)
    lab.deliver(number)
    lab.count()
    assert sums(lab).stages["received-delivered"].times == {60: 1}


def test_a_replay_that_is_open_keeps_no_result_waiting(lab: Lab) -> None:
    number = lab.put("chem", "", "S1", GLU, ("a",))
    lab.deliver(number)
    lab.replay(number)
    lab.count()
    assert sums(lab).stages["received-delivered"].count == 1


def test_what_was_counted_stays_when_todays_mapping_finds_something_else(lab: Lab) -> None:
    number = lab.put("chem", "", "S1", GLU, ("a",))
    lab.count()
    (group,) = lab.outcomes[number].results
    found = lab.outcomes[number]
    for one in (Outcome("dead", ReasonCode.MAPPING_FAULT), replace(found, results=(replace(group, codes=("NA",)),))):
        lab.outcomes[number] = one
        lab.again(number)
        lab.count()
    assert [one.code for one in results_between(lab.journal, "0", "9")] == ["GLU"]


def test_two_patients_may_have_the_same_specimen_number_on_one_day(lab: Lab) -> None:
    for patient in ("P1", "P2"):
        lab.put("chem", patient, "1", GLU, ("a",))
    lab.count()
    assert sums(lab).final == 2


NAMES = ("SHARMA ANITA", "SHARMA\\T\\ANITA", "SHARMA ANITA, WARD 7, ROOM 12, BESIDE THE WINDOW", "SHARMA&ANITA")


@pytest.mark.parametrize("name", [*NAMES, *(f"^^^{name}" for name in NAMES)])
@pytest.mark.parametrize("message_format", ["hl7v2", "astm"])
def test_a_code_that_no_table_had_is_not_written_in_clear(tmp_path: Path, name: str, message_format: str) -> None:
    lab = Lab(tmp_path)
    text = "MSH|^~\\&|X|L|Y|L|20260328150000||ORU^R01|1|P|2.5.1\rPID|1||P1\rOBR|1||S1\r"
    text += "".join(f"OBX|{n}|NM|{one}||5||||||F\r" for n, one in enumerate((name, name, "718-7"), 1))
    if message_format == "astm":
        text = "H|\\^&|||X|||||||P|1|20260328150000\rP|1|P1\rO|1|S1||^^^GLU\r"
        text += "".join(f"R|{n}|^^^{one}|5|||||F\r" for n, one in enumerate((name, name, "GLU"), 1)) + "L|1|N\r"
    for number in range(2):  # the mapping remembers codes of the message before
        outcome, _ = verdict_of(text.encode(), message_format, channel="chem")
        assert outcome.state == "mapped"
        one = received(text.encode() + b"NTE" * number, channel="chem", control_id=str(number))
        stored = lab.journal.run_alone(append.store_message, one, repeat_window_s=WINDOW_S)
        lab.journal.run_alone(record_outcome.record, stored.id, outcome, routes_of({"a": (None, True)}))
    lab.count()
    unknown = {one.code: one.counts for one in results_between(lab.journal, "0", "9")}[""]
    assert unknown.results >= 4
    assert unknown.again == unknown.results - (unknown.results - 2) // 2
    lab.close()
    written = [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()]
    assert len(written) > 1
    assert not any(b"SHARMA" in content for content in written)


def test_more_codes_than_a_channel_may_have_in_a_day_are_counted_together(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_counts, "CODES", 2)
    for code in ("A", "B", "C", "D", "A"):
        lab.put("chem", "", "", [MadeResult(code, "final", None, None)], ("a",))
        lab.count()
    found = {one.code: one.counts.final for one in results_between(lab.journal, "0", "9")}
    assert found == {"A": 2, "B": 1, "": 2}


def test_messages_of_very_many_results_are_counted_one_after_the_other(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_counts, "BYTES_AT_ONCE", 1000)
    for n in range(3):
        codes = [MadeResult(f"C{n}-{k}", "final", None, None) for k in range(200)]
        lab.deliver(lab.put("chem", "", f"S{n}", codes, ("a",)))
    steps = [lab.journal.run_alone(count_step, 0) for _ in range(4)]
    assert [one.more for one in steps] == [True, True, True, False]
    found = {one.code: one.counts.final for one in results_between(lab.journal, "0", "9")}
    assert len(found) == result_counts.CODES + 1
    assert (sum(found.values()), found[""]) == (600, 600 - result_counts.CODES)
    assert sums(lab).stages["received-delivered"].count == 600


def test_counts_go_after_two_years(lab: Lab) -> None:
    lab.put("chem", "", "S1", GLU, ("a",))
    lab.count()
    lab.clock.advance((result_counts.KEPT_DAYS - 1) * 86_400)
    lab.count()
    assert counted(lab.journal)
    lab.clock.advance(2 * 86_400)
    lab.count()
    assert not counted(lab.journal)


def test_a_clock_that_leaps_ahead_takes_no_counts(lab: Lab) -> None:
    lab.put("chem", "", "S1", GLU, ("a",))
    lab.count()
    lab.clock._now += timedelta(days=result_counts.KEPT_DAYS + 1)
    upkeep = lab.journal.upkeep
    upkeep._steps = [(step, place, 0.0) for step, place, _ in upkeep._steps]
    upkeep.idle()
    assert counted(lab.journal)


def test_the_upkeep_counts_by_itself_a_few_messages_at_once_also_after_a_start(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    for _ in range(result_counts.COUNTED_AT_ONCE + 10):
        lab.put("chem", "", "", GLU, ("a",))
    lab.journal.upkeep.idle()
    assert sums(lab).final == result_counts.COUNTED_AT_ONCE
    lab.close()
    lab.journal = opened(tmp_path, clock=lab.clock, zone=BERLIN)
    for _ in range(3):
        lab.clock.advance(21)
        lab.journal.upkeep.idle()
    assert sums(lab).final == result_counts.COUNTED_AT_ONCE + 10
    assert counted_to(lab.journal) == (0, result_counts.COUNTED_AT_ONCE + 10)
    lab.close()


def test_many_pending_messages_are_looked_at_in_turns(lab: Lab) -> None:
    numbers = [lab.put("chem", "", "", GLU, ("a",)) for _ in range(result_counts.COUNTED_AT_ONCE + 1)]
    for _ in range(4):
        lab.clock.advance(21)
        lab.journal.upkeep.idle()
    lab.deliver(numbers[-1])
    for _ in range(4):
        lab.clock.advance(21)
        lab.journal.upkeep.idle()
    assert sums(lab).stages["received-delivered"].count == 1
