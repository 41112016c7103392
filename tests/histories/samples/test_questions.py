"""The questions: what each finds, and what a program that is right may do in its place."""

import random
from datetime import datetime

from tests.histories.render import here
from tests.histories.samples.day import Day
from tests.histories.samples.duties import FORMS, control
from tests.histories.samples.facts import CONTROL, History, Message
from tests.histories.samples.oracle import Ended, Row, judge
from tests.histories.samples.receivers import Believed, Held, Paper, standing
from tests.histories.samples.render import Clock, patient

TOLD = (("start", "has a critical value"),)
HELD, SENT = Row(shown=True, state="held"), Row(state="delivered")
CLOCK = Clock(datetime(2026, 3, 1, 8, 0))


def day() -> Day:
    return Day(random.Random(1), "fhir", "hl7")


def has(message: Message, **more: object) -> Held:
    """A receiver has what a message said."""
    status = {"F": "final", "C": "corrected", "P": "preliminary", "D": "entered-in-error"}[message.status]
    person = patient(message.sample.person).replace("{h}", "011")
    numbers = frozenset(here(one, 0) for one in message.sample.numbers)
    said = {"patient": person, "numbers": numbers, "at": CLOCK.at(message.at, message.shown.clock), "status": status}
    return Held(**{"code": message.about, "value": message.value, **said, **more})  # type: ignore[arg-type]


def asked(
    made: Day,
    *believed: Held,
    name: str = "trap",
    papers: tuple[Paper, ...] = (),
    beside: dict[str, tuple[Held, ...]] | None = None,
    undone: frozenset[int] = frozenset(),
    **rows: Row,
) -> str:
    """The questions that are broken.

    Args:
        rows: of messages by number (m1), else all were delivered.
        beside: what receivers of further outputs have.
    """
    others = beside or {}
    history = History(
        seed=0, name=name, fault=0, output="fhir", protocols=("hl7",), steps=tuple(made.steps), beside=(*others,)
    )
    became = {one.id: (rows.get(f"m{one.id}", SENT),) for one in history.messages}
    ended = Ended(
        place=0, clock=CLOCK, believed=Believed(results=believed, papers=papers), rows=became, undone=undone,
        beside=tuple(Believed(results=some) for some in others.values()),
    )  # fmt: skip
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
    assert asked(made, has(said)) == "h"
    assert asked(made, has(said), m0=HELD) == "h"
    assert asked(made, has(said, at="")) == "h"
    made.decide("release", said)
    assert asked(made, has(said)) == "h"
    assert asked(made, has(said, at="")) == ""
    assert asked(made, has(said, at="", issued=CLOCK.at(said.at, -365))) == "h"


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


def test_a_result_goes_out_only_after_a_control_that_shows_its_test_to_be_good() -> None:
    for form in FORMS:
        made = day()
        control(made, "K")
        control(made, "K", form)
        said = made.say(made.sample(), "K", "F")
        other = made.say(made.sample(), "NA", "F")
        assert asked(made, has(said), has(other)) == "f", form
        assert asked(made, has(other), m2=HELD) == ""
    made = day()
    control(made, "K", "number")
    said = made.say(made.sample(), "K", "F")
    assert asked(made, has(said)) == ""  # it never had one that was accepted
    control(made, "K")
    second = made.say(made.sample(), "K", "F")
    assert asked(made, has(said), has(second)) == ""


def test_a_control_counts_where_it_was_measured_and_once_it_has_come() -> None:
    made = day()
    control(made, "K")
    early = made.say(made.sample(), "K", "F")
    control(made, "K", "number")
    control(made, "K", earlier=made.minutes)
    late = made.say(made.sample(), "K", "F")
    assert asked(made, has(early), m4=HELD) == ""
    assert asked(made, has(early), has(late)) == "f"
    made.decide("release", late)
    assert asked(made, has(early), has(late)) == ""


def test_each_receiver_of_a_message_has_the_same_of_it() -> None:
    made = day()
    first = made.say(made.sample(), "CRE", "F")
    second = made.say(first.sample, "NA", "F", beside=first)
    one, both = (has(second),), (has(first), has(second))
    waits = Row(shown=True, waits=True)
    assert asked(made, *both, beside={"csv": both, "raw": both}) == ""
    assert asked(made, *one, beside={"csv": one, "raw": ()}, m0=waits) == ""
    assert asked(made, *one, beside={"csv": ()}, m0=waits) == "g"
    assert asked(made, beside={"raw": one, "abdm": ()}, m0=waits) == "g"
    assert asked(made, *one, beside={"csv": ()}, m0=Row(shown=True, waits=True, doubted=frozenset({"csv"}))) == ""


def test_an_alert_is_open_exactly_while_its_value_is_live_and_nobody_has_taken_it() -> None:
    opened, over, none = (Row(told=TOLD, alarm=alarm) for alarm in ("open", "over", ""))
    ended = Row(told=(*TOLD, ("no-more", "is critical no more")), alarm="over")
    made = day()
    serum = made.say(made.sample(), "NA", "F", flag="LL", panel="SERUM")
    urine = made.say(made.sample(serum.sample.person, order=serum.sample.order), "NA", "F", panel="URINE")
    both = has(serum), has(urine)
    assert asked(made, *both, m0=opened) == ""
    assert asked(made, *both, m0=over) == asked(made, *both, m0=none) == "i"
    made.decide("take", serum)
    assert asked(made, *both, m0=none) == ""
    assert asked(made, *both, m0=over) == "i"
    made = day()
    first = made.say(made.sample(), "K", "F", flag="HH")
    right = made.say(first.sample, "K", "C", value="haemolysed")
    assert asked(made, has(right), m0=ended) == ""
    assert asked(made, has(right), m0=opened) == "ei"
    assert asked(made, has(first), m0=opened, m1=HELD) == ""
    made.decide("take", first)
    assert asked(made, has(right), m0=Row(told=ended.told, alarm="")) == "i"
    assert asked(made, has(right), m0=ended) == ""


def test_what_nobody_could_refuse_was_not_refused() -> None:
    made = day()
    said = made.say(made.sample(), "CRE", "F")
    made.decide("reject", said)
    assert asked(made, has(said)) == "a"
    assert asked(made, has(said), undone=frozenset({said.id})) == ""
