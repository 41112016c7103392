"""The five questions: what each finds, and what a program that is right may do in its place."""

import random
from datetime import datetime

from tests.histories.samples.day import Day
from tests.histories.samples.facts import CONTROL, History, Message
from tests.histories.samples.oracle import Ended, Row, judge
from tests.histories.samples.receivers import Believed, Held, Paper, standing
from tests.histories.samples.render import Clock, patient

HELD, SENT = Row(shown=True, state="held"), Row(state="delivered")
CLOCK = Clock(datetime(2026, 3, 1, 8, 0))
NUMBERS = frozenset({"F0111"})


def day() -> Day:
    return Day(random.Random(1), "fhir", "hl7")


def has(message: Message, **more: object) -> Held:
    """A receiver has what a message said."""
    status = {"F": "final", "C": "corrected", "P": "preliminary", "D": "entered-in-error"}[message.status]
    person = patient(message.sample.person).replace("{h}", "011")
    said = {"patient": person, "numbers": NUMBERS, "at": CLOCK.at(message.at, message.shown.clock), "status": status}
    return Held(**{"code": message.about, "value": message.value, **said, **more})  # type: ignore[arg-type]


def asked(made: Day, *believed: Held, name: str = "trap", papers: tuple[Paper, ...] = (), **rows: Row) -> str:
    """The questions that are broken; ``rows``: of messages by number (m1), else all were delivered."""
    steps = tuple(made.steps)
    history = History(seed=0, name=name, fault=0, output="fhir", protocols=("hl7",), steps=steps)
    became = {one.id: (rows.get(f"m{one.id}", SENT),) for one in history.messages}
    ended = Ended(place=0, clock=CLOCK, believed=Believed(results=believed, papers=papers), rows=became)
    return "".join(sorted({one.question[0] for one in judge(history, ended)}))


def test_a_result_that_was_taken_back_is_not_live_unless_a_person_is_asked() -> None:
    made = day()
    sample = made.sample()
    first = made.say(sample, "CRE", "F")
    back = made.say(sample, "CRE", "D", value=first.value, code="CREA")
    assert asked(made, has(first), has(back)) == "a"
    assert asked(made, has(first), m1=HELD) == ""
    assert asked(made, has(back)) == ""
    empty = Paper(status="corrected", results=(has(back),))
    assert asked(made, has(back), papers=(empty,)) == "a"
    assert asked(made, has(back), papers=(Paper(status="entered-in-error", results=empty.results),)) == ""


def test_a_correction_stands_alone() -> None:
    made = day()
    sample = made.sample()
    first, second = made.say(sample, "CRE", "F"), made.say(sample, "CRE", "C", channel=1)
    assert asked(made, has(first), has(second)) == "ac"
    assert asked(made, has(first)) == "ab"
    assert asked(made, has(first), m1=HELD) == ""
    assert asked(made, has(second, past=(first.value,))) == ""


def test_each_sample_has_a_place_of_its_own() -> None:
    made = day()
    first = made.say(made.sample(), "GLU", "F")
    made.later(60)
    other = made.sample(first.sample.person, order=first.sample.order)
    second = made.say(other, "GLU", "F")
    assert asked(made, has(second, status="amended", past=(first.value,))) == "bc"
    assert asked(made, has(first), has(second)) == ""
    assert asked(made, has(first), m1=HELD) == ""


def test_what_a_person_refused_stays_away() -> None:
    made = day()
    wrong = made.say(made.sample(), "CRE", "F")
    made.decide("reject", wrong)
    made.again(wrong)
    assert asked(made, has(wrong), m0=HELD) == "a"
    assert asked(made, m0=HELD, m2=HELD) == ""
    assert asked(made) == ""


def test_names_are_the_sample_s_own() -> None:
    made = day()
    said = made.say(made.sample(), "GLU", "F")
    assert asked(made, has(said, patient="MR0119")) == "d"
    assert asked(made, has(said, numbers=frozenset({"F0112"}))) == "d"
    assert asked(made, has(said, patient="", numbers=frozenset())) == ""
    made = day()
    material = made.say(made.sample(role=CONTROL, tube="QC7"), "GLU", "F", tube=True)
    assert asked(made, has(material)) == "d"
    assert asked(made) == ""


def test_a_critical_value_has_one_alert_and_a_second_word_once_it_is_false() -> None:
    made = day()
    sample = made.sample()
    first = made.say(sample, "K", "F", flag="HH")
    told = (("start", "has a critical value"),)
    assert asked(made, has(first)) == "e"
    assert asked(made, has(first), m0=Row(told=told)) == ""
    assert asked(made, has(first), m0=Row(told=told * 2)) == "e"
    second = made.say(sample, "K", "C", flag="N")
    assert asked(made, has(second), m0=Row(told=told)) == "e"
    assert asked(made, has(second), m0=Row(told=(*told, ("still", told[0][1])))) == "e"
    assert asked(made, has(second), m0=Row(told=(*told, ("end", "is critical no more")))) == ""


def test_a_time_that_is_wrong_by_a_year_is_said_to_be() -> None:
    made = day()
    said = made.say(made.sample(), "K", "F", clock=-365)
    assert asked(made, has(said)) == "a"
    assert asked(made, has(said), m0=HELD) == ""
    assert asked(made, has(said, at="")) == ""


def test_of_a_plain_history_nothing_is_held() -> None:
    made = day()
    said = made.say(made.sample(), "K", "F")
    assert asked(made, has(said), name="plain") == ""
    assert asked(made, m0=HELD, name="plain") == "p"


def test_a_stream_is_read_as_a_laboratory_system_reads_it() -> None:
    made = day()
    sample = made.sample()
    early, final, late = made.say(sample, "K", "P"), made.say(sample, "K", "F"), made.say(sample, "K", "F")
    right = made.say(sample, "K", "C")
    rows = [has(one) for one in (early, final, late, right)]
    assert [one.value for one in standing(rows[:2])] == [final.value]
    assert [one.value for one in standing(rows[:3])] == [final.value, late.value]
    (last,) = standing(rows)
    assert (last.value, last.past) == (right.value, (early.value, final.value, late.value))
