"""Lives of samples, each a function that takes a step and yields: ordinary ones, and traps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.histories.samples.day import CHANNELS, Day
from tests.histories.samples.facts import CONTROL, OUTPUTS, POOL, Message

Life = Iterator[None]
OF_HL7 = ("fhir", "csv", "json", "abdm")
SPELLED = {"CRE": "CREA", "GLU": "GLUC", "UREA": "BUN", "K": "KALI"}
NO_GROWTH = "No growth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """``fault``: its number in `known`. ``protocol``: the only one that can say it."""

    fault: int
    life: Callable[[Day], Life]
    outputs: tuple[str, ...] = OUTPUTS
    protocol: str = ""
    holds: bool = False


# -- ordinary: nothing of it may be held -------------------------------------------------------------------------------


def finished(day: Day) -> Life:
    sample, test = day.sample(), day.test()
    # A receiver of raw copies cannot know that a second F is another run.
    for status in day.rng.choice(("F", "PF", "FC", "PFC", "F" if day.output == "raw" else "FF")):
        day.later(day.rng.choice((5, 900)) if status == "C" else 5)
        day.say(sample, test, status)
        yield


def withdrawn(day: Day) -> Life:
    sample, test = day.sample(), day.test()
    first = day.say(sample, test, "F")
    yield
    if day.can_withdraw:
        day.say(sample, test, "D", value=first.value, at=first.at)
        yield


def sent_again(day: Day) -> Life:
    first = day.say(day.sample(), day.test(), "F")
    yield
    day.again(first)
    yield


def two_samples(day: Day) -> Life:
    """Of one person, each with its own order, on either analyzer."""
    person, test = day.person(), day.test()
    for _ in range(2):
        day.say(day.sample(person), test, "F", channel=day.rng.randrange(CHANNELS))
        yield
        day.later(60)


def tubes_of_one_order(day: Day) -> Life:
    """Each sample has a number of its own, and it is shown. A document of ABDM has all of an order."""
    first, test = day.sample(), day.test()
    for number in "AB"[: 2 if day.protocol == "hl7" and day.output != "abdm" else 1]:
        day.say(day.sample(first.person, order=first.order, tube=f"{first.order}{number}"), test, "F", tube=True)
        yield
        day.later(60)


def panel(day: Day) -> Life:
    """Test by test, under one order, of one tube. A document of ABDM has all of an order: there it is one test."""
    sample = day.sample()
    for test in ("GLU", "UREA", "K")[: 1 if day.output == "abdm" else 3]:
        day.say(sample, test, "F")
        yield


def corrects_what_is_not_known(day: Day) -> Life:
    """From before the start of operation."""
    day.say(day.sample(), day.test(), "C")
    yield


def grows(day: Day) -> Life:
    sample, organism = day.sample(), day.organism()
    for status in "PF":
        day.say(sample, "CULT", status, value=organism, code="ORG", panel="CULT")
        yield


ORDINARY: tuple[Callable[[Day], Life], ...] = (
    finished, withdrawn, sent_again, two_samples, tubes_of_one_order, panel, corrects_what_is_not_known, grows
)  # fmt: skip


# -- traps -------------------------------------------------------------------------------------------------------------


def _taken_back(day: Day, status: str) -> Life:
    """By a message that shows the result in another way, in one respect at least."""
    rng, test = day.rng, day.test()
    sample = day.sample()
    first = day.say(sample, test, "F")
    yield
    other: dict[str, object] = {"channel": 1, "code": SPELLED[test], "named": False, "typed": -2}
    if status == "D":
        del other["typed"]
    kept = rng.sample(sorted(other), rng.randrange(1, len(other)))
    day.later(rng.choice((20, 300)))
    shown = {name: other[name] for name in kept}
    if rng.random() < 0.2:
        shown["panel"] = "OTHER"
    day.say(sample, test, status, value=first.value if status == "D" else "", at=first.at, **shown)
    yield


def withdrawn_elsewhere(day: Day) -> Life:
    return _taken_back(day, "D")


def corrected_elsewhere(day: Day) -> Life:
    return _taken_back(day, "C")


def series(day: Day) -> Life:
    """One order, several times of collection."""
    test = day.test()
    first = day.sample()
    yield
    for number in range(day.rng.randrange(2, 4)):
        taken = first if number == 0 else day.sample(first.person, order=first.order)
        day.later(10)
        day.say(taken, test, "F")
        yield
        day.later(60)


def _rejected(day: Day, test: str, flag: str = "") -> Message:
    """A result after a control that failed, which a person rejects."""
    material = day.sample(order="QC1", tube="QC1", role=CONTROL)
    day.say(material, test, "F", flag="A", tube=True, named=False)
    wrong = day.say(day.sample(), test, "F", flag=flag)
    day.decide("reject", wrong)
    return wrong


def critical_rejected(day: Day) -> Life:
    _rejected(day, "K", "HH")
    yield


def rejected_and_sent_again(day: Day) -> Life:
    test = day.test()
    wrong = _rejected(day, test)
    yield
    day.later(30)
    control = day.sample(order="QC1", tube="QC1", role=CONTROL)
    day.say(control, test, "F", flag="N", tube=True, named=False)
    yield
    day.again(wrong)
    yield


def dismissed_and_sent_again(day: Day) -> Life:
    wrong = day.say(day.sample(), day.test(), "F", refused=True)
    day.decide("dismiss", wrong)
    yield
    day.again(wrong)
    yield


def pool(day: Day) -> Life:
    day.say(day.sample(tube="POOL7", role=day.rng.choice((POOL, "G"))), "HIV", "F", value="Reactive", tube=True)
    yield


def control(day: Day) -> Life:
    day.say(day.sample(tube="QC7", role=CONTROL), day.test(), "F", tube=True)
    yield


def withdrawn_whole(day: Day) -> Life:
    sample, test = day.sample(), day.test()
    first = day.say(sample, test, "F")
    yield
    day.later(60)
    day.say(sample, test, "D", value=first.value, at=first.at)
    yield


def growth_then_none(day: Day) -> Life:
    sample = day.sample()
    day.say(sample, "CULT", "P", value=day.organism(), code="ORG", panel="CULT")
    yield
    day.later(600)
    day.say(sample, "CULT", "F", value=NO_GROWTH, code="NOGR", panel="CULT")
    yield


def tube_of_two(day: Day) -> Life:
    """Two persons have orders for one tube; the result names nobody."""
    first, second = (
        day.sample(order=f"T{{h}}{day.minutes}", placer=f"P{{h}}{day.minutes}{who}") for who in "AB"
    )  # fmt: skip
    day.order(first, "GLU")
    day.order(second, day.rng.choice(("UREA", "GLU")))
    yield
    day.say(second, "GLU", "F", named=False)
    yield


def critical_no_more(day: Day) -> Life:
    sample = day.sample()
    first = day.say(sample, "K", "F", flag="HH")
    yield
    if day.can_withdraw and day.rng.random() < 0.4:
        day.say(sample, "K", "D", value=first.value, at=first.at)
    else:
        day.say(sample, "K", "C", flag="N", at=first.at)
    yield


def critical(day: Day) -> Life:
    first = day.say(day.sample(), "K", "F", flag="HH")
    yield
    if day.rng.random() < 0.5:
        day.again(first)
    yield


def wrong_clock(day: Day) -> Life:
    sample, test = day.sample(), day.test()
    day.say(sample, test, "F")
    yield
    late = day.rng.choice((sample, day.sample()))
    day.say(late, test, "F", clock=day.rng.choice((-365, 500)))
    yield


TRAPS: tuple[Trap, ...] = (
    Trap(fault=1, life=withdrawn_elsewhere, outputs=("fhir", "csv", "json", "raw"), protocol="hl7"),
    Trap(fault=2, life=corrected_elsewhere),
    Trap(fault=3, life=series),
    Trap(fault=4, life=rejected_and_sent_again, outputs=("fhir",), protocol="hl7", holds=True),
    Trap(fault=4, life=dismissed_and_sent_again, outputs=("fhir",)),
    Trap(fault=5, life=pool, outputs=OF_HL7, protocol="hl7"),
    Trap(fault=5, life=control, outputs=OF_HL7, protocol="hl7"),
    Trap(fault=6, life=withdrawn_whole, outputs=("fhir", "abdm"), protocol="hl7"),
    Trap(fault=7, life=growth_then_none, outputs=OF_HL7, protocol="hl7"),
    Trap(fault=8, life=tube_of_two, outputs=("fhir", "hl7"), protocol="astm"),
    Trap(fault=9, life=critical_no_more, outputs=("fhir", "hl7", "abdm")),
    Trap(fault=9, life=critical_rejected, outputs=("fhir",), protocol="hl7", holds=True),
    Trap(fault=10, life=wrong_clock),
    Trap(fault=11, life=critical),
)
