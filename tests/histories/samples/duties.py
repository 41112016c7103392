"""What a shift brings: controls in every form that analyzers send, panels, wrong clocks, alarms and persons who take
them. Each is a life as in `lives`; it is drawn for one or several outputs at once (`draw.shift`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.histories.samples.day import Day
from tests.histories.samples.facts import CONTROL, Message, Sample
from tests.histories.samples.lives import Life

TESTS = ("CRE", "GLU", "UREA", "K")
UNTARGETED = "MG"  # its controls never had a target
LISTED, LEVELLED, UNKNOWN = "QC1", "QC2", "QC8"  # numbers: with a target, on the list without one, on no list
LOT = "A7"
MEAN, SD = "1.00", "0.10"
COMMENTS = ("haemolysed", "clotted", "insufficient", "lipaemic")
AHEAD, BEHIND = (1, 20, 500), (-365, -200)  # days; one day is within what a clock of controls may be wrong by

HL7 = ("fhir", "csv", "json", "raw", "abdm")
ASTM = ("fhir", "csv", "json", "raw", "hl7")
PARTABLE = ("fhir", "csv", "json", "hl7")  # outputs whose documents go on without some of their results


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """``outputs``: those that its truth can be read of. ``protocol``: the only one that can say it."""

    life: Callable[[Day], Life]
    outputs: tuple[str, ...] = tuple({*HL7, *ASTM})
    protocol: str = ""
    share: int = 1
    fault: int = 0  # of `known.FAULTS`


# -- controls ----------------------------------------------------------------------------------------------------------


def _inside(day: Day) -> dict[str, Any]:
    return {"value": day.rng.choice(("0.95", "0.98", "1.02", "1.05")), "passed": True}


def _outside(day: Day) -> dict[str, Any]:
    return {"value": day.rng.choice(("1.52", "0.41", "2.80"))}


FORMS: dict[str, Callable[[Day], dict[str, Any]]] = {
    "number": _outside,
    "bound": lambda day: {"value": day.rng.choice((">20", "<0.10", ">1.80"))},
    "open bound": lambda day: {"value": day.rng.choice(("<5", ">0.20"))},
    "word": lambda day: {"value": day.rng.choice(("ERR", "No result", "out of range", "1.0.2"))},
    "flag": lambda day: {**_inside(day), "flag": day.rng.choice(("QCF", ">", "<")), "passed": False},
    "unit": lambda day: {
        **_inside(day), "unit": day.rng.choice(("mg/dL", "umol/L", "")), "passed": False,
    },
    "no target": lambda day: {**_inside(day), "number": LEVELLED, "passed": False},
    "unknown": lambda day: {**_inside(day), "number": UNKNOWN, "passed": False},
}  # fmt: skip


def control(day: Day, test: str, form: str = "", *, earlier: int = 0, **shown: Any) -> Message:
    """``form``: one of `FORMS`; empty: it is as it should be. ``earlier``: minutes that it comes late."""
    how = FORMS[form](day) if form else _inside(day)
    number = how.pop("number", LISTED)
    material: Sample = day.sample(order=number, tube=number, role=CONTROL)
    day.minutes += 1
    at = day.minutes - earlier if earlier else None
    return day.say(material, test, "F", at=at, tube=True, named=False, **how, **shown)


def _carried(day: Day) -> dict[str, Any]:
    """How a control may come otherwise: in another type of message, from a wrong clock."""
    other = {"clock": day.rng.choice((*AHEAD, *BEHIND))}
    kinds = ("Q",) if day.protocol == "astm" else ("Q", "OUL")
    return day.rng.choice(({}, {}, {"kind": day.rng.choice(kinds)}, other))


def _result(day: Day, test: str, *more: str, **said: Any) -> Message:
    """Of a person who has no other one; ``more``: tests of the same message."""
    day.later(10)
    first = day.say(day.sample(), test, "F", **said)
    for other in more:
        day.say(first.sample, other, "F", beside=first)
    return first


def routine(day: Day) -> Life:
    """Nothing of it may wait."""
    test, other = day.rng.sample(TESTS, 2)
    for one in (test, other):
        control(day, one)
    yield
    for _ in range(day.rng.randrange(1, 3)):
        _result(day, test, other)
        yield
        day.later(40)
        control(day, test, **({"kind": "Q"} if day.rng.random() < 0.2 else {}))
        yield
    _result(day, other)
    yield


def mended(day: Day) -> Life:
    """A control failed in any form, its repeat was accepted, and a person has closed it: nothing waits afterwards.

    Within half an hour another level than the failed one would be of the same run.
    """
    test = day.rng.choice(TESTS)
    control(day, test)
    yield
    day.later(40)
    control(day, test, day.rng.choice((*FORMS,)))
    yield
    day.later(40)
    day.decide("close", control(day, test))
    yield
    for _ in range(2):
        _result(day, test)
        yield


def never_targeted(day: Day) -> Life:
    """A test whose controls have no target is as it is without controls."""
    for form in day.rng.sample(("word", "unit", "open bound", "number"), 2):
        control(day, UNTARGETED, form)
        yield
        _result(day, UNTARGETED)
        yield
        day.later(40)


def doubtful_control(day: Day) -> Life:
    """After an accepted run one that does not show the test to be good, in any form; late ones among them."""
    rng, test = day.rng, day.rng.choice(TESTS)
    control(day, test, **_carried(day))
    yield
    if rng.random() < 0.5:
        _result(day, test)
        yield
    day.later(rng.choice((5, 50)))
    late = rng.random() < 0.25
    control(day, test, rng.choice((*FORMS,)), earlier=rng.choice((3, 20)) if late else 0, **_carried(day))
    yield
    if rng.random() < 0.2:  # it was measured before the other one
        control(day, test, earlier=day.minutes - 1)
        yield
    wrong = _result(day, test, flag=rng.choice(("", "", "HH")))
    yield
    if rng.random() < 0.3:
        day.decide(rng.choice(("release", "reject")), wrong)
        yield
    if rng.random() < 0.5:
        day.later(40)
        mended = control(day, test)
        if rng.random() < 0.7:
            day.decide("close", mended)
        yield
        _result(day, test)
        yield


def panel_waits(day: Day) -> Life:
    """A panel of which one test waits for its control, for several receivers."""
    rng = day.rng
    failed, *others = rng.sample(TESTS, rng.randrange(2, 4))
    for test in (failed, *others):
        control(day, test)
    yield
    day.later(50)
    control(day, failed, "number" if rng.random() < 0.5 else rng.choice((*FORMS,)))
    yield
    tests = rng.sample((failed, *others), len(others) + 1)
    first = _result(day, tests[0], *tests[1:], flag=rng.choice(("", "", "LL")))
    yield
    match rng.choice(("release", "reject", "again", "corrected", "")):
        case "again":
            day.again(first)
        case "corrected":
            day.later(20)
            day.say(first.sample, rng.choice(tests), "C", at=first.at)
        case "":
            return
        case act:
            day.decide(act, first)
    yield


# -- clocks ------------------------------------------------------------------------------------------------------------


def wrong_clocks(day: Day) -> Life:
    """A person's values, of which some come with a clock that is far ahead or behind; somebody decides, or nobody."""
    rng, test, person = day.rng, day.rng.choice(TESTS), day.person()
    clocks = rng.sample((*AHEAD[1:], *BEHIND), rng.choice((1, 1, 2)))
    decided = rng.choice(("", "", "release", "reject"))
    wrong = [False, *(rng.random() < 0.7 for _ in range(rng.randrange(1, 4)))]
    rng.shuffle(wrong)
    number = 0
    for is_wrong in wrong:
        day.later(rng.choice((15, 240, 1500)))
        about = person if rng.random() < 0.8 else None
        said = day.say(day.sample(about), test, "F", clock=rng.choice(clocks) if is_wrong else 0)
        yield
        number += is_wrong
        if is_wrong and number == 1 and decided:
            day.decide(decided, said)
            yield


# -- alarms ------------------------------------------------------------------------------------------------------------


def _alarm(day: Day, sample: Sample, test: str = "K", status: str = "F", **said: Any) -> Message:
    return day.say(sample, test, status, flag=day.rng.choice(("HH", "LL")), **said)


def _perhaps_taken(day: Day, message: Message) -> bool:
    is_taken = day.rng.random() < 0.3
    if is_taken:
        day.decide("take", message)
    return is_taken


def two_materials(day: Day) -> Life:
    """Serum and urine under one order number, with one time of collection, code and unit: one is critical.

    A list has no panel: a receiver takes a second final of the same time for the first one, so that it gets none.
    """
    rng = day.rng
    serum = day.sample()
    urine = day.sample(serum.person, order=serum.order, at=serum.at)
    day.later(12)
    status = rng.choice("PF")
    first = _alarm(day, serum, "NA", status, panel="SERUM")
    yield
    if _perhaps_taken(day, first):
        yield
    together = first.at if status == "P" or day.outputs == ("fhir",) else None
    day.say(urine, "NA", "F", panel="URINE", at=rng.choice((together, None)))
    yield
    if status == "P" and rng.random() < 0.5:
        day.later(10)
        _alarm(day, serum, "NA", panel="SERUM", at=first.at)
        yield


def alarm_and_words(day: Day) -> Life:
    """A critical value, and what is said of the same sample afterwards."""
    rng, sample = day.rng, day.sample()
    first = _alarm(day, sample, status=rng.choice("PFF"))
    yield
    if _perhaps_taken(day, first):
        yield
    if rng.random() < 0.3:
        day.again(first)
        yield
    day.later(20)
    match rng.choice(("comment", "unit", "rerun", "number", "still", "withdrawn", "nothing")):
        case "comment":
            day.say(sample, "K", "C", value=rng.choice(COMMENTS), at=first.at)
        case "unit":
            day.say(sample, "K", "C", unit="mg/dL", at=first.at)
        case "rerun":
            day.say(sample, "K", "F")
        case "number":
            day.say(sample, "K", "C", flag=rng.choice(("", "N")), at=first.at)
        case "still":
            _alarm(day, sample, status=rng.choice("FC"), at=first.at)
        case "withdrawn" if day.protocol == "hl7":
            day.say(sample, "K", "D", value=first.value, at=first.at)
        case _:
            return
    yield


def alarm_beside_others(day: Day) -> Life:
    """Another sample of the person, under the same order number or another one, is not critical."""
    rng, sample = day.rng, day.sample()
    first = _alarm(day, sample)
    yield
    if _perhaps_taken(day, first):
        yield
    day.later(90)
    same = {"order": sample.order} if rng.random() < 0.6 else {}
    other = day.sample(sample.person, **same)
    day.later(15)
    said = day.say(other, "K", rng.choice("PF"))
    yield
    if rng.random() < 0.5:
        day.later(15)
        day.say(other, "K", "C", at=said.at)
        yield


def alarm_in_panel(day: Day) -> Life:
    """Of two critical values of one message one is corrected, or both."""
    rng = day.rng
    first = _alarm(day, day.sample())
    second = _alarm(day, first.sample, "GLU", beside=first)
    yield
    for one in rng.choice(((first,), (second,), (first, second))):
        day.later(20)
        day.say(one.sample, one.about, "C", at=one.at)
        yield


DUTIES: tuple[Duty, ...] = (
    Duty(life=routine),
    Duty(life=mended),
    Duty(life=never_targeted),
    Duty(life=doubtful_control, share=4),
    Duty(life=panel_waits, share=2, fault=12),
    Duty(life=wrong_clocks, share=3),
    Duty(life=two_materials, outputs=("fhir",), protocol="hl7"),
    Duty(life=two_materials, outputs=("fhir", "csv", "json"), protocol="hl7"),
    Duty(life=alarm_and_words, outputs=("fhir", "csv", "json", "hl7", "abdm"), share=2),
    Duty(life=alarm_beside_others, outputs=PARTABLE),
    Duty(life=alarm_in_panel, outputs=PARTABLE),
)
PLAIN = frozenset({routine, mended, never_targeted})
