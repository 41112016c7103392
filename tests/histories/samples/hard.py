"""Harder lives of samples, for the judge alone: words in any order, memories of any age, several samples, channels and
cultures, numbers that come again, and analyzers that write other times into the field of collection.
"""

import random
from collections.abc import Callable

from tests.histories.samples.day import Day
from tests.histories.samples.draw import in_turns
from tests.histories.samples.facts import History, Message, Sample
from tests.histories.samples.judged import STATES, Bench
from tests.histories.samples.lives import NO_GROWTH, ORDINARY, POOL, SPELLED, Life

OUTPUTS = ("fhir", "fhir", "abdm", "csv", "json")
NOTHING = ("No growth", "Nil growth", "Culture negative", "Sterile", "Keimfrei")
TIMES = ("sample", "run", "start", "absent")  # what an analyzer writes as time of collection


def hard(seed: int) -> Bench:
    """A history, with analyzers that write as theirs do."""
    rng = random.Random(f"hard/{seed}")
    life, written = rng.choice(LIVES)
    times, unique = rng.choice(written), life is not counted_again and rng.random() < 0.5
    unique = unique or (life is named_and_nameless and times != "sample")  # else the number alone tells nothing
    collection = rng.choice((None, False)) if times == "start" else None
    output, protocol = rng.choice(OUTPUTS), "hl7" if life in OF_HL7 else rng.choice(("hl7", "hl7", "astm"))
    day = Day(rng, output, protocol)
    lives = [life(day)]
    if unique:  # without a time of collection, the next day's number is another one
        lives += [rng.choice(ORDINARY)(day) for _ in range(rng.randrange(2))]
    in_turns(rng, lives)
    used = 1 + max(step.shown.channel for step in day.steps if isinstance(step, Message))
    is_doubted = (times == "start" and collection is None) or (life is two_channels and output not in STATES)
    history = History(
        seed=seed, name="plain" if life in PLAIN and not is_doubted else life.__name__, fault=0, output=output,
        protocols=(protocol,) * used, steps=tuple(day.steps), holds=life in HELD_BY_RULE, joined=day.joined,
    )  # fmt: skip
    joins = rng if not history.holds and rng.random() < 0.3 else None
    return Bench(history, times=times, unique=unique, collection=collection, together=joins)


def _older(day: Day, said: list[Message]) -> None:
    """The analyzer sends an older word from its memory."""
    if day.rng.random() < 0.4:
        day.again(day.rng.choice(said))


def any_words(day: Day) -> Life:
    """Of one result, in any order of statuses, with memories between."""
    sample, test, said = day.sample(), day.test(), list[Message]()
    for number in range(day.rng.randrange(2, 6)):
        status = day.rng.choice("PFFFCCD" if day.protocol == "hl7" and number else "PF")
        day.later(day.rng.choice((1, 20, 100)))
        repeats = status == "D" and day.rng.random() < 0.7
        shown = {"code": SPELLED[test]} if status in "CD" and day.rng.random() < 0.2 else {}
        said.append(day.say(sample, test, status, value=said[-1].value if repeats else "", **shown))
        yield
        _older(day, said)
        yield


def any_words_of_critical(day: Day) -> Life:
    sample, said = day.sample(), list[Message]()
    for number in range(day.rng.randrange(2, 5)):
        status = day.rng.choice("PFC" if number else "PF")
        said.append(day.say(sample, "K", status, flag=day.rng.choice(("HH", "N"))))
        yield
        _older(day, said)
        day.later(30)
        yield


def series_with_words(day: Day) -> Life:
    """Several samples under one order, each with its own words, corrected on any channel and day."""
    test, first = day.test(), day.sample()
    samples, said = [first], list[Message]()
    for _ in range(day.rng.randrange(1, 3)):
        day.later(day.rng.choice((15, 60, 700)))
        samples.append(day.sample(first.person, order=first.order))
    day.later(12)
    for _ in range(day.rng.randrange(2, 6)):
        sample = day.rng.choice(samples)
        known = [one for one in said if one.sample is sample]
        status = day.rng.choice("FFC" if known else "PF")
        shown = {"typed": -1} if status == "C" and day.rng.random() < 0.2 else {}
        said.append(day.say(sample, test, status, **shown))
        yield
        _older(day, said)
        day.later(day.rng.choice((2, 40)))
        yield


def two_channels(day: Day) -> Life:
    """Two analyzers measure one tube; each corrects its own."""
    sample, test, said = day.sample(), day.test(), list[Message]()
    for _ in range(day.rng.randrange(2, 6)):
        channel = day.rng.randrange(2)
        about = test if day.joined else f"{test} on {channel}"
        known = "".join(one.status for one in said if one.about == about)
        status = day.rng.choice("C" if "C" in known else "FC" if known else "PF")
        said.append(day.say(sample, about, status, code=test, channel=channel))
        yield
        day.later(20)
        yield


def reruns(day: Day) -> Life:
    """Of one tube. Nothing of it may be held, whatever stands in the field of collection."""
    sample, test = day.sample(), day.test()
    for _ in range(day.rng.randrange(2, 4)):
        day.later(day.rng.choice((5, 100)))
        day.say(sample, test, "F")
        yield


def over_midnight(day: Day) -> Life:
    """Finished, or corrected, on the next morning."""
    sample, test = day.sample(), day.test()
    day.say(sample, test, day.rng.choice("PF"))
    yield
    day.later(18 * 60)
    day.say(sample, test, "C")
    yield


def named_and_nameless(day: Day) -> Life:
    sample, test, said = day.sample(), day.test(), list[Message]()
    for _ in range(day.rng.randrange(2, 4)):
        status = day.rng.choice("FC" if said else "PF")
        said.append(day.say(sample, test, status, named=day.rng.random() < 0.5))
        yield
        _older(day, said)
        day.later(20)
        yield


def moved(day: Day) -> Life:
    """The order was another patient's, says a correction."""
    first, test = day.sample(), day.test()
    day.say(first, test, "F")
    yield
    day.later(20)
    day.say(day.sample(order=first.order), test, day.rng.choice("CF"))
    yield


def clock_and_words(day: Day) -> Life:
    sample, test, said = day.sample(), day.test(), list[Message]()
    for _ in range(day.rng.randrange(2, 5)):
        clock = day.rng.choice((0, 0, -365, 500))
        said.append(day.say(sample, test, day.rng.choice("FC" if said else "PF"), clock=clock))
        yield
        _older(day, said)
        day.later(20)
        yield


def culture(day: Day) -> Life:
    """Each report has all of it."""
    sample, kept = day.sample(), ""
    words = day.rng.choice(("oo", "on", "no", "nn", "ono", "noo", "xo", "xxo"))
    for number, word in enumerate(words):
        if word == "n":
            value, code = NO_GROWTH, "NOGR"
        else:
            kept = kept if word == "o" and kept and day.rng.random() < 0.5 else day.organism()
            value, code = kept, "ORG"
        status = "F" if number == len(words) - 1 else day.rng.choice("PPF")
        day.say(sample, "CULT", status, value=value, code=code, panel="CULT")
        yield
        day.later(600)


def bottles(day: Day) -> Life:
    """Two of one order, each a culture, with the same number for its isolate; sometimes nothing grows."""
    first = day.sample(tube=f"B{{h}}{day.minutes}1")
    both = first, day.sample(first.person, order=first.order, tube=f"B{{h}}{day.minutes}2")
    for sample in (*both, day.rng.choice(both)):
        grows = day.rng.random() < 0.6
        value = day.organism() if grows else f"{day.rng.choice(NOTHING)} ({len(day.steps)})"
        day.say(sample, "CULT", day.rng.choice("PF"), value=value, code="ORG", panel="CULT", tube=True)
        yield
        day.later(600)


def growth_elsewhere(day: Day) -> Life:
    """One instrument counts the bottle, another one names what is in it."""
    sample, named = day.sample(), day.organism()
    values = [named, day.rng.choice(NOTHING)]
    day.rng.shuffle(values)
    for channel, value in enumerate(values):
        day.say(sample, "CULT", "F", value=value, code="ORG", panel="CULT", channel=channel)
        yield
        day.later(600)


def tubes(day: Day) -> Life:
    """Two of one order, drawn together."""
    first, test = day.sample(tube=f"T{{h}}{day.minutes}1"), day.test()
    both = first, day.sample(first.person, order=first.order, at=first.at, tube=f"T{{h}}{day.minutes}2")
    said = list[Message]()
    for _ in range(day.rng.randrange(2, 6)):
        sample = day.rng.choice(both)
        known = [one for one in said if one.sample is sample]
        said.append(day.say(sample, test, day.rng.choice("FFC" if known else "PF"), tube=True))
        yield
        _older(day, said)
        day.later(20)
        yield


def rejected_then_rerun(day: Day) -> Life:
    """A person refuses a result after a failed control; the memory comes; the tube is measured again."""
    test = day.test()
    control = day.sample(order="QC1", tube="QC1", role="Q")
    day.say(control, test, "F", flag="A", tube=True, named=False)
    sample = day.sample()
    wrong = day.say(sample, test, "F", flag=day.rng.choice(("", "HH")))
    yield
    day.decide("reject", wrong)
    day.say(control, test, "F", flag="N", tube=True, named=False)
    yield
    if day.rng.random() < 0.5:
        day.again(wrong)
        yield
    day.later(20)
    day.say(sample, test, "F")
    yield
    day.again(wrong)
    yield


def pool_and_words(day: Day) -> Life:
    pool = day.sample(tube="POOL7", role=day.rng.choice((POOL, "G", "Z")))
    for status in day.rng.choice(("F", "FC", "FD", "PF")):
        day.say(pool, "HIV", status, value="Reactive" if status != "C" else "", tube=True)
        yield


def counted_again(day: Day) -> Life:
    """The number of an order is given again on another day, to another sample of the person."""
    first, test = day.sample(), day.test()
    day.say(first, test, "F")
    yield
    day.later(3 * 24 * 60)
    second: Sample = day.sample(first.person, order=first.order)
    day.later(15)
    day.say(second, test, day.rng.choice("FP"))
    yield
    day.later(15)
    day.say(second, test, day.rng.choice("FC"))
    yield


LIVES: tuple[tuple[Callable[[Day], Life], tuple[str, ...]], ...] = (
    (any_words, TIMES), (any_words_of_critical, TIMES), (series_with_words, ("sample",)), (two_channels, TIMES),
    (reruns, TIMES), (over_midnight, TIMES),
    (named_and_nameless, TIMES), (moved, TIMES), (clock_and_words, TIMES), (culture, TIMES),
    (rejected_then_rerun, TIMES), (pool_and_words, TIMES), (counted_again, TIMES),
    (bottles, TIMES), (growth_elsewhere, TIMES), (tubes, TIMES),
)  # fmt: skip
PLAIN = frozenset({reruns, over_midnight, two_channels})
HELD_BY_RULE = frozenset({rejected_then_rerun})
OF_HL7 = frozenset({rejected_then_rerun, pool_and_words, bottles, tubes})
